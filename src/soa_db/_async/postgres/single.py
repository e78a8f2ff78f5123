"""One connection without a pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from soa_db._async.postgres.connector import AsyncConnector
from soa_db._async.postgres.principal import AsyncPostgresPrincipal
from soa_db._psycopg.roots import root_file

if TYPE_CHECKING:
    from soa_db._async.aws import AsyncAwsClients
    from soa_db.config import PostgresConfig

__all__ = ["aconnect"]


async def aconnect(config: PostgresConfig, *, aws: AsyncAwsClients | None = None) -> AsyncConnection[TupleRow]:
    """Return one native connection, in autocommit, made with fresh credentials; closing it is up to the caller.

    One attempt, and one forced re-read of refused credentials.

    Args:
        config: what to connect to, and how to authenticate; its pool settings give the connect timeout only.
        aws: shared AWS clients for the credentials.

    Raises:
        SoaDbError: a ConnectionFailed, CredentialError or ConfigurationError saying what was tried.
    """
    principal = AsyncPostgresPrincipal(config=config, aws=aws)
    try:
        config, credentials = await principal.resolve()
        roots = root_file(config)
        try:
            return await AsyncConnector(config, credentials, roots, pooled=False).connect(AsyncConnection[TupleRow])
        finally:
            # libpq has read it: this connection will not be made again.
            if roots is not None:
                roots.remove()
    finally:
        await principal.close()
