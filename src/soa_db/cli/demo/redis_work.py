"""The demo's use of Redis in one environment, done in a worker process: every user, as its service connects."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from soa_db.cli.demo.examples import load_examples
from soa_db.cli.demo.work import role_arn
from soa_db.names import redis_user

if TYPE_CHECKING:
    from collections.abc import Mapping

    from soa_db.access.spec import Spec
    from soa_db.names import Env
    from soa_db.redis import AsyncRedisConnectionManager

__all__ = ["CacheUser", "connect_as_each"]

_CALLERS = 100


@dataclass(frozen=True, slots=True)
class CacheUser:
    """What was seen as one user.

    Attributes:
        right: the server knows it by its name, TLS is on where it should be, and what was written came back.
        callers: how many wanted a cached value that was not there, at once.
        keys: of how many keys.
        origin_calls: how often the origin was called for it.
    """

    right: bool
    callers: int
    keys: int
    origin_calls: int


def connect_as_each(env: Env, accounts: Mapping[Env, str]) -> list[CacheUser]:
    """Log in as every Redis user with its service's own AWS rights, and use it as far as its profile goes."""
    return asyncio.run(_all(env, accounts[env]))


async def _all(env: Env, account: str) -> list[CacheUser]:
    specs = [spec for spec in load_examples()[0].specs if spec.redis is not None]
    return await asyncio.gather(*(_one(env, account, spec) for spec in specs))


async def _one(env: Env, account: str, spec: Spec) -> CacheUser:
    from soa_db.aws import AsyncAwsClients
    from soa_db.redis import AsyncRedisConnectionManager, aload_redis_config_from_aws

    async with AsyncAwsClients(role_arn=role_arn(account, spec.service, "app")) as aws:
        config = await aload_redis_config_from_aws(env=env, service=spec.service, aws=aws)
        async with AsyncRedisConnectionManager(config, aws=aws) as manager:
            # `ACL WHOAMI` is not among what a service may run; a connection may always ask about itself.
            about: dict[str, str] = await manager.client.execute_command("CLIENT INFO")
            named = about["user"] == redis_user(spec.service, env)
            encrypted = config.tls is not None
            if spec.redis is not None and spec.redis.profile == "readonly":
                right = await manager.get(f"{spec.service}:demo") is None
                return CacheUser(named and right and encrypted is (env != "dev"), 0, 0, 0)
            right, origin_calls = await _use(manager, f"{spec.service}:demo")
    return CacheUser(named and right and encrypted is (env != "dev"), _CALLERS, 1, origin_calls)


async def _use(manager: AsyncRedisConnectionManager, key: str) -> tuple[bool, int]:
    """Write a value and read it; want another one that is not there many times at once. Both are gone in the end."""
    value = {"theme": "dark", "items": [1, None, "ä"]}
    cached, origin_calls = f"{key}:cached", 0

    async def origin() -> dict[str, object]:
        nonlocal origin_calls
        origin_calls += 1
        await asyncio.sleep(0.05)
        return dict(value)

    await manager.set(key, value, ttl=60)
    right = await manager.get(key) == value
    await manager.delete(cached)
    answers = await asyncio.gather(*(manager.cached_call(cached, origin, ttl=60) for _ in range(_CALLERS)))
    right = right and all(answer == value for answer in answers)
    return right and await manager.mdel([key, cached]) == 2, origin_calls
