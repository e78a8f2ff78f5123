"""PostgreSQL: providers, loaders and single connections, asynchronous and blocking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from soa_db.errors import MissingExtra

try:
    from soa_db._async.postgres.provider import AsyncPostgresProvider, Isolation
    from soa_db._async.postgres.single import aconnect
    from soa_db._sync.postgres.provider import PostgresProvider
    from soa_db._sync.postgres.single import connect
except ModuleNotFoundError as error:
    if error.name not in {"psycopg", "psycopg_pool"}:
        raise
    raise MissingExtra(f"{error.name} is not installed", hint="pip install 'soa-db[postgres]'") from error

if TYPE_CHECKING:
    from soa_db._async.postgres.loader import PostgresIdentitySource, aload_postgres_config_from_aws
    from soa_db._sync.postgres.loader import load_postgres_config_from_aws

# The config models take longer to import than psycopg and its pool: only who loads or builds a config pays for them.
_LAZY = {
    "PostgresIdentitySource": "soa_db._async.postgres.loader",
    "aload_postgres_config_from_aws": "soa_db._async.postgres.loader",
    "load_postgres_config_from_aws": "soa_db._sync.postgres.loader",
}

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


def __getattr__(name: str) -> object:
    """Import the loader when it is first used."""
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'soa_db.postgres' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)
