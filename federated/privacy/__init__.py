"""User-level differential privacy of federated rounds: noise, accounting, budget, report."""
