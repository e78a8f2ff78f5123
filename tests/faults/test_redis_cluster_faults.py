"""What goes wrong with calls to a cluster: cancelled callers, and a primary that dies under a blocking manager."""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers.redis_kit import config_of
from tests.support.postgres import eventually

from soa_db import TlsConfig
from soa_db.redis import AsyncRedisConnectionManager, RedisConnectionManager

if TYPE_CHECKING:
    from soa_db.local.redis_cluster import RedisCluster


def connections(cluster: RedisCluster, name: str) -> int:
    """How many connections of a name the nodes have."""
    count = 0
    for node in cluster.nodes:
        with node.admin() as admin:
            count += sum(one["name"] == name for one in admin.client_list())
    return count


async def test_cancelled_callers_leave_neither_replies_nor_connections_behind(
    redis_cluster: RedisCluster, ca_file: Path, unique_name: str
) -> None:
    """At every step: sending, reading, connecting, waiting for a connection; single calls, and those of all nodes."""
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    config = config_of(redis_cluster, tls=TlsConfig(ca_file=str(ca_file)), instance_name=unique_name, max_connections=3)
    keys = [f"{unique_name}:{number}" for number in range(30)]
    async with AsyncRedisConnectionManager(config) as cache:
        await cache.mset({key: number for number, key in enumerate(keys)})

        async def read(number: int) -> list[int]:
            if number % 5:
                return [await cache.get(keys[number])]
            return await cache.mget(keys[number : number + 3])

        for turn in range(25):
            if turn % 10 == 0:
                await cache.drain()
            tasks = [asyncio.create_task(read(number)) for number in range(28)]
            for _ in range(rng.randrange(40)):
                await asyncio.sleep(rng.choice([0, 0, 0, 0.0005]))
                rng.choice(tasks).cancel()
            for number, found in enumerate(await asyncio.gather(*tasks, return_exceptions=True)):
                if not isinstance(found, asyncio.CancelledError):
                    assert found == [number + more for more in range(1 if number % 5 else 3)], f"seed {seed}: {found!r}"
        for _ in range(100):
            # One that is being closed is in use until it is.
            if cache.stats()["in_use"]:
                await asyncio.sleep(0.01)
        assert cache.stats()["in_use"] == 0, f"seed {seed}"
        assert connections(redis_cluster, unique_name) <= 3 * len(redis_cluster.nodes) + 1, f"seed {seed}"
        assert await cache.mget(keys) == list(range(30)), f"seed {seed}"
        await cache.mdel(keys)
    eventually(lambda: connections(redis_cluster, unique_name) == 0)


def test_a_failover_under_a_blocking_manager_fails_no_call_that_may_run_twice(
    redis_cluster: RedisCluster, ca_file: Path, unique_name: str
) -> None:
    """A primary is killed under threads that write; its replica takes over; every value is there."""
    config = config_of(redis_cluster, tls=TlsConfig(ca_file=str(ca_file)), command_timeout=30, connect_timeout=2)
    keys = [f"{unique_name}:{number}" for number in range(60)]
    with RedisConnectionManager(config) as cache, ThreadPoolExecutor(8) as pool:
        cache.mset(dict.fromkeys(keys, 1))
        victim = redis_cluster.primaries()[0]
        try:
            victim.kill()
            for written in [pool.submit(cache.set, key, 2) for key in keys]:
                written.result()
            assert list(pool.map(cache.get, keys)) == [2] * 60
            assert cache.stats()["in_use"] == 0
        finally:
            victim.start()
            redis_cluster.wait()
        cache.mdel(keys)
