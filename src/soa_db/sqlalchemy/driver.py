"""A psycopg connection as SQLAlchemy wants it, and as it was before."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy.util
from psycopg.adapt import AdaptersMap
from sqlalchemy.dialects.postgresql.psycopg import AsyncAdapt_psycopg_connection
from sqlalchemy.util.concurrency import in_greenlet

from soa_db._runtime._async import Rest

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection

__all__ = ["State", "adapter", "await_", "exchange", "finish", "set_up", "state_for"]

T = TypeVar("T")

# `await_` since SQLAlchemy 2.1, `await_only` before.
await_: Callable[[Awaitable[Any]], Any] = getattr(sqlalchemy.util, "await_", None) or sqlalchemy.util.await_only

_adapter: Any = AsyncAdapt_psycopg_connection
# Since SQLAlchemy 2.1.
_ADAPTER_KNOWS_MODULE = "dbapi" in inspect.signature(AsyncAdapt_psycopg_connection).parameters

# What SQLAlchemy or an event of its users sets on a connection in the driver; the server knows of none of it. Set
# without psycopg's own methods: these lock the connection, and the asynchronous ones can be cancelled there. A
# connection that is idle and in nobody's hands needs no lock.
#
# First what few engines have otherwise than the provider, then what all have.
_RARE = (
    "row_factory",
    "cursor_factory",
    "server_cursor_factory",
    "_prepared.prepare_threshold",
    "_prepared.prepared_max",
    "_isolation_level",
    "_read_only",
    "_deferrable",
)
_rare = operator.attrgetter(*_RARE)
_usual = operator.attrgetter("_autocommit", "_adapters", "_notice_handlers", "_notify_handlers")

State = tuple[tuple[Any, ...], tuple[Any, ...]]


def state_for(conn: Connection[Any] | AsyncConnection[Any], dialect: Any) -> State:
    """Return what a new connection of the dialect's has set: autocommit off, SQLAlchemy's adapters, no handlers."""
    adapters = AdaptersMap(dialect._psycopg_adapters_map)  # noqa: SLF001 - what SQLAlchemy hands to psycopg.connect
    return _rare(conn), (False, adapters, [], [])


def exchange(conn: Connection[Any] | AsyncConnection[Any], state: State) -> State:
    """Set ``state`` on an idle connection, and return what was set before. No I/O; some 1 us."""
    rare, usual = state
    before: State = (_rare(conn), _usual(conn))
    if before[0] != rare:
        _set_rare(conn, rare)
    # Spelled out: it is done twice whenever an engine takes a connection.
    conn._autocommit, conn._adapters, conn._notice_handlers, conn._notify_handlers = usual  # noqa: SLF001 - as above
    return before


def _set_rare(conn: Connection[Any] | AsyncConnection[Any], rare: tuple[Any, ...]) -> None:
    for name, value in zip(_RARE, rare, strict=True):
        setattr(conn, name.removeprefix("_prepared."), value)
    # psycopg keeps the BEGIN it made of the isolation level and its kin.
    conn._begin_statement = b""  # noqa: SLF001 - as above


def set_up(conn: Connection[Any] | AsyncConnection[Any], dialect: Any) -> None:
    """Make a connection of our own as SQLAlchemy would have made it."""
    exchange(conn, state_for(conn, dialect))


def adapter(dialect: Any, conn: AsyncConnection[Any]) -> Any:
    """Return the adapter through which SQLAlchemy uses an asynchronous connection."""
    # What `dialect.loaded_dbapi.connect` does, without a coroutine that brings the connection.
    return _adapter(dialect.loaded_dbapi, conn) if _ADAPTER_KNOWS_MODULE else _adapter(conn)


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, as ``await_`` does, but without a switch of greenlets while it need not wait.

    Raises:
        sqlalchemy.exc.MissingGreenlet: called outside of SQLAlchemy's asynchronous interface.
    """
    if in_greenlet():
        try:
            waits_for = work.send(None)
        except StopIteration as end:
            result: T = end.value
            return result
        work = _rest(work, waits_for)
    found: T = await_(work)
    return found


async def _rest(work: Coroutine[Any, Any, T], waits_for: object) -> T:
    return await Rest(work, waits_for)
