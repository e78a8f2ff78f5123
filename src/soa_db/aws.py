"""AWS clients shared by loaders and providers."""
