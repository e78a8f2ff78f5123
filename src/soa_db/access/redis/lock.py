"""The lock of one Redis: a key with an owner's token and an expiry, renewed while the run lives (``access/lease.py``).

As in https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/ for one server, without its script: the
key is renewed and let go under WATCH, only by whoever's token is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from soa_db.access.lease import LEASE_SECONDS, HeldLease, hold, new_token
from soa_db.access.redis.session import CommandRefused
from soa_db.errors import ProvisionError

if TYPE_CHECKING:
    from soa_db.access.plan import Progress
    from soa_db.access.redis.session import Session

__all__ = ["LOCK_KEY", "UNSAVED_KEY", "server_lock"]

# In braces, so that both are in one slot of a cluster; and no pattern of a service's, `soa-db:*` neither, matches them.
LOCK_KEY = "{soa-db}provision-lock"
UNSAVED_KEY = "{soa-db}provision-unsaved"


@dataclass(frozen=True, slots=True)
class _Key:
    """The lease, as a key that holds the owner's token, a blank and who it is."""

    session: Session
    owner: str
    seconds: float

    @property
    def address(self) -> str:
        return self.session.address

    def take(self) -> bool:
        return self._asked("SET", LOCK_KEY, self.owner, "NX", "PX", self._milliseconds) is not None

    def renew(self) -> bool:
        return self._if_ours("PEXPIRE", LOCK_KEY, self._milliseconds)

    def give_back(self) -> None:
        self._if_ours("DEL", LOCK_KEY)

    def holder(self) -> str:
        return str(self._asked("GET", LOCK_KEY) or "").partition(" ")[2]

    @property
    def _milliseconds(self) -> int:
        return int(self.seconds * 1000)

    def _if_ours(self, *words: str | int) -> bool:
        """Run a command if the lock is ours, and only if it still is when the command runs."""
        self._asked("WATCH", LOCK_KEY)
        if self._asked("GET", LOCK_KEY) != self.owner:
            self._asked("UNWATCH")
            return False
        self._asked("MULTI")
        self._asked(*words)
        return self._asked("EXEC") is not None

    def _asked(self, *words: str | int) -> object:
        try:
            return self.session.call(*words)
        except CommandRefused as error:
            hint = "is it a replica? name its primary" if error.code == "READONLY" else "see the server's log"
            raise ProvisionError(
                f"the lock cannot be used: {error.message}", hint=hint, host=self.session.address
            ) from error


@contextmanager
def server_lock(
    connect: Callable[[], Session], *, timeout: float | None, progress: Progress, ttl: float = LEASE_SECONDS
) -> Iterator[HeldLease]:
    """Hold the lock for as long as the block runs.

    Args:
        connect: opens an administrator's session on the node that has the key.
        timeout: seconds to wait for another run; None for as long as it takes.
        progress: told that the lock is being taken, and when there is somebody to wait for.
        ttl: seconds after which the lock of a run that died is free.

    Raises:
        ProvisionError: another run still held the lock, or this server takes no writes.
    """
    with connect() as session:
        token, who = new_token()
        with hold(_Key(session, f"{token} {who}", ttl), timeout=timeout, progress=progress) as lease:
            yield lease
