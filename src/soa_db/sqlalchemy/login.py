"""Physical connections for SQLAlchemy's own pools: fresh credentials each time, AWS asked once for all of them."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping
from typing import Any

from psycopg import AsyncConnection, Connection
from psycopg.rows import TupleRow

from soa_db._async.postgres.connector import AsyncConnector
from soa_db._async.postgres.principal import AsyncPostgresPrincipal, LoaderKeywords
from soa_db._psycopg.roots import root_file
from soa_db._runtime import fork
from soa_db._sync.postgres.connector import Connector
from soa_db._sync.postgres.principal import LoaderKeywords as BlockingLoaderKeywords
from soa_db._sync.postgres.principal import PostgresPrincipal
from soa_db.sqlalchemy.url import loader_keywords

__all__ = ["AsyncLogin", "Login"]


def _key(found: Mapping[str, Any]) -> Hashable:
    # An event or `connect_args` may change what an engine connects to, from one connection to the next.
    return tuple(sorted((name, str(value)) for name, value in found.items()))


class Login:
    """Connects as what a URL's parameters say. The configuration is loaded at the first connect."""

    def __init__(self) -> None:
        self._connectors: dict[Hashable, Connector] = {}
        self._lock = threading.Lock()
        fork.watch(self)

    def after_fork_in_child(self) -> None:
        """Another thread of the parent's may have held the lock."""
        self._lock = threading.Lock()

    def connect(self, found: Mapping[str, Any]) -> Connection[TupleRow]:
        """Return a new connection; raises the loader's and the provider's errors."""
        return self._connector(found).connect(Connection[TupleRow])

    def _connector(self, found: Mapping[str, Any]) -> Connector:
        key = _key(found)
        with self._lock:
            if key not in self._connectors:
                loader: BlockingLoaderKeywords = loader_keywords(found)  # type: ignore[assignment]  # checked there
                principal = PostgresPrincipal(loader=loader)
                config, credentials = principal.resolve()
                # The sockets of loading; what is asked for later opens its own.
                principal.close()
                self._connectors[key] = Connector(config, credentials, root_file(config))
            return self._connectors[key]


class AsyncLogin:
    """Likewise for an asynchronous engine."""

    def __init__(self) -> None:
        self._connectors: dict[Hashable, AsyncConnector] = {}
        self._principals: dict[Hashable, AsyncPostgresPrincipal] = {}

    async def connect(self, found: Mapping[str, Any]) -> AsyncConnection[TupleRow]:
        """Return a new connection; raises the loader's and the provider's errors."""
        return await (await self._connector(found)).connect(AsyncConnection[TupleRow])

    async def _connector(self, found: Mapping[str, Any]) -> AsyncConnector:
        key = _key(found)
        if key not in self._connectors:
            if key not in self._principals:
                loader: LoaderKeywords = loader_keywords(found)  # type: ignore[assignment]  # checked there
                self._principals[key] = AsyncPostgresPrincipal(loader=loader)
            # Concurrent first connects may each load the configuration, but the principal and its AWS clients are one:
            # what they ask AWS for is asked once.
            principal = self._principals[key]
            config, credentials = await principal.resolve()
            await principal.close()
            if key not in self._connectors:
                self._connectors[key] = AsyncConnector(config, credentials, root_file(config))
        return self._connectors[key]
