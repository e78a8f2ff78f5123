"""The runtime of the asynchronous shells, on asyncio. Its twin is ``_sync``."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable
from concurrent.futures import Future
from typing import Any, Generic, ParamSpec, TypeAlias, TypeVar

from soa_db._runtime import thread
from soa_db._runtime.thread import Stopped
from soa_db.errors import NotConnectedError

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

# What a callback of the user's returns: awaitable here, the value itself in the twin.
Awaited: TypeAlias = Awaitable[T]

Lock = asyncio.Lock
_WOKEN_AT_ONCE = 50


class Event:
    """A flag to wait for, with a timeout."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def is_set(self) -> bool:
        """Whether the flag is up."""
        return self._event.is_set()

    def set(self) -> None:
        """Raise the flag and wake those who wait."""
        self._event.set()

    def clear(self) -> None:
        """Lower the flag."""
        self._event.clear()

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is up, ``timeout`` seconds at most; return whether it is."""
        try:
            await asyncio.wait_for(self._event.wait(), timeout)
        except TimeoutError:
            return self._event.is_set()
        return True


class StopEvent(Event):
    """A flag that, once up, also ends the calls that run under it."""

    def __init__(self) -> None:
        super().__init__()
        self._running: set[asyncio.Task[Any]] = set()
        self._ended: set[asyncio.Task[Any]] = set()

    def set(self) -> None:
        """Raise the flag; what runs under it is cancelled."""
        super().set()
        running, self._running = self._running, set()
        self._ended |= running
        for task in running:
            task.cancel()

    async def run(
        self,
        call: Callable[[], Coroutine[object, object, T]],
        discard: Callable[[T], Awaitable[object]] | None = None,  # noqa: ARG002 - the twin's: here none comes late
    ) -> T:
        """Call and return the result, unless the flag goes up first.

        Args:
            call: what to do.
            discard: what to do with a result that comes when nobody waits for it any more.

        Raises:
            Stopped: the flag is up.
        """
        if self.is_set():
            raise Stopped
        # The way asyncio.timeout does it: within the caller's own task, so that no result is lost between two tasks.
        task = asyncio.current_task()
        assert task is not None
        before = task.cancelling()
        self._running.add(task)
        try:
            return await call()
        except BaseException as error:
            # Cancelled by its caller as well, it is that caller's.
            if task in self._ended and task.cancelling() <= before + 1:
                raise Stopped from error
            raise
        finally:
            self._running.discard(task)
            if task in self._ended:
                self._ended.remove(task)
                task.uncancel()


class Affinity:
    """The event loop something belongs to: what it is made of works in no other."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def check(self) -> None:
        """Raise NotConnectedError in any other loop, or in none."""
        if self._loop is None or self._loop is not _running_loop():
            raise NotConnectedError(
                "the provider is connected in another event loop than this one",
                hint="connect, use and disconnect a provider in one event loop; give each loop a provider of its own",
            )

    def enter(self, *, in_use: bool) -> bool:
        """Belong to this loop from now on; return whether it was another loop's.

        Args:
            in_use: there is something left in the loop it belongs to, which only the end of that loop makes void.
        """
        loop = asyncio.get_running_loop()
        before = self._loop
        if before is loop:
            return False
        if in_use and before is not None and not before.is_closed():
            self.check()
        self._loop = loop
        return before is not None


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class Task:
    """Something running on its own."""

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task

    def done(self) -> bool:
        """Whether it has ended, however it ended."""
        return self._task.done()

    def cancel(self) -> None:
        """Ask it to stop at its next wait. In the twin this does nothing: there, an Event must be looked at."""
        self._task.cancel()

    async def join(self, timeout: float | None = None) -> bool:
        """Wait for its end, ``timeout`` seconds at most; return whether it has ended. Raises nothing of its own."""
        await asyncio.wait((self._task,), timeout=timeout)
        return self._task.done()


async def sleep(seconds: float) -> None:
    """Wait ``seconds``."""
    await asyncio.sleep(seconds)


async def to_thread(call: Callable[[], T]) -> T:
    """Run a blocking call off the event loop; plainly in the twin.

    The thread is the call's own: the loop's default executor also resolves host names, and a few slow AWS calls
    would fill it. A cancelled caller leaves the call to end by itself.
    """
    return await asyncio.shield(asyncio.wrap_future(thread.start(call, name="soa-db call")))


def needs_thread(call: Callable[..., object]) -> bool:
    """Whether a callable of the user's may block. The twin raises ConfigurationError of a coroutine function."""
    return not inspect.iscoroutinefunction(call)


async def settled(value: object) -> object:
    """Return a value, awaited if it can be. The twin raises ConfigurationError of one that can."""
    return await value if inspect.isawaitable(value) else value


async def gather(*calls: Callable[[], Coroutine[object, object, T]]) -> list[T]:
    """Run all at once and return their results in order; the first error ends the others and is raised bare."""
    tasks = [asyncio.ensure_future(call()) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        # Nothing may outlive the call, and no second error go unseen by asyncio.
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


class Rest(Generic[T]):
    """What is left of a coroutine that has been run up to its first wait."""

    def __init__(self, work: Coroutine[Any, Any, T], waits_for: object) -> None:
        self._work = work
        self._waits_for = waits_for

    def __await__(self) -> Generator[object, Any, T]:
        waits_for = self._waits_for
        while True:
            try:
                try:
                    answer = yield waits_for
                except BaseException as error:  # noqa: BLE001 - handed to the coroutine, whose it is
                    waits_for = self._work.throw(error)
                else:
                    waits_for = self._work.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result


_detached: set[asyncio.Task[Any]] = set()


async def complete(call: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **keywords: P.kwargs) -> T:
    """Call and run to its end even if the caller is cancelled meanwhile; the caller still sees its cancellation.

    Work that never has to wait, which is the usual case for giving a connection back, costs no task: it is only handed
    to one at its first wait.
    """
    work = call(*args, **keywords)
    try:
        waits_for = work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result

    async def rest() -> T:
        return await Rest(work, waits_for)

    return await asyncio.shield(_detach(rest()))


def _detach(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    task = asyncio.create_task(work, name="soa-db completion")
    # The loop itself holds tasks weakly.
    _detached.add(task)
    task.add_done_callback(_detached.discard)
    return task


class Uninterrupted:
    """Calls that leave a socket open when they are cancelled halfway: a cancelled caller leaves them to end."""

    def __init__(self) -> None:
        self._left: set[asyncio.Task[Any]] = set()

    async def run(
        self,
        call: Callable[[], Coroutine[object, object, T]],
        timeout: float,
        discard: Callable[[T], Coroutine[Any, Any, object]],
        patience: float | None = None,
    ) -> T:
        """Call; TimeoutError after ``timeout`` seconds. In the twin a plain call, which must bound itself.

        Args:
            call: what to do.
            timeout: seconds after which it is cancelled.
            discard: what to do with a result that comes when nobody waits for it any more.
            patience: seconds the caller waits, as if cancelled then, but with TimeoutError; None for ``timeout``.
        """

        async def within() -> T:
            async with asyncio.timeout(timeout):
                return await call()

        task = _detach(within())
        try:
            async with asyncio.timeout(patience):
                return await asyncio.shield(task)
        except (asyncio.CancelledError, TimeoutError):
            self._leave(self._dispose(task, discard))
            raise

    async def _dispose(self, task: asyncio.Task[T], discard: Callable[[T], Coroutine[Any, Any, object]]) -> None:
        await asyncio.wait((task,))
        if not task.cancelled() and task.exception() is None:
            await discard(task.result())

    def _leave(self, rest: Coroutine[Any, Any, None]) -> None:
        left = _detach(rest)
        self._left.add(left)
        left.add_done_callback(self._left.discard)

    async def settle(self, timeout: float) -> None:
        """Wait, ``timeout`` seconds at most, for the end of those whose callers were cancelled."""
        if self._left:
            await asyncio.wait(self._left, timeout=timeout)


async def insist_on_cancellation(call: Callable[[], Coroutine[object, object, T]]) -> T:
    """Call; if the task is cancelled meanwhile, cancel it once more, since whoever runs it swallows the first time.

    psycopg_pool's workers do: ``asyncio.run`` cancels what is left at its end and waits for it, for ever.
    """
    try:
        return await call()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_soon(task.cancel)
        raise


async def interruptible(
    call: Callable[[], Coroutine[object, object, T]], discard: Callable[[T], Coroutine[Any, Any, object]]
) -> T:
    """Call, and if the task was cancelled meanwhile, hand what comes of it to ``discard`` and be cancelled.

    Python 3.11's ``asyncio.wait_for``, in which psycopg_pool waits, forgets a cancellation that comes in the same step
    of the loop as what it waits for; 3.12's does not.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    result = await call()
    if task.cancelling() > before:
        await complete(discard, result)
        raise asyncio.CancelledError
    return result


def spawn(call: Callable[[], Coroutine[object, object, None]], *, name: str) -> Task:
    """Start ``call`` on its own."""
    return Task(asyncio.create_task(call(), name=name))


class SingleFlight(Generic[T]):
    """At most one blocking call per key at a time; all who ask meanwhile share its result or its error.

    A caller who is cancelled stops waiting and disturbs nobody: the call belongs to no caller. Nothing is bound to
    an event loop, so one object may serve several, one after the other or in several threads.
    """

    def __init__(self) -> None:
        self._flights: thread.Flights[T] = thread.Flights()
        self._crowds: dict[tuple[asyncio.AbstractEventLoop, Future[T]], list[asyncio.Future[None]]] = {}

    async def run(self, key: Hashable, call: Callable[[], T]) -> T:
        """Return what ``call`` returns, run off the event loop, or what one already under way for ``key`` does."""
        flight = self._flights.start(key, call)
        if not flight.done():
            await self._wait(flight)
        return thread.result_of(flight)

    async def _wait(self, flight: Future[T]) -> None:
        # Not shield(wrap_future(…)) for each: a thousand waiters would then be woken in one step of the loop, and
        # it would stand still for 10 ms or more.
        loop = asyncio.get_running_loop()
        place = (loop, flight)
        crowd = self._crowds.get(place)
        if crowd is None:
            crowd = self._crowds[place] = []
            flight.add_done_callback(lambda _: self._landed(place))
        waiter: asyncio.Future[None] = loop.create_future()
        crowd.append(waiter)
        await waiter

    def _landed(self, place: tuple[asyncio.AbstractEventLoop, Future[T]]) -> None:
        try:
            place[0].call_soon_threadsafe(self._wake, place)
        except RuntimeError:
            # That loop is closed: nobody waits in it any more.
            del self._crowds[place]

    def _wake(self, place: tuple[asyncio.AbstractEventLoop, Future[T]]) -> None:
        crowd = self._crowds[place]
        for waiter in crowd[:_WOKEN_AT_ONCE]:
            if not waiter.done():
                waiter.set_result(None)
        del crowd[:_WOKEN_AT_ONCE]
        if crowd:
            place[0].call_soon(self._wake, place)
        else:
            del self._crowds[place]

    def start(self, key: Hashable, call: Callable[[], T]) -> None:
        """Start ``call`` in a thread of its own unless one is under way for ``key``; do not wait for it."""
        self._flights.start(key, call)


class SharedCall(Generic[T]):
    """At most one call per key at a time, of a function that itself waits; who asks meanwhile shares how it ends.

    A caller who is cancelled stops waiting and disturbs nobody; the call goes on, also when nobody is left. Event
    loops, and forked children, do not share.
    """

    def __init__(self) -> None:
        self._under_way: dict[tuple[asyncio.AbstractEventLoop, Hashable], asyncio.Task[T]] = {}
        # How many wait for each.
        self._waiting: dict[asyncio.Task[T], int] = {}

    async def run(self, key: Hashable, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what ``call`` returns, or what one already under way for ``key`` does."""
        place = (asyncio.get_running_loop(), key)
        task = self._under_way.get(place)
        if task is None:
            task = self._under_way[place] = asyncio.create_task(call(), name="soa-db shared call")
            self._waiting[task] = 0
            task.add_done_callback(lambda ended: self._landed(place, ended))
        self._waiting[task] += 1
        try:
            await asyncio.wait((task,))
        except BaseException:
            if task in self._waiting:
                self._waiting[task] -= 1
            raise
        return thread.result_of(task)

    def take_unawaited(self) -> list[Task]:
        """Return the calls of this event loop that nobody waits for any more; who asks from now on makes a new one."""
        loop = asyncio.get_running_loop()
        places = [place for place, task in self._under_way.items() if place[0] is loop and not self._waiting[task]]
        return [Task(self._under_way.pop(place)) for place in places]

    def _landed(self, place: tuple[asyncio.AbstractEventLoop, Hashable], ended: asyncio.Task[T]) -> None:
        del self._waiting[ended]
        if self._under_way.get(place) is ended:
            del self._under_way[place]
        if not ended.cancelled():
            # Seen, although all who waited may have been cancelled: asyncio would log it as never retrieved.
            ended.exception()
