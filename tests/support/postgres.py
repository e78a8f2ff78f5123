"""Configurations and odds and ends for tests of the PostgreSQL provider."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import psycopg
from psycopg import sql

from soa_db.config import PasswordAuth, PoolConfig, PostgresConfig

if TYPE_CHECKING:
    from soa_db.local.postgres import PostgresServer

PASSWORD = 'a p\'a\\ss "wörd" %s $1 {x};--'


class Administered(Protocol):
    """A server whose superuser can be reached."""

    @property
    def superuser_conninfo(self) -> str:
        """Over the socket."""
        ...


def config(server: PostgresServer, user: object, **changes: object) -> PostgresConfig:
    """Plain text to ``server``, as ``user``, with something changed."""
    return PostgresConfig(
        **{
            "instance_name": "chat",
            "host": server.host,
            "port": server.port,
            "database": "postgres",
            "user": user,
            "auth": PasswordAuth(password=PASSWORD),
            "tls": None,
            "pool": PoolConfig(max_size=4, timeout=10),
            **changes,
        }
    )


def superuser(server: Administered, statement: str | sql.Composed) -> list[tuple[object, ...]]:
    """Run something as the superuser, over the socket."""
    with psycopg.connect(server.superuser_conninfo, autocommit=True) as conn:
        cursor = conn.execute(statement)
        return cursor.fetchall() if cursor.description else []


def set_password(server: Administered, user: str, password: str) -> None:
    """Change a user's password on the server."""
    superuser(server, sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(user), password))


def end_sessions(server: Administered, user: str) -> None:
    """Terminate every session of a user (57P01)."""
    superuser(
        server,
        sql.SQL("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = {}").format(user),
    )


def sessions(server: Administered, user: str, state: str | None = None) -> int:
    """How many sessions a user has, in any state or in one of pg_stat_activity's."""
    query = sql.SQL("SELECT count(*) FROM pg_stat_activity WHERE usename = {} AND ({} IS NULL OR state = {})")
    (row,) = superuser(server, query.format(user, state, state))
    return int(str(row[0]))


@contextmanager
def login_role(server: Administered, name: str) -> Iterator[str]:
    """A role that can log in with PASSWORD and owns a schema of its name, on the search path."""
    role = sql.Identifier(name)
    superuser(server, sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, PASSWORD))
    superuser(server, sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(role, role))
    try:
        yield name
    finally:
        end_sessions(server, name)
        superuser(server, sql.SQL("DROP OWNED BY {} CASCADE").format(role))
        superuser(server, sql.SQL("DROP ROLE {}").format(role))


def eventually(true: Callable[[], bool], *, within: float = 10.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)
