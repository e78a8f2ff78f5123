"""The pool of the asynchronous client: who finds no connection free waits for one, in order."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import ConnectionError as DriverConnectionError

from soa_db._runtime import telemetry

__all__ = ["WaitingPool"]


class WaitingPool(ConnectionPool):
    """redis-py's pool with a queue before it.

    Not redis-py's ``BlockingConnectionPool``: it wakes one of those who wait, and if just that one is cancelled,
    nobody else hears of the free connection (``asyncio.Condition`` before Python 3.13); who comes late overtakes who
    waits; and each call pays for a lock, a timeout and a context, a sixth of a GET.

    Args:
        timeout: seconds to wait for a connection.
        measured: what telemetry calls it.
        options: as the pool's.
    """

    def __init__(self, *, timeout: float, measured: telemetry.Pool, **options: Any) -> None:
        super().__init__(**options)
        self._timeout = timeout
        self._measured = measured
        self._waiting: deque[asyncio.Future[None]] = deque()
        # Those woken who have not run yet: what is free is theirs.
        self._promised = 0

    @property
    def waiting(self) -> int:
        """How many callers wait."""
        return len(self._waiting)

    def _is_full(self) -> bool:
        return len(self._in_use_connections) + self._promised >= self.max_connections

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> AbstractConnection:  # noqa: ARG002 - redis-py's
        """Return a connection that is connected; redis-py's ConnectionError when none became free in time."""
        if self._waiting or self._is_full():
            await self._wait()
        connection: AbstractConnection = self.get_available_connection()  # type: ignore[no-untyped-call]  # redis-py's has no types
        try:
            await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: AbstractConnection) -> None:
        """Take a connection back. Nothing is awaited: nobody can be cancelled halfway."""
        self._in_use_connections.remove(connection)
        self._available_connections.append(connection)
        self._wake()

    async def _wait(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                await waiter
        except BaseException as error:
            if waiter.cancelled():
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
            else:
                self._promised -= 1
                self._wake()
            if isinstance(error, TimeoutError):
                telemetry.timed_out(self._measured)
                raise DriverConnectionError("No connection available.") from None
            raise
        self._promised -= 1
        telemetry.waited(self._measured, time.monotonic() - started)

    def _wake(self) -> None:
        while self._waiting and not self._is_full():
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                self._promised += 1
