"""From psycopg's errors to ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.pq import TransactionStatus

from soa_db._core.classify import Category, Failure, classify
from soa_db.errors import ServerUnavailable

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection

    from soa_db.config import PostgresConfig

__all__ = [
    "ServerGone",
    "connect_failure",
    "context_of",
    "is_standby",
    "may_run_again",
    "refuse_lost_commit",
    "session_failure",
]


class ServerGone(ServerUnavailable, psycopg.OperationalError):
    """A call was in flight when its server died, ended the connection or turned out to be a standby.

    It is also the driver's own OperationalError, so that code written against psycopg still catches it; the driver's
    very error is its cause. Whether the last statement took effect is not known.
    """


def connect_failure(error: psycopg.Error) -> Failure:
    """Describe the error of an attempt to connect."""
    pgconn = error.pgconn
    return Failure(
        kind=type(error).__name__,
        sqlstate=error.sqlstate,
        message=str(error),
        connecting=True,
        used_password=pgconn is not None and bool(pgconn.used_password),
    )


def session_failure(error: Exception, conn: AsyncConnection[Any] | Connection[Any]) -> Failure:
    """Describe what ended a block on ``conn``: an error of the driver's, or another on a connection that broke."""
    sqlstate = error.sqlstate if isinstance(error, psycopg.Error) else None
    return Failure(
        # A broken connection tells by itself, whatever error came out of the block.
        kind=type(error).__name__ if isinstance(error, psycopg.Error) else "Error",
        sqlstate=sqlstate,
        broken=conn.broken,
        standby=is_standby(conn),
    )


def is_standby(conn: AsyncConnection[Any] | Connection[Any]) -> bool:
    """Whether the server says it is a standby: it reports ``in_hot_standby`` without being asked (PostgreSQL 14)."""
    return not conn.closed and conn.pgconn.parameter_status(b"in_hot_standby") == b"on"


def may_run_again(error: psycopg.Error) -> bool:
    """Whether the transaction lost against another (40001, 40P01), so that the same work may succeed now."""
    return classify(Failure(kind=type(error).__name__, sqlstate=error.sqlstate)) is Category.RETRY


def refuse_lost_commit(conn: AsyncConnection[Any] | Connection[Any]) -> None:
    """Raise InFailedSqlTransaction where COMMIT would not commit.

    In a transaction that a failed statement has ended, the server answers COMMIT with ROLLBACK and no error, and
    psycopg does not look at that: what was written before would be lost without a word.
    """
    if conn.pgconn.transaction_status == TransactionStatus.INERROR:
        raise psycopg.errors.InFailedSqlTransaction(
            "a statement of this transaction failed and its error was swallowed: nothing of it can be committed"
        )


def context_of(config: PostgresConfig, user: str | None) -> dict[str, str]:
    """What was tried, for messages."""
    context = {
        "instance": config.instance_name,
        "host": f"{config.host}:{config.port}",
        "dial": f"{config.dial.host}:{config.dial.port}" if config.dial else "",
        "database": config.database,
        "user": user or "",
    }
    return {name: value for name, value in context.items() if value}
