"""The Redis manager: connections, cache calls, the loader of its configuration."""
