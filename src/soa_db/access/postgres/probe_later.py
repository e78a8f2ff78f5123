"""Default privileges, proved by objects the owner really makes: in each declared schema and in one of the probe's own.

Everything happens in one transaction of the owner's that is rolled back, so nobody ever sees the objects and a killed
run leaves nothing behind; the server is asked, inside it, what everybody else could do with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, LiteralString

from psycopg import sql

from soa_db.access.postgres.attempt import probe_name, rows
from soa_db.access.postgres.probe_session import table_privileges
from soa_db.access.report import Check, Outcome, Probe

if TYPE_CHECKING:
    import psycopg

    from soa_db.access.postgres.expect import DatabaseAccess, UserAccess

__all__ = ["probe_later", "rights_on_new"]

PUBLIC = "PUBLIC"
# The kinds of object, in an order in which each can rest on those before it.
_MAKE: tuple[tuple[str, str, LiteralString], ...] = (
    ("table", "t", "CREATE TABLE {name} (id integer)"),
    ("partitioned table", "p", "CREATE TABLE {name} (id integer) PARTITION BY RANGE (id)"),
    ("view", "v", "CREATE VIEW {name} AS SELECT 1 AS id"),
    ("sequence", "s", "CREATE SEQUENCE {name}"),
    ("routine", "f", "CREATE FUNCTION {name}() RETURNS integer LANGUAGE sql AS 'SELECT 1'"),
    ("routine", "c", "CREATE PROCEDURE {name}() LANGUAGE sql AS 'SELECT 1'"),
    ("type", "e", "CREATE TYPE {name} AS ENUM ('a')"),
)


@dataclass(frozen=True, slots=True)
class _Made:
    kind: str
    schema: str
    name: str


def probe_later(
    connection: psycopg.Connection[Any], database: DatabaseAccess, *, others: tuple[str, ...], mend: str
) -> Iterator[Check]:
    """Make objects as the owner and ask what the other users, strangers and PUBLIC could do with them.

    Args:
        connection: logged in as the owner of the database, guarded.
        database: what the specs say about it.
        others: declared users of other databases, who must have nothing here.
        mend: the command that provisions.
    """
    import psycopg

    owner = database.owner or ""
    probe = Probe(owner, database.name, "later", "make objects for others to use", "can", "attempt")
    prefix = probe_name()
    users = tuple(access.user for access in database.users if access.user != owner)
    held: list[Any] = []
    try:
        with connection.transaction(force_rollback=True):
            made = _make(connection, prefix, database.schemas)
            held = rows(
                connection,
                "probe_later",
                kinds=[one.kind for one in made],
                names=[one.name for one in made],
                schemas=[one.schema for one in made],
                # A user that does not exist would be an error; PUBLIC is spelled "public" here.
                users=[*_existing(connection, (*users, *others)), "public"],
                privileges=table_privileges(connection.info.server_version),
            )
    except psycopg.Error as error:
        if connection.closed:
            raise
        denied = error.sqlstate == "42501"
        yield Check(
            probe,
            Outcome.VIOLATED if denied else Outcome.INCONCLUSIVE,
            f"{error.sqlstate} {error.diag.message_primary}",
            mend if denied else "run verify again; if it persists, look at the error",
        )
        return
    yield Check(probe, Outcome.OK)
    yield from _judge(held, database, prefix, mend)


def _make(connection: psycopg.Connection[Any], prefix: str, schemas: tuple[str, ...]) -> list[_Made]:
    made: list[_Made] = []
    connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(prefix)))
    made.append(_Made("schema", prefix, prefix))
    for schema in (*schemas, prefix):
        for kind, suffix, statement in _MAKE:
            name = sql.Identifier(schema, f"{prefix}_{suffix}")
            connection.execute(sql.SQL(statement).format(name=name))
            text = name.as_string(connection)
            made.append(_Made(kind, schema, f"{text}()" if kind == "routine" else text))
    return made


def _existing(connection: psycopg.Connection[Any], users: tuple[str, ...]) -> list[str]:
    found = connection.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)", [list(users)]).fetchall()
    return [name for (name,) in found]


def _judge(held: list[Any], database: DatabaseAccess, own: str, mend: str) -> Iterator[Check]:
    """For each user: what it lacks, what it has too much, on which kinds of object in which schemas."""
    lacking: dict[str, list[str]] = {}
    surplus: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    for row in held:
        user = PUBLIC if row.user == "public" else row.user
        must, may = rights_on_new(database.of(row.user), row.kind, declared=row.schema != own)
        has = frozenset(row.held)
        what = f"{row.kind} in {'a new schema' if row.schema == own else row.schema}"
        counts[user] = counts.get(user, 0) + 1
        if missing := must - has:
            lacking.setdefault(user, []).append(f"{', '.join(sorted(missing))} on a {what}")
        if more := has - may:
            surplus.setdefault(user, []).append(f"{', '.join(sorted(more))} on a {what}")

    for user, count in counts.items():
        ask = partial(Probe, user, database.name, "later")
        if user in lacking:
            probe = ask("use what the owner makes later", "can", "attempt")
            yield Check(probe, Outcome.VIOLATED, f"lacks {'; '.join(lacking[user])}", mend)
        if user in surplus:
            probe = ask("do more than declared with what the owner makes later", "cannot", "attempt")
            yield Check(probe, Outcome.VIOLATED, f"has {'; '.join(surplus[user])}", mend)
        if user not in lacking and user not in surplus:
            probe = ask(f"the declared rights on {count} objects made later", "is", "attempt")
            yield Check(probe, Outcome.OK)


def rights_on_new(access: UserAccess | None, kind: str, *, declared: bool) -> tuple[frozenset[str], frozenset[str]]:
    """What a user must and may have on a new object that no rule of the spec names.

    A schema that is not declared may follow the declared ones, or may not: nobody can say what it is for.
    """
    must: set[str] = set()
    may: set[str] = set()
    if access is not None and access.part != "reader":
        writes = "INSERT" in access.base
        match kind:
            case "table" | "partitioned table":
                must = may = set(access.base)
            case "large object":
                may = set(access.base)
            case "view":
                must, may = set(access.base & {"SELECT"}), set(access.base)
            case "sequence":
                must, may = ({"USAGE"}, {"USAGE", "SELECT", "UPDATE"}) if writes else (set(), {"SELECT"})
            case "routine":
                must = may = {"EXECUTE"} if access.part == "app" else set()
            case "schema" | "type":
                may = {"USAGE"}
    return frozenset(must if declared else ()), frozenset(may)
