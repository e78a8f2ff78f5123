"""Calls in daemon threads, and calls that many share.

Daemon, so that a hung call does not keep the interpreter from ending; a thread per call, because calls are rare and a
pool's threads would have to be ended, and be made anew after a fork.
"""

from __future__ import annotations

import contextvars
import copy
import os
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, TypeVar

__all__ = ["Flights", "Stopped", "discard_later", "result_of", "start", "watch"]

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")


class Stopped(Exception):
    """What was to be done is not wanted any more."""


def _ready(call: Callable[[], T]) -> tuple[Future[T], Callable[[], None]]:
    """Return a future and the function that makes the call and settles the future."""
    future: Future[T] = Future()
    # Running from the start: a waiter that is cancelled must not be able to cancel the call for the others.
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the future
            future.set_exception(error)
        else:
            future.set_result(result)

    return future, run


def _launch(run: Callable[[], None], name: str) -> None:
    context = contextvars.copy_context()
    threading.Thread(target=lambda: context.run(run), name=name, daemon=True).start()


def start(call: Callable[[], T], *, name: str) -> Future[T]:
    """Run ``call`` in a thread of its own, with the caller's context variables; the future holds how it ended."""
    future, run = _ready(call)
    _launch(run, name)
    return future


def discard_later(future: Future[T], discard: Callable[[T], object] | None) -> None:
    """Hand the result to ``discard`` when it comes: nobody waits for it any more."""

    def ended(_: Future[T]) -> None:
        if discard is not None and future.exception() is None:
            discard(future.result())

    future.add_done_callback(ended)


def watch(
    call: Callable[[], T], wait: Callable[[Future[T]], object], discard: Callable[[T], object] | None, *, name: str
) -> Future[T]:
    """Run ``call`` in a thread of its own and ``wait`` for it; return its future, which may not have ended.

    If that is interrupted (KeyboardInterrupt), at whatever moment, what comes of the call goes to ``discard``.
    """
    future, run = _ready(call)
    try:
        _launch(run, name)
        wait(future)
    except BaseException:
        discard_later(future, discard)
        raise
    return future


def result_of(flight: Future[T] | asyncio.Task[T]) -> T:
    """Return the result of a call that has ended and that many share, or raise its error as the caller's own.

    One error object raised by many callers at once gets lines of traceback, and a context, from each of them.
    """
    error = flight.exception()
    own = _copied(error) if isinstance(error, Exception) else None
    if error is None or own is None:
        return flight.result()
    try:
        raise own.with_traceback(error.__traceback__)
    finally:
        # Its traceback leads to this frame, and back to it: nothing would go before a garbage collection.
        del own, error


def _copied(error: Exception) -> Exception | None:
    """Return a copy; None of an error whose class cannot be made from its ``args``: that one is shared."""
    try:
        own = copy.copy(error)
        # A class may have made its message of what it was given.
        own.args = error.args
    except Exception:  # noqa: BLE001 - whatever a foreign class raises
        return None
    if type(own) is not type(error):
        return None
    own.__cause__, own.__context__ = error.__cause__, error.__context__
    own.__suppress_context__ = error.__suppress_context__
    if hasattr(error, "__notes__"):
        own.__notes__ = list(error.__notes__)
    return own


class Flights(Generic[T]):
    """The calls under way, at most one per key; thread-safe, and empty again in a forked child."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._pid = os.getpid()
        self._guard = threading.Lock()
        self._under_way: dict[Hashable, Future[T]] = {}

    def board(self, key: Hashable, call: Callable[[], T]) -> tuple[Future[T], Callable[[], None] | None]:
        """Return the future of the call under way for ``key``; if there is none, a new one and the function to run."""
        # The threads that flew these calls, and the one that held the lock, are not in the child.
        if self._pid != os.getpid():
            self._clear()
        with self._guard:
            under_way = self._under_way.get(key)
            if under_way is not None:
                return under_way, None

            def land_after() -> T:
                # Landed before the future is settled: who asks after the result is out gets a new flight.
                try:
                    return call()
                finally:
                    with self._guard:
                        # In a forked child two threads may both find the parent's calls, and clear them.
                        if self._under_way.get(key) is future:
                            del self._under_way[key]

            future, run = _ready(land_after)
            self._under_way[key] = future
            return future, run

    def start(self, key: Hashable, call: Callable[[], T]) -> Future[T]:
        """Return the future of the call under way for ``key``, started in a thread of its own if there was none."""
        future, run = self.board(key, call)
        if run is not None:
            _launch(run, "soa-db refresh")
        return future
