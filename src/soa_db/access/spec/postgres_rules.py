"""What must hold within the ``postgres`` part of one spec; each function returns the faults of one kind of entry.

Faults of single values (names, patterns, words) are found by the field types; these rules are about fields that
must fit together.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar, get_args

from soa_db.access.spec.faults import Fault

if TYPE_CHECKING:
    from soa_db.access.spec.document import Path
    from soa_db.access.spec.pattern import ObjectPattern
    from soa_db.access.spec.postgres import ExtraGrant, PostgresDatabase, PostgresSpec

__all__ = ["database_faults", "extra_grant_faults", "part_faults", "repeated", "shared_tables_faults"]

T = TypeVar("T")
_COLUMN_PRIVILEGES = {"select", "insert", "update", "references"}
_RO_PRIVILEGES = {"select", "execute"}


def repeated(
    entries: Iterable[T], path: Path, what: str, key: Callable[[T], Hashable] = lambda entry: entry
) -> Iterator[Fault]:
    """A fault for each entry whose key an earlier one has."""
    seen: set[Hashable] = set()
    for index, entry in enumerate(entries):
        value = key(entry)
        if value in seen:
            yield Fault((*path, index), f"{what} stands here twice")
        seen.add(value)


def database_faults(database: PostgresDatabase) -> Iterator[Fault]:
    """The faults of one entry of ``databases``."""
    yield from repeated(database.schemas, ("schemas",), "the schema")
    roles: dict[str, str] = {}
    for role, user in database.identities.items():
        if user is None:
            if role == "owner":
                yield Fault(("identities", role), "a database needs an owner: null is for app and ro")
        elif user in roles:
            yield Fault(
                ("identities", role), f"the user {user!r} plays the role {roles[user]} already: one user, one role"
            )
        else:
            roles[user] = role
    for granted, privileges in database.grants.items():
        path: Path = ("grants", granted)
        yield from repeated(privileges, path, "the privilege")
        if database.identities.get(granted, "") is None:
            yield Fault(path, f"nobody plays the role {granted} here: `identities` says null", at_key=True)
        if granted == "ro":
            for index, privilege in enumerate(privileges):
                if privilege != "select":
                    yield Fault((*path, index), f"the role ro only reads: {privilege} is for app")


def extra_grant_faults(grant: ExtraGrant) -> Iterator[Fault]:
    """The faults of one entry of ``extra_grants``."""
    if not grant.privileges and not grant.revoke:
        yield Fault((), "nothing is given or taken: name `privileges` or `revoke`")
    yield from repeated(grant.privileges, ("privileges",), "the privilege")
    yield from repeated(grant.revoke, ("revoke",), "the privilege")
    for index, privilege in enumerate(grant.revoke):
        if privilege in grant.privileges:
            yield Fault(("revoke", index), f"{privilege} is both given and taken")
    yield from _misplaced_privileges(grant)
    if grant.columns:
        yield from _grant_column_faults(grant)


def _misplaced_privileges(grant: ExtraGrant) -> Iterator[Fault]:
    for key, privileges in (("privileges", grant.privileges), ("revoke", grant.revoke)):
        for index, privilege in enumerate(privileges):
            if grant.pattern.kind == "routine" and privilege != "execute":
                yield Fault((key, index), f"{privilege} makes no sense for a routine: only execute does")
            elif grant.pattern.kind == "relation" and privilege == "execute":
                yield Fault((key, index), "execute is for routines: write `schema.name()` in `on`")
            elif key == "privileges" and grant.to == "ro" and privilege not in _RO_PRIVILEGES:
                yield Fault((key, index), f"the role ro only reads: {privilege} is for app")


def _grant_column_faults(grant: ExtraGrant) -> Iterator[Fault]:
    yield from _column_faults(grant.columns, (grant.pattern,))
    if grant.revoke:
        yield Fault(
            ("revoke",),
            "PostgreSQL cannot take single columns from a role that has the table: revoke the privilege on the "
            "table, and give the other columns in a second entry",
            at_key=True,
        )
    for index, privilege in enumerate(grant.privileges):
        if privilege not in _COLUMN_PRIVILEGES:
            yield Fault(("privileges", index), f"{privilege} is not a privilege of columns")


def shared_tables_faults(patterns: Sequence[ObjectPattern], columns: Sequence[str] = ()) -> Iterator[Fault]:
    """The faults of ``tables`` and ``columns`` in a read or share."""
    yield from repeated(patterns, ("tables",), "the table")
    for index, pattern in enumerate(patterns):
        if pattern.kind == "routine":
            yield Fault(("tables", index), "routines are not shared: share a table or a view")
        elif pattern.schema.startswith("pg_") or pattern.schema == "information_schema":
            yield Fault(("tables", index), f"{pattern.schema!r} is a schema of the server's own")
    if columns:
        yield from _column_faults(columns, patterns)


def _column_faults(columns: Sequence[str], patterns: Sequence[ObjectPattern]) -> Iterator[Fault]:
    yield from repeated(columns, ("columns",), "the column")
    if any(pattern.exact is None for pattern in patterns):
        yield Fault(("columns",), "columns go with tables named exactly, without `*`", at_key=True)


def part_faults(part: PostgresSpec) -> Iterator[Fault]:
    """The faults between the entries of the part."""
    yield from repeated(part.databases, ("databases",), "the database id", lambda database: database.id)
    yield from repeated(part.retire, ("retire",), "the role", lambda retired: retired.role)
    yield from repeated(part.extra_grants, ("extra_grants",), "the same grant", lambda grant: grant.model_dump_json())
    yield from repeated(
        part.reads, ("reads",), "the same read", lambda read: (read.service, read.db, read.tables, read.to)
    )
    for index, grant in enumerate(part.extra_grants):
        path: Path = ("extra_grants", index)
        database = part.database(grant.db)
        if database is None:
            yield _undeclared(path, grant.db, part)
            continue
        yield from _schema_faults((grant.pattern,), database, (*path, "on"))
        if database.identities.get(grant.to, "") is None:
            yield Fault((*path, "to"), f"nobody plays the role {grant.to} in {grant.db!r}: `identities` says null")
        yield from _empty_revokes(part, index, database)
    shared: set[tuple[str, str, ObjectPattern]] = set()
    for index, share in enumerate(part.shared_with):
        path = ("shared_with", index)
        database = part.database(share.db)
        if database is None:
            yield _undeclared(path, share.db, part)
            continue
        if database.isolated:
            where: Path = (*path, "db") if "db" in share.model_fields_set else path
            yield Fault(where, f"the database {share.db!r} is isolated: nothing of it is shared")
        for number, pattern in enumerate(share.patterns):
            yield from _schema_faults((pattern,), database, (*path, "tables", number))
            if (share.service, share.db, pattern) in shared:
                yield Fault((*path, "tables", number), f"shared with {share.service} in an earlier entry already")
            shared.add((share.service, share.db, pattern))


def _undeclared(path: Path, db: str, part: PostgresSpec) -> Fault:
    known = ", ".join(database.id for database in part.databases)
    return Fault((*path, "db"), f"there is no database {db!r} in `databases`: {known}")


def _schema_faults(patterns: Sequence[ObjectPattern], database: PostgresDatabase, path: Path) -> Iterator[Fault]:
    for pattern in patterns:
        if pattern.schema not in database.schemas:
            yield Fault(
                path,
                f"{pattern.schema!r} is not among the schemas of {database.id!r} ({', '.join(database.schemas)})",
            )


def _empty_revokes(part: PostgresSpec, index: int, database: PostgresDatabase) -> Iterator[Fault]:
    """Privileges taken that the role never had: most likely the wrong word, or the wrong role."""
    from soa_db.access.spec.postgres import TablePrivilege

    grant = part.extra_grants[index]
    given = set(database.table_privileges(grant.to))
    for earlier in part.extra_grants[:index]:
        if (earlier.to, earlier.db) == (grant.to, grant.db):
            given.update(privilege for privilege in get_args(TablePrivilege) if privilege in earlier.privileges)
    for number, privilege in enumerate(grant.revoke):
        if privilege in get_args(TablePrivilege) and privilege not in given:
            yield Fault(
                ("extra_grants", index, "revoke", number), f"{grant.to} has no {privilege} there: nothing to take away"
            )
