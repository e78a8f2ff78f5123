"""Tasks that use Redis: values that must come back as they were written, additions that run once, cached calls."""

from __future__ import annotations

import asyncio
import itertools
from abc import abstractmethod
from typing import TYPE_CHECKING

from soa_db.cli.demo.load import Load

if TYPE_CHECKING:
    from soa_db.aws import AsyncAwsClients
    from soa_db.config import RedisConfig
    from soa_db.redis import AsyncRedisConnectionManager

__all__ = ["CacheLoad", "RedisLoad"]


class _OnRedis(Load):
    """What is common: a manager, keys under one prefix, which are gone in the end."""

    def __init__(self, prefix: str, config: RedisConfig, aws: AsyncAwsClients, *, tasks: int, reconnect: bool) -> None:
        super().__init__(tasks=tasks)
        self._prefix = prefix
        self._config = config
        self._aws = aws
        self._reconnect = reconnect
        self._ids = itertools.count(1)
        self._keys: set[str] = set()

    async def _main(self) -> None:
        from soa_db.redis import AsyncRedisConnectionManager

        async with self._aws, AsyncRedisConnectionManager(self._config, aws=self._aws) as manager:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.tasks):
                    group.create_task(self._until_stopped(lambda: self._call(manager)))
                if self._reconnect:
                    group.create_task(self._drain(manager.drain))
            await manager.mdel(self._keys)

    @abstractmethod
    async def _call(self, manager: AsyncRedisConnectionManager) -> str:
        """One call; what it is known by."""


class RedisLoad(_OnRedis):
    """Values written and read back, and additions to a set, which no client may run twice unasked.

    Args:
        prefix: what its keys begin with.
        config: the Redis, and a user that may write there.
        aws: what the manager reads secrets with; closed at the end.
        tasks: how many call at the same time.
        reconnect: drop idle connections all the time, so that many calls need a new one, and with it the password.

    Attributes:
        wrong: values that came back other than they were written.
        gone: values that were not there any more when they were read.
    """

    def __init__(
        self, prefix: str, config: RedisConfig, aws: AsyncAwsClients, *, tasks: int = 20, reconnect: bool = False
    ) -> None:
        super().__init__(prefix, config, aws, tasks=tasks, reconnect=reconnect)
        self.wrong = 0
        self.gone = 0

    async def _call(self, manager: AsyncRedisConnectionManager) -> str:
        number = next(self._ids)
        if number % 2:
            await manager.sadd(self._key("set"), number)
        else:
            key = self._key(f"value:{number}")
            await manager.set(key, {"n": number}, ttl=60)
            found = await manager.get(key)
            self.gone += found is None
            self.wrong += found not in (None, {"n": number})
        return f"{number}"

    def _key(self, rest: str) -> str:
        key = f"{self._prefix}{rest}"
        self._keys.add(key)
        return key


class CacheLoad(_OnRedis):
    """Cached calls of a few keys whose values are fresh for a short time.

    Args:
        prefix: what its keys begin with.
        config: the Redis, and a user that may write there.
        aws: what the manager reads secrets with; closed at the end.
        tasks: how many call at the same time.

    Attributes:
        origin_calls: how many calls went to the origin.
        wrong: calls that gave something the origin did not return.
    """

    KEYS = 4
    FRESH = 0.2

    def __init__(self, prefix: str, config: RedisConfig, aws: AsyncAwsClients, *, tasks: int = 20) -> None:
        super().__init__(prefix, config, aws, tasks=tasks, reconnect=False)
        self.origin_calls = 0
        self.wrong = 0

    async def _call(self, manager: AsyncRedisConnectionManager) -> str:
        number = next(self._ids)
        key = f"{self._prefix}{number % self.KEYS}"
        self._keys.add(key)

        async def origin() -> list[str]:
            self.origin_calls += 1
            await asyncio.sleep(0.01)
            return [key]

        self.wrong += await manager.cached_call(key, origin, ttl=self.FRESH) != [key]
        return f"{number}"
