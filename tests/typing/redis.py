"""``soa_db.redis``: managers and loaders; a cached call returns what its origin does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_type

from redis import Redis as BlockingRedis
from redis import RedisCluster as BlockingCluster
from redis.asyncio import Redis, RedisCluster

from soa_db import RedisConfig
from soa_db.aws import AsyncAwsClients
from soa_db.redis import (
    AsyncRedisConnectionManager,
    RedisConnectionManager,
    aload_redis_config_from_aws,
    load_redis_config_from_aws,
)


async def asynchronous(aws: AsyncAwsClients) -> None:
    """With ``async``."""
    async with AsyncRedisConnectionManager.from_aws(env="mirror", service="chat-api", aws=aws) as cache:
        assert_type(cache, AsyncRedisConnectionManager)

        async def origin() -> list[int]:
            return [1]

        assert_type(await cache.cached_call("k", origin, ttl=60, stale_while_revalidate=600, lock=5), list[int])
        assert_type(await cache.refresh_cache("k", origin, throttle=60), bool)
        assert_type(await cache.get("k", 0, on_error="miss"), Any)
        assert_type(await cache.mget([b"a", "b"]), list[Any])
        assert_type(await cache.smembers("s"), list[Any])
        assert_type(await cache.sadd("s", 1, {"a": 2}, ttl=60), int)
        assert_type(await cache.srem("s", 1), int)
        assert_type(await cache.delete("k"), bool)
        assert_type(await cache.mdel(["a"]), int)
        assert_type(await cache.clear_by_prefix("p:"), int)
        await cache.set("k", {"a": 1}, ttl=None)
        await cache.mset({"a": 1, "b": None}, ttl=1.5)
        assert_type(await cache.ping(), bool)
        assert_type(cache.stats(), Mapping[str, int])
        assert_type(cache.config, RedisConfig)
        native: Redis | RedisCluster = cache.client
        del native
        await cache.get("k", on_error="ignore")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(await aload_redis_config_from_aws(env="prod", service="x", auth="iam"), RedisConfig)


def blocking() -> None:
    """Without."""
    config = load_redis_config_from_aws(env="dev", service="x", dial="h:1", tls=False, db=1, command_timeout=2.0)
    assert_type(config, RedisConfig)
    with RedisConnectionManager(config) as cache:
        assert_type(cache, RedisConnectionManager)
        assert_type(cache.cached_call("k", lambda: "text"), str)
        assert_type(cache.refresh_cache("k", lambda: 42), bool)
        assert_type(cache.get("k"), Any)
        cache.set("k", 1)
        native: BlockingRedis | BlockingCluster = cache.client
        del native
        assert_type(cache.is_connected, bool)
        cache.drain()
    RedisConnectionManager.from_aws(env="dev", service="x", ssl=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
