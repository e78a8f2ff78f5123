"""asyncpg: a native pool with the credentials, TLS and timeouts of a config, for those who prefer it to psycopg."""

from __future__ import annotations

from typing import TYPE_CHECKING

from soa_db.errors import MissingExtra

try:
    from soa_db.asyncpg.pool import AsyncpgOptions, create_asyncpg_pool
except ModuleNotFoundError as error:
    if error.name != "asyncpg":
        raise
    raise MissingExtra("asyncpg is not installed", hint="pip install 'soa-db[asyncpg]'") from error

if TYPE_CHECKING:
    from soa_db._async.postgres.loader import aload_postgres_config_from_aws

__all__ = ["AsyncpgOptions", "aload_postgres_config_from_aws", "create_asyncpg_pool"]


def __getattr__(name: str) -> object:
    """Import the loader when it is first used: here too, since soa_db.postgres needs psycopg."""
    if name != "aload_postgres_config_from_aws":
        raise AttributeError(f"module 'soa_db.asyncpg' has no attribute {name!r}")
    from soa_db._async.postgres.loader import aload_postgres_config_from_aws

    globals()[name] = aload_postgres_config_from_aws
    return aload_postgres_config_from_aws


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)
