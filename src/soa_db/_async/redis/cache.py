"""Cached calls: one origin call per key, stale values while they are renewed, outages degraded to the origin."""

from __future__ import annotations

import logging
import random
import secrets
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import WatchError

from soa_db._async.redis.calls import call_server
from soa_db._async.redis.outage import AWAY, AsyncOutage
from soa_db._core.reconnect import probe_delay
from soa_db._core.redis.classify import Category
from soa_db._core.redis.values import decode, encode, milliseconds, shown, sibling
from soa_db._redis.failures import category_of
from soa_db._runtime._async import Awaited, SharedCall, Task, sleep, spawn
from soa_db.errors import CommandRefused, NotConnectedError, SoaDbError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from soa_db._async.redis.manager import AsyncRedisConnectionManager
    from soa_db._redis._async import Client

__all__ = ["AsyncCache"]

T = TypeVar("T")
_LOG = logging.getLogger("soa_db.redis")
# Seconds one process may take to renew a stale value before another one tries.
_RENEWAL_SECONDS = 30.0


class AsyncCache:
    """What the cache calls of one manager share: calls under way, an outage, counts."""

    def __init__(self, manager: AsyncRedisConnectionManager) -> None:
        self._manager = manager
        self._outage = AsyncOutage(manager)
        self.answered = self._outage.answered
        # As text: each caller gets an object of its own, as from a hit.
        self._shared: SharedCall[bytes] = SharedCall()
        # How many origin calls have ended: who missed before one did has to look again.
        self._landed = 0
        # By key: one that takes longer than its claim lasts is not joined by another one.
        self._renewals: dict[bytes, Task] = {}
        self._guard = threading.Lock()
        self._counts = {"hits": 0, "misses": 0, "stale_hits": 0, "origin_calls": 0}

    @property
    def is_away(self) -> bool:
        """Whether the last call found the server away."""
        return self._outage.is_away

    def counts(self) -> Mapping[str, int]:
        """Return the counts."""
        return {**self._counts, **self._outage.counts()}

    async def read(self, call: Callable[[Client], Any], miss: Any, key: bytes) -> Any:
        """Return what a call gives, ``miss`` during an outage: then one caller at a time asks, and nobody waits."""
        found = await self._outage.ask(call, key)
        return miss if found is AWAY else found

    async def stop(self) -> None:
        """End the origin calls nobody waits for, renewals among them, and wait for that, ``command_timeout`` at most.

        A thread cannot be stopped, nor an origin that swallows its cancellation: the log tells of those.
        """
        with self._guard:
            renewals, self._renewals = self._renewals, {}
        tasks = [*renewals.values(), *self._shared.take_unawaited()]
        self._outage.forget()
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        end = time.monotonic() + self._manager.config.command_timeout
        left = 0
        for task in tasks:
            left += not await task.join(max(0.0, end - time.monotonic()))
        if left:
            text = "%s: disconnected while %d origin calls in the background go on; what they return is not kept"
            _LOG.warning(text, self._manager.name, left)

    async def _tell(self, call: Callable[[Client], Any], key: bytes) -> Any:
        """Make a writing call: the value is there for the caller, whether it is kept or not."""
        try:
            found = await self._outage.ask(call, key)
        except NotConnectedError:
            # Disconnected while the origin was at work.
            return AWAY
        except CommandRefused as error:
            _LOG.warning("%s: a value was not cached: %s", self._manager.name, error.message)
            return AWAY
        if found is not AWAY:
            self._outage.wrote()
        return found

    # --- calls

    async def call(
        self, key: bytes, origin: Callable[[], Awaited[T]], *, ttl: float, stale: float | None, lock: float | None
    ) -> T:
        """See the manager's ``cached_call``."""
        px = milliseconds(ttl)
        keep = px if stale is None else px + milliseconds(stale, "stale_while_revalidate")
        lock_px = None if lock is None else milliseconds(lock, "lock")
        before, is_stale = self._landed, False
        if stale is None or self._is_renewing(key):
            # No claim beside a renewal of our own that has outlasted its claim: it would keep other processes from one.
            text = await self._outage.ask(lambda client: client.get(key), key)
        else:
            text, is_stale = await self._look(key, px)
        if text is None or text is AWAY:
            self._counts["misses"] += 1
            fresh = None if stale is None else px
            fly = partial(self._fly, key, origin, keep=keep, fresh=fresh, lock=lock_px, before=before)
            # As every later caller gets it: a tuple is a list then.
            result: T = decode(await self._shared.run(key, fly), key)
            return result
        value: T = decode(text, key)
        self._counts["hits"] += 1
        if is_stale:
            self._counts["stale_hits"] += 1
            self._renew(key, origin, keep=keep, fresh=px)
        return value

    async def _look(self, key: bytes, fresh: int) -> tuple[Any, bool]:
        """Return the text, None or ``AWAY``, and whether this caller is to renew it."""
        claim = min(fresh, milliseconds(_RENEWAL_SECONDS))
        found = await self._outage.ask(lambda client: self._get_and_claim(client, key, claim), key)
        if found is AWAY:
            return AWAY, False
        text, claimed = found
        return text, bool(claimed)

    async def _get_and_claim(self, client: Client, key: bytes, claim: int) -> Any:
        # In one round trip; the two keys may stand in different slots.
        pipeline: Any = client.pipeline(transaction=False)
        pipeline.get(key)
        pipeline.set(sibling(key, "refresh"), b"1", nx=True, px=claim)
        text, claimed = await pipeline.execute(raise_on_error=False)
        if isinstance(text, Exception):
            raise text
        if isinstance(claimed, Exception):
            if category_of(claimed) not in {Category.FULL, Category.NOT_READY}:
                raise claimed
            # There is a value, and a renewed one could not be kept.
            await self._outage.refused_beside(client, claimed)
            return text, None
        self._outage.wrote()
        return text, claimed

    async def _fly(
        self,
        key: bytes,
        origin: Callable[[], Awaited[Any]],
        *,
        keep: int,
        fresh: int | None,
        lock: int | None,
        before: int,
    ) -> bytes:
        try:
            if self._landed != before:
                # Another call for this key may have ended between our look and now.
                text = await self._outage.ask(lambda client: client.get(key), key)
                if text is not None and text is not AWAY:
                    found: bytes = text
                    return found
            if lock is None:
                return await self._fetch(key, origin, keep=keep, fresh=fresh)
            return await self._fetch_locked(key, origin, keep=keep, fresh=fresh, lock=lock)
        finally:
            self._landed += 1

    async def _fetch_locked(
        self, key: bytes, origin: Callable[[], Awaited[Any]], *, keep: int, fresh: int | None, lock: int
    ) -> bytes:
        name, token = sibling(key, "lock"), _token()
        try:
            cached = await self._lock(key, name, token, lock)
            return await self._fetch(key, origin, keep=keep, fresh=fresh) if cached is None else cached
        finally:
            # Whatever was seen of it: it may have been taken though the answer was lost.
            await self._give_back(name, token)

    async def _fetch(self, key: bytes, origin: Callable[[], Awaited[Any]], *, keep: int, fresh: int | None) -> bytes:
        self._counts["origin_calls"] += 1
        text = encode(await origin(), key)
        await self._tell(lambda client: self._keep(client, key, text, keep, fresh), key)
        return text

    @staticmethod
    async def _keep(client: Client, key: bytes, text: bytes, keep: int | None, fresh: int | None) -> None:
        await client.set(key, text, px=keep)
        if fresh is not None:
            await client.set(sibling(key, "refresh"), b"1", px=fresh)

    # --- across processes

    async def _lock(self, key: bytes, name: bytes, token: bytes, px: int) -> bytes | None:
        """Return None once the lock is ours or not to be had, or the text another one has cached meanwhile."""
        started = time.monotonic()
        while True:
            taken = await self._tell(lambda client: self._take(client, name, token, px), key)
            text = await self._outage.ask(lambda client: client.get(key), key)
            if text is not None and text is not AWAY:
                found: bytes = text
                return found
            if taken is AWAY or text is AWAY or taken:
                return None
            elapsed = time.monotonic() - started
            if elapsed > 2 * px / 1000:
                # Others come first again and again: nobody waits longer than two of them may take.
                return None
            await sleep(probe_delay(elapsed, rng=random.random))

    @staticmethod
    async def _take(client: Client, name: bytes, token: bytes, px: int) -> bool:
        """Set a key to a token unless it is there; return whether it holds it. May run twice."""
        pipeline: Any = client.pipeline(transaction=False)
        pipeline.set(name, token, nx=True, px=px)
        pipeline.get(name)
        # Not raised by the pipeline: it would quote the token.
        answers = await pipeline.execute(raise_on_error=False)
        for found in answers:
            if isinstance(found, Exception):
                raise found
        return bool(answers[1] == token)

    @staticmethod
    async def _drop(client: Client, name: bytes, token: bytes) -> None:
        """Delete a key if it still holds the token. Not by a script: services may not run any."""
        pipeline: Any = client.pipeline(transaction=True)
        async with pipeline:
            try:
                await pipeline.watch(name)
                if await pipeline.get(name) == token:
                    pipeline.multi()
                    pipeline.delete(name)
                    await pipeline.execute()
            except WatchError:
                # It ended, or is another's by now.
                return

    async def _give_back(self, name: bytes, token: bytes) -> None:
        """Delete what ``_take`` has set, if it is still ours. Raises no error: it ends by itself."""
        try:
            await self._outage.ask(lambda client: self._drop(client, name, token), name)
        except SoaDbError as error:
            text = "%s: the key %s could not be deleted and stays until it expires: %s"
            _LOG.warning(text, self._manager.name, shown(name), error.message)

    # --- renewal

    def _is_renewing(self, key: bytes) -> bool:
        task = self._renewals.get(key)
        return task is not None and not task.done()

    def _renew(self, key: bytes, origin: Callable[[], Awaited[Any]], *, keep: int, fresh: int) -> None:
        async def renew() -> None:
            try:
                await self._fetch(key, origin, keep=keep, fresh=fresh)
            except Exception as error:  # noqa: BLE001 - nobody waits for this, and the stale value is still there
                text = "%s: the key %s could not be renewed, its stale value stays: %s"
                _LOG.warning(text, self._manager.name, shown(key), type(error).__name__)

        with self._guard:
            for other, task in tuple(self._renewals.items()):
                if task.done():
                    del self._renewals[other]
            if key not in self._renewals:
                # Two callers may have looked at once, and the second one's claim outlasted the first one's.
                self._renewals[key] = spawn(renew, name="soa-db refresh")

    async def refresh(
        self, key: bytes, origin: Callable[[], Awaited[object]], *, throttle: float, ttl: float | None
    ) -> bool:
        """See the manager's ``refresh_cache``."""
        name, token, px = sibling(key, "refresh"), _token(), milliseconds(throttle, "throttle")
        keep = None if ttl is None else milliseconds(ttl)
        manager = self._manager
        client = await manager.present()
        take = partial(self._take, name=name, token=token, px=px)
        try:
            if not await call_server(client, manager.config, take, again=True, key=key):
                return False
            text = encode(await origin(), key)
            keeping = partial(self._keep, key=key, text=text, keep=keep, fresh=None)
            await call_server(client, manager.config, keeping, again=True, key=key)
        except BaseException:
            # Also if the answer was lost; not what is another's by now: the origin may have taken longer than it lasts.
            await self._give_back(name, token)
            raise
        self.answered()
        self._outage.wrote()
        return True


def _token() -> bytes:
    return secrets.token_hex(16).encode()
