"""What the cache calls of one manager know of its server: whether it is away, and whether it takes writes."""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import TYPE_CHECKING, Any

from redis.exceptions import MovedError, ReadOnlyError, ResponseError

from soa_db._async.redis.calls import call_server
from soa_db._core.reconnect import probe_delay
from soa_db._core.redis.classify import Category
from soa_db._redis._async import drop_idle
from soa_db._redis.failures import NotReached, category_of, typed
from soa_db.errors import ConnectionFailed, PoolTimeout, ServerUnavailable, SoaDbError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from soa_db._async.redis.manager import AsyncRedisConnectionManager
    from soa_db._redis._async import Client

__all__ = ["AWAY", "AsyncOutage"]

AWAY = object()
_LOG = logging.getLogger("soa_db.redis")


def _was_cut(error: ServerUnavailable) -> bool:
    """Whether a connection that had stood broke, or the slot has moved: nobody is away for that."""
    cause = error.__cause__
    if cause is None or isinstance(error, NotReached):
        return False
    return isinstance(cause, MovedError) or category_of(cause) is Category.UNREACHABLE


def _takes_no_writes(error: BaseException | None) -> bool:
    """Whether the driver's error says that the server answers and keeps nothing: a replica, memory or disk full."""
    return isinstance(error, ReadOnlyError) or (error is not None and category_of(error) is Category.FULL)


def _is_answer(error: SoaDbError) -> bool:
    """Whether the server answered the command with a refusal; a failed login or certificate, or a secret, is none."""
    return isinstance(error.__cause__, ResponseError) and not isinstance(error, ConnectionFailed)


class AsyncOutage:
    """Whether the server is away, who looks whether it is back, and whether it takes writes; each is logged once."""

    def __init__(self, manager: AsyncRedisConnectionManager) -> None:
        self._manager = manager
        # For the changes of state: of several threads that meet one, one tells of it.
        self._guard = threading.Lock()
        self._away_since: float | None = None
        self._look_at = 0.0
        self._unwritable_since: float | None = None
        self._leave_at = 0.0
        self._counts = {"away": 0, "unwritable": 0}

    @property
    def is_away(self) -> bool:
        """Whether the last call found the server away."""
        return self._away_since is not None

    def counts(self) -> Mapping[str, int]:
        """Return how often the server was found away, and to take no writes."""
        return self._counts

    def forget(self) -> None:
        """Know nothing any more: the connections are closed, and the next ones are proved."""
        self._away_since = self._unwritable_since = None

    async def ask(self, call: Callable[[Client], Any], key: bytes) -> Any:
        """Return what a call gives that may run twice; ``AWAY`` during an outage, or if it is a write and not taken.

        A connection that breaks is no outage yet: the call is made once more, on another one; likewise when the key's
        slot has moved. During an outage one caller at a time looks whether it is over, the others do without at once.

        Raises:
            SoaDbError: the server refuses the call, or there are no credentials or certificates to reach it with.
        """
        if self._away_since is not None:
            now = time.monotonic()
            if now < self._look_at:
                return AWAY
            config = self._manager.config
            self._look_at = now + config.connect_timeout + config.command_timeout
        manager = self._manager
        try:
            client = await manager.present()
            try:
                found = await call_server(client, manager.config, call, again=False, patience=0, key=key)
            except ServerUnavailable as error:
                if not _was_cut(error):
                    raise
                # The idle ones may have been cut as well.
                await drop_idle(client)
                found = await call_server(client, manager.config, call, again=False, patience=0, key=key)
        except SoaDbError as error:
            if _takes_no_writes(error.__cause__):
                self.answered()
                self._refused_write(error)
                return AWAY
            if isinstance(error, ServerUnavailable | PoolTimeout):
                self.met(error)
                return AWAY
            if _is_answer(error):
                self.answered()
            # Else nothing was seen: the next caller looks.
            self._look_at = 0.0
            raise
        except BaseException:
            # Likewise of who is cancelled.
            self._look_at = 0.0
            raise
        if self._away_since is not None:
            self.answered()
        return found

    # --- away

    def met(self, error: SoaDbError) -> None:
        """Take note of a server that was not reached, or of a pool without a free connection."""
        now = time.monotonic()
        if isinstance(error, PoolTimeout):
            # Our own crowd, no outage. During one, it saw nothing: the next caller looks.
            self._look_at = now
            return
        with self._guard:
            # Another thread may see the server back at any moment.
            since = self._away_since
            begins = since is None
            if since is None:
                since = self._away_since = now
                self._counts["away"] += 1
            self._look_at = now + probe_delay(now - since, rng=random.random)
        if begins:
            _LOG.warning("%s: Redis is away, cached calls go to their origins: %s", self._manager.name, error.message)

    def answered(self) -> None:
        """Take note that the server answered; the end of an outage is logged."""
        if self._away_since is None:
            return
        with self._guard:
            ends, self._away_since = self._away_since is not None, None
        if ends:
            _LOG.info("%s: Redis is back", self._manager.name)

    # --- unwritable

    def _refused_write(self, error: SoaDbError) -> None:
        with self._guard:
            begins = self._unwritable_since is None
            if begins:
                self._unwritable_since = time.monotonic()
                self._leave_at = 0.0
                self._counts["unwritable"] += 1
        if begins:
            _LOG.warning("%s: Redis takes no writes, values are not cached: %s", self._manager.name, error.message)

    def wrote(self) -> None:
        """Take note that the server took a write; the end of a time in which it took none is logged."""
        if self._unwritable_since is None:
            return
        with self._guard:
            ends, self._unwritable_since = self._unwritable_since is not None, None
        if ends:
            _LOG.info("%s: Redis takes writes again", self._manager.name)

    async def refused_beside(self, client: Client, error: Exception) -> None:
        """Take note of a write that was refused in a pipeline that was answered otherwise.

        A replica is left for whatever the endpoint leads to by now; not by each of many hits.
        """
        if not _takes_no_writes(error):
            return
        self._refused_write(typed(error, self._manager.config))
        now, since = time.monotonic(), self._unwritable_since
        if isinstance(error, ReadOnlyError) and now >= self._leave_at:
            self._leave_at = now + probe_delay(now - (now if since is None else since), rng=random.random)
            await drop_idle(client)
