"""One run of migrations per database at a time: an advisory lock, held from before the first revision to the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from soa_db.errors import ProvisionError

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["migration_lock"]

logger = logging.getLogger("soa_db.alembic")

# An advisory lock is per database: one key for all. ASCII of "soa-alem".
_LOCK_KEY = int.from_bytes(b"soa-alem", "big")
_POLL = 0.2  # seconds between two looks at a lock that another run holds


@contextmanager
def migration_lock(connection: Connection, where: str, wait: float) -> Iterator[None]:
    """Hold the database's lock. Who dies in between lets go with the session.

    Args:
        connection: whose session holds it.
        where: the database, for messages.
        wait: seconds to wait for another run.

    Raises:
        ProvisionError: another run held it for longer than that.
    """
    _take(connection, where, wait)
    try:
        yield
    finally:
        # An invalidated connection has lost the lock with its session.
        if not connection.invalidated:
            connection.rollback()
            connection.exec_driver_sql(f"SELECT pg_advisory_unlock({_LOCK_KEY})")
            connection.commit()


def _take(connection: Connection, where: str, wait: float) -> None:
    started = time.monotonic()
    told = False
    # Tried again and again, each time in a transaction of its own: a waiting statement would hold a snapshot, and the
    # other run's CREATE INDEX CONCURRENTLY would wait for that for ever.
    while True:
        taken = connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({_LOCK_KEY})").scalar()
        connection.commit()
        if taken:
            return
        waited = time.monotonic() - started
        if waited >= wait:
            raise ProvisionError(
                f"another run of migrations held the lock of the {where} for {waited:.0f} s{_holder(connection)}",
                hint="wait until it ends, and migrate again; if it is no run, end that session (pg_terminate_backend)",
            )
        if not told:
            logger.info("another run migrates the %s%s; waiting for it", where, _holder(connection))
            told = True
        time.sleep(min(_POLL, max(0.0, wait - waited)))


def _holder(connection: Connection) -> str:
    """Who holds the lock."""
    row = connection.exec_driver_sql(
        f"""
        SELECT l.pid, a.usename
          FROM pg_locks AS l
          JOIN pg_stat_activity AS a USING (pid)
         WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
           AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND (l.classid::bigint << 32) | l.objid::bigint = {_LOCK_KEY}
        """  # noqa: S608 - a number of our own
    ).fetchone()
    connection.commit()
    return "" if row is None else f" (process {row[0]} of {row[1]})"
