"""Objectives: what one step of the outer loop lowers, on the protocol of `base`."""
