"""The runtime pair: single flight, gather, threads, on asyncio and on threads alike."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
import traceback

import pytest

from soa_db._runtime import _async, _sync, fork, thread
from soa_db.errors import SecretNotFound


class Gate:
    """A blocking call that counts, and waits until it is let through."""

    def __init__(self, result: object = "value") -> None:
        self.calls = 0
        self.open = threading.Event()
        self.entered = threading.Event()
        self.result = result

    def __call__(self) -> object:
        self.calls += 1
        self.entered.set()
        assert self.open.wait(10)
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


async def until(gate: Gate) -> None:
    """Let the loop run until the call is under way."""
    assert await asyncio.to_thread(gate.entered.wait, 10)


async def test_a_thousand_tasks_share_one_call() -> None:
    """And all of them get its result, woken in steps."""
    flights: _async.SingleFlight[object] = _async.SingleFlight()
    gate = Gate()
    tasks = [asyncio.create_task(flights.run("k", gate)) for _ in range(1000)]
    await until(gate)
    gate.open.set()
    assert await asyncio.gather(*tasks) == ["value"] * 1000
    assert gate.calls == 1
    assert not flights._crowds


async def test_a_cancelled_caller_disturbs_nobody() -> None:
    """Not even when it is the one who started the call."""
    flights: _async.SingleFlight[object] = _async.SingleFlight()
    gate = Gate()
    first, *others = [asyncio.create_task(flights.run("k", gate)) for _ in range(5)]
    await until(gate)
    first.cancel()
    others[2].cancel()
    gate.open.set()
    ended = await asyncio.gather(first, *others, return_exceptions=True)
    assert [type(end) for end in ended] == [asyncio.CancelledError, str, str, asyncio.CancelledError, str]
    assert gate.calls == 1


async def test_an_error_reaches_all_who_wait_and_the_next_one_tries_anew() -> None:
    """A failure is not kept."""
    flights: _async.SingleFlight[object] = _async.SingleFlight()
    gate = Gate(SecretNotFound("gone"))
    tasks = [asyncio.create_task(flights.run("k", gate)) for _ in range(3)]
    await until(gate)
    gate.open.set()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ended] == [SecretNotFound] * 3
    gate.result = "now"
    assert await flights.run("k", gate) == "now"
    assert gate.calls == 2


def test_one_object_serves_several_loops_and_a_loop_may_end_early() -> None:
    """`asyncio.run` twice on one object, the first one cancelled while the call is under way."""
    flights: _async.SingleFlight[object] = _async.SingleFlight()
    gate = Gate()

    async def give_up() -> None:
        await asyncio.wait_for(flights.run("k", gate), 0.05)

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    gate.open.set()

    async def ask() -> object:
        return await flights.run("k", gate)

    assert asyncio.run(ask()) == "value"
    deadline = time.monotonic() + 10
    while flights._crowds and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not flights._crowds


def test_threads_share_one_call() -> None:
    """The blocking twin: the first to ask makes it in its own thread."""
    flights: _sync.SingleFlight[object] = _sync.SingleFlight()
    gate = Gate()
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(flights.run("k", gate))) for _ in range(20)]
    for one in threads:
        one.start()
    assert gate.entered.wait(10)
    time.sleep(0.05)
    gate.open.set()
    for one in threads:
        one.join()
    assert found == ["value"] * 20
    assert gate.calls == 1


def test_an_interrupted_leader_leaves_the_call_to_another() -> None:
    """KeyboardInterrupt belongs to the thread that got it; an ordinary error belongs to all."""
    flights: _sync.SingleFlight[object] = _sync.SingleFlight()
    gate = Gate(KeyboardInterrupt())
    ended: list[object] = []

    def ask() -> None:
        try:
            ended.append(flights.run("k", gate))
        except BaseException as error:
            ended.append(type(error))

    leader = threading.Thread(target=ask)
    leader.start()
    assert gate.entered.wait(10)
    follower = threading.Thread(target=ask)
    follower.start()
    time.sleep(0.05)
    gate.open.set()
    leader.join()
    follower.join()
    assert ended == [KeyboardInterrupt, KeyboardInterrupt]
    assert gate.calls == 2  # the follower made its own call

    failing = Gate(SecretNotFound("gone"))
    failing.open.set()
    with pytest.raises(SecretNotFound):
        flights.run("k", failing)


def test_a_forked_child_does_not_wait_for_its_parents_call() -> None:
    """The thread that makes the call is not in the child."""
    flights: _sync.SingleFlight[object] = _sync.SingleFlight()
    flights._flights._pid = os.getpid() - 1  # as a child sees what its parent left
    flights._flights._under_way["k"] = thread._ready(object)[0]
    assert flights.run("k", lambda: "mine") == "mine"


def test_one_who_cannot_let_go_in_a_forked_child_keeps_no_other_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes after it would talk on the parent's sockets; and the failure is told."""

    class Inheritor:
        def __init__(self, failure: Exception | None = None) -> None:
            self.failure = failure
            self.let_go = False

        def after_fork_in_child(self) -> None:
            if self.failure is not None:
                raise self.failure
            self.let_go = True

    good, bad = [Inheritor(), Inheritor()], Inheritor(OSError("no descriptor is free"))
    monkeypatch.setattr(fork, "_watched", [good[0], bad, good[1]])
    with pytest.raises(ExceptionGroup) as told:
        fork._in_child()
    assert told.value.exceptions == (bad.failure,)
    assert all(one.let_go for one in good)


def test_two_threads_of_a_forked_child_that_both_clear_its_parents_calls_harm_no_call() -> None:
    """The first one's call finds itself no longer noted, or another in its place, when it ends."""
    flights: thread.Flights[str] = thread.Flights()
    first, run_first = flights.board("k", lambda: "first")
    flights._clear()
    second, run_second = flights.board("k", lambda: "second")
    assert run_first is not None
    assert run_second is not None
    run_first()
    assert first.result() == "first"
    assert flights.board("k", lambda: "third")[0] is second
    run_second()
    assert second.result() == "second"
    assert flights.board("k", lambda: "third")[0] is not second


def test_a_call_started_without_waiting_runs_in_a_named_daemon_thread() -> None:
    """So that renewal ahead is seen in a thread dump and never keeps the process alive; one at a time per key."""
    flights: _sync.SingleFlight[object] = _sync.SingleFlight()
    gate = Gate()
    flights.start("k", gate)
    flights.start("k", gate)
    assert gate.entered.wait(10)
    [runner] = [one for one in threading.enumerate() if one.name == "soa-db refresh"]
    assert runner.daemon
    gate.open.set()
    runner.join()
    assert gate.calls == 1


async def test_a_call_without_waiting_on_the_loop() -> None:
    """The asynchronous twin needs no loop for it either."""
    flights: _async.SingleFlight[object] = _async.SingleFlight()
    gate = Gate()
    gate.open.set()
    flights.start("k", gate)
    await until(gate)


async def test_context_variables_reach_the_thread() -> None:
    """Tracing follows a call through them."""
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("set")
    assert await _async.to_thread(variable.get) == "set"


async def test_gather_returns_in_order_and_ends_the_others_at_the_first_error() -> None:
    """No task is left behind, and the error is not wrapped in a group."""

    async def one(value: int) -> int:
        await asyncio.sleep(0.01 * (3 - value))
        return value

    assert await _async.gather(lambda: one(1), lambda: one(2)) == [1, 2]
    ended: list[str] = []

    async def forever() -> int:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cancelled")
        return 0

    async def fail() -> int:
        await asyncio.sleep(0)
        raise SecretNotFound("gone")

    with pytest.raises(SecretNotFound):
        await _async.gather(forever, fail)
    assert ended == ["cancelled"]


def test_gather_in_threads() -> None:
    """The blocking twin: all have ended when it returns or raises."""
    assert _sync.gather(lambda: 1) == [1]
    assert _sync.gather(lambda: 1, lambda: 2) == [1, 2]
    done: list[int] = []

    def slow() -> int:
        time.sleep(0.05)
        done.append(1)
        return 1

    def fail() -> int:
        raise SecretNotFound("gone")

    with pytest.raises(SecretNotFound):
        _sync.gather(fail, slow)
    assert done == [1]


async def test_an_event_and_a_task_of_the_loop() -> None:
    """Waits end in time; a task can be cancelled and joined."""
    event = _async.Event()
    assert not await event.wait(0.01)
    event.set()
    assert event.is_set()
    assert await event.wait()
    event.clear()
    assert not event.is_set()

    async def forever() -> None:
        await _async.sleep(60)

    task = _async.spawn(forever, name="forever")
    assert not await task.join(0.01)
    task.cancel()
    assert await task.join(10)
    assert task.done()


def test_an_event_and_a_task_of_threads() -> None:
    """The same names; cancelling does nothing, an Event ends the thread."""
    event = _sync.Event()
    assert not event.wait(0.01)

    def wait() -> None:
        event.wait(10)

    task = _sync.spawn(wait, name="waiter")
    task.cancel()
    assert not task.join(0.01)
    assert not task.done()
    event.set()
    assert event.is_set()
    assert task.join(10)
    assert task.done()
    event.clear()
    assert not event.is_set()
    _sync.sleep(0)
    assert _sync.to_thread(lambda: 1) == 1


async def test_each_caller_gets_an_error_of_its_own() -> None:
    """One object raised by all would grow a traceback of hundreds of lines, and carry the notes of strangers."""
    flights: _async.SingleFlight[object] = _async.SingleFlight()
    gate = Gate(SecretNotFound("no", hint="provision", secret_id="dev/x"))
    callers = [asyncio.create_task(flights.run("key", gate)) for _ in range(50)]
    await asyncio.sleep(0.01)
    gate.open.set()
    errors = [error for error in await asyncio.gather(*callers, return_exceptions=True) if error is not None]
    assert len({id(error) for error in errors}) == 50
    for error in errors:
        assert isinstance(error, SecretNotFound)
        assert (error.hint, error.context) == ("provision", {"secret_id": "dev/x"})
        assert len(traceback.format_exception(error)) < 20


async def test_a_caller_whose_time_is_up_leaves_the_call_to_end_by_itself() -> None:
    """It is not cancelled, and what comes of it is discarded."""
    calls, go, late = _async.Uninterrupted(), asyncio.Event(), []

    async def call() -> str:
        await go.wait()
        return "a connection"

    async def discard(one: str) -> None:
        late.append(one)

    with pytest.raises(TimeoutError):
        await calls.run(call, 60, discard, 0.01)
    go.set()
    await calls.settle(10)
    assert late == ["a connection"]
