# Generated from src/soa_db/_async/postgres/__init__.py by tools/generate_sync.py: edit that file, then run `make generate`.

"""PostgreSQL: loader, credentials at connect time, provider."""
