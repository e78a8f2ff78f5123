"""What has nothing to do with the database one is in: making roles and databases, programs and files of the server.

Tried for real, in forms that cannot take effect.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, LiteralString

from psycopg import sql

from soa_db.access.postgres.attempt import attempt, judge, probe_name
from soa_db.access.report import Check, Probe

if TYPE_CHECKING:
    import psycopg

__all__ = ["probe_powers"]

# What a plain user must not be able to do anywhere. Outside a transaction stand statements that cannot succeed: the
# server looks at the privilege first, and whoever has it gets the error in the second place, that there is no such
# template, relation or file (src/backend/commands/dbcommands.c, copy.c; utils/adt/genfile.c).
_POWERS: tuple[tuple[str, LiteralString, bool, tuple[str | None, ...]], ...] = (
    ("create a role", "CREATE ROLE {name} NOLOGIN", True, (None,)),
    ("create a database", "CREATE DATABASE {name} TEMPLATE {name}", False, ("3D000",)),
    ("run programs on the server", "COPY pg_catalog.{name} FROM PROGRAM 'false'", True, ("42P01",)),
    ("read files of the server", "COPY pg_catalog.{name} FROM '/soa_db_probe'", True, ("42P01",)),
    ("write files on the server", "COPY pg_catalog.{name} TO '/soa_db_probe'", True, ("42P01",)),
    ("turn triggers off", "SET LOCAL session_replication_role = 'replica'", True, (None,)),
    ("make itself a superuser", "ALTER ROLE CURRENT_USER SUPERUSER", True, (None,)),
    ("join pg_read_all_data", "GRANT pg_read_all_data TO CURRENT_USER", True, (None,)),
)


def probe_powers(connection: psycopg.Connection[Any], user: str, *, mend: str) -> Iterator[Check]:
    """Ask what has nothing to do with the database one is in: roles, programs, files, reserved functions.

    Args:
        connection: logged in as the identity, guarded.
        user: the identity.
        mend: the command that provisions.
    """
    name = sql.Identifier(probe_name())
    for what, text, transaction, permitted in _POWERS:
        yield judge(
            Probe(user, "", "roles", what, "cannot", "attempt"),
            attempt(
                connection,
                sql.SQL(text).format(name=name),
                transaction=transaction,
            ),
            mend=mend,
            permitted=permitted,
        )
