# Generated from src/soa_db/_async/postgres/__init__.py by tools/generate_sync.py: edit that file, then run `make generate`.

"""The PostgreSQL provider: one physical connection, the pool of them, the provider that keeps the pool."""
