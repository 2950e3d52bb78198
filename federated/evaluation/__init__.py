"""Devices judge a candidate bundle, in private counts, before it becomes the current one."""
