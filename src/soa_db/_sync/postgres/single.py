# Generated from src/soa_db/_async/postgres/single.py by tools/generate_sync.py: edit that file, then run `make generate`.

"""One connection without a pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import Connection
from psycopg.rows import TupleRow

from soa_db._psycopg.roots import root_file
from soa_db._sync.postgres.connector import Connector
from soa_db._sync.postgres.principal import PostgresPrincipal

if TYPE_CHECKING:
    from soa_db._sync.aws import AwsClients
    from soa_db.config import PostgresConfig

__all__ = ["connect"]


def connect(config: PostgresConfig, *, aws: AwsClients | None = None) -> Connection[TupleRow]:
    """Return one native connection, in autocommit, made with fresh credentials; closing it is up to the caller.

    One attempt, and one forced re-read of refused credentials.

    Args:
        config: what to connect to, and how to authenticate; its pool settings give the connect timeout only.
        aws: shared AWS clients for the credentials.

    Raises:
        SoaDbError: a ConnectionFailed, CredentialError or ConfigurationError saying what was tried.
    """
    principal = PostgresPrincipal(config=config, aws=aws)
    try:
        config, credentials = principal.resolve()
        roots = root_file(config)
        try:
            return Connector(config, credentials, roots, pooled=False).connect(Connection[TupleRow])
        finally:
            # libpq has read it: this connection will not be made again.
            if roots is not None:
                roots.remove()
    finally:
        principal.close()
