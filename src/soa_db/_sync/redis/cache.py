# Generated from src/soa_db/_async/redis/cache.py by tools/generate_sync.py: edit that file, then run `make generate`.

"""Cached calls: one origin call per key, stale values while they are renewed, outages degraded to the origin."""

from __future__ import annotations

import logging
import random
import secrets
import time
from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import WatchError

from soa_db._core.reconnect import probe_delay
from soa_db._core.redis.values import decode, encode, milliseconds, shown, sibling
from soa_db._runtime._sync import Awaited, SharedCall, Task, sleep, spawn
from soa_db._sync.redis.calls import call_server
from soa_db.errors import CommandRefused, ConnectionFailed, PoolTimeout, SoaDbError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from soa_db._redis._sync import Client
    from soa_db._sync.redis.manager import RedisConnectionManager

__all__ = ["Cache"]

T = TypeVar("T")
_LOG = logging.getLogger("soa_db.redis")
_MISS = object()
_AWAY = object()
# Seconds one process may take to renew a stale value before another one tries.
_RENEWAL_SECONDS = 30.0


class Cache:
    """What the cache calls of one manager share: calls under way, an outage, counts."""

    def __init__(self, manager: RedisConnectionManager) -> None:
        self._manager = manager
        self._shared: SharedCall[Any] = SharedCall()
        # How many origin calls have ended: who missed before one did has to look again.
        self._landed = 0
        self._away_since: float | None = None
        self._look_at = 0.0
        self._renewals: set[Task] = set()
        self._counts = {"hits": 0, "misses": 0, "stale_hits": 0, "origin_calls": 0, "away": 0}

    # --- outages

    @property
    def is_away(self) -> bool:
        """Whether the last call found the server away."""
        return self._away_since is not None

    @staticmethod
    def is_outage(error: SoaDbError) -> bool:
        """Whether a cache should do without the server."""
        return isinstance(error, ConnectionFailed | PoolTimeout)

    def met(self, error: SoaDbError) -> None:
        """Take note of an outage; the first of it is logged."""
        if isinstance(error, PoolTimeout):
            return
        now = time.monotonic()
        # Read once: another thread may find the server back meanwhile.
        since = self._away_since
        if since is None:
            self._away_since = since = now
            self._counts["away"] += 1
            _LOG.warning("%s: Redis is away, cached calls go to their origins: %s", self._manager.name, error.message)
        self._look_at = now + probe_delay(now - since, rng=random.random)

    def _back(self) -> None:
        if self._away_since is not None:
            self._away_since = None
            _LOG.info("%s: Redis is back", self._manager.name)

    def _ask(self, call: Callable[[Client], Any], key: bytes) -> Any:
        """Return what a call gives, ``_AWAY`` during an outage; one caller at a time looks whether it is over."""
        if self._away_since is not None:
            now = time.monotonic()
            if now < self._look_at:
                return _AWAY
            self._look_at = now + self._manager.config.connect_timeout + self._manager.config.command_timeout
        client = self._manager.present()
        try:
            found = call_server(
                client, self._manager.config, lambda: call(client), again=True, patience=0, key=shown(key)
            )
        except SoaDbError as error:
            if not self.is_outage(error):
                raise
            self.met(error)
            return _AWAY
        self._back()
        return found

    def _tell(self, call: Callable[[Client], Any], key: bytes) -> Any:
        """The same for writing: the value is there for the caller, whether it is kept or not."""
        try:
            return self._ask(call, key)
        except CommandRefused as error:
            _LOG.warning("%s: a value was not cached: %s", self._manager.name, error.message)
            return _AWAY

    def counts(self) -> Mapping[str, int]:
        """Return the counts."""
        return dict(self._counts)

    def stop(self) -> None:
        """End the renewals in the background."""
        for task in tuple(self._renewals):
            task.cancel()
        for task in tuple(self._renewals):
            task.join()
        self._renewals.clear()

    # --- calls

    def call(
        self, key: bytes, origin: Callable[[], Awaited[T]], *, ttl: float, stale: float | None, lock: float | None
    ) -> T:
        """See the manager's ``cached_call``."""
        px = milliseconds(ttl)
        keep = px if stale is None else px + milliseconds(stale, "stale_while_revalidate")
        lock_px = None if lock is None else milliseconds(lock, "lock")
        fresh = None if stale is None else px
        before = self._landed
        found = self._look(key, fresh)
        if found is _MISS or found is _AWAY:
            self._counts["misses"] += 1

            def fly() -> Any:
                try:
                    return self._fly(key, origin, keep=keep, fresh=fresh, lock=lock_px, again=self._landed != before)
                finally:
                    self._landed += 1

            result: T = self._shared.run(key, fly)
            return result
        text, is_stale = found
        value: T = decode(text, key)
        self._counts["hits"] += 1
        if is_stale:
            self._counts["stale_hits"] += 1
            self._renew(key, origin, keep=keep, fresh=px)
        return value

    def _look(self, key: bytes, fresh: int | None) -> Any:
        """Return ``_MISS``, ``_AWAY``, or the text and whether this caller is to renew it."""
        if fresh is None:
            text = self._ask(lambda client: client.get(key), key)
            return _MISS if text is None else text if text is _AWAY else (text, False)
        claim = min(fresh, milliseconds(_RENEWAL_SECONDS))
        found = self._ask(lambda client: self._get_and_claim(client, key, claim), key)
        if found is _AWAY:
            return _AWAY
        text, claimed = found
        return _MISS if text is None else (text, bool(claimed))

    def _get_and_claim(self, client: Client, key: bytes, claim: int) -> Any:
        # In one round trip; the two keys may stand in different slots.
        pipeline: Any = client.pipeline(transaction=False)
        pipeline.get(key)
        pipeline.set(sibling(key, "refresh"), b"1", nx=True, px=claim)
        return pipeline.execute()

    def _fly(
        self,
        key: bytes,
        origin: Callable[[], Awaited[Any]],
        *,
        keep: int,
        fresh: int | None,
        lock: int | None,
        again: bool,
    ) -> Any:
        if again:
            # Another call for this key may have ended between our look and now.
            text = self._ask(lambda client: client.get(key), key)
            if text is not None and text is not _AWAY:
                return decode(text, key)
        if lock is None:
            return self._fetch(key, origin, keep=keep, fresh=fresh)
        token = secrets.token_hex(16).encode()
        text = self._lock(key, token, lock)
        if text is not None:
            return decode(text, key)
        try:
            return self._fetch(key, origin, keep=keep, fresh=fresh)
        finally:
            self._tell(lambda client: self._unlock(client, sibling(key, "lock"), token), key)

    def _fetch(self, key: bytes, origin: Callable[[], Awaited[Any]], *, keep: int, fresh: int | None) -> Any:
        self._counts["origin_calls"] += 1
        text = encode(origin(), key)
        self._tell(lambda client: self._keep(client, key, text, keep, fresh), key)
        # As every later caller gets it: a tuple is a list then.
        return decode(text, key)

    @staticmethod
    def _keep(client: Client, key: bytes, text: bytes, keep: int | None, fresh: int | None) -> None:
        client.set(key, text, px=keep)
        if fresh is not None:
            client.set(sibling(key, "refresh"), b"1", px=fresh)

    # --- across processes

    def _lock(self, key: bytes, token: bytes, px: int) -> bytes | None:
        """Return None once the lock is ours or not to be had, or the text another one has cached meanwhile."""
        started = time.monotonic()
        while True:
            taken = self._tell(lambda client: client.set(sibling(key, "lock"), token, nx=True, px=px), key)
            text = self._ask(lambda client: client.get(key), key)
            if text is not None and text is not _AWAY:
                if taken is True:
                    self._tell(lambda client: self._unlock(client, sibling(key, "lock"), token), key)
                found: bytes = text
                return found
            if taken is _AWAY or text is _AWAY or taken:
                return None
            elapsed = time.monotonic() - started
            if elapsed > 2 * px / 1000:
                # Others come first again and again: nobody waits longer than two of them may take.
                return None
            sleep(probe_delay(elapsed, rng=random.random))

    @staticmethod
    def _unlock(client: Client, name: bytes, token: bytes) -> None:
        """Delete the lock if it is still ours. Not by a script: services may not run any."""
        pipeline: Any = client.pipeline(transaction=True)
        with pipeline:
            try:
                pipeline.watch(name)
                if pipeline.get(name) == token:
                    pipeline.multi()
                    pipeline.delete(name)
                    pipeline.execute()
            except WatchError:
                # It ended, or is another's by now.
                return

    # --- renewal

    def _renew(self, key: bytes, origin: Callable[[], Awaited[Any]], *, keep: int, fresh: int) -> None:
        def renew() -> None:
            try:
                self._shared.run((key, "renew"), lambda: self._fetch(key, origin, keep=keep, fresh=fresh))
            except Exception as error:  # noqa: BLE001 - nobody waits for this, and the stale value is still there
                text = "%s: the key %s could not be renewed, its stale value stays: %s"
                _LOG.warning(text, self._manager.name, shown(key), type(error).__name__)

        self._renewals = {task for task in self._renewals if not task.done()}
        self._renewals.add(spawn(renew, name="soa-db refresh"))

    def refresh(self, key: bytes, origin: Callable[[], Awaited[object]], *, throttle: float, ttl: float | None) -> bool:
        """See the manager's ``refresh_cache``."""
        name, px = sibling(key, "refresh"), milliseconds(throttle, "throttle")
        keep = None if ttl is None else milliseconds(ttl)
        manager = self._manager
        client = manager.present()
        taken = call_server(
            client, manager.config, lambda: client.set(name, b"1", nx=True, px=px), again=False, key=shown(key)
        )
        if not taken:
            return False
        try:
            text = encode(origin(), key)
            call_server(client, manager.config, lambda: client.set(key, text, px=keep), again=True, key=shown(key))
        except BaseException:
            self._tell(lambda client: client.delete(name), name)
            raise
        return True
