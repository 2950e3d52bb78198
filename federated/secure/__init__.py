"""Secure aggregation: the server learns the sum of a group's integer vectors and no vector of it.

Double masking after Bonawitz et al., Practical Secure Aggregation for Privacy-Preserving Machine
Learning, CCS 2017. State machines over bytes, without network, files or clock:
docs/SECURE_AGGREGATION.md.
"""
