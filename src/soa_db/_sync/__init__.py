# Generated from src/soa_db/_async/__init__.py by tools/generate_sync.py: edit that file, then run `make generate`.

"""The hand-written asynchronous shells; ``_sync`` is generated from them by ``tools/generate_sync.py``."""
