"""A fleet of offline devices in one process, on a virtual clock, through the same round core."""
