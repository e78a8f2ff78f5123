"""One run per Redis at a time: a key with an owner's token and an expiry, renewed while the run lives.

As in https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/ for one server, without its script: the
key is renewed and let go under WATCH, only by whoever's token is in it. A run that is killed leaves the key to its
expiry. A lock that was lost (the server was down for longer than that) is noticed before the next change.
"""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from soa_db.access.plan import Progress, ProgressEvent
from soa_db.access.redis.session import CommandRefused
from soa_db.errors import ProvisionError, SoaDbError

if TYPE_CHECKING:
    from soa_db.access.redis.session import Session

__all__ = ["LOCK_KEY", "LOCK_TTL", "UNSAVED_KEY", "HeldLock", "LockLost", "server_lock"]

# In braces, so that both are in one slot of a cluster; and no pattern of a service's, `soa-db:*` neither, matches them.
LOCK_KEY = "{soa-db}provision-lock"
UNSAVED_KEY = "{soa-db}provision-unsaved"
LOCK_TTL = 30.0  # seconds a killed run is waited for
_POLL = 0.1  # seconds between two looks at a lock that somebody else holds


class LockLost(ProvisionError):
    """The lock is not held any more: another run may be at work, and nothing more is to be changed."""


class HeldLock:
    """The lock, as long as it is held.

    Args:
        session: a session of its own, on the node that has the key.
        token: what is in the key.
        ttl: seconds until it expires unless renewed.
        waited: seconds it took to get it.
    """

    def __init__(self, session: Session, token: str, ttl: float, waited: float) -> None:
        self.waited = waited
        self._until = time.monotonic() + ttl
        self._session = session
        self._token = token
        self._ttl = ttl
        self._lost = ""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="soa-db-redis-lock", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Make sure that it is still held.

        Raises:
            LockLost: it is not.
        """
        lost = self._lost
        if not lost and time.monotonic() >= self._until:
            # The process was stopped for longer than that, and whoever renews it has not run yet.
            lost = f"it was not renewed within {self._ttl:.0f} s"
        if lost:
            raise LockLost(
                f"the lock was lost: {lost}",
                hint="nothing more was changed; run the command again",
                host=self._session.address,
            )

    def release(self) -> None:
        """Let go of it, unless it is somebody else's by now."""
        self._end.set()
        self._thread.join()
        if not self._lost:
            with suppress(SoaDbError, CommandRefused):
                _if_ours(self._session, self._token, "DEL", LOCK_KEY)

    def _renew(self) -> None:
        while not self._end.wait(self._ttl / 3):
            begun = time.monotonic()
            try:
                if not _if_ours(self._session, self._token, "PEXPIRE", LOCK_KEY, int(self._ttl * 1000)):
                    self._lost = "another run took it, or the key was deleted"
            except (SoaDbError, CommandRefused) as error:
                self._lost = str(error)
            if self._lost:
                return
            self._until = begun + self._ttl


def _if_ours(session: Session, token: str, *words: str | int) -> bool:
    """Run a command if the lock is ours, and only if it still is when the command runs."""
    session.call("WATCH", LOCK_KEY)
    if session.call("GET", LOCK_KEY) != token:
        session.call("UNWATCH")
        return False
    session.call("MULTI")
    session.call(*words)
    return session.call("EXEC") is not None


@contextmanager
def server_lock(
    connect: Callable[[], Session], *, timeout: float | None, progress: Progress, ttl: float = LOCK_TTL
) -> Iterator[HeldLock]:
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
        token = f"{secrets.token_hex(16)} {_who()}"
        waited = _take(session, token, ttl, timeout, progress)
        lock = HeldLock(session, token, ttl, waited)
        try:
            yield lock
        finally:
            lock.release()


def _take(session: Session, token: str, ttl: float, timeout: float | None, progress: Progress) -> float:
    start = time.monotonic()
    progress(ProgressEvent("lock", f"taking the lock of {session.address}"))
    told = False
    while not _try(session, token, ttl):
        waited = time.monotonic() - start
        holder = _holder(session)
        if timeout is not None and waited >= timeout:
            raise ProvisionError(
                f"another run at this server held the lock for {waited:.0f} s{holder}",
                hint=f"wait until it ends, and run the command again; a run that died lets go within {ttl:.0f} s",
                host=session.address,
            )
        if not told:
            told = True
            progress(ProgressEvent("wait", f"another run is at work on {session.address}{holder}; waiting for it"))
        time.sleep(_POLL)
    return time.monotonic() - start


def _try(session: Session, token: str, ttl: float) -> bool:
    return _asked(session, "SET", LOCK_KEY, token, "NX", "PX", int(ttl * 1000)) is not None


def _holder(session: Session) -> str:
    found = _asked(session, "GET", LOCK_KEY)
    return " (it has just ended)" if found is None else f" ({str(found).partition(' ')[2]})"


def _asked(session: Session, *words: str | int) -> object:
    try:
        return session.call(*words)
    except CommandRefused as error:
        hint = "is it a replica? name its primary" if error.code == "READONLY" else "see the server's log"
        raise ProvisionError(f"the lock cannot be taken: {error.message}", hint=hint, host=session.address) from error


def _who() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = str(os.getuid())
    return f"process {os.getpid()} of {user} on {socket.gethostname()}"
