"""Makes the bundles that come with the SDK, from one config file; see `config`."""
