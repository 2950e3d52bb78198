"""Fewer bytes for an update: grids for sums of integers, and a code for one update by itself."""
