"""Actions → SQL, composed with psycopg.sql. Opens nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from psycopg import sql

from soa_db.access.postgres.actions import (
    Action,
    AdoptRole,
    AlterRole,
    CommentRole,
    CreateDatabase,
    CreateRole,
    CreateSchema,
    DefaultPrivileges,
    DropRole,
    GrantMembership,
    Privileges,
    ResetSetting,
    RetireIn,
    RevokeMembership,
    SetDatabaseOwner,
    SetObjectOwner,
    SetPassword,
    SetSchemaOwner,
)
from soa_db.access.postgres.state import PUBLIC, ObjectName

__all__ = ["bracket_close", "bracket_open", "owners", "render", "set_password"]

# A statement naming more objects than this is split: its text would grow into the megabytes.
_NAMES_PER_STATEMENT = 1000
_GRANT_OBJECT = {
    "database": "DATABASE",
    "schema": "SCHEMA",
    "table": "TABLE",
    "view": "TABLE",
    "materialized view": "TABLE",
    "foreign table": "TABLE",
    "sequence": "SEQUENCE",
    "routine": "ROUTINE",
    "type": "TYPE",
}
_ALTER_OBJECT = {
    **_GRANT_OBJECT,
    "view": "VIEW",
    "materialized view": "MATERIALIZED VIEW",
    "foreign table": "FOREIGN TABLE",
}
_DEFAULT_OBJECT = {
    "table": "TABLES",
    "sequence": "SEQUENCES",
    "routine": "ROUTINES",
    "type": "TYPES",
    "schema": "SCHEMAS",
}

Statement = sql.Composed


def render(action: Action, version: int) -> Iterator[Statement]:  # noqa: C901, PLR0912  (one case per action)
    """The statements that carry out an action on this major version; SetPassword has none of its own here."""
    name = sql.Identifier
    match action:
        case CreateRole(name=role, comment=comment):
            # The attributes are spelled out where a default could be changed under us; NOSUPERUSER and its kind may
            # not be, by those who do not have them.
            yield sql.SQL("CREATE ROLE {} LOGIN INHERIT NOCREATEDB NOCREATEROLE").format(name(role))
            yield sql.SQL("COMMENT ON ROLE {} IS {}").format(name(role), sql.Literal(comment))
        case AlterRole(name=role, attributes=attributes):
            yield sql.SQL("ALTER ROLE {} {}").format(name(role), _keywords(attributes, " "))
        case AdoptRole(name=role, comment=comment) | CommentRole(name=role, comment=comment):
            yield sql.SQL("COMMENT ON ROLE {} IS {}").format(name(role), sql.Literal(comment))
        case GrantMembership(role=role, member=member):
            yield sql.SQL("GRANT {} TO {}").format(name(role), name(member))
        case RevokeMembership(role=role, member=member, grantor=grantor):
            by = sql.SQL(" GRANTED BY {}").format(name(grantor)) if version >= 16 else sql.SQL("")
            # CASCADE: the member may have handed the membership on.
            yield sql.SQL("REVOKE {} FROM {}{} CASCADE").format(name(role), name(member), by)
        case ResetSetting(role=role, database=None, name=setting):
            yield sql.SQL("ALTER ROLE {} RESET {}").format(name(role), _setting(setting))
        case ResetSetting(role=role, database=str(database), name=setting):
            yield sql.SQL("ALTER ROLE {} IN DATABASE {} RESET {}").format(name(role), name(database), _setting(setting))
        case CreateDatabase(name=database):
            yield sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(name(database))
        case SetDatabaseOwner(name=database, owner=owner):
            yield sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name(database), name(owner))
        case CreateSchema(name=schema, owner=owner):
            yield sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(name(schema), name(owner))
        case SetSchemaOwner(name=schema, owner=owner):
            yield sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(name(schema), name(owner))
        case SetObjectOwner(kind=kind, schema=schema, names=names, owner=owner):
            for one in names:
                yield sql.SQL("ALTER {} {} OWNER TO {}").format(
                    _trusted(_ALTER_OBJECT[kind]), _object(schema, one), name(owner)
                )
        case Privileges():
            yield from _privileges(action)
        case DefaultPrivileges():
            yield _default_privileges(action)
        case RetireIn(role=role, heir=heir):
            yield sql.SQL("REASSIGN OWNED BY {} TO {}").format(name(role), name(heir))
            yield sql.SQL("DROP OWNED BY {}").format(name(role))
        case DropRole(name=role):
            yield sql.SQL("DROP ROLE {}").format(name(role))
        case SetPassword():
            return


def owners(action: Action) -> frozenset[str]:
    """The roles as which an action must be done: they are granted to the administrator around it."""
    match action:
        case SetDatabaseOwner(owner=owner, previous=previous) | SetSchemaOwner(owner=owner, previous=previous):
            return frozenset({owner, previous})
        case SetObjectOwner(owner=owner, previous=previous):
            return frozenset({owner, previous})
        case CreateSchema(owner=owner) | Privileges(owner=owner) | DefaultPrivileges(owner=owner):
            return frozenset({owner})
        case RetireIn(role=role, heir=heir):
            return frozenset({role, heir, *action.owners})
        case _:
            return frozenset()


def bracket_open(role: str, admin: str, version: int) -> Statement:
    """Let the administrator act as ``role`` until ``bracket_close``, in the same transaction."""
    options = sql.SQL(" WITH INHERIT TRUE, SET TRUE" if version >= 16 else "")
    return sql.SQL("GRANT {} TO {}{}").format(sql.Identifier(role), sql.Identifier(admin), options)


def bracket_close(role: str, admin: str, version: int) -> Statement:
    """Undo ``bracket_open``; on 16 and later the ADMIN edge the creator of a role has stays."""
    by = sql.SQL(" GRANTED BY {}").format(sql.Identifier(admin)) if version >= 16 else sql.SQL("")
    return sql.SQL("REVOKE {} FROM {}{}").format(sql.Identifier(role), sql.Identifier(admin), by)


def set_password(user: str, verifier: str) -> Statement:
    """Set a password by its SCRAM verifier: the password itself never stands in a statement."""
    return sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(user), sql.Literal(verifier))


def _privileges(action: Privileges) -> Iterator[Statement]:
    columns: sql.Composable = sql.SQL("")
    if action.columns:
        columns = sql.SQL(" ({})").format(sql.SQL(", ").join(map(sql.Identifier, action.columns)))
    what = sql.SQL(", ").join(
        sql.SQL("{}{}").format(_keywords((privilege,)), columns) for privilege in action.privileges
    )
    if action.kind in {"database", "schema"}:
        names = [sql.Composed([sql.Identifier(one.name)]) for one in action.names]
    else:
        names = [_object(action.schema, one) for one in action.names]
    for start in range(0, len(names), _NAMES_PER_STATEMENT):
        yield _grant(
            action.verb,
            what,
            sql.SQL("{} {}").format(
                _trusted(_GRANT_OBJECT[action.kind]), sql.SQL(", ").join(names[start : start + _NAMES_PER_STATEMENT])
            ),
            action.grantees,
        )


def _default_privileges(action: DefaultPrivileges) -> Statement:
    scope: sql.Composable = sql.SQL("")
    if action.schema is not None:
        scope = sql.SQL(" IN SCHEMA {}").format(sql.Identifier(action.schema))
    return sql.SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {}{} {}").format(
        sql.Identifier(action.owner),
        scope,
        _grant(
            action.verb, _keywords(action.privileges, ", "), _trusted(_DEFAULT_OBJECT[action.kind]), action.grantees
        ),
    )


def _grant(verb: str, what: sql.Composable, on: sql.Composable, grantees: tuple[str, ...]) -> Statement:
    to = sql.SQL(", ").join(sql.SQL("PUBLIC") if name == PUBLIC else sql.Identifier(name) for name in grantees)
    match verb:
        case "grant":
            return sql.SQL("GRANT {} ON {} TO {}").format(what, on, to)
        case "revoke":
            return sql.SQL("REVOKE {} ON {} FROM {} CASCADE").format(what, on, to)
        case _:
            return sql.SQL("REVOKE GRANT OPTION FOR {} ON {} FROM {} CASCADE").format(what, on, to)


def _object(schema: str, one: ObjectName) -> Statement:
    # Arguments are written by the server, qualified and quoted, with an empty search path.
    parts: list[sql.Composable] = [sql.Identifier(schema, one.name)]
    if one.arguments is not None:
        parts.append(_trusted(f"({one.arguments})"))
    return sql.Composed(parts)


def _trusted(text: str) -> sql.SQL:
    """SQL that is ours or the server's, but no literal."""
    return sql.SQL(text)


def _setting(name: str) -> sql.Identifier:
    # A custom setting ("myapp.tenant") is two identifiers in the grammar.
    return sql.Identifier(*name.split("."))


def _keywords(words: Iterable[str], separator: str = " ") -> sql.Composed:
    return sql.SQL(", " if separator == ", " else " ").join(_trusted(word) for word in words)
