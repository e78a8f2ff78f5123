"""The pool of the asynchronous manager: nobody waits for a connection that is free, and none gets lost."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis
from tests.servers.redis_kit import config_of

from soa_db._redis.pool import WaitingPool
from soa_db.redis import AsyncRedisConnectionManager

if TYPE_CHECKING:
    from soa_db.local.redis import RedisServer


def _pool(manager: AsyncRedisConnectionManager) -> WaitingPool:
    assert isinstance(manager.client, Redis)
    pool = manager.client.connection_pool
    assert isinstance(pool, WaitingPool)
    return pool


async def _steps() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_caller_cancelled_as_its_turn_comes_passes_it_on(redis_server: RedisServer) -> None:
    """The one woken for the free connection is cancelled before it runs: the next one gets it."""
    async with AsyncRedisConnectionManager(config_of(redis_server, max_connections=1)) as manager:
        pool = _pool(manager)
        connection = await pool.get_connection()
        first, second = (asyncio.create_task(pool.get_connection()) for _ in range(2))
        await _steps()
        await pool.release(connection)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        # No timeout of the test's own: the pool's ends with an error if nobody woke it.
        assert await second is connection
        await pool.release(connection)
        assert (manager.stats()["idle"], manager.stats()["in_use"]) == (1, 0)


async def test_connections_go_to_those_who_wait_in_their_order(redis_server: RedisServer) -> None:
    """A caller who comes when one is given back does not overtake who has been waiting for it."""
    async with AsyncRedisConnectionManager(config_of(redis_server, max_connections=1)) as manager:
        pool = _pool(manager)
        served: list[int] = []

        async def use(number: int) -> None:
            taken = await pool.get_connection()
            served.append(number)
            await pool.release(taken)

        connection = await pool.get_connection()
        tasks = [asyncio.create_task(use(number)) for number in range(3)]
        await _steps()
        await pool.release(connection)
        await use(3)
        await asyncio.gather(*tasks)
        assert served == [0, 1, 2, 3]


async def test_cancelled_at_any_moment_callers_leave_every_connection_to_others(
    redis_server: RedisServer, unique_name: str
) -> None:
    """Thirty callers on two connections, most of them cancelled somewhere: the others get their own replies."""
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    async with AsyncRedisConnectionManager(config_of(redis_server, max_connections=2)) as manager:
        await manager.mset({f"{unique_name}:{number}": number for number in range(30)})
        for _ in range(100):
            tasks = [asyncio.create_task(manager.get(f"{unique_name}:{number}")) for number in range(30)]
            for _ in range(rng.randrange(60)):
                await asyncio.sleep(rng.choice([0, 0, 0, 0.0002]))
                rng.choice(tasks).cancel()
            for number, found in enumerate(await asyncio.gather(*tasks, return_exceptions=True)):
                assert found == number or isinstance(found, asyncio.CancelledError), f"seed {seed}: {found!r}"
        assert manager.stats()["in_use"] == 0, f"seed {seed}"
        assert await manager.mget([f"{unique_name}:{number}" for number in range(30)]) == list(range(30))
