"""Dependencies: a connection, a transaction, Redis, MongoDB.

A transaction must be committed *before* the response is sent: otherwise a client is told of a write that may then be
lost. FastAPI ends dependencies after the response (0.118 and later) unless they have ``scope="function"`` (0.121); so
what stands here are whole ``Depends`` objects with that scope, never functions that somebody could depend on without.
It also gives connections back before a slow client has read its response.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from fastapi import Depends, params

# FastAPI reads the annotations of dependencies when the application is made.
from starlette.requests import HTTPConnection  # noqa: TC002

from soa_db import names
from soa_db.databases import Databases
from soa_db.fastapi.state import databases_of, get_databases

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from psycopg import AsyncConnection
    from psycopg.rows import TupleRow
    from pymongo.asynchronous.database import AsyncDatabase

    from soa_db.names import Role
    from soa_db.postgres import AsyncPostgresProvider, Isolation
    from soa_db.redis import AsyncRedisConnectionManager

__all__ = [
    "MongoDatabase",
    "OpenDatabases",
    "PostgresConnection",
    "PostgresTransaction",
    "Redis",
    "connection_to",
    "transaction_on",
]


def connection_to(
    db_id: str | None = None, *, role: Role | None = None, timeout: float | None = None
) -> params.Depends:
    """Return a dependency on a connection, in autocommit; for ``Annotated[AsyncConnection, connection_to("pii")]``.

    It is given back when the path function returns. A response that streams from the database asks for
    ``OpenDatabases`` and takes its connection itself.

    Args:
        db_id: which PostgreSQL database; the main one, or the only one, when left out.
        role: as whom, where the database is open as several.
        timeout: seconds to wait for a connection; the pool's own when left out.

    Raises:
        ConfigurationError: ``db_id`` or ``role`` is none; in a request, that database is not open.
    """
    _check(db_id, role)

    async def postgres_connection(connection: HTTPConnection) -> AsyncIterator[AsyncConnection[TupleRow]]:
        provider = _provider(connection, db_id, role)
        async with provider.connection(timeout) as conn:
            yield conn

    return _until_the_function_returns(postgres_connection)


def transaction_on(
    db_id: str | None = None,
    *,
    role: Role | None = None,
    isolation: Isolation | None = None,
    timeout: float | None = None,
) -> params.Depends:
    """Return a dependency on a connection within a transaction, committed before the response is sent.

    It is rolled back when the path function raises, an HTTPException too, or is cancelled. A response with an error's
    status that is *returned* commits. When COMMIT fails, the client gets the error instead of the response.

    Args:
        db_id: which PostgreSQL database; the main one, or the only one, when left out.
        role: as whom, where the database is open as several.
        isolation: the isolation level; the server's default when left out.
        timeout: seconds to wait for a connection; the pool's own when left out.

    Raises:
        ConfigurationError: ``db_id`` or ``role`` is none; in a request, that database is not open.
    """
    _check(db_id, role)

    async def postgres_transaction(connection: HTTPConnection) -> AsyncIterator[AsyncConnection[TupleRow]]:
        provider = _provider(connection, db_id, role)
        async with provider.transaction(isolation=isolation, timeout=timeout) as conn:
            yield conn

    return _until_the_function_returns(postgres_transaction)


def _provider(connection: HTTPConnection, db_id: str | None, role: Role | None) -> AsyncPostgresProvider:
    databases = databases_of(connection.scope)
    return databases.postgres_for(databases._main_or_only() if db_id is None else db_id, role)  # noqa: SLF001 - ours


def _check(db_id: str | None, role: str | None) -> None:
    names.normal_db_id(db_id)
    if role is not None:
        names.check_role(role)


def _until_the_function_returns(dependency: Any) -> params.Depends:
    found: params.Depends = Depends(dependency, scope="function")
    return found


async def _redis(connection: HTTPConnection) -> Any:
    return databases_of(connection.scope).redis


async def _mongo(connection: HTTPConnection) -> Any:
    return databases_of(connection.scope).mongo.database


OpenDatabases: TypeAlias = Annotated[Databases, Depends(get_databases)]
"""All the open databases."""

if TYPE_CHECKING:
    PostgresConnection: TypeAlias = Annotated[AsyncConnection[TupleRow], connection_to()]
    PostgresTransaction: TypeAlias = Annotated[AsyncConnection[TupleRow], transaction_on()]
    Redis: TypeAlias = Annotated[AsyncRedisConnectionManager, Depends(_redis)]
    MongoDatabase: TypeAlias = Annotated[AsyncDatabase[dict[str, Any]], Depends(_mongo)]
else:
    # The drivers' classes are for type checkers: a service without Redis has no redis-py.
    PostgresConnection = Annotated[Any, connection_to()]
    PostgresTransaction = Annotated[Any, transaction_on()]
    Redis = Annotated[Any, Depends(_redis)]
    MongoDatabase = Annotated[Any, Depends(_mongo)]
