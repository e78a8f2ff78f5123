"""The PostgreSQL provider: one physical connection, the pool of them, the provider that keeps the pool."""
