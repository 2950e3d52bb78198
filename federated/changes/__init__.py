"""Commands around `federated.bundle_changes`."""
