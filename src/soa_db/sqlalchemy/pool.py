"""The pools of engines on a provider, blocking and asynchronous."""

from __future__ import annotations

import _thread
import asyncio
from typing import TYPE_CHECKING

import psycopg
from psycopg.pq import TransactionStatus

from soa_db._async.postgres.pool import AsyncPooledConnection
from soa_db._runtime._async import complete
from soa_db._sync.postgres.pool import PooledConnection
from soa_db.errors import NotConnectedError
from soa_db.sqlalchemy.driver import adapter, exchange, finish
from soa_db.sqlalchemy.lending import Lending, Loan

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection

    from soa_db._async.postgres.checkout import AsyncOpenPool
    from soa_db._sync.postgres.checkout import OpenPool
    from soa_db.postgres import AsyncPostgresProvider, PostgresProvider

__all__ = ["AsyncLendingPool", "LendingPool"]

_IDLE = TransactionStatus.IDLE
_IN_TRANSACTION = (TransactionStatus.INTRANS, TransactionStatus.INERROR)
_DETACHED = "the connection was detached from the engine"


class LendingPool(Lending):
    """The pool of an engine on a ``PostgresProvider``."""

    _is_asyncio = False
    _provider: PostgresProvider

    def _take(self) -> tuple[OpenPool, PooledConnection]:
        opened = self._provider._present()  # noqa: SLF001 - the package's own
        return opened, opened.take(None)

    def _wrapped(self, loan: Loan) -> DBAPIConnection:
        conn: DBAPIConnection = self._lend(loan)
        return conn

    def _give_back(self, loan: Loan) -> None:
        if not loan.collected:
            self._restore(loan)
            return
        # The collector runs anywhere, within psycopg_pool's steps too, and its lock lets the same thread in again. What
        # is given back between finding the pool empty and queueing, say, is missed. Another thread waits for the lock.
        try:
            _thread.start_new_thread(self._restore, (loan,))
        except RuntimeError:  # there are too many, or the interpreter is shutting down
            self._restore(loan)

    def _restore(self, loan: Loan) -> None:
        conn, loan.conn = loan.conn, None
        if conn.pgconn.transaction_status in _IN_TRANSACTION:
            # SQLAlchemy was told not to reset it; the provider would commit.
            try:
                conn.rollback()
            except psycopg.Error:
                conn.close()
        loan.state = exchange(conn, loan.made)
        if conn.pgconn.transaction_status == _IDLE and conn.is_as_made():
            loan.opened.pool.putconn(conn)  # most often, and the shorter way
        else:
            loan.opened.give_back(conn, None)

    def _close(self, opened: OpenPool, conn: PooledConnection) -> None:
        conn.close()
        opened.pool.putconn(conn)

    def _leave(self, loan: Loan) -> None:
        """A detached connection is its user's own: the pool gets a closed one in its place, and so makes another."""
        conn, loan.conn = loan.conn, None
        stand_in = PooledConnection.refused(NotConnectedError(_DETACHED), conn.generation)
        stand_in._pool, conn._pool = conn._pool, None  # noqa: SLF001 - what getconn sets
        loan.opened.pool.putconn(stand_in)


class AsyncLendingPool(Lending):
    """The pool of an engine on an ``AsyncPostgresProvider``."""

    _is_asyncio = True
    _provider: AsyncPostgresProvider

    def _take(self) -> tuple[AsyncOpenPool, AsyncPooledConnection]:
        return finish(self._taken())

    async def _taken(self) -> tuple[AsyncOpenPool, AsyncPooledConnection]:
        opened = await self._provider._present()  # noqa: SLF001 - the package's own
        return opened, await opened.take(None)

    def _wrapped(self, loan: Loan) -> DBAPIConnection:
        loan.loop = asyncio.get_running_loop()
        conn: DBAPIConnection = adapter(self._dialect, self._lend(loan))
        return conn

    def _give_back(self, loan: Loan) -> None:
        # To its end: a caller who is cancelled here would take the connection with him.
        finish(complete(self._restore, loan))

    async def _restore(self, loan: Loan) -> None:
        conn, loan.conn = loan.conn, None
        if conn.pgconn.transaction_status in _IN_TRANSACTION:
            try:
                await conn.rollback()
            except psycopg.Error:
                await conn.close()
        loan.state = exchange(conn, loan.made)
        if conn.pgconn.transaction_status == _IDLE and conn.is_as_made():
            await loan.opened.pool.putconn(conn)  # most often, and the shorter way
        else:
            await loan.opened.give_back(conn, None)

    def _close(self, opened: AsyncOpenPool, conn: AsyncPooledConnection) -> None:
        # What close() does, which never waits.
        conn._closed = True  # noqa: SLF001 - as said
        conn.pgconn.finish()
        finish(complete(opened.pool.putconn, conn))

    def _leave(self, loan: Loan) -> None:
        """Likewise; the collector may be at work, outside of any coroutine: the loop is asked to do it."""
        conn, loan.conn = loan.conn, None
        stand_in = AsyncPooledConnection.refused(NotConnectedError(_DETACHED), conn.generation)
        stand_in._pool, conn._pool = conn._pool, None  # noqa: SLF001 - what getconn sets
        loop, pool = loan.loop, loan.opened.pool
        assert loop is not None
        if loop.is_closed():
            return  # and with it the provider's pool
        loop.call_soon_threadsafe(lambda: _keep(loop.create_task(pool.putconn(stand_in))))


_tasks: set[asyncio.Task[None]] = set()


def _keep(task: asyncio.Task[None]) -> None:
    """The loop itself holds tasks weakly."""
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
