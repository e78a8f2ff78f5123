# Generated from src/soa_db/_async/mongo/pool.py by tools/generate_sync.py: edit that file, then run `make generate`.

"""pymongo's pool with ours beneath it: credentials are asked for at every connect, and asked again when refused."""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING, Any, NoReturn

import pymongo
from pymongo import _csot
from pymongo.errors import NetworkTimeout, OperationFailure
from pymongo.synchronous.pool import Pool

from soa_db._core.mongo.classify import Category
from soa_db._mongo.credential import CredentialStore, connecting_with
from soa_db._mongo.failures import DRIVER_ERRORS, category_of, login_refused, typed
from soa_db._mongo.options import measured_pool
from soa_db._runtime import telemetry
from soa_db._runtime._sync import Uninterrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo.synchronous.pool import Connection

    from soa_db.config import MongoConfig
    from soa_db.credentials import CredentialProvider

__all__ = ["Login", "ServerPool"]

# AWSCURRENT may be stale and AWSPENDING be what the server knows: two candidates, no more.
_CANDIDATES = 2


class Login:
    """What every connection of one client is made with, and the pools and connections there are.

    Args:
        config: what to connect to.
        credentials: asked at every connect.
    """

    def __init__(self, config: MongoConfig, credentials: CredentialProvider) -> None:
        self.config = config
        self.credentials = credentials
        self.store = CredentialStore(config)
        self.connects = Uninterrupted()
        self._pools: weakref.WeakSet[ServerPool] = weakref.WeakSet()
        self._connections: weakref.WeakSet[Any] = weakref.WeakSet()

    def pool_class(self) -> type[ServerPool]:
        """Return a class of pools that log in with this."""
        return type("ServerPool", (ServerPool,), {"login": self})

    def add(self, pool: ServerPool) -> None:
        """Take note of a pool."""
        self._pools.add(pool)

    def opened(self, connection: Connection) -> None:
        """Take note of a connection."""
        self._connections.add(connection)

    def pools(self) -> list[ServerPool]:
        """The pools of connections that users get; the monitors have others."""
        return [pool for pool in tuple(self._pools) if not pool.is_sdam and not pool.closed]

    def descriptors(self) -> Iterator[int]:
        """The sockets of all open connections, the monitors' among them."""
        for connection in tuple(self._connections):
            if not connection.closed:
                yield connection.conn.sock.fileno()


class ServerPool(Pool):
    """The connections to one server; subclassed for each client with its ``login``."""

    login: Login

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.login.add(self)
        self.measured = measured_pool(self.login.config, self.address)
        for condition in (self.size_cond, self._max_connecting_cond):
            # What callers wait for. pymongo's own events would tell too, and cost every call.
            condition.wait = self._timed(condition.wait)  # type: ignore[method-assign]

    def _timed(self, wait: Callable[..., Any]) -> Callable[..., Any]:
        measured = self.measured

        def timed(*arguments: Any) -> Any:
            started = time.monotonic()
            woken = wait(*arguments)
            if woken:
                telemetry.waited(measured, time.monotonic() - started)
            return woken

        return timed

    def _raise_wait_queue_timeout(self, *arguments: Any) -> NoReturn:
        telemetry.timed_out(self.measured)
        super()._raise_wait_queue_timeout(*arguments)

    def use(self) -> telemetry.PoolUse:
        """Return how it is used now. Without its lock: a count may be off by one."""
        used, sizes = self.active_sockets, self.opts
        # Infinite where there is none.
        maximum = sizes.max_pool_size if isinstance(sizes.max_pool_size, int) else None
        pending = max(0, self.operation_count - used)
        return telemetry.PoolUse(len(self.conns), used, pending, maximum, sizes.min_pool_size)

    def connect(self, handler: Any = None) -> Connection:
        """Make a connection and log in, within the connect timeout; one forced re-read of refused credentials."""
        login = self.login
        if self.is_sdam:
            # A monitor's: it does not log in, and pymongo bounds all of it but asyncio's TLS handshake.
            connection = self._connect_in_time(handler)
            login.opened(connection)
            return connection
        # Without a handler it is pymongo's upkeep of the pool, in the context of whoever made the client.
        with telemetry.connecting(self.measured, background=handler is None) as attempt:
            try:
                connection = self._log_in(handler, attempt)
            except DRIVER_ERRORS as error:
                attempt.error = typed(error, login.config, source=attempt.source)
                raise
        login.opened(connection)
        return connection

    def _log_in(self, handler: Any, attempt: telemetry.Attempt) -> Connection:
        login = self.login
        credentials = login.credentials.get()
        refused = 0
        while True:
            attempt.source = credentials.source
            try:
                # pymongo waits for a server's first answers for ever, but for this.
                with (
                    pymongo.timeout(login.config.options.connect_timeout),
                    connecting_with(login.store.of(credentials)),
                ):
                    return self._connect_in_time(handler)
            except OperationFailure as error:
                if category_of(error) is not Category.AUTHENTICATION:
                    raise
                # Without a code it is the driver that refuses the server.
                if refused < _CANDIDATES and error.code is not None:
                    refused += 1
                    other = login.credentials.refresh(credentials)
                    if other is not None and other.secret != credentials.secret:
                        attempt.retry()
                        credentials = other
                        continue
                # Without the frames that held the password: tools that report errors print the locals of frames.
                found = login_refused(error, login.config, source=credentials.source)
                raise found from error.with_traceback(None)

    def _connect_in_time(self, handler: Any) -> Connection:
        timeout = 2 * self.login.config.options.connect_timeout
        # What the caller has left, as pymongo counts it: it bounds all by that but asyncio's TLS handshake.
        patience = _csot.remaining()
        try:
            # Cancelled before it hands its socket on, pymongo leaves that to the garbage collector. It bounds this part
            # itself; twice the time ends what comes after.
            return self.login.connects.run(
                lambda: super(ServerPool, self).connect(handler),
                timeout,
                lambda late: late.close_conn(None),
                patience,
            )
        except TimeoutError as error:
            host, port = self.address
            raise NetworkTimeout(f"{host}:{port}: no connection in time") from error
