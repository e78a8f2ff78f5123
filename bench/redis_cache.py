"""``cached_call`` under a crowd: how often the origin is called, and whether hits wait for another key's origin."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from bench.report import Row
from bench.servers import plain_redis, redis_config
from soa_db.redis import AsyncRedisConnectionManager, RedisConnectionManager

if TYPE_CHECKING:
    from soa_db.local.redis import RedisServer

CALLERS, THREADS = 1000, 100
# Seconds the slow origin takes, by sleeping: what it computes would hold up whoever shares its processor.
SLOW = 1.0
# Seconds beyond its end, in which all who waited for it go on.
AFTER = 0.3
HITTERS = 8


async def _misses(server: RedisServer, *, managers: int, lock: float | None) -> int:
    """1,000 callers miss one key: how often the origin was called. It ends only once every one of them has missed.

    Managers share nothing but the server, as processes do.
    """
    async with AsyncExitStack() as stack:
        ours = [
            await stack.enter_async_context(AsyncRedisConnectionManager(redis_config(server))) for _ in range(managers)
        ]
        await ours[0].delete("bench:crowd")
        calls = 0

        async def origin() -> int:
            nonlocal calls
            calls += 1
            while sum(one.stats()["misses"] for one in ours) < CALLERS:  # noqa: ASYNC110 - they are counted, not told of
                await asyncio.sleep(0.001)
            return 1

        await asyncio.gather(
            *(ours[number % managers].cached_call("bench:crowd", origin, lock=lock) for number in range(CALLERS))
        )
        return calls


def _threads_miss(server: RedisServer) -> int:
    """100 threads miss one key, likewise."""
    calls: list[int] = []
    with RedisConnectionManager(redis_config(server)) as ours, ThreadPoolExecutor(THREADS) as pool:
        ours.delete("bench:threads")

        def origin() -> int:
            calls.append(1)
            while ours.stats()["misses"] < THREADS:
                time.sleep(0.001)
            return 1

        list(pool.map(lambda _: ours.cached_call("bench:threads", origin), range(THREADS)))
    return len(calls)


async def _hits(server: RedisServer, *, beside: str) -> float:
    """Seconds the longest of all hits takes, ``beside`` an origin of 1 s until after its end.

    Nothing; ``another key``, whose origin 100 callers wait for; or ``its renewal``: the hits are stale ones then.
    """
    async with AsyncRedisConnectionManager(redis_config(server)) as ours:
        await ours.mdel(["bench:slow", "bench:hit_refresh"])
        await ours.set("bench:hit", 1)
        longest, calls = 0.0, 0
        end = time.monotonic() + SLOW + AFTER
        stale = 600.0 if beside == "its renewal" else None

        async def slow() -> int:
            nonlocal calls
            calls += 1
            await asyncio.sleep(SLOW)
            return 1

        async def hit() -> None:
            nonlocal longest
            while time.monotonic() < end:
                start = time.perf_counter()
                await ours.cached_call("bench:hit", slow, stale_while_revalidate=stale)
                longest = max(longest, time.perf_counter() - start)

        callers = 100 if beside == "another key" else 0
        await asyncio.gather(
            *(ours.cached_call("bench:slow", slow) for _ in range(callers)), *(hit() for _ in range(HITTERS))
        )
        assert calls == (beside != "nothing"), "the origin is called once, and by no hit"
        return longest


def run() -> list[Row]:
    """Counts are the worst of three runs, stalls the best: others' work can only lengthen them."""
    with plain_redis() as server:
        alone = max(asyncio.run(_misses(server, managers=1, lock=None)) for _ in range(3))
        locked = max(asyncio.run(_misses(server, managers=10, lock=30.0)) for _ in range(3))
        threads = max(_threads_miss(server) for _ in range(3))
        longest = {
            beside: min(asyncio.run(_hits(server, beside=beside)) for _ in range(3)) * 1e3
            for beside in ("nothing", "another key", "its renewal")
        }
    stalls = []
    for beside, what in (
        ("another key", "longest hit beside another key's origin"),
        ("its renewal", "longest stale hit beside its renewal"),
    ):
        stalls += [
            Row(f"{what}, 1 s", longest[beside], "ms", longest["nothing"], "no origin beside"),
            Row(f"{what}, 1 s", longest[beside], "ms", bar=SLOW * 1e3 / 10, bar_is="value"),
        ]
    return [
        Row("origin calls, 1,000 tasks miss at once", alone, "calls", bar=1, bar_is="value"),
        Row("the same through 10 managers, with a lock", locked, "calls", bar=1, bar_is="value"),
        Row("the same, 100 threads", threads, "calls", bar=1, bar_is="value"),
        *stalls,
    ]
