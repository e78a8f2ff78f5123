"""How a manager calls its server: what its parts, a module for each subject, have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Literal

from soa_db._async.redis.calls import call_server
from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from soa_db._async.redis.cache import AsyncCache
    from soa_db._redis._async import Client
    from soa_db.config import RedisConfig

__all__ = ["AsyncCalls", "Key", "OnError"]

Key = str | bytes
OnError = Literal["raise", "miss"]


class AsyncCalls(ABC):
    """Calls of one server. Who inherits says which, and in what state it is."""

    _cache: AsyncCache

    @property
    @abstractmethod
    def config(self) -> RedisConfig:
        """The configuration."""

    @abstractmethod
    async def present(self) -> Client:
        """Return the native client, fit to be used here and now."""

    async def _call(self, call: Callable[[Client], Any], *, again: bool = False, key: bytes = b"") -> Any:
        client = await self.present()
        found = await call_server(client, self.config, call, again=again, key=key)
        self._cache.answered()
        return found

    async def _reading(self, call: Callable[[Client], Any], miss: Any, on_error: OnError, key: bytes) -> Any:
        if on_error not in {"raise", "miss"}:
            raise ConfigurationError(f"unknown on_error {on_error!r}", hint="'raise' or 'miss'")
        if on_error == "miss":
            return await self._cache.read(call, miss, key)
        return await self._call(call, again=True, key=key)
