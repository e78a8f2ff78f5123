# Generated from src/soa_db/_async/postgres/checkout.py by tools/generate_sync.py: edit that file, then run `make generate`.

"""One connection on loan from the pool: ``async with provider.connection() as conn``."""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING

import psycopg
import psycopg_pool
from psycopg.pq import TransactionStatus

from soa_db._core.generation import is_suspect
from soa_db._psycopg.failures import ServerGone, context_of, refuse_lost_commit, session_failure
from soa_db._runtime import telemetry
from soa_db._runtime._sync import Awaited, complete, interruptible
from soa_db.errors import NotConnectedError, PoolTimeout, SoaDbError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from soa_db._sync.postgres.pool import ConnectionSource, PooledConnection, ProviderPool
    from soa_db.config import PostgresConfig

__all__ = ["Checkout", "OpenPool"]

_IDLE = TransactionStatus.IDLE
_IN_TRANSACTION = (TransactionStatus.INTRANS, TransactionStatus.INERROR)
# Seconds after which a refusal found in the pool is old news, and another connection is asked for.
_REFUSAL_IS_NEWS = 1.0


class OpenPool:
    """A pool that is open, with what belongs to it: from one ``connect()`` to its ``disconnect()``."""

    def __init__(self, config: PostgresConfig, source: ConnectionSource, pool: ProviderPool) -> None:
        self.config = config
        self.source = source
        self.pool = pool

    def take(self, timeout: float | None) -> PooledConnection:
        """Return a connection that is ready; raises PoolTimeout, NotConnectedError or the refusal that explains it."""
        deadline = time.monotonic() + (self.pool.timeout if timeout is None else timeout)
        while True:
            try:
                conn = (self.pool.getconn if self.pool.has_ready else self._wait)(timeout)
            except (psycopg_pool.PoolTimeout, psycopg_pool.PoolClosed) as error:
                raise self._no_connection(error, timeout) from error
            if conn.refusal is None:
                return conn
            refusal, news = conn.refusal, time.monotonic() - conn.refused_at < _REFUSAL_IS_NEWS
            # Given back closed: the pool asks the source for another in its place.
            complete(self.pool.putconn, conn)
            if news:
                # A copy: many callers raise it at once, and each raise would add to one traceback.
                raise copy.copy(refusal) from refusal.__cause__
            timeout = max(0.0, deadline - time.monotonic())

    def _wait(self, timeout: float | None) -> PooledConnection:
        # psycopg_pool keeps a place in its queue for who was interrupted there (KeyboardInterrupt), and the next
        # connection given back would be lost to it.
        return interruptible(lambda: self._timed(timeout), self.pool.putconn)

    def _timed(self, timeout: float | None) -> PooledConnection:
        started = time.monotonic()
        conn = self.pool.getconn(timeout)
        if conn.refusal is None:
            telemetry.waited(self.source.measured, time.monotonic() - started)
        return conn

    def _no_connection(self, error: Exception, timeout: float | None) -> SoaDbError:
        context = context_of(self.config, self.config.user)
        if isinstance(error, psycopg_pool.PoolClosed):
            return NotConnectedError("the provider was disconnected", hint="call connect() again", **context)
        telemetry.timed_out(self.source.measured)
        seconds = self.pool.timeout if timeout is None else timeout
        last = self.source.last_error
        if last is not None:
            text = f"no connection within {seconds:g} s; the last attempt: {last.message}"
            return PoolTimeout(text, hint=last.hint, **context)
        opened, most = sum(1 for _ in self.source.live()), self.pool.max_size
        if opened < most:
            # The pool makes another whenever somebody waits: that one hangs, and a larger pool would not help.
            text = f"no connection within {seconds:g} s: {opened} of {most} are open, and the next is still being made"
            hint = "see whether the server answers, and whether the network path still leads there"
            return PoolTimeout(text, hint=hint, **context)
        text, hint = (
            f"no connection became free within {seconds:g} s",
            "give connections back sooner, or raise pool.max_size",
        )
        return PoolTimeout(text, hint=hint, **context)

    def give_back(self, conn: PooledConnection, error: BaseException | None) -> None:
        """Put a connection back that is not simply idle, or on which a block failed.

        Raises:
            ServerGone: the block failed because the server died, ended the connection or is a standby.
        """
        if error is None and conn.pgconn.transaction_status in _IN_TRANSACTION:
            # As psycopg's own context does: a transaction the block began and left open is committed.
            try:
                refuse_lost_commit(conn)
                conn.commit()
            except BaseException as failure:
                self._settle(conn, failure)
                raise
        self._settle(conn, error)

    def _settle(self, conn: PooledConnection, error: BaseException | None) -> None:
        gone = False
        if isinstance(error, Exception):
            failure = session_failure(error, conn)
            gone = is_suspect(failure)
            self.source.failed(conn, failure)
        complete(self._put, conn)
        if gone:
            telemetry.failed(self.source.measured, ServerGone)
            if isinstance(error, psycopg.Error):
                raise self._gone(error) from error

    def _put(self, conn: PooledConnection) -> None:
        if conn.pgconn.transaction_status in _IN_TRANSACTION:
            try:
                conn.rollback()
            except psycopg.Error:
                conn.close()
        # What is still at work is closed by the pool.
        if conn.pgconn.transaction_status == _IDLE and not conn.is_as_made():
            conn.restore()
        self.pool.putconn(conn)

    def _gone(self, error: psycopg.Error) -> ServerGone:
        gone = ServerGone(
            f"the server went away during the call: {' '.join(str(error).split())}",
            hint="run it again if it may run twice: whether its last statement took effect is not known",
            **context_of(self.config, self.config.user),
        )
        gone.sqlstate = error.sqlstate
        return gone


class Checkout:
    """The context of one connection. Entering it takes a connection, leaving it gives the connection back."""

    __slots__ = ("_conn", "_opened", "_present", "_timeout")

    def __init__(self, present: Callable[[], Awaited[OpenPool]], timeout: float | None) -> None:
        self._present = present
        self._timeout = timeout

    def __enter__(self) -> PooledConnection:
        self._opened = self._present()
        self._conn = conn = self._opened.take(self._timeout)
        return conn

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        conn = self._conn
        if error is None and conn.pgconn.transaction_status == _IDLE and conn.is_as_made():
            complete(self._opened.pool.putconn, conn)
        else:
            self._opened.give_back(conn, error)
