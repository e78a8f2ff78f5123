"""A psycopg connection as SQLAlchemy wants it, and as it was before."""

from __future__ import annotations

import operator
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import sqlalchemy.util
from psycopg.adapt import AdaptersMap

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection

__all__ = ["await_", "exchange", "lent", "set_up", "state_for"]

# `await_` since SQLAlchemy 2.1, `await_only` before.
await_: Callable[[Awaitable[Any]], Any] = getattr(sqlalchemy.util, "await_", None) or sqlalchemy.util.await_only

# What SQLAlchemy or an event of its users sets on a connection in the driver; the server knows of none of it. Set
# without psycopg's own methods: these lock the connection, and the asynchronous ones can be cancelled there. A
# connection that is idle and in nobody's hands needs no lock.
_NAMES = (
    "row_factory",
    "cursor_factory",
    "server_cursor_factory",
    "prepare_threshold",
    "prepared_max",
    "_autocommit",
    "_isolation_level",
    "_read_only",
    "_deferrable",
    "_adapters",
    "_notice_handlers",
    "_notify_handlers",
)
_BEGIN = slice(_NAMES.index("_isolation_level"), _NAMES.index("_deferrable") + 1)
_read = operator.attrgetter(*_NAMES)


def state_for(conn: Connection[Any] | AsyncConnection[Any], dialect: Any) -> tuple[Any, ...]:
    """Return what a new connection of the dialect's has set: autocommit off, SQLAlchemy's adapters."""
    fresh = {
        "_autocommit": False,
        "_adapters": AdaptersMap(dialect._psycopg_adapters_map),  # noqa: SLF001 - what SQLAlchemy hands to psycopg.connect
        "_notice_handlers": [],
        "_notify_handlers": [],
    }
    return tuple(fresh.get(name, value) for name, value in zip(_NAMES, _read(conn), strict=True))


def exchange(conn: Connection[Any] | AsyncConnection[Any], state: tuple[Any, ...]) -> tuple[Any, ...]:
    """Set ``state`` on an idle connection, and return what was set before. No I/O; some 3 us."""
    before: tuple[Any, ...] = _read(conn)
    for name, value, present in zip(_NAMES, state, before, strict=True):
        if value is not present:
            setattr(conn, name, value)
    if before[_BEGIN] != state[_BEGIN]:
        # psycopg keeps the BEGIN it made of these.
        conn._begin_statement = b""  # noqa: SLF001 - as above
    return before


def set_up(conn: Connection[Any] | AsyncConnection[Any], dialect: Any) -> None:
    """Make a connection of our own as SQLAlchemy would have made it."""
    exchange(conn, state_for(conn, dialect))


def lent(dialect: Any, conn: AsyncConnection[Any]) -> Any:
    """Return the adapter through which SQLAlchemy uses an asynchronous connection."""

    async def given() -> AsyncConnection[Any]:
        return conn

    return dialect.loaded_dbapi.connect(async_creator_fn=given)
