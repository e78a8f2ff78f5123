"""The keys of a manager: one, several, and all that begin alike; values are JSON."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from soa_db._async.redis.base import AsyncCalls, Key, OnError
from soa_db._core.redis.values import decode, encode, encode_key, milliseconds, prefix_pattern
from soa_db._redis._async import Client, run_each, scan_nodes, scan_page
from soa_db.errors import AccessDenied, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableSet

__all__ = ["DEFAULT_TTL", "AsyncKeys"]

DEFAULT_TTL = 600.0
# Keys a command takes at once: a server does nothing else while it runs one.
_BATCH = 1000


class AsyncKeys(AsyncCalls):
    """Keys that hold JSON values."""

    async def get(self, key: Key, default: Any = None, *, on_error: OnError = "raise") -> Any:
        """Return the value of a key, ``default`` when there is none.

        Args:
            key: text or bytes.
            default: returned for a key that is not there; a JSON null is None.
            on_error: ``miss`` to return ``default`` also while the server is away: it is tried once, without
                waiting for its return, and during an outage by one caller at a time.
        """
        name = encode_key(key)
        text = await self._reading(lambda client: client.get(name), None, on_error, name)
        return default if text is None else decode(text, name)

    async def set(self, key: Key, value: object, ttl: float | None = DEFAULT_TTL) -> None:
        """Write a value as JSON.

        Args:
            key: text or bytes.
            value: anything JSON can hold.
            ttl: seconds to live, a fraction rounded up to milliseconds; None for as long as the server keeps it.

        Raises:
            ConfigurationError: the value is no JSON, or ``ttl`` is 0 or less. Nothing is sent then.
        """
        name = encode_key(key)
        text, px = encode(value, name), None if ttl is None else milliseconds(ttl)
        await self._call(lambda client: client.set(name, text, px=px), again=True, key=name)

    async def delete(self, key: Key) -> bool:
        """Delete a key; return whether it was there."""
        return await self.mdel([key]) > 0

    async def mget(self, keys: Iterable[Key], *, on_error: OnError = "raise") -> list[Any]:
        """Return the values of keys in their order, None for one that is not there."""
        names = [encode_key(key) for key in keys]
        if not names:
            return []
        texts = await self._reading(lambda client: self._mget(client, names), [None] * len(names), on_error, names[0])
        return [None if text is None else decode(text, name) for text, name in zip(texts, names, strict=True)]

    async def _mget(self, client: Client, names: list[bytes]) -> list[bytes | None]:
        texts: list[bytes | None] = []
        for start in range(0, len(names), _BATCH):
            batch = names[start : start + _BATCH]
            found: Any = await (_each(client, "GET", batch) if self.config.cluster else client.mget(batch))
            texts += found
        return texts

    async def mset(
        self, values: Mapping[str, object] | Mapping[bytes, object], ttl: float | None = DEFAULT_TTL
    ) -> None:
        """Write several values in one pipeline, each with its time to live; not as one transaction.

        Raises:
            ConfigurationError: one of them is no JSON. Nothing is sent then.
        """
        px = None if ttl is None else milliseconds(ttl)
        texts = {name: encode(value, name) for name, value in ((encode_key(key), one) for key, one in values.items())}
        if texts:
            written: MutableSet[bytes] = set()
            await self._call(lambda client: self._mset(client, texts, px, written), again=True)

    async def _mset(
        self, client: Client, texts: Mapping[bytes, bytes], px: int | None, written: MutableSet[bytes]
    ) -> None:
        """SET those that are not among ``written``, and add them to it as the server confirms them."""
        pairs = [pair for pair in texts.items() if pair[0] not in written]
        for start in range(0, len(pairs), _BATCH):
            batch = pairs[start : start + _BATCH]
            life = () if px is None else ("PX", px)
            # Errors are not raised by the pipeline: it would quote the value.
            answers = await run_each(client, [("SET", name, text, *life) for name, text in batch])
            failed = [answer for answer in answers if isinstance(answer, Exception)]
            for (name, _), answer in zip(batch, answers, strict=True):
                if not isinstance(answer, Exception):
                    written.add(name)
            if failed:
                raise failed[0]

    async def mdel(self, keys: Iterable[Key]) -> int:
        """Delete keys; return how many were there."""
        names = [encode_key(key) for key in keys]
        count = 0
        for start in range(0, len(names), _BATCH):
            batch = names[start : start + _BATCH]
            count += await self._call(lambda client, batch=batch: self._remove(client, batch), key=batch[0])  # type: ignore[misc]
        return count

    async def _remove(self, client: Client, names: list[bytes], command: str = "DEL") -> int:
        if self.config.cluster:
            return sum(await _each(client, command, names))
        native: Any = client
        found: int = await native.execute_command(command, *names)
        return found

    async def clear_by_prefix(self, prefix: Key) -> int:
        """Delete every key that begins with ``prefix``, on every primary of a cluster; return how many were deleted.

        SCAN and UNLINK in batches: nothing is held up. ``*``, ``?`` and the like in the prefix mean themselves.

        Raises:
            AccessDenied: the user may not SCAN: ``scan: true`` is missing in the service's db-access.yaml.
            ConfigurationError: the prefix is empty.
        """
        start = encode_key(prefix)
        if not start:
            raise ConfigurationError("an empty prefix would delete every key", hint="give the service's own prefix")
        pattern = prefix_pattern(start)
        count = 0
        for node in await self._call(scan_nodes, again=True):
            cursor = 0
            while True:
                try:
                    cursor, names = await self._call(
                        lambda client, at=cursor, node=node: scan_page(client, node, at, pattern, _BATCH),  # type: ignore[misc]
                        again=True,
                    )
                except AccessDenied as error:
                    hint = "set `scan: true` under `redis` in db-access.yaml, and provision"
                    raise AccessDenied(error.message, hint=hint, **error.context) from error
                if names:
                    remove = partial(self._remove, names=names, command="UNLINK")
                    count += await self._call(remove, again=True)
                if cursor == 0:
                    break
        return count


async def _each(client: Client, command: str, names: list[bytes]) -> list[Any]:
    """Return the answers of a command for each of many keys of a cluster; raises the first error among them."""
    answers = await run_each(client, [(command, name) for name in names])
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers
