# Generated from src/soa_db/_async/redis/__init__.py by tools/generate_sync.py: edit that file, then run `make generate`.

"""The Redis manager: connections, cache calls, the loader of its configuration."""
