"""One run per server at a time, where a server has no lock that ends with the session: something that expires.

A lease has an owner's token and is renewed while the run lives, from a thread of its own. A run that is killed leaves
it to its expiry. A lease that was lost (the server was down for longer than that, the process was stopped) is noticed
before the next change.
"""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from soa_db.access.plan import Progress, ProgressEvent
from soa_db.access.quoting import printable
from soa_db.errors import ProvisionError, SoaDbError

__all__ = ["LEASE_SECONDS", "HeldLease", "Lease", "LockLost", "hold", "new_token"]

LEASE_SECONDS = 30.0  # a killed run is waited for
_POLL = 0.1  # seconds between two looks at a lease that somebody else has


class LockLost(ProvisionError):
    """The lock is not held any more: another run may be at work, and nothing more is to be changed."""


class Lease(Protocol):
    """What one run can have at a time. Each method raises SoaDbError when the server does not answer or refuses."""

    @property
    def address(self) -> str:
        """The server, for people."""
        ...

    @property
    def seconds(self) -> float:
        """When it expires unless renewed."""
        ...

    def take(self) -> bool:
        """Take it, if nobody has it."""
        ...

    def renew(self) -> bool:
        """Put its expiry off; False when it is somebody else's by now, or nobody's."""
        ...

    def give_back(self) -> None:
        """Let go of it, unless it is somebody else's by now."""
        ...

    def holder(self) -> str:
        """Who has it, for people; empty when nobody has."""
        ...


@dataclass(frozen=True, slots=True)
class _Moment:
    """A point in time by both clocks.

    The monotonic one stands still while a laptop sleeps, and the lease expires all the same; the wall clock goes on,
    and may be put back. A lease that expired by either is not ours any more.
    """

    monotonic: float
    wall: float

    @classmethod
    def now(cls) -> _Moment:
        return cls(time.monotonic(), time.time())

    def ago(self) -> float:
        """Seconds since then, by the clock that says more."""
        now = _Moment.now()
        return max(now.monotonic - self.monotonic, now.wall - self.wall)


class HeldLease:
    """A lease, as long as it is held.

    Args:
        lease: which.
        since: when it was asked for.
        waited: seconds it took to get it.
    """

    def __init__(self, lease: Lease, since: _Moment, waited: float) -> None:
        self.waited = waited
        self._lease = lease
        self._since = since
        self._lost = ""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="soa-db-lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Make sure that it is still held.

        Raises:
            LockLost: it is not.
        """
        lost = self._lost
        if not lost and self._since.ago() >= self._lease.seconds:
            lost = f"it was not renewed within {self._lease.seconds:.0f} s"
        if lost:
            raise LockLost(
                f"the lock was lost: {lost}",
                hint="nothing more was changed; run the command again",
                host=self._lease.address,
            )

    def release(self) -> None:
        """Let go of it, unless it is somebody else's by now."""
        self._end.set()
        self._thread.join()
        with suppress(SoaDbError):
            self._lease.give_back()

    def _renew(self) -> None:
        while not self._end.wait(self._lease.seconds / 3):
            begun = _Moment.now()
            try:
                if not self._lease.renew():
                    self._lost = "another run took it, or it was deleted"
            except SoaDbError as error:
                self._lost = str(error)
            if self._lost:
                return
            self._since = begun


@contextmanager
def hold(lease: Lease, *, timeout: float | None, progress: Progress) -> Iterator[HeldLease]:
    """Hold a lease for as long as the block runs.

    Args:
        lease: which.
        timeout: seconds to wait for another run; None for as long as it takes.
        progress: told that the lock is being taken, and when there is somebody to wait for.

    Raises:
        ProvisionError: another run still had it, or it cannot be taken.
    """
    since, waited = _take(lease, timeout, progress)
    held = HeldLease(lease, since, waited)
    try:
        yield held
    finally:
        held.release()


def _take(lease: Lease, timeout: float | None, progress: Progress) -> tuple[_Moment, float]:
    """Take it; gives when it was asked for at last, and how long it took."""
    start = time.monotonic()
    progress(ProgressEvent("lock", f"taking the lock of {lease.address}"))
    told = False
    while True:
        asked = _Moment.now()
        try:
            if lease.take():
                return asked, time.monotonic() - start
        except BaseException:
            with suppress(SoaDbError):
                lease.give_back()  # the answer was lost, which does not say that it was not taken
            raise
        holder = f" ({printable(lease.holder()) or 'it has just ended'})"
        waited = time.monotonic() - start
        if timeout is not None and waited >= timeout:
            raise ProvisionError(
                f"another run at this server held the lock for {waited:.0f} s{holder}",
                hint="wait until it ends, and run the command again; a run that died lets go within "
                f"{lease.seconds:.0f} s",
                host=lease.address,
            )
        if not told:
            told = True
            progress(ProgressEvent("wait", f"another run is at work on {lease.address}{holder}; waiting for it"))
        time.sleep(_POLL)


def new_token() -> tuple[str, str]:
    """A token that nobody else has, and whose it is, for people."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = str(os.getuid())
    return secrets.token_hex(16), f"process {os.getpid()} of {user} on {socket.gethostname()}"
