"""The pool of a provider: psycopg_pool's, with a source of connections that knows when the server is away.

What psycopg_pool alone does not do:

- After a crash it waits a second before it tries to connect again, and more after that. Here the connection class
  itself waits until the server accepts: one connection looks every 20 ms, the others wait for what it finds.
- It tells waiting callers nothing about why there is no connection, until their time is up. Here a refusal that
  waiting will not mend (credentials, certificate, a missing database) is handed to them as a closed connection
  that carries the error: the queue of waiters has no other way in.
- It hands out connections that died with the server. Here a generation tells them apart in one comparison.
"""

from __future__ import annotations

import operator
import random
import time
import weakref
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import AsyncConnection, pq
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from soa_db._async.postgres.connector import round_trip
from soa_db._core.generation import Generation, after_failure
from soa_db._core.reconnect import probe_delay
from soa_db._core.refusal import is_final
from soa_db._psycopg.failures import is_standby
from soa_db._runtime._async import Lock, StopEvent, Stopped, insist_on_cancellation
from soa_db._runtime.telemetry import Pool, PoolUse
from soa_db.errors import NotConnectedError, ServerUnavailable, SoaDbError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from soa_db._async.postgres.connector import AsyncConnector
    from soa_db._core.classify import Failure

__all__ = ["AsyncConnectionSource", "AsyncPooledConnection", "AsyncProviderPool"]

# Seconds a refusal is repeated to whoever asks before the server is asked again: a crowd of callers must not become a
# crowd of failed logins.
_REFUSAL_HOLDS = 1.0
# Seconds an older connection has to answer before it is given up.
_CHECK_TIMEOUT = 5.0
# What a user may set on a connection in the driver; the server knows of none of it. Read in one call, since it is
# looked at whenever a connection comes back. The last two are other than they were only where something was begun and
# not ended: nothing mends that.
_driver_state = operator.attrgetter(
    "row_factory",
    "cursor_factory",
    "server_cursor_factory",
    "prepare_threshold",
    "prepared_max",
    "autocommit",
    "isolation_level",
    "read_only",
    "deferrable",
    "_notice_handlers",
    "_notify_handlers",
    "_tpc",
    "pgconn.pipeline_status",
)


class AsyncPooledConnection(AsyncConnection[TupleRow]):
    """A psycopg connection that remembers the generation it belongs to. It adds nothing to any call."""

    generation = 0
    as_made: tuple[Any, ...] = ()
    refusal: SoaDbError | None = None
    refused_at = 0.0

    @classmethod
    async def connect(  # type: ignore[override]  # `source` is how psycopg_pool's public hook reaches ours
        cls, conninfo: str = "", *, source: AsyncConnectionSource | None = None, **parameters: Any
    ) -> AsyncPooledConnection:
        """Ask ``source`` for a connection, as the pool does; without one, connect as psycopg does."""
        if source is not None:
            return await insist_on_cancellation(source.open)
        return await super().connect(conninfo, **parameters)

    @classmethod
    def refused(cls, error: SoaDbError, generation: int) -> AsyncPooledConnection:
        """Return a closed connection that carries ``error`` to a caller waiting in the pool's queue."""
        # libpq refuses this setting before it does any I/O.
        pgconn = pq.PGconn.connect_start(b"sslmode=none-such")
        pgconn.finish()
        conn = cls(pgconn)
        conn.generation = generation
        conn.refusal = error
        conn.refused_at = time.monotonic()
        return conn

    def mark_as_made(self) -> None:
        """Take what is set on it now for what the next user shall find."""
        *plain, notices, notifies, tpc, pipeline = _driver_state(self)
        self.as_made = (*plain, list(notices), list(notifies), tpc, pipeline)

    def is_as_made(self) -> bool:
        """Whether the next user finds what the last one found. No I/O; some 0.5 us."""
        # A lock still held is that of a notifies() that was not closed.
        return _driver_state(self) == self.as_made and not self.lock.locked()

    async def restore(self) -> None:
        """Undo what its last user set on it; close it where that cannot be done. No I/O."""
        *plain, notices, notifies, tpc, pipeline = self.as_made
        if self.lock.locked() or (self._tpc, self.pgconn.pipeline_status) != (tpc, pipeline):
            await self.close()
            return
        self.row_factory, self.cursor_factory, self.server_cursor_factory = plain[:3]
        self.prepare_threshold, self.prepared_max = plain[3:5]
        await self.set_autocommit(plain[5])
        await self.set_isolation_level(plain[6])
        await self.set_read_only(plain[7])
        await self.set_deferrable(plain[8])
        self._notice_handlers[:] = notices
        self._notify_handlers[:] = notifies


class AsyncProviderPool(AsyncConnectionPool[AsyncPooledConnection]):
    """psycopg_pool's pool; only that a forked child can leave it alone."""

    @property
    def has_ready(self) -> bool:
        """Whether somebody who asks now need not wait."""
        return bool(self._pool)

    def use(self, connections: int) -> PoolUse:
        """Return how the pool is used now, of so many open connections. Without its lock: it may be off by one."""
        idle = len(self._pool)
        # Those whose time is up stay in the queue until a connection comes.
        pending = sum(place.conn is None and place.error is None for place in list(self._waiting))
        return PoolUse(idle, max(0, connections - idle), pending, self.max_size, self.min_size)

    def abandon(self) -> None:
        """Make this inherited copy do nothing any more, not even when it is deleted: its workers are not here."""
        self._closed = True


class AsyncConnectionSource:
    """Where a pool gets its connections.

    Args:
        connector: makes them.
        stopped: goes up when no more are wanted; attempts under way are then given up.

    Attributes:
        generation: the pool's present generation.
        is_up: whether the last thing heard of the server was good.
        last_error: why the last attempt to connect failed; None after one that succeeded.
    """

    def __init__(self, connector: AsyncConnector, stopped: StopEvent) -> None:
        self.generation = Generation()
        self.is_up = False
        self.last_error: SoaDbError | None = None
        self._connector = connector
        self._live: weakref.WeakSet[AsyncPooledConnection] = weakref.WeakSet()
        self._spare: AsyncPooledConnection | None = None
        self._refusal: AsyncPooledConnection | None = None
        self._away = False
        self._prober = Lock()
        self._stopped = stopped
        self._drained_for = 0
        self._pool: AsyncProviderPool | None = None

    def pool(self) -> AsyncProviderPool:
        """Return the pool, made but not opened."""
        sizes = self._connector.config.pool
        pool = AsyncProviderPool(
            connection_class=AsyncPooledConnection,
            kwargs={"source": self},
            check=self.check,
            min_size=sizes.min_size,
            max_size=sizes.max_size,
            timeout=sizes.timeout,
            max_idle=sizes.max_idle,
            max_lifetime=sizes.max_lifetime,
            name=self._connector.config.instance_name,
            open=False,
        )
        self.serve(pool)
        return pool

    def serve(self, pool: AsyncProviderPool) -> None:
        """Be the source of ``pool``: it is drained when one of its older connections proves dead."""
        self._pool = pool

    @property
    def measured(self) -> Pool:
        """What telemetry calls the pool."""
        return self._connector.measured

    def use(self) -> PoolUse:
        """Return how the pool is used now; a connection that is being made or checked counts as used."""
        assert self._pool is not None
        return self._pool.use(sum(1 for _ in self.live()))

    def live(self) -> Iterator[AsyncPooledConnection]:
        """The open connections, in the pool or handed out."""
        return (conn for conn in list(self._live) if not conn.closed)

    # --- making connections

    async def probe(self) -> AsyncPooledConnection:
        """Make one connection and a round trip on it; raises the typed error."""
        conn = await self._connect()
        try:
            # A proxy lets a client in before it has a connection to the server itself.
            await round_trip(conn, self._connector.config.pool.connect_timeout)
        except psycopg.Error as error:
            await conn.close()
            raise ServerUnavailable(
                "the server let us in but answers no query",
                hint="a proxy in front may not reach its database",
                host=f"{self._connector.config.host}:{self._connector.config.port}",
            ) from error
        except BaseException:
            await conn.close()
            raise
        return conn

    def keep(self, conn: AsyncPooledConnection) -> None:
        """Have the pool take ``conn`` as its first."""
        self._spare = conn

    async def open(self) -> AsyncPooledConnection:
        """Return a connection for the pool: what the pool calls when it wants one.

        It comes back only with a connection, with a closed one that carries a refusal, or when the pool closes: a
        server that is away is waited for.
        """
        spare, self._spare = self._spare, None
        if spare is not None and not spare.closed:
            return spare
        if self._refusal is not None and time.monotonic() - self._refusal.refused_at < _REFUSAL_HOLDS:
            return self._hand_out(self._refusal)
        try:
            return await self._stopped.run(self._open_when_accepted, AsyncPooledConnection.close)
        except Stopped:
            # Raised, it would be a warning in the log: to psycopg_pool this is a connection that failed.
            closing = NotConnectedError("the provider was disconnected", hint="call connect() again")
            return AsyncPooledConnection.refused(closing, self.generation.number)
        except SoaDbError as error:
            if not is_final(error) or self._has_current():
                # Others are being given back: whoever waits will get one of those.
                raise
            self._refusal = AsyncPooledConnection.refused(error, self.generation.number)
            return self._hand_out(self._refusal)

    def _hand_out(self, refusal: AsyncPooledConnection) -> AsyncPooledConnection:
        assert refusal.refusal is not None
        conn = AsyncPooledConnection.refused(refusal.refusal, self.generation.number)
        conn.refused_at = refusal.refused_at
        return conn

    def _has_current(self) -> bool:
        return any(conn.generation == self.generation.number for conn in self.live())

    async def _open_when_accepted(self) -> AsyncPooledConnection:
        while not self._stopped.is_set():
            if self._away:
                async with self._prober:
                    if self._away:
                        return await self._look_until_accepted()
            try:
                return await self._connect(background=True)
            except ServerUnavailable:
                self._away = True
        raise NotConnectedError("the pool is closing")

    async def _look_until_accepted(self) -> AsyncPooledConnection:
        started = time.monotonic()
        while not self._stopped.is_set():
            try:
                conn = await self._connect(background=True, probing=True)
            except ServerUnavailable:
                await self._stopped.wait(probe_delay(time.monotonic() - started, rng=random.random))
            except BaseException:
                self._away = False
                raise
            else:
                self._away = False
                return conn
        raise NotConnectedError("the pool is closing")

    async def _connect(self, *, background: bool = False, probing: bool = False) -> AsyncPooledConnection:
        generation = self.generation.number
        try:
            conn = await self._connector.connect(AsyncPooledConnection, background=background, probing=probing)
        except SoaDbError as error:
            self.last_error = error
            raise
        conn.generation = generation
        conn.mark_as_made()
        self._live.add(conn)
        self.last_error = None
        self._refusal = None
        self.is_up = True
        return conn

    # --- doubting connections

    async def check(self, conn: AsyncPooledConnection) -> None:
        """Let a connection of the present generation pass; make an older one prove itself.

        psycopg_pool calls this whenever it hands a connection out, and takes another one when this raises.
        """
        generation = self.generation
        if conn.generation == generation.number or conn.refusal is not None:
            return
        try:
            if generation.demoted and is_standby(conn):
                raise psycopg.OperationalError("the server is a standby")
            await round_trip(conn, _CHECK_TIMEOUT)
        except BaseException as error:
            await conn.close()
            if isinstance(error, Exception):
                await self._drop_older(generation)
            raise
        conn.generation = generation.number
        self.is_up = True

    async def _drop_older(self, generation: Generation) -> None:
        """One older connection is dead: the others will be too, and to find that out one by one costs a second each."""
        if self._drained_for < generation.number and self._pool is not None:
            self._drained_for = generation.number
            await self._pool.drain()

    def failed(self, conn: AsyncPooledConnection, failure: Failure) -> bool:
        """Take notice of a failure on a connection; return whether it puts the others in doubt."""
        before = self.generation
        self.generation = after_failure(before, conn.generation, failure)
        if self.generation is not before:
            self.is_up = False
        return self.generation is not before

    # --- ending

    async def close(self) -> None:
        """Stop waiting for the server, and close what the pool never got."""
        self._stopped.set()
        self.is_up = False
        spare, self._spare = self._spare, None
        if spare is not None:
            await spare.close()
