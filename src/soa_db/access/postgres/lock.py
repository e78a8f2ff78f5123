"""One run per server at a time: provisioning and rotation take the same lock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from soa_db.access.plan import Progress, ProgressEvent
from soa_db.errors import ProvisionError, ServerUnavailable

if TYPE_CHECKING:
    from soa_db.access.postgres.admin import AdminServer

__all__ = ["LOCK_KEY", "server_lock"]

# An advisory lock is per database: it is taken in `postgres`, whatever is changed. ASCII of "soa-db".
LOCK_KEY = int.from_bytes(b"soa-db", "big")
_POLL = 0.1  # seconds between two looks at a lock that somebody else holds


@contextmanager
def server_lock(
    server: AdminServer, *, timeout: float | None, progress: Progress
) -> Iterator[tuple[psycopg.Connection[Any], float]]:
    """Hold the server's lock for as long as the block runs; whoever dies in it lets go with the session.

    Args:
        server: the server.
        timeout: seconds to wait for another run; None for as long as it takes.
        progress: told that the lock is being taken, and when there is somebody to wait for.

    Returns:
        The session that holds the lock, in the database ``postgres``, and the seconds it took to get it. What is done
        over that very session is done under the lock for certain.

    Raises:
        ProvisionError: another run still held the lock.
        ConnectionFailed: the server was not reached, or went away before the lock was had.
    """
    with _closing(server.connect()) as connection:
        try:
            waited = _take(connection, server.address, timeout, progress)
        except psycopg.Error as error:
            raise ServerUnavailable(
                f"the server went away before its lock was had: {error.diag.message_primary or type(error).__name__}",
                hint="nothing was changed by this; run the command again",
                host=server.address,
            ) from error
        yield connection, waited


@contextmanager
def _closing(connection: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    try:
        yield connection
    finally:
        # A second Ctrl-C leaves threads behind that make sure of the lock. libpq's memory must not be freed under a
        # statement of theirs; their next one finds the session closed.
        with connection.lock:
            connection.close()


def _take(connection: psycopg.Connection[Any], address: str, timeout: float | None, progress: Progress) -> float:
    start = time.monotonic()
    progress(ProgressEvent("lock", f"taking the lock of {address}"))
    holder = ""
    # Tried again and again instead of waited for: a waiting statement cannot be interrupted by Ctrl-C at once, and
    # holds a snapshot.
    while connection.execute("SELECT pg_try_advisory_lock(%s)", [LOCK_KEY]).fetchone() != (True,):
        waited = time.monotonic() - start
        if timeout is not None and waited >= timeout:
            raise ProvisionError(
                f"another run at this server held the lock for {waited:.0f} s{holder or _holder(connection)}",
                hint="wait until it ends, and run the command again; if it is no run, end that session "
                "(pg_terminate_backend)",
                host=address,
            )
        if not holder:
            holder = _holder(connection)
            progress(ProgressEvent("wait", f"another run is at work on {address}{holder}; waiting for it"))
        time.sleep(_POLL)
    return time.monotonic() - start


def _holder(connection: psycopg.Connection[Any]) -> str:
    """Who holds the lock. Any role may take it, so that it need not be a run of ours."""
    row = connection.execute(
        """
        SELECT l.pid, a.usename
          FROM pg_locks AS l
          JOIN pg_stat_activity AS a USING (pid)
         WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
           AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND (l.classid::bigint << 32) | l.objid::bigint = %s
        """,
        [LOCK_KEY],
    ).fetchone()
    return " (it has just ended)" if row is None else f" (process {row[0]} of {row[1]})"
