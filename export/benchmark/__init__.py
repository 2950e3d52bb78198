"""Trains and measures any set of learners from one config file; see `config`."""
