"""What a PostgreSQL server has today, as values. No I/O.

Objects that share kind, schema, owner and ACL stand together in one ``ObjectGroup``: 2,500 tables with the usual
privileges are one value with 2,500 names, so that comparing them costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

__all__ = [
    "PUBLIC",
    "AclItem",
    "Admin",
    "ColumnAcl",
    "Contents",
    "DatabaseState",
    "DefaultAcl",
    "Membership",
    "ObjectGroup",
    "ObjectKind",
    "ObjectName",
    "PasswordState",
    "RoleSetting",
    "RoleState",
    "SchemaState",
    "ServerState",
]

# "public" is reserved: no role can have this name (src/backend/commands/user.c).
PUBLIC = "public"

ObjectKind = Literal["table", "view", "materialized view", "foreign table", "sequence", "routine", "type"]


@dataclass(frozen=True, slots=True, order=True)
class AclItem:
    """One privilege in one access control list, as ``aclexplode`` gives it.

    Attributes:
        grantee: the role, or ``PUBLIC``.
        privilege: in upper case, e.g. ``SELECT``.
        grantor: who granted it: the object's owner, unless a grant option was used.
        grantable: with grant option.
    """

    grantee: str
    privilege: str
    grantor: str
    grantable: bool = False


@dataclass(frozen=True, slots=True)
class RoleState:
    """A role as ``pg_roles`` shows it."""

    name: str
    login: bool = True
    inherit: bool = True
    superuser: bool = False
    createdb: bool = False
    createrole: bool = False
    replication: bool = False
    bypassrls: bool = False
    connection_limit: int = -1
    expires: bool = False
    comment: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class Membership:
    """``member`` is a member of ``role``. Before PostgreSQL 16 ``inherit`` and ``set`` are true."""

    role: str
    member: str
    grantor: str
    admin: bool = False
    inherit: bool = True
    set: bool = True


@dataclass(frozen=True, slots=True, order=True)
class RoleSetting:
    """``ALTER ROLE … [IN DATABASE …] SET name``; the value is left on the server: it may be anything."""

    role: str
    database: str | None
    name: str
    resettable: bool = True


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """A database as the server's shared catalogs show it.

    Attributes:
        name: its name.
        owner: its owner.
        acl: who may do what with it.
        connectable: connections are allowed and the database is valid.
        admin_may_connect: the administrator has CONNECT.
        used_by: roles with sessions, objects or privileges in it, apart from its owner.
        template: whoever has CREATEDB may copy it.
    """

    name: str
    owner: str
    acl: tuple[AclItem, ...] = ()
    connectable: bool = True
    admin_may_connect: bool = True
    used_by: frozenset[str] = frozenset()
    template: bool = False


@dataclass(frozen=True, slots=True)
class SchemaState:
    """A schema."""

    name: str
    owner: str
    acl: tuple[AclItem, ...] = ()


class ObjectName(NamedTuple):
    """A name within a schema; of a routine also its arguments, as the server writes them in SQL."""

    name: str
    arguments: str | None = None


@dataclass(frozen=True, slots=True)
class ObjectGroup:
    """Objects of one kind in one schema with the same owner and ACL.

    Attributes:
        kind: partitioned tables count as tables, functions, procedures and aggregates as routines.
        schema: the schema.
        owner: the owner.
        acl: the ACL; the built-in default is spelled out.
        names: the names, sorted.
        linked: sequences of serial and identity columns: their owner changes with their table's.
    """

    kind: ObjectKind
    schema: str
    owner: str
    acl: tuple[AclItem, ...]
    names: tuple[ObjectName, ...]
    linked: bool = False


@dataclass(frozen=True, slots=True)
class ColumnAcl:
    """A column that has an ACL of its own, or whose name a spec mentions (then the ACL may be empty)."""

    schema: str
    table: str
    column: str
    owner: str
    acl: tuple[AclItem, ...] = ()


@dataclass(frozen=True, slots=True)
class DefaultAcl:
    """An entry of ``ALTER DEFAULT PRIVILEGES FOR ROLE role [IN SCHEMA schema]``.

    Attributes:
        role: whose new objects it is about.
        schema: None for the global form, whose ACL replaces the built-in default; else it is added to that.
        kind: ``table``, ``sequence``, ``routine``, ``type`` or ``schema``.
        acl: the ACL.
    """

    role: str
    schema: str | None
    kind: str
    acl: tuple[AclItem, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in one database."""

    schemas: tuple[SchemaState, ...] = ()
    objects: tuple[ObjectGroup, ...] = ()
    columns: tuple[ColumnAcl, ...] = ()
    default_acls: tuple[DefaultAcl, ...] = ()


@dataclass(frozen=True, slots=True)
class Admin:
    """Who we are on the server.

    Attributes:
        name: the current user.
        superuser: whether it is one.
        createdb: CREATEDB.
        createrole: CREATEROLE.
        replication: REPLICATION.
        bypassrls: BYPASSRLS.
        iam_member: a member of rds_iam already, in whatever way: a grant of it changes nothing for us.
        administers: roles it has ADMIN OPTION on, directly or through a membership.
        acts_as: roles whose privileges it has or may take without granting itself anything.
    """

    name: str
    superuser: bool = False
    createdb: bool = True
    createrole: bool = True
    replication: bool = False
    bypassrls: bool = False
    iam_member: bool = False
    administers: frozenset[str] = frozenset()
    acts_as: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PasswordState:
    """Whether the development password of one user is in order.

    Attributes:
        user: the user.
        secrets: the parity secrets that hold its password.
        fault: what is wrong, e.g. ``the secret dev/… is missing``; empty when login with it was proved.
    """

    user: str
    secrets: tuple[str, ...]
    fault: str = ""


@dataclass(frozen=True, slots=True)
class ServerState:
    """One server: what all databases share, and the contents of the declared ones.

    Attributes:
        version: major version.
        admin: who we are.
        roles: every role by name.
        memberships: every membership.
        settings: settings of roles.
        databases: every database that is no template, by name.
        contents: by database; a declared database may be missing: it does not exist, or cannot be connected to.
        depended: by retired role, the databases (None: shared objects) where something depends on it, with the
            owners of what does; an owner of None is the bootstrap superuser.
        owning: by retired role, the databases (None: shared objects) where it owns something.
        passwords: of development users, by name; empty elsewhere.
    """

    version: int
    admin: Admin
    roles: Mapping[str, RoleState] = field(default_factory=dict)
    memberships: tuple[Membership, ...] = ()
    settings: tuple[RoleSetting, ...] = ()
    databases: Mapping[str, DatabaseState] = field(default_factory=dict)
    contents: Mapping[str, Contents] = field(default_factory=dict)
    depended: Mapping[str, Mapping[str | None, frozenset[str | None]]] = field(default_factory=dict)
    owning: Mapping[str, frozenset[str | None]] = field(default_factory=dict)
    passwords: Mapping[str, PasswordState] = field(default_factory=dict)
