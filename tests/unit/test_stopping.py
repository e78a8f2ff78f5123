"""The runtime pair: calls that end when a flag goes up, calls that many share, the loop something belongs to."""

from __future__ import annotations

import asyncio
import threading
import traceback

import pytest

from soa_db._runtime import _async, _sync, thread
from soa_db._runtime.thread import Stopped
from soa_db.errors import NotConnectedError, SecretNotFound

# --- a flag that ends calls


async def test_a_call_under_way_is_cancelled_when_the_flag_goes_up_and_its_caller_is_not() -> None:
    """What waits is told that it stopped; the task that called can go on."""
    stop = _async.StopEvent()
    ended: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cleaned up")

    async def caller() -> str:
        with pytest.raises(Stopped):
            await stop.run(hang)
        await asyncio.sleep(0)
        return "went on"

    tasks = [asyncio.create_task(caller()) for _ in range(3)]
    await asyncio.sleep(0)
    stop.set()
    assert await asyncio.gather(*tasks) == ["went on"] * 3
    assert ended == ["cleaned up"] * 3
    assert [task.cancelling() for task in tasks] == [0] * 3
    with pytest.raises(Stopped):
        await stop.run(hang)


async def test_a_caller_who_is_cancelled_too_sees_its_own_cancellation() -> None:
    """Before the flag goes up, after it, and without it."""
    for flag_too in (True, False):
        stop = _async.StopEvent()
        task = asyncio.create_task(stop.run(asyncio.Event().wait))
        await asyncio.sleep(0)
        if flag_too:
            stop.set()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_what_comes_of_a_call_in_time_is_its_callers() -> None:
    """Results and errors alike; a call that swallows the cancellation still returns."""
    stop = _async.StopEvent()

    async def fail() -> None:
        raise SecretNotFound("gone")

    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "all the same"
        return "never"

    with pytest.raises(SecretNotFound):
        await stop.run(fail)
    task = asyncio.create_task(stop.run(stubborn))
    await asyncio.sleep(0)
    stop.set()
    assert await task == "all the same"
    assert task.cancelling() == 0


class Late:
    """A blocking call that comes back when it is let."""

    def __init__(self, error: Exception | None = None) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.discarded = threading.Event()
        self.error = error

    def __call__(self) -> Late:
        self.entered.set()
        assert self.open.wait(10)
        if self.error is not None:
            raise self.error
        return self

    def discard(self) -> None:
        """Take note."""
        self.discarded.set()


def set_once_entered(stop: _sync.StopEvent, late: Late) -> None:
    """Raise the flag while the call is under way."""
    assert late.entered.wait(10)
    stop.set()


def test_a_thread_that_hangs_is_given_up_and_what_it_brings_later_is_discarded() -> None:
    """Nobody would close the connection otherwise."""
    stop, late = _sync.StopEvent(), Late()
    threading.Thread(target=set_once_entered, args=(stop, late)).start()
    with pytest.raises(Stopped):
        stop.run(late, Late.discard)
    assert not late.discarded.is_set()
    late.open.set()
    assert late.discarded.wait(10)
    with pytest.raises(Stopped):
        stop.run(late)


@pytest.mark.parametrize("error", [None, SecretNotFound("gone")])
def test_a_thread_that_ends_soon_after_the_flag_is_waited_for(error: Exception | None) -> None:
    """A healthy attempt leaves nothing behind; its error no longer matters."""
    stop, late = _sync.StopEvent(), Late(error)

    def end() -> None:
        assert late.entered.wait(10)
        stop.set()
        late.open.set()

    threading.Thread(target=end).start()
    if error is None:
        assert stop.run(late, Late.discard) is late
    else:
        with pytest.raises(Stopped):
            stop.run(late, Late.discard)
    assert not late.discarded.is_set()
    stop.set()  # again: no error


def test_what_comes_of_a_thread_in_time_is_its_callers() -> None:
    """Results and errors alike, and errors that come too late are nobody's."""
    stop = _sync.StopEvent()
    assert stop.run(lambda: 1) == 1
    late = Late(SecretNotFound("gone"))
    late.open.set()
    with pytest.raises(SecretNotFound):
        stop.run(late)
    hanging = Late(SecretNotFound("gone"))
    threading.Thread(target=set_once_entered, args=(stop, hanging)).start()
    with pytest.raises(Stopped):
        stop.run(hanging)
    hanging.open.set()


# --- a call that waits and is shared


async def test_all_who_ask_meanwhile_share_one_search() -> None:
    """Per key; who asks after its end makes another; a cancelled caller disturbs nobody."""
    shared: _async.SharedCall[int] = _async.SharedCall()
    go = asyncio.Event()
    calls: list[str] = []

    async def search(key: str) -> int:
        calls.append(key)
        await go.wait()
        return len(calls)

    first, *others = [asyncio.create_task(shared.run("a", lambda: search("a"))) for _ in range(100)]
    other = asyncio.create_task(shared.run("b", lambda: search("b")))
    await asyncio.sleep(0)
    first.cancel()
    others[7].cancel()
    await asyncio.sleep(0)
    go.set()
    ended = await asyncio.gather(*others, other, return_exceptions=True)
    assert calls == ["a", "b"]
    assert [type(end) for end in ended].count(asyncio.CancelledError) == 1
    assert ended[-1] == 2
    assert await shared.run("a", lambda: search("a")) == 3
    assert not shared._under_way


async def test_an_error_of_a_shared_search_is_everybodys_own() -> None:
    """And no line of asyncio's log when nobody is left to see it."""
    shared: _async.SharedCall[int] = _async.SharedCall()
    go = asyncio.Event()

    async def search() -> int:
        await go.wait()
        raise SecretNotFound("gone")

    tasks = [asyncio.create_task(shared.run("a", search)) for _ in range(50)]
    await asyncio.sleep(0)
    go.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert len({id(error) for error in errors}) == 50
    for error in errors:
        assert isinstance(error, SecretNotFound)
        assert len(traceback.format_exception(error)) < 20
    unheard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    go.clear()
    alone = asyncio.create_task(shared.run("a", search))
    await asyncio.sleep(0)
    alone.cancel()
    await asyncio.sleep(0)
    go.set()
    while shared._under_way:
        await asyncio.sleep(0)
    assert unheard == []


class Numbered(Exception):
    """Makes its message of a number; a copy made of the message would not say the same."""

    def __init__(self, number: int) -> None:
        super().__init__(f"number {number}")
        self.number = number


class Nameless(Exception):
    """Cannot be made from its ``args``."""

    def __init__(self, *, name: str) -> None:
        super().__init__(f"name {name}")


def _fail(error: Exception) -> int:
    error.add_note("a note")
    raise error from KeyError("why")


@pytest.mark.parametrize("error", [Numbered(4), OSError(2, "no such file", "f"), ExceptionGroup("all", [Numbered(5)])])
def test_threads_that_share_a_failed_call_raise_errors_of_their_own(error: Exception) -> None:
    """That say the same, with the traceback of the call, its cause and its notes."""
    flight = thread.start(lambda: _fail(error), name="test")
    raised = []
    for _ in range(50):
        with pytest.raises(type(error)) as caught:
            thread.result_of(flight)
        raised.append(caught.value)
    assert len({id(one) for one in raised}) == 50
    for one in raised:
        assert str(one) == str(error)
        assert vars(one) == vars(error)
        assert isinstance(one.__cause__, KeyError)
        names = [frame.name for frame in traceback.extract_tb(one.__traceback__)]
        assert names[-1] == "_fail"
        assert len(names) < 10


def test_an_error_that_cannot_be_copied_is_shared() -> None:
    """It passes through as it is."""
    error = Nameless(name="x")
    flight = thread.start(lambda: _fail(error), name="test")
    with pytest.raises(Nameless) as caught:
        thread.result_of(flight)
    assert caught.value is error


async def test_a_shared_call_nobody_waits_for_can_be_taken() -> None:
    """Those that somebody waits for are left; who asks after that makes a call of its own."""
    shared: _async.SharedCall[int] = _async.SharedCall()

    async def hang() -> int:
        await asyncio.Event().wait()
        return 1

    async def two() -> int:
        return 2

    left, stays = (asyncio.create_task(shared.run(key, hang)) for key in "ab")
    await asyncio.sleep(0)
    assert shared.take_unawaited() == []
    left.cancel()
    await asyncio.wait((left,))
    (call,) = shared.take_unawaited()
    assert shared.take_unawaited() == []
    assert await shared.run("a", two) == 2
    call.cancel()
    assert await call.join(5)
    stays.cancel()
    await asyncio.wait((stays,))
    for rest in shared.take_unawaited():
        rest.cancel()
        assert await rest.join(5)
    assert not shared._under_way
    assert not shared._waiting


def test_a_loop_that_ends_during_a_shared_search_leaves_the_next_one_able() -> None:
    """`asyncio.run` twice on one object."""
    shared: _async.SharedCall[str] = _async.SharedCall()

    async def hang() -> str:
        await asyncio.Event().wait()
        return "never"

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(shared.run("k", hang), 0.01)
        assert shared._under_way

    async def found() -> str:
        return "found"

    asyncio.run(give_up())
    assert asyncio.run(shared.run("k", found)) == "found"
    assert not shared._under_way


# --- the loop something belongs to


def test_what_is_in_use_in_one_loop_moves_to_another_only_when_that_has_ended() -> None:
    """Unused it moves freely."""
    affinity = _async.Affinity()
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()

    async def check() -> None:
        affinity.check()

    async def enter(in_use: bool) -> bool:
        return affinity.enter(in_use=in_use)

    with pytest.raises(NotConnectedError, match="event loop"):
        first.run_until_complete(check())
    assert not first.run_until_complete(enter(False))
    first.run_until_complete(check())
    assert not first.run_until_complete(enter(True))
    with pytest.raises(NotConnectedError, match="event loop"):
        second.run_until_complete(enter(True))
    assert second.run_until_complete(enter(False))
    second.close()
    assert first.run_until_complete(enter(True))
    first.close()


def test_threads_belong_nowhere() -> None:
    """The blocking twin knows no loops."""
    affinity = _sync.Affinity()
    assert not affinity.enter(in_use=True)
    affinity.check()
