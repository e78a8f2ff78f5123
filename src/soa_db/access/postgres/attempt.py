"""Trying something on a server in a form that cannot take effect, and reading what came of it.

Every statement runs in a transaction that is rolled back, under the session's lock and statement timeouts. A refusal
is proved by its SQLSTATE alone; any other error leaves the question open.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soa_db.access.report import Check, Outcome, Probe

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql
    from psycopg.abc import Buffer

__all__ = ["DENIED", "Attempt", "attempt", "guard", "judge", "probe_name", "rows"]

DENIED = "42501"  # insufficient_privilege, https://www.postgresql.org/docs/current/errcodes-appendix.html
_SQL = Path(__file__).with_name("sql")
# Short enough to stand in nobody's way: a probe that would have to wait gives up and is inconclusive.
_GUARD = """
    SET search_path = pg_catalog;
    SET lock_timeout = '2s';
    SET statement_timeout = '20s';
    SET idle_in_transaction_session_timeout = '20s'
"""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of a statement: ``sqlstate`` None when the server carried it out (and then rolled it back)."""

    sqlstate: str | None
    message: str = ""

    @property
    def seen(self) -> str:
        """A short account for a report."""
        return "it was permitted" if self.sqlstate is None else f"{self.sqlstate} {self.message}".strip()


def probe_name() -> str:
    """A name for an object of a probe's own: recognisable, and not yet taken."""
    return f"soa_db_probe_{secrets.token_hex(6)}"


def guard(connection: psycopg.Connection[Any]) -> None:
    """Bound what a session of ours can do to others, make catalog names mean the catalog's, and read any name."""
    from psycopg.types.string import TextLoader

    class NameLoader(TextLoader):
        """Names are bytes: one given in a database of another encoding, or of none, need not be UTF-8 here."""

        def load(self, data: Buffer) -> str:
            return bytes(data).decode("utf-8", "backslashreplace")

    for kind in ("name", "text"):
        connection.adapters.register_loader(kind, NameLoader)
    # Without an encoding the server sends bytes as they are, and refuses to call them UTF-8.
    encoded = connection.info.parameter_status("server_encoding") != "SQL_ASCII"
    connection.execute(f"{_GUARD}; SET client_encoding = 'UTF8'" if encoded else _GUARD)


def attempt(
    connection: psycopg.Connection[Any], statement: sql.SQL | sql.Composed, *, transaction: bool = True
) -> Attempt:
    """Try one statement and undo it.

    Args:
        connection: in autocommit mode, no transaction open.
        statement: what to try, without parameters.
        transaction: False for what PostgreSQL refuses to run in a transaction before it looks at privileges; the
            statement must then be one that cannot succeed.

    Raises:
        psycopg.OperationalError: the connection broke.
    """
    import psycopg
    from psycopg import sql as composing

    # Statements sent together are one transaction, which a refusal ends; after BEGIN a second round trip would have to
    # ("Multiple Statements in a Simple Query" in PostgreSQL's documentation, Message Flow). BEGIN takes in what came
    # before it, and spares the server's log a warning. Views and defaults may rest on functions whose bodies need the
    # path that users of the database have.
    inside = composing.SQL("SET LOCAL search_path TO DEFAULT; {}; BEGIN; ROLLBACK")
    text = inside.format(statement) if transaction else statement
    try:
        connection.execute(text)
    except psycopg.Error as error:
        if connection.closed or error.sqlstate is None:
            raise
        return Attempt(error.sqlstate, error.diag.message_primary or "")
    finally:
        if not connection.closed:
            connection.rollback()
    return Attempt(None)


def judge(
    probe: Probe, result: Attempt, *, mend: str, permitted: Sequence[str | None] = (None,), refused: str = DENIED
) -> Check:
    """Turn what came of an attempt into a check.

    Args:
        probe: the question.
        result: the answer.
        mend: the next step when the answer is the wrong one.
        permitted: SQLSTATEs that show the privilege is there (None: the statement ran).
        refused: the one SQLSTATE that shows it is not.
    """
    if result.sqlstate in permitted:
        could = True
    elif result.sqlstate == refused:
        could = False
    else:
        return Check(probe, Outcome.INCONCLUSIVE, result.seen, "run verify again; if it persists, look at the error")
    if could == (probe.expect == "can"):
        return Check(probe, Outcome.OK)
    return Check(probe, Outcome.VIOLATED, "it is permitted" if could else result.seen, mend)


@cache
def query(name: str) -> str:
    """The text of a catalog query that stands beside this module."""
    return (_SQL / f"{name}.sql").read_text("utf-8")


def rows(connection: psycopg.Connection[Any], name: str, **parameters: object) -> list[Any]:
    """Run a catalog query and return its rows as named tuples."""
    from psycopg.rows import namedtuple_row

    with connection.cursor(row_factory=namedtuple_row) as cursor:
        return cursor.execute(query(name), parameters).fetchall()
