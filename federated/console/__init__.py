"""What a coordinator sees of a run, all of it read from the run log: status, live view, report."""
