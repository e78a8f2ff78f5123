"""The runtime of the generated blocking shells, on threads. Its twin is ``_async``."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for
from typing import Annotated, Any, Generic, ParamSpec, TypeAlias, TypeVar

from soa_db._runtime import thread
from soa_db._runtime.thread import Stopped
from soa_db.errors import ConfigurationError

__all__ = [
    "Affinity",
    "Awaited",
    "Event",
    "Lock",
    "SharedCall",
    "SingleFlight",
    "StopEvent",
    "Stopped",
    "Task",
    "Uninterrupted",
    "complete",
    "gather",
    "insist_on_cancellation",
    "interruptible",
    "needs_thread",
    "settled",
    "sleep",
    "spawn",
    "to_thread",
]

T = TypeVar("T")
P = ParamSpec("P")

# What a callback of the user's returns: the value itself here, an awaitable of it in the twin.
Awaited: TypeAlias = Annotated[T, "not awaited"]

Lock = threading.Lock
# Seconds that a call under way is still waited for once it is to stop: one that is not hung ends in the usual way.
_GRACE = 0.5


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


class StopEvent(Event):
    """A flag that, once up, also ends the calls that run under it."""

    def __init__(self) -> None:
        super().__init__()
        self._stopped: Future[None] = Future()

    def set(self) -> None:
        """Raise the flag; what runs under it is given up."""
        if not self.is_set():
            super().set()
            self._stopped.set_result(None)

    def run(self, call: Callable[[], T], discard: Callable[[T], object] | None = None) -> T:
        """Call and return the result, unless the flag goes up first.

        A thread cannot be stopped: the call has one of its own, and is left to end by itself.

        Args:
            call: what to do.
            discard: what to do with a result that comes when nobody waits for it any more.

        Raises:
            Stopped: the flag is up.
        """
        if self.is_set():
            raise Stopped
        future = thread.watch(call, self._wait_unless_set, discard, name="soa-db call")
        if not future.done():
            thread.discard_later(future, discard)
            raise Stopped
        error = future.exception()
        if error is not None and self.is_set():
            raise Stopped from error
        return future.result()

    def _wait_unless_set(self, future: Future[T]) -> None:
        either: tuple[Future[Any], ...] = (future, self._stopped)
        wait_for(either, return_when=FIRST_COMPLETED)
        if not future.done():
            wait_for((future,), timeout=_GRACE)


class Affinity:
    """Nothing: what is made of threads and locks works in every thread."""

    def check(self) -> None:
        """Do nothing; in the twin, raise in another event loop."""

    def enter(self, *, in_use: bool) -> bool:  # noqa: ARG002 - the twin's
        """Do nothing; in the twin, move to this event loop. Return whether it was another's."""
        return False


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


def needs_thread(call: Callable[..., object]) -> bool:
    """Return False: what blocks is at home here. Raises ConfigurationError of a coroutine function."""
    if inspect.iscoroutinefunction(call):
        raise ConfigurationError(
            f"{getattr(call, '__qualname__', call)} is a coroutine function", hint="use the asynchronous class"
        )
    return False


def settled(value: object) -> object:
    """Return ``value``. Raises ConfigurationError of what is to be awaited."""
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise ConfigurationError("the callable returned an awaitable", hint="use the asynchronous class")
    return value


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


class Uninterrupted:
    """Calls that a cancelled caller leaves to end, in the twin: here nobody is cancelled."""

    def run(
        self,
        call: Callable[[], T],
        timeout: float,  # noqa: ARG002 - the twin's
        discard: Callable[[T], object],  # noqa: ARG002 - the twin's
        patience: float | None = None,  # noqa: ARG002 - the twin's
    ) -> T:
        """Call. A blocking call bounds itself, by its socket's timeout."""
        return call()

    def settle(self, timeout: float) -> None:
        """Do nothing."""


def insist_on_cancellation(call: Callable[[], T]) -> T:
    """Call; in the twin, see to it that a cancellation is not swallowed."""
    return call()


def interruptible(call: Callable[[], T], discard: Callable[[T], object]) -> T:
    """Call, and if Ctrl-C interrupts that, hand what comes of it to ``discard``.

    Only the main thread is interrupted: from there, the call has a thread of its own.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    return thread.watch(call, lambda future: wait_for((future,)), discard, name="soa-db call").result()


def spawn(call: Callable[[], None], *, name: str) -> Task:
    """Start ``call`` in a named daemon thread."""
    return Task(thread.start(call, name=name))


class _Shared(Generic[T]):
    """At most one call per key at a time; all who ask meanwhile share its result or its error. Empty after a fork.

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


class SharedCall(_Shared[T]):
    """At most one call per key at a time, of calls that the twin awaits."""

    def take_unawaited(self) -> list[Task]:
        """Return nothing: each call is made in the thread of somebody who waits for it."""
        return []


class SingleFlight(_Shared[T]):
    """At most one call per key at a time, of calls that block in the twin too; they can be started without waiting."""

    def start(self, key: Hashable, call: Callable[[], T]) -> None:
        """Start ``call`` in a thread of its own unless one is under way for ``key``; do not wait for it."""
        self._flights.start(key, call)
