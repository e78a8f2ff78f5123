# Generated from src/soa_db/_async/mongo/__init__.py by tools/generate_sync.py: edit that file, then run `make generate`.

"""The MongoDB provider, and the loader of its configuration."""
