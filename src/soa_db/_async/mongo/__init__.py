"""MongoDB: the provider and the loader."""
