"""What can be done to a PostgreSQL server, as values, and the sentence a person reads for each. No I/O, no SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from soa_db.access.postgres.state import PUBLIC, ObjectName
from soa_db.access.quoting import shown

__all__ = [
    "Action",
    "AdoptRole",
    "AlterRole",
    "CommentRole",
    "CreateDatabase",
    "CreateRole",
    "CreateSchema",
    "DefaultPrivileges",
    "DropRole",
    "GrantKind",
    "GrantMembership",
    "Privileges",
    "ResetSetting",
    "RetireIn",
    "RevokeMembership",
    "SetDatabaseOwner",
    "SetObjectOwner",
    "SetPassword",
    "SetSchemaOwner",
    "Verb",
    "sentence",
    "shown",
]

GrantKind = Literal[
    "database", "schema", "table", "view", "materialized view", "foreign table", "sequence", "routine", "type"
]
Verb = Literal["grant", "revoke", "revoke grant option"]


@dataclass(frozen=True, slots=True)
class CreateRole:
    """A role that may log in and nothing else."""

    name: str
    comment: str


@dataclass(frozen=True, slots=True)
class AlterRole:
    """Attributes that differ, as SQL keywords; restating others can fail (e.g. NOSUPERUSER, even when unchanged)."""

    name: str
    attributes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AdoptRole:
    """A role that was there before any run, from now on managed: the comment is set."""

    name: str
    comment: str


@dataclass(frozen=True, slots=True)
class CommentRole:
    """The comment by which a managed role is known."""

    name: str
    comment: str


@dataclass(frozen=True, slots=True)
class GrantMembership:
    """Make ``member`` a member of ``role``."""

    role: str
    member: str


@dataclass(frozen=True, slots=True)
class RevokeMembership:
    """End a membership; ``grantor`` tells which, from PostgreSQL 16 on."""

    role: str
    member: str
    grantor: str


@dataclass(frozen=True, slots=True)
class ResetSetting:
    """Undo ``ALTER ROLE … [IN DATABASE …] SET name``."""

    role: str
    database: str | None
    name: str


@dataclass(frozen=True, slots=True)
class CreateDatabase:
    """An empty database, UTF8."""

    name: str


@dataclass(frozen=True, slots=True)
class SetDatabaseOwner:
    """Give a database to its owner role."""

    name: str
    owner: str
    previous: str


@dataclass(frozen=True, slots=True)
class CreateSchema:
    """A schema of the owner role."""

    name: str
    owner: str


@dataclass(frozen=True, slots=True)
class SetSchemaOwner:
    """Give a schema to the owner role."""

    name: str
    owner: str
    previous: str


@dataclass(frozen=True, slots=True)
class SetObjectOwner:
    """Give objects to the owner role."""

    kind: GrantKind
    schema: str
    names: tuple[ObjectName, ...]
    owner: str
    previous: str


@dataclass(frozen=True, slots=True)
class Privileges:
    """Privileges on objects of one kind in one schema.

    Attributes:
        verb: what is done.
        kind: of the objects.
        schema: where they are; empty for databases and schemas.
        names: which.
        owner: their owner, as whom it is done.
        grantees: roles, or ``PUBLIC`` alone.
        privileges: upper case, sorted.
        columns: only of these columns.
    """

    verb: Verb
    kind: GrantKind
    schema: str
    names: tuple[ObjectName, ...]
    owner: str
    grantees: tuple[str, ...]
    privileges: tuple[str, ...]
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DefaultPrivileges:
    """What ``owner`` makes later: in one schema, or (None) anywhere."""

    verb: Verb
    owner: str
    schema: str | None
    kind: str
    grantees: tuple[str, ...]
    privileges: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetPassword:
    """A new password of a development user, into its parity secrets.

    Attributes:
        user: the user.
        secrets: the names of the secrets.
        reason: why.
    """

    user: str
    secrets: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class RetireIn:
    """Give what a retired role owns in one database to another role, and take its privileges there away.

    Attributes:
        role: the retired role.
        heir: who gets what it owns.
        owners: the owners of what it has privileges on, who alone can take them away.
    """

    role: str
    heir: str
    owners: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DropRole:
    """Drop a retired role."""

    name: str


Action = (
    CreateRole
    | AlterRole
    | AdoptRole
    | CommentRole
    | GrantMembership
    | RevokeMembership
    | ResetSetting
    | CreateDatabase
    | SetDatabaseOwner
    | CreateSchema
    | SetSchemaOwner
    | SetObjectOwner
    | Privileges
    | DefaultPrivileges
    | SetPassword
    | RetireIn
    | DropRole
)


def _who(grantees: tuple[str, ...]) -> str:
    return ", ".join("PUBLIC" if name == PUBLIC else shown(name) for name in grantees)


def _plural(kind: str) -> str:
    return f"{kind}s"


def _objects(kind: str, names: tuple[ObjectName, ...], schema: str) -> str:
    if kind in {"database", "schema"}:
        return f"{kind}{'s' if names[1:] else ''} {', '.join(shown(one.name) for one in names)}"
    what = f"{len(names)} {_plural(kind)}"
    if len(names) == 1:
        arguments = names[0].arguments
        what = f"{kind} {shown(names[0].name)}" + ("" if arguments is None else f"({arguments})")
    return f"{what} in schema {shown(schema)}"


def _in(database: str | None, kind: str = "") -> str:
    return "" if database is None or kind == "database" else f" of database {shown(database)}"


def sentence(action: Action, database: str | None = None) -> str:  # noqa: C901, PLR0911, PLR0912  (one line per action)
    """Say what an action does, e.g. ``grant SELECT on 12 tables in schema public of database chat_api to reader``."""
    match action:
        case CreateRole(name=name):
            return f"create role {shown(name)}"
        case AlterRole(name=name, attributes=attributes):
            return f"alter role {shown(name)}: {', '.join(attributes)}"
        case AdoptRole(name=name):
            return f"take over role {shown(name)}, which soa-db did not make: its password and rights become the spec's"
        case CommentRole(name=name):
            return f"set the comment of role {shown(name)}"
        case GrantMembership(role=role, member=member):
            return f"grant membership in {shown(role)} to {shown(member)}"
        case RevokeMembership(role=role, member=member, grantor=grantor):
            return f"revoke membership in {shown(role)} from {shown(member)} (granted by {shown(grantor)})"
        case ResetSetting(role=role, database=where, name=name):
            return f"reset setting {shown(name)} of role {shown(role)}" + (
                f" in database {shown(where)}" if where is not None else ""
            )
        case CreateDatabase(name=name):
            return f"create database {shown(name)}"
        case SetDatabaseOwner(name=name, owner=owner, previous=previous):
            return f"make {shown(owner)} the owner of database {shown(name)} (now {shown(previous)})"
        case CreateSchema(name=name, owner=owner):
            return f"create schema {shown(name)}{_in(database)} owned by {shown(owner)}"
        case SetSchemaOwner(name=name, owner=owner, previous=previous):
            return f"make {shown(owner)} the owner of schema {shown(name)}{_in(database)} (now {shown(previous)})"
        case SetObjectOwner(kind=kind, schema=schema, names=names, owner=owner, previous=previous):
            what = _objects(kind, names, schema)
            return f"make {shown(owner)} the owner of {what}{_in(database)} (now {shown(previous)})"
        case Privileges():
            return _privileges(action, database)
        case DefaultPrivileges(verb=verb, owner=owner, schema=where, kind=kind, grantees=grantees):
            scope = "" if where is None else f" in schema {shown(where)}"
            place = "" if database is None else f" {'of' if where is not None else 'in'} database {shown(database)}"
            to = "to" if verb == "grant" else "from"
            return (
                f"{verb} {', '.join(action.privileges)} on {_plural(kind)} {shown(owner)} makes later{scope}"
                f"{place} {to} {_who(grantees)}"
            )
        case SetPassword(user=user, secrets=secrets, reason=reason):
            return f"set password of {shown(user)} in {', '.join(secrets)} ({reason})"
        case RetireIn(role=role, heir=heir):
            place = "" if database is None else f" in database {shown(database)}"
            return f"give what retired role {shown(role)} owns{place} to {shown(heir)}, drop its privileges there"
        case DropRole(name=name):
            return f"drop retired role {shown(name)}"


def _privileges(action: Privileges, database: str | None) -> str:
    what = ", ".join(action.privileges)
    if action.columns:
        what += f" ({', '.join(shown(column) for column in action.columns)})"
    objects = _objects(action.kind, action.names, action.schema) + _in(database, action.kind)
    match action.verb:
        case "grant":
            return f"grant {what} on {objects} to {_who(action.grantees)}"
        case "revoke":
            return f"revoke {what} on {objects} from {_who(action.grantees)}"
        case "revoke grant option":
            return f"revoke grant option for {what} on {objects} from {_who(action.grantees)}"
