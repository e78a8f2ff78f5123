"""``cached_call`` under a crowd: how often the origin is called, and whether hits wait for another key's origin."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bench.report import Row
from bench.servers import plain_redis, redis_config
from soa_db.redis import AsyncRedisConnectionManager, RedisConnectionManager

if TYPE_CHECKING:
    from soa_db.local.redis import RedisServer

CALLERS, THREADS = 1000, 100
# Seconds the slow origin takes, by sleeping: what it computes would hold up whoever shares its processor.
SLOW = 1.0
HITTERS = 8


async def _misses(server: RedisServer, *, lock: float | None) -> int:
    """1,000 callers miss one key at once: how often the origin was called."""
    async with AsyncRedisConnectionManager(redis_config(server)) as ours:
        await ours.delete("bench:crowd")
        calls = 0

        async def origin() -> int:
            nonlocal calls
            calls += 1
            await asyncio.sleep(0.1)
            return 1

        await asyncio.gather(*(ours.cached_call("bench:crowd", origin, lock=lock) for _ in range(CALLERS)))
        return calls


def _threads_miss(server: RedisServer) -> int:
    """The same with threads."""
    calls: list[int] = []

    def origin() -> int:
        calls.append(1)
        time.sleep(0.1)
        return 1

    with RedisConnectionManager(redis_config(server)) as ours, ThreadPoolExecutor(THREADS) as pool:
        ours.delete("bench:threads")
        list(pool.map(lambda _: ours.cached_call("bench:threads", origin), range(CALLERS)))
    return len(calls)


async def _hits(server: RedisServer, *, beside_origin: bool) -> float:
    """Seconds the longest of all hits takes within a second, with or without 100 callers of a slow origin beside."""
    async with AsyncRedisConnectionManager(redis_config(server)) as ours:
        await ours.delete("bench:slow")
        await ours.set("bench:hit", 1)
        longest = 0.0
        end = time.monotonic() + SLOW

        async def slow() -> int:
            await asyncio.sleep(SLOW)
            return 1

        async def never() -> int:
            raise AssertionError("a hit calls no origin")

        async def hit() -> None:
            nonlocal longest
            while time.monotonic() < end:
                start = time.perf_counter()
                await ours.cached_call("bench:hit", never)
                longest = max(longest, time.perf_counter() - start)

        slow_ones = [ours.cached_call("bench:slow", slow) for _ in range(100)] if beside_origin else []
        await asyncio.gather(*slow_ones, *(hit() for _ in range(HITTERS)))
        return longest


def run() -> list[Row]:
    """Counts are the worst of three runs, stalls the best: others' work can only lengthen them."""
    with plain_redis() as server:
        alone = max(asyncio.run(_misses(server, lock=None)) for _ in range(3))
        locked = max(asyncio.run(_misses(server, lock=10.0)) for _ in range(3))
        threads = max(_threads_miss(server) for _ in range(3))
        beside = min(asyncio.run(_hits(server, beside_origin=True)) for _ in range(3))
        without = min(asyncio.run(_hits(server, beside_origin=False)) for _ in range(3))
    return [
        Row("origin calls, 1,000 misses at once", alone, "calls", bar=1, bar_is="value"),
        Row("the same with a lock across processes", locked, "calls", bar=1, bar_is="value"),
        Row("the same, 100 threads", threads, "calls", bar=1, bar_is="value"),
        Row("longest hit beside an origin of 1 s", beside * 1e3, "ms", without * 1e3, "no origin beside"),
        Row("longest hit beside an origin of 1 s", beside * 1e3, "ms", bar=SLOW * 1e3 / 10, bar_is="value"),
    ]
