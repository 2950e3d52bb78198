"""Learners: each file is one way of learning to learn, on the contract of `base`."""
