"""What a forked child does about the connections it inherits.

The child must neither use them (two processes would talk on one socket) nor close them in libpq's way, which sends a
Terminate message and so ends the parent's session. Their descriptors are replaced by ``/dev/null`` in the child: the
parent's socket is untouched, the server sees the parent's end when it comes, and whatever the child still does to the
objects goes nowhere. psycopg itself spares an inherited connection that is only garbage-collected.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import AsyncConnection, Connection

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["detach"]


def detach(connections: Iterable[AsyncConnection[Any] | Connection[Any]]) -> None:
    """Turn the sockets of inherited connections into ``/dev/null``."""
    null = os.open(os.devnull, os.O_RDWR)
    try:
        for conn in connections:
            try:
                descriptor = conn.pgconn.socket
            except psycopg.Error:
                continue
            if descriptor >= 0:
                os.dup2(null, descriptor, inheritable=False)
    finally:
        os.close(null)
