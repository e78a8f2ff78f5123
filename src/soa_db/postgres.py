"""PostgreSQL: providers, loaders and single connections."""
