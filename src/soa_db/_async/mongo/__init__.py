"""The MongoDB provider, and the loader of its configuration."""
