"""The free connections of the blocking client's pool."""

from __future__ import annotations

import time
from queue import Empty, Full, LifoQueue
from typing import Any

from soa_db._runtime import telemetry

__all__ = ["FreeConnections"]


class FreeConnections(LifoQueue[Any]):
    """A queue, last in first out, that takes no lock while nobody has to wait.

    The standard library's takes its lock and goes through two conditions each time. Here the list
    itself decides: its ``pop`` and ``append`` are atomic. Who waits is counted before it looks at the list once more,
    and who puts something there looks at the count afterwards, so none waits for what is free.

    For redis-py's ``BlockingConnectionPool``, which calls ``get`` and ``put_nowait``.

    Args:
        maxsize: how many there may be; 0 for any number.
        measured: what telemetry calls the pool.
    """

    def __init__(self, maxsize: int = 0, *, measured: telemetry.Pool | None = None) -> None:
        super().__init__(maxsize)
        self._measured = measured
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """How many callers wait."""
        return self._waiting

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the one put there last; raises Empty when there is none within ``timeout`` seconds (None: no end)."""
        try:
            return self.queue.pop()
        except IndexError:
            pass
        started = time.monotonic()
        try:
            found = self._wait(started + ((timeout or 0.0) if block else 0.0), forever=block and timeout is None)
        except Empty:
            if self._measured is not None:
                telemetry.timed_out(self._measured)
            raise
        if self._measured is not None:
            try:
                telemetry.waited(self._measured, time.monotonic() - started)
            except BaseException:
                # Interrupted (KeyboardInterrupt): nobody has it yet who would put it back.
                self.put_nowait(found)
                raise
        return found

    def _wait(self, ends: float, *, forever: bool) -> Any:
        with self.not_empty:
            self._waiting += 1
            try:
                while True:
                    try:
                        return self.queue.pop()
                    except IndexError:
                        rest = ends - time.monotonic()
                    if rest <= 0 and not forever:
                        raise Empty
                    self.not_empty.wait(None if forever else rest)
            finally:
                self._waiting -= 1
                # Woken and then interrupted, or served without being woken: another one may be owed the wake-up.
                if self.queue:
                    self.not_empty.notify()

    def put_nowait(self, item: Any) -> None:
        """Put one back; raises Full when all there may be are there."""
        if len(self.queue) >= self.maxsize > 0:
            raise Full
        self.queue.append(item)
        if self._waiting:
            with self.not_empty:
                self.not_empty.notify()
