"""Single calls of the Redis manager and hits of its cache, against bare redis-py doing the same work with JSON.

Both sides hold one connection of their own to one server. Rounds are short and interleaved; the figure is the lower
decile of the rounds.
"""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import redis
import redis.asyncio

from bench.report import Row
from bench.servers import plain_redis, redis_config
from bench.timing import alternate, alternate_async, lower_decile
from soa_db.redis import AsyncRedisConnectionManager, RedisConnectionManager

if TYPE_CHECKING:
    from soa_db.local.redis import RedisServer

ROUNDS = 250
CALLS = 60
KEYS = [f"bench:{number}" for number in range(20)]
# Some 130 bytes: a row of a table, as services cache it.
VALUE = {"id": 4711, "name": "Ada Lovelace", "roles": ["app", "ro"], "active": True, "seen": "2026-11-24T10:00:00Z"}
CALL_BAR, HIT_BAR = 1.10, 1.15
TTL = 600


# Made once: `json.dumps` with arguments makes an encoder at every call, and bare redis-py need not pay for that.
_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _options(server: RedisServer) -> dict[str, Any]:
    return {
        "host": server.host,
        "port": server.port,
        "username": server.admin_user,
        "password": server.admin_password,
        "protocol": 2,
        # Of bytes, `json.loads` has to find out the encoding first.
        "decode_responses": True,
    }


def _blocking(server: RedisServer) -> dict[str, list[float]]:
    def timed(call: Callable[[], object]) -> Callable[[], float]:
        def once() -> float:
            start = time.perf_counter()
            for _ in range(CALLS):
                call()
            return time.perf_counter() - start

        return once

    with redis.Redis(**_options(server)) as bare, RedisConnectionManager(redis_config(server)) as ours:
        ours.mset(dict.fromkeys(KEYS, VALUE))
        key = KEYS[0]

        def never() -> object:
            raise AssertionError("a hit calls no origin")

        # It is fresh: no hit renews it.
        ours.client.set(f"{key}_refresh", "1", ex=TTL)

        contenders = {
            "get": timed(lambda: ours.get(key)),
            "bare get": timed(lambda: json.loads(bare.get(key))),
            "set": timed(lambda: ours.set(key, VALUE)),
            "bare set": timed(lambda: bare.set(key, _dumps(VALUE), ex=TTL)),
            "mget": timed(lambda: ours.mget(KEYS)),
            "bare mget": timed(lambda: [json.loads(text) for text in bare.mget(KEYS)]),
            "hit": timed(lambda: ours.cached_call(key, never)),
            "fresh hit": timed(lambda: ours.cached_call(key, never, stale_while_revalidate=TTL)),
        }
        alternate(contenders, 10)  # connected, caches warm
        return alternate(contenders, ROUNDS)


async def _asynchronous(server: RedisServer) -> dict[str, list[float]]:
    def timed(call: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[float]]:
        async def once() -> float:
            start = time.perf_counter()
            for _ in range(CALLS):
                await call()
            return time.perf_counter() - start

        return once

    async with (
        redis.asyncio.Redis(**_options(server)) as bare,
        AsyncRedisConnectionManager(redis_config(server)) as ours,
    ):
        await ours.mset(dict.fromkeys(KEYS, VALUE))
        key = KEYS[0]

        async def never() -> object:
            raise AssertionError("a hit calls no origin")

        await ours.client.set(f"{key}_refresh", "1", ex=TTL)

        async def bare_get() -> object:
            return json.loads(await bare.get(key) or "")

        async def bare_mget() -> object:
            return [json.loads(text or "") for text in await bare.mget(KEYS)]

        contenders = {
            "get": timed(lambda: ours.get(key)),
            "bare get": timed(bare_get),
            "set": timed(lambda: ours.set(key, VALUE)),
            "bare set": timed(lambda: bare.set(key, _dumps(VALUE), ex=TTL)),
            "mget": timed(lambda: ours.mget(KEYS)),
            "bare mget": timed(bare_mget),
            "hit": timed(lambda: ours.cached_call(key, never)),
            "fresh hit": timed(lambda: ours.cached_call(key, never, stale_while_revalidate=TTL)),
        }
        await alternate_async(contenders, 10)
        return await alternate_async(contenders, ROUNDS)


def run() -> list[Row]:
    """Blocking, then asynchronous."""
    with plain_redis() as server:
        gc.disable()  # a collection would fall on whoever is running
        try:
            found = {"sync": lower_decile(_blocking(server), scale=1e6 / CALLS)}
            gc.collect()
            found["async"] = lower_decile(asyncio.run(_asynchronous(server)), scale=1e6 / CALLS)
        finally:
            gc.enable()
    rows = []
    for how, times in found.items():
        rows += [
            Row(f"{what}, {how}", times[what], "us", times[f"bare {what}"], "bare redis-py and json", CALL_BAR)
            for what in ("get", "set", "mget")
        ]
        rows.append(Row(f"cached_call, a hit, {how}", times["hit"], "us", times["bare get"], "bare GET", HIT_BAR))
        # GET and SET NX in one round trip, against the GET alone: what the option costs, no bar.
        what = f"the same with stale_while_revalidate, {how}"
        rows.append(Row(what, times["fresh hit"], "us", times["bare get"], "bare GET"))
    return rows
