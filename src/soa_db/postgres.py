"""PostgreSQL: providers, loaders and single connections, asynchronous and blocking."""

from soa_db._async.postgres.loader import PostgresIdentitySource, aload_postgres_config_from_aws
from soa_db._async.postgres.provider import AsyncPostgresProvider, Isolation
from soa_db._async.postgres.single import aconnect
from soa_db._sync.postgres.loader import load_postgres_config_from_aws
from soa_db._sync.postgres.provider import PostgresProvider
from soa_db._sync.postgres.single import connect

__all__ = [
    "AsyncPostgresProvider",
    "Isolation",
    "PostgresIdentitySource",
    "PostgresProvider",
    "aconnect",
    "aload_postgres_config_from_aws",
    "connect",
    "load_postgres_config_from_aws",
]
