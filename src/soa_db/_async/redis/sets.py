"""The sets of a manager: members are JSON values."""

from __future__ import annotations

from typing import Any

from soa_db._async.redis.base import AsyncCalls, Key, OnError
from soa_db._core.redis.values import decode, encode, encode_key, milliseconds

__all__ = ["AsyncSets"]


class AsyncSets(AsyncCalls):
    """Sets of JSON values."""

    async def sadd(self, key: Key, *values: object, ttl: float | None = None) -> int:
        """Add values to a set, each as JSON; return how many were new.

        Two objects whose fields come in another order are two members.

        Args:
            key: text or bytes.
            values: anything JSON can hold.
            ttl: seconds the set lives from now; left as it is when None.
        """
        name = encode_key(key)
        texts = [encode(value, name) for value in values]
        px = None if ttl is None else milliseconds(ttl)
        added: int = await self._call(lambda client: client.sadd(name, *texts), key=name) if texts else 0
        if px is not None:
            await self._call(lambda client: client.pexpire(name, px), again=True, key=name)
        return added

    async def smembers(self, key: Key, *, on_error: OnError = "raise") -> list[Any]:
        """Return the members of a set, in no order; a list, since JSON's objects and lists fit in no Python set."""
        name = encode_key(key)
        found = await self._reading(lambda client: client.smembers(name), (), on_error, name)
        return [decode(text, name) for text in found]

    async def srem(self, key: Key, *values: object) -> int:
        """Remove values from a set; return how many were there."""
        name = encode_key(key)
        texts = [encode(value, name) for value in values]
        removed: int = await self._call(lambda client: client.srem(name, *texts), key=name) if texts else 0
        return removed
