"""The runtime of the generated blocking shells, on threads. Its twin is ``_async``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Annotated, Generic, ParamSpec, TypeAlias, TypeVar

from soa_db._runtime import thread

__all__ = [
    "Awaited",
    "Event",
    "Lock",
    "SharedCalls",
    "SingleFlight",
    "Task",
    "complete",
    "gather",
    "sleep",
    "spawn",
    "to_thread",
]

T = TypeVar("T")
P = ParamSpec("P")

# What a callback of the user's returns: the value itself here, an awaitable of it in the twin.
Awaited: TypeAlias = Annotated[T, "not awaited"]

Lock = threading.Lock


class Event:
    """A flag to wait for, with a timeout."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def is_set(self) -> bool:
        """Whether the flag is up."""
        return self._event.is_set()

    def set(self) -> None:
        """Raise the flag and wake those who wait."""
        self._event.set()

    def clear(self) -> None:
        """Lower the flag."""
        self._event.clear()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is up, ``timeout`` seconds at most; return whether it is."""
        return self._event.wait(timeout)


class Task:
    """Something running on its own."""

    def __init__(self, future: Future[None]) -> None:
        self._future = future

    def done(self) -> bool:
        """Whether it has ended, however it ended."""
        return self._future.done()

    def cancel(self) -> None:
        """Do nothing: a thread cannot be stopped from outside, it must look at an Event."""

    def join(self, timeout: float | None = None) -> bool:
        """Wait for its end, ``timeout`` seconds at most; return whether it has ended. Raises nothing of its own."""
        try:
            self._future.exception(timeout)
        except TimeoutError:
            return self._future.done()
        return True


def sleep(seconds: float) -> None:
    """Wait ``seconds``."""
    time.sleep(seconds)


def to_thread(call: Callable[[], T]) -> T:
    """Run a blocking call, here and now; off the event loop in the twin."""
    return call()


def gather(*calls: Callable[[], T]) -> list[T]:
    """Run all at once, each in a thread, and return their results in order; the first error is raised bare.

    A thread cannot be cancelled: all have ended when this returns or raises.
    """
    if len(calls) == 1:
        return [calls[0]()]
    futures = [thread.start(call, name="soa-db call") for call in calls]
    errors = [future.exception() for future in futures]
    for error in errors:
        if error is not None:
            raise error
    return [future.result() for future in futures]


def complete(call: Callable[P, T], *args: P.args, **keywords: P.kwargs) -> T:
    """Call; in the twin, run to its end even if the caller is cancelled."""
    return call(*args, **keywords)


def spawn(call: Callable[[], None], *, name: str) -> Task:
    """Start ``call`` in a named daemon thread."""
    return Task(thread.start(call, name=name))


class SingleFlight(Generic[T]):
    """At most one blocking call per key at a time; all who ask meanwhile share its result or its error.

    The first to ask makes the call in its own thread. If it is interrupted (KeyboardInterrupt, SystemExit), that is
    its own affair: one of those who wait makes the call anew.
    """

    def __init__(self) -> None:
        self._flights: thread.Flights[T] = thread.Flights()

    def run(self, key: Hashable, call: Callable[[], T]) -> T:
        """Return what ``call`` returns, or what one already under way for ``key`` does."""
        while True:
            flight, fly = self._flights.board(key, call)
            if fly is not None:
                fly()
                return thread.result_of(flight)
            error = flight.exception()
            if error is None or isinstance(error, Exception):
                return thread.result_of(flight)

    def start(self, key: Hashable, call: Callable[[], T]) -> None:
        """Start ``call`` in a thread of its own unless one is under way for ``key``; do not wait for it."""
        self._flights.start(key, call)


class SharedCalls(Generic[T]):
    """At most one call per key at a time; all who ask meanwhile share its result or its error."""

    def __init__(self) -> None:
        self._flights: SingleFlight[T] = SingleFlight()

    def run(self, key: Hashable, call: Callable[[], T]) -> T:
        """Return what ``call`` returns, or what one already under way for ``key`` does."""
        return self._flights.run(key, call)
