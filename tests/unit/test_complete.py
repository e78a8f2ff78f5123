"""``complete``: work that is finished whatever happens to the caller."""

import asyncio

import pytest

from soa_db._runtime import _async, _sync


async def test_work_that_never_waits_makes_no_task() -> None:
    """The usual case must cost nothing."""
    before = len(asyncio.all_tasks())
    seen = []

    async def work(value: int) -> int:
        seen.append(len(asyncio.all_tasks()))
        return value

    assert await _async.complete(work, 3) == 3
    assert seen == [before]


async def test_work_that_waits_is_carried_on() -> None:
    """Through several waits, of all kinds, with its result."""

    async def work() -> str:
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        async with asyncio.timeout(5):
            await asyncio.get_running_loop().run_in_executor(None, lambda: None)
        return "done"

    assert await _async.complete(work) == "done"


async def test_an_error_of_the_work_is_raised_to_the_caller() -> None:
    """Before its first wait and after."""

    async def work(waits: bool) -> None:
        if waits:
            await asyncio.sleep(0)
        raise KeyError("x")

    for waits in (False, True):
        with pytest.raises(KeyError):
            await _async.complete(work, waits)


async def test_a_cancelled_caller_sees_its_cancellation_and_the_work_ends() -> None:
    """Both: nothing swallowed, nothing left half done."""
    ended = asyncio.Event()
    begun = asyncio.Event()
    lock = asyncio.Lock()
    await lock.acquire()

    async def work() -> None:
        begun.set()
        async with lock:
            ended.set()

    caller = asyncio.create_task(_async.complete(work))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert not ended.is_set()
    lock.release()
    await asyncio.wait_for(ended.wait(), 5)


async def test_a_wait_that_fails_is_told_to_the_work() -> None:
    """The exception comes out of the await inside, where it can be handled."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def work() -> str:
        try:
            await future
        except KeyError:
            return "handled"
        return "missed"

    asyncio.get_running_loop().call_soon(future.set_exception, KeyError("x"))
    assert await _async.complete(work) == "handled"


def test_the_blocking_twin_just_calls() -> None:
    """There is no cancellation to survive."""
    assert _sync.complete(int, "7") == 7
