"""The coordinator: federated rounds that turn what devices learned into the next bundle."""
