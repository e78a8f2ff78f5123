# Generated from src/soa_db/_async/mongo/__init__.py by tools/generate_sync.py: edit that file, then run `make generate`.

"""MongoDB: the provider and the loader."""
