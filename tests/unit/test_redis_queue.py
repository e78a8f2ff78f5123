"""The free connections of the blocking manager: none waits for what is free, and none gets lost."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, Full

import pytest

from soa_db._redis.queue import FreeConnections
from soa_db._runtime import telemetry
from soa_db._runtime.telemetry import Pool


@pytest.fixture
def _hasty() -> Iterator[None]:
    """Threads take turns in the middle of everything."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_the_one_put_back_last_is_taken_first() -> None:
    """So that a quiet pool keeps few connections."""
    queue = FreeConnections(2)
    queue.put_nowait("a")
    queue.put_nowait("b")
    with pytest.raises(Full):
        queue.put_nowait("c")
    assert [queue.get(), queue.get()] == ["b", "a"]


@pytest.mark.parametrize(("block", "timeout"), [(True, 0.01), (True, 0.0), (False, None)])
def test_nothing_in_time_is_empty(block: bool, timeout: float | None) -> None:
    """With no time, at once."""
    with pytest.raises(Empty):
        FreeConnections(1).get(block, timeout)


def test_who_waits_is_woken_by_what_is_put_back() -> None:
    """It waits without end: only being woken ends that."""
    queue = FreeConnections(1)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(queue.get)
        while not queue._waiting:
            threading.Event().wait(0.001)
        queue.put_nowait("a")
        try:
            assert waiting.result(10) == "a"
        finally:
            with queue.not_empty:
                queue.not_empty.notify()


def test_who_is_interrupted_as_the_wait_is_told_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while telemetry is at work: the connection is nobody's yet, and goes back."""
    queue = FreeConnections(1, measured=Pool("redis", "chat", "0", "cache.example", 6379))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def put_back() -> None:
        while not queue.waiting:
            threading.Event().wait(0.001)
        queue.put_nowait("a")

    monkeypatch.setattr(telemetry, "waited", interrupt)
    with ThreadPoolExecutor(1) as threads:
        threads.submit(put_back)
        with pytest.raises(KeyboardInterrupt):
            queue.get(timeout=10)
    assert queue.queue == ["a"]


@pytest.mark.usefixtures("_hasty")
def test_eight_threads_share_two_and_lose_none() -> None:
    """Each is with one thread at a time."""
    queue = FreeConnections(2)
    locks = [threading.Lock(), threading.Lock()]
    for lock in locks:
        queue.put_nowait(lock)

    def work() -> None:
        for _ in range(500):
            lock = queue.get(timeout=30)
            assert lock.acquire(blocking=False)
            lock.release()
            queue.put_nowait(lock)

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(work) for _ in range(8)]:
            done.result()
    assert set(queue.queue) == set(locks)
