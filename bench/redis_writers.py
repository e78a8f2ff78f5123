"""200 tasks that write through one Redis client of 20 connections: ``python -m bench.redis_writers CONTENDER``.

Told and answering as ``bench.writers``; ``prober`` answers as ``bench.prober``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import redis
from redis.asyncio import BlockingConnectionPool, Redis

from bench.writers import CONNECTIONS, Pool, Write, write_until_told
from soa_db.config import RedisConfig
from soa_db.redis import AsyncRedisConnectionManager


@asynccontextmanager
async def manager(server: dict[str, Any]) -> AsyncIterator[Write]:
    """Ours, writing."""
    config = RedisConfig.from_url(server["url"], instance_name="bench", max_connections=CONNECTIONS)
    async with AsyncRedisConnectionManager(config) as ours:

        async def write(task: int, number: int) -> None:
            await ours.set(f"bench:{task}", number)

        yield write


@asynccontextmanager
async def cached_call(server: dict[str, Any]) -> AsyncIterator[Write]:
    """Ours, caching: each call misses."""
    config = RedisConfig.from_url(server["url"], instance_name="bench", max_connections=CONNECTIONS)
    async with AsyncRedisConnectionManager(config) as ours:

        async def write(task: int, number: int) -> None:
            async def origin() -> int:
                await asyncio.sleep(0.001)
                return number

            await ours.cached_call(f"bench:{task}:{number}", origin, ttl=1)

        yield write


@asynccontextmanager
async def redis_py(server: dict[str, Any]) -> AsyncIterator[Write]:
    """redis-py as it comes, with a pool that waits: without, 180 of the tasks would only ever fail."""
    pool = BlockingConnectionPool.from_url(server["url"], max_connections=CONNECTIONS)
    async with Redis.from_pool(pool) as client:

        async def write(task: int, number: int) -> None:
            await client.set(f"bench:{task}", str(number), ex=600)

        yield write


CONTENDERS: dict[str, Pool] = {"manager": manager, "cached_call": cached_call, "redis_py": redis_py}


def probe() -> None:
    """Say when the server accepts again, found out from outside."""
    url = sys.stdin.readline().strip()
    print("ready", flush=True)
    for _ in sys.stdin:
        while True:
            try:
                with redis.Redis.from_url(url, retry=None) as client:
                    client.ping()
            except redis.RedisError:
                time.sleep(0.001)
            else:
                break
        print(time.monotonic(), flush=True)


def main() -> None:
    """Run one contender, or the prober."""
    if sys.argv[1] == "prober":
        probe()
        return
    # The clients log every outage, which is what is expected here.
    logging.disable()
    server = json.loads(sys.stdin.readline())
    print(json.dumps(asyncio.run(write_until_told(CONTENDERS[sys.argv[1]], server))), flush=True)


if __name__ == "__main__":
    main()
