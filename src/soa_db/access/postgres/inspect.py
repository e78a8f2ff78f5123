"""Read what a PostgreSQL server has: a handful of bulk catalog queries, in one round trip per database.

The queries stand beside this module in ``sql/``; each says which catalog fact it relies on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cache
from importlib.resources import files
from typing import Any

import psycopg

from soa_db.access.postgres.state import (
    AclItem,
    Admin,
    ColumnAcl,
    Contents,
    DatabaseState,
    DefaultAcl,
    Membership,
    ObjectGroup,
    ObjectName,
    RoleSetting,
    RoleState,
    SchemaState,
    ServerState,
)

__all__ = ["PARALLEL", "inspect_all_contents", "inspect_contents", "inspect_server"]

Connection = psycopg.Connection[Any]

# Databases looked at at once: enough to hide round trips, few enough not to exhaust max_connections.
PARALLEL = 8


@cache
def _query(name: str) -> bytes:
    # Bytes: psycopg takes text only as a literal, so that nobody builds SQL from strings by accident.
    return files(__package__).joinpath("sql", f"{name}.sql").read_bytes()


def inspect_server(connection: Connection, retired: Iterable[str] = ()) -> ServerState:
    """Read what all databases share, from any of them, in one round trip.

    Args:
        connection: of the administrator.
        retired: roles whose dependencies are wanted.
    """
    parameters: dict[str, Mapping[str, object]] = {"depended": {"roles": list(retired)}}
    answer = _run(connection, ("admin", "roles", "memberships", "settings", "databases", "depended"), parameters)
    ((name, version, superuser, createdb, createrole, replication, bypassrls, iam_member, administers, acts_as),) = (
        answer["admin"]
    )
    depended: dict[str, dict[str | None, frozenset[str | None]]] = {}
    owning: dict[str, set[str | None]] = {}
    for role, database, its_owners, owns in answer["depended"]:
        depended.setdefault(role, {})[database] = frozenset(its_owners)
        if owns:
            owning.setdefault(role, set()).add(database)
    return ServerState(
        version=version,
        admin=Admin(
            name=name,
            superuser=superuser,
            createdb=createdb,
            createrole=createrole,
            replication=replication,
            bypassrls=bypassrls,
            iam_member=iam_member,
            administers=frozenset(administers),
            acts_as=frozenset(acts_as),
        ),
        roles={row[0]: RoleState(*row) for row in answer["roles"]},
        memberships=tuple(sorted(Membership(*row) for row in answer["memberships"])),
        settings=tuple(RoleSetting(*row) for row in answer["settings"]),
        databases={
            name: DatabaseState(name, owner, _acl(acl), connectable, may_connect, frozenset(used), template)
            for name, owner, acl, connectable, may_connect, used, template in answer["databases"]
        },
        depended=depended,
        owning={role: frozenset(places) for role, places in owning.items()},
    )


def inspect_contents(connection: Connection, columns: Iterable[str] = ()) -> Contents:
    """Read what is in the database the connection is to, in one round trip.

    Args:
        connection: of the administrator; its search path must be empty, so that types come out qualified.
        columns: column names of interest beside those with an ACL.
    """
    parameters: dict[str, Mapping[str, object]] = {"columns": {"columns": list(columns)}}
    answer = _run(connection, ("schemas", "objects", "columns", "default_acls"), parameters)
    return Contents(
        schemas=tuple(SchemaState(name, owner, _acl(acl)) for name, owner, acl in answer["schemas"]),
        objects=tuple(
            sorted(
                (
                    ObjectGroup(
                        kind, schema, owner, _acl(acl), tuple(sorted(ObjectName(*name) for name in names)), linked
                    )
                    for kind, schema, owner, acl, linked, names in answer["objects"]
                ),
                key=lambda group: (group.schema, group.kind, group.names),
            )
        ),
        columns=tuple(
            ColumnAcl(schema, table, column, owner, _acl(acl))
            for schema, table, column, owner, acl in answer["columns"]
        ),
        default_acls=tuple(
            DefaultAcl(role, schema, kind, _acl(acl)) for role, schema, kind, acl in answer["default_acls"]
        ),
    )


def inspect_all_contents(
    connect: Callable[[str], Connection], databases: Mapping[str, Iterable[str]]
) -> dict[str, Contents]:
    """Read several databases at once.

    Args:
        connect: opens a connection of the administrator to a database.
        databases: the databases with the column names of interest.
    """

    def one(name: str) -> Contents:
        with closing(connect(name)) as connection:
            return inspect_contents(connection, databases[name])

    if not databases:
        return {}
    with ThreadPoolExecutor(min(PARALLEL, len(databases)), thread_name_prefix="soa-db-inspect") as pool:
        return dict(zip(databases, pool.map(one, databases), strict=True))


def _run(
    connection: Connection, names: tuple[str, ...], parameters: Mapping[str, Mapping[str, object]]
) -> dict[str, list[Any]]:
    """Run the named queries in one round trip."""
    with connection.pipeline():
        cursors = {name: connection.execute(_query(name), parameters.get(name)) for name in names}
        return {name: cursor.fetchall() for name, cursor in cursors.items()}


def _acl(rows: list[list[Any]] | None) -> tuple[AclItem, ...]:
    # NULL: nobody has anything, not even the owner.
    return tuple(sorted(AclItem(*row) for row in rows or ()))
