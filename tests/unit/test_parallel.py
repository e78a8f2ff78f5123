"""Work side by side: what an interrupted caller leaves behind."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from soa_db.access.postgres.parallel import each


@pytest.mark.parametrize("at", [1, 2], ids=["the first thread", "a later thread"])
def test_interrupted_while_a_thread_starts_nothing_is_under_way_afterwards(
    at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes in Thread.start: the thread runs, and the pool has never heard of it."""
    begin = ThreadPoolExecutor._adjust_thread_count
    started = threading.Event()
    calls: list[int] = []
    ended: list[str] = []

    def interrupted(pool: Any) -> None:
        known = set(pool._threads)
        begin(pool)
        calls.append(1)
        if len(calls) == at:
            pool._threads.intersection_update(known)
            assert started.wait(5)
            raise KeyboardInterrupt

    def work(item: str) -> None:
        started.set()
        time.sleep(0.2)
        ended.append(item)

    monkeypatch.setattr(ThreadPoolExecutor, "_adjust_thread_count", interrupted)
    with pytest.raises(KeyboardInterrupt):
        each(work, [["a", "never begun"], ["b"], ["c"]], named=str, what="databases")
    assert "a" in ended
    before = list(ended)
    time.sleep(0.3)
    assert ended == before, "what was under way is finished, and nothing begins any more"
    assert "never begun" not in ended
