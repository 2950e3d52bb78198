"""Secure aggregation: the server learns the sum of a group's integer vectors and no vector of it.

Double masking after Bonawitz et al., Practical Secure Aggregation for Privacy-Preserving Machine
Learning, CCS 2017. The protocol is state machines over bytes, without network, files or clock;
`grid_*`, `stage_records` and `session_vault` carry it over Flower (docs/SECURE_AGGREGATION.md).
"""
