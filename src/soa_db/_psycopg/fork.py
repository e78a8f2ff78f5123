"""psycopg's connections in a forked child.

To close them in libpq's way would send a Terminate message, and so end the parent's session; psycopg itself spares an
inherited connection that is only garbage-collected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

from soa_db._runtime import fork

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from psycopg import AsyncConnection, Connection

__all__ = ["detach"]


def detach(connections: Iterable[AsyncConnection[Any] | Connection[Any]]) -> None:
    """Turn the sockets of inherited connections into ``/dev/null``."""
    fork.detach(_descriptors(connections))


def _descriptors(connections: Iterable[AsyncConnection[Any] | Connection[Any]]) -> Iterator[int]:
    for conn in connections:
        try:
            yield conn.pgconn.socket
        except psycopg.Error:
            continue
