"""PostgreSQL: providers and single connections, asynchronous and blocking."""

from soa_db._async.postgres.provider import AsyncPostgresProvider, Isolation
from soa_db._async.postgres.single import aconnect
from soa_db._sync.postgres.provider import PostgresProvider
from soa_db._sync.postgres.single import connect

__all__ = ["AsyncPostgresProvider", "Isolation", "PostgresProvider", "aconnect", "connect"]
