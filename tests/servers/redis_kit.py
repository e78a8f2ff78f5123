"""The two kinds of Redis managers as one, on servers and users of the tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr
from tests.servers.aws_kit import settle

from soa_db import PasswordAuth, RedisConfig
from soa_db.local.redis_cluster import RedisCluster
from soa_db.redis import AsyncRedisConnectionManager, RedisConnectionManager

if TYPE_CHECKING:
    from soa_db.local.redis import RedisServer

# What a service is given, FACTS "Redis and ElastiCache".
RULES = (
    "-@all +@read +@write +@connection +@transaction +@pubsub -@dangerous -@admin -function -scan -randomkey -dbsize "
    "+info -client|kill"
)
Manager = AsyncRedisConnectionManager | RedisConnectionManager
KINDS: dict[str, type[Any]] = {"async": AsyncRedisConnectionManager, "sync": RedisConnectionManager}


def config_of(server: RedisServer | RedisCluster, **fields: Any) -> RedisConfig:
    """The administrator's config, without TLS."""
    given = {
        "instance_name": "cache",
        "host": server.host,
        "port": server.port,
        "user": server.admin_user,
        "auth": PasswordAuth(password=SecretStr(server.admin_password)),
        "tls": None,
        "cluster": isinstance(server, RedisCluster),
    }
    return RedisConfig(**{**given, **fields})


@asynccontextmanager
async def connected(kind: str, config: RedisConfig) -> AsyncIterator[Any]:
    """A connected manager of a kind."""
    manager = KINDS[kind](config)
    await settle(manager.connect())
    try:
        yield manager
    finally:
        await settle(manager.disconnect())


def origin_of(kind: str, call: Callable[[], Any]) -> Callable[[], Any]:
    """An origin as a kind of manager takes it."""
    if kind == "sync":
        return call

    async def origin() -> Any:
        return call()

    return origin
