"""Engines whose connections come from a provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy.dialects import registry
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import create_async_engine

from soa_db.errors import ConfigurationError, NotConnectedError
from soa_db.postgres import AsyncPostgresProvider, PostgresProvider
from soa_db.sqlalchemy.pool import AsyncLendingPool, LendingPool

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    from soa_db.sqlalchemy.lending import Lending

__all__ = ["create_async_engine_from_provider", "create_engine_from_provider"]

# Not among the entry points: there is no engine of it without a provider.
registry.register("soa_db.provider", "soa_db.sqlalchemy.dialect", "ProviderDialect")

# What is SQLAlchemy's pool's own affair, whatever the connections come from: its name there.
_KEPT = {
    "echo_pool": "echo",
    "pool_events": "events",
    "pool_logging_name": "logging_name",
    "pool_pre_ping": "pre_ping",
    "pool_reset_on_return": "reset_on_return",
}
_REFUSED = {
    "async_creator": "the provider makes the connections",
    "client_encoding": "sessions speak UTF-8",
    "connect_args": "what sessions start with is the provider's `session`",
    "creator": "the provider makes the connections",
    "max_overflow": "give the provider PoolConfig(max_size=…)",
    "module": "the driver is psycopg",
    "pool": "the provider's pool is used",
    "pool_recycle": "give the provider PoolConfig(max_lifetime=…)",
    "pool_size": "give the provider PoolConfig(max_size=…)",
    "pool_timeout": "give the provider PoolConfig(timeout=…)",
    "pool_use_lifo": "the provider's pool is used",
    "poolclass": "the provider's pool is used",
}


def create_engine_from_provider(provider: PostgresProvider, **options: Any) -> Engine:
    """Return an engine whose connections are the provider's: there is no second pool.

    A connection is lent to SQLAlchemy with autocommit off, and comes back rolled back and in autocommit, as the
    provider's other users expect it. The engine neither connects nor disconnects the provider: ``provider.connect()``
    may come later than this call, and ``engine.dispose()`` closes nothing.

    Checking a connection out raises the provider's own errors (PoolTimeout, NotConnectedError, AuthenticationFailed …).
    Errors of statements are SQLAlchemy's; one that means that the server is gone also puts the pool's other
    connections in doubt.

    Args:
        provider: where connections come from.
        options: of SQLAlchemy's ``create_engine``, but for those that would size or replace the pool.

    Raises:
        ConfigurationError: such an option was given, or the provider is an asynchronous one.
        MissingExtra: SQLAlchemy is not installed (raised by the import).
    """
    if not isinstance(provider, PostgresProvider):
        raise _wrong_kind(provider, "PostgresProvider", "create_async_engine_from_provider")
    return sqlalchemy.create_engine(_url(provider), **_with_pool(LendingPool, provider, options))


def create_async_engine_from_provider(provider: AsyncPostgresProvider, **options: Any) -> AsyncEngine:
    """Return an asynchronous engine whose connections are the provider's: see ``create_engine_from_provider``.

    Like its provider, the engine belongs to one event loop at a time.

    Args:
        provider: where connections come from.
        options: of SQLAlchemy's ``create_async_engine``, but for those that would size or replace the pool.

    Raises:
        ConfigurationError: such an option was given, or the provider is a blocking one.
        MissingExtra: SQLAlchemy is not installed (raised by the import).
    """
    if not isinstance(provider, AsyncPostgresProvider):
        raise _wrong_kind(provider, "AsyncPostgresProvider", "create_engine_from_provider")
    return create_async_engine(_url(provider), **_with_pool(AsyncLendingPool, provider, options))


def _wrong_kind(provider: object, wanted: str, other: str) -> ConfigurationError:
    return ConfigurationError(f"this takes a {wanted}, not a {type(provider).__name__}", hint=f"or call {other}")


def _with_pool(kind: type[Lending], provider: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of the engine, with the provider's pool made of those that concern a pool."""
    for name in sorted(options):
        if name in _REFUSED:
            raise ConfigurationError(f"an engine on a provider takes no {name!r}", hint=_REFUSED[name])
    of_pool = {ours: options.pop(name) for name, ours in _KEPT.items() if name in options}
    return {**options, "pool": kind(provider, **of_pool)}


def _url(provider: PostgresProvider | AsyncPostgresProvider) -> URL:
    """What logs and ``repr`` show: where it leads to, if that is known yet, and no password."""
    try:
        config = provider.config
    except NotConnectedError:
        return URL.create("soa_db+provider")
    return URL.create(
        "soa_db+provider", username=config.user, host=config.host, port=config.port, database=config.database
    )
