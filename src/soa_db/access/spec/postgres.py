"""The ``postgres`` part of a spec: databases, identities, grants, reads and shares, and the rules within it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictBool, model_validator

from soa_db.access.spec.faults import refuse
from soa_db.access.spec.fields import (
    AT_LEAST_ONE,
    NOT_EMPTY,
    Database,
    Identifier,
    SchemaName,
    ServiceId,
    SpecModel,
    User,
    check_name,
)
from soa_db.access.spec.pattern import ObjectPattern
from soa_db.access.spec.postgres_rules import (
    database_faults,
    extra_grant_faults,
    part_faults,
    repeated,
    shared_tables_faults,
)
from soa_db.errors import ConfigurationError
from soa_db.names import Role, normal_db_id

__all__ = [
    "DEFAULT_GRANTS",
    "ExtraGrant",
    "PostgresDatabase",
    "PostgresRead",
    "PostgresShare",
    "PostgresSpec",
    "Privilege",
    "RetiredRole",
    "TablePrivilege",
]

TablePrivilege = Literal["select", "insert", "update", "delete", "truncate", "references", "trigger", "maintain"]
Privilege = Literal[
    "select", "insert", "update", "delete", "truncate", "references", "trigger", "maintain", "usage", "execute"
]
GrantedRole = Literal["app", "ro"]

# What a role may do on every relation of its database, unless ``grants`` says otherwise. The owner owns them.
DEFAULT_GRANTS: Mapping[Role, tuple[TablePrivilege, ...]] = {
    "owner": (),
    "app": ("select", "insert", "update", "delete"),
    "ro": ("select",),
}


def _db_id(value: str) -> str:
    try:
        return normal_db_id(value) or "main"
    except ConfigurationError as error:
        raise ValueError(f"{error.message}: {error.hint}") from None


def _pattern(value: str) -> str:
    pattern = ObjectPattern.parse(value)
    for part in (pattern.schema, *filter(None, pattern.pieces)):
        check_name(part, "name")
    return value


DbId = Annotated[
    str,
    AfterValidator(_db_id),
    Field(json_schema_extra={"pattern": "^[a-z][a-z0-9]*([-_][a-z0-9]+)*$", "examples": ["main"]}),
]
PatternText = Annotated[
    str, AfterValidator(_pattern), Field(json_schema_extra={"pattern": "[.]", "examples": ["public.rooms"]})
]


class PostgresDatabase(SpecModel):
    """One database of a service."""

    id: DbId = "main"
    """The id services connect by (`db_id=`). `main` is the default database: its names carry no id."""
    database: Database | None = None
    """The name on the server, where it is not the derived one."""
    schemas: Annotated[tuple[SchemaName, ...], NOT_EMPTY, AT_LEAST_ONE] = ("public",)
    """The schemas the service uses; the owner role owns them."""
    isolated: StrictBool = False
    """True: no identity of another database may reach this one, so it needs `identities` of its own."""
    identities: dict[Role, User | None] = Field(default_factory=dict)
    """The user that plays each role, where it is not the derived one; null where nobody does."""
    grants: dict[GrantedRole, tuple[TablePrivilege, ...]] = Field(default_factory=dict)
    """What a role may do on every table, in place of the default (app: select, insert, update, delete; ro: select)."""

    @model_validator(mode="after")
    def _rules(self) -> PostgresDatabase:
        refuse(database_faults(self))
        return self

    def table_privileges(self, role: Role) -> tuple[TablePrivilege, ...]:
        """What ``role`` may do on every relation here: ``grants``, else the default."""
        if role != "owner" and role in self.grants:
            return self.grants[role]
        return DEFAULT_GRANTS[role]


class ExtraGrant(SpecModel):
    """Privileges beyond (`privileges`) or below (`revoke`) what the role has in general, on some objects.

    Entries apply in the order of the file: the last that matches an object decides.
    """

    to: GrantedRole
    """The role."""
    db: DbId = "main"
    """The id of the database."""
    on: PatternText
    """`schema.table`, `schema.prefix_*`, or `schema.routine()`."""
    privileges: tuple[Privilege, ...] = ()
    """What the role may do there besides."""
    revoke: tuple[Privilege, ...] = ()
    """What the role may not do there."""
    columns: tuple[Identifier, ...] = ()
    """The columns `privileges` are limited to; empty for whole tables."""

    @model_validator(mode="after")
    def _rules(self) -> ExtraGrant:
        refuse(extra_grant_faults(self))
        return self

    @cached_property
    def pattern(self) -> ObjectPattern:
        """``on``, parsed."""
        return ObjectPattern.parse(self.on)


class PostgresRead(SpecModel):
    """What this service wants to read of another's database; the other side must share it."""

    service: ServiceId
    """The service that owns the tables."""
    db: DbId = "main"
    """The id of that service's database."""
    tables: Annotated[tuple[PatternText, ...], NOT_EMPTY, AT_LEAST_ONE]
    """`schema.table` or `schema.prefix_*`."""
    to: Annotated[tuple[Role, ...], NOT_EMPTY, AT_LEAST_ONE] = ("app", "ro")
    """This service's roles that read them."""

    @model_validator(mode="after")
    def _rules(self) -> PostgresRead:
        refuse([*shared_tables_faults(self.patterns), *repeated(self.to, ("to",), "the role")])
        return self

    @cached_property
    def patterns(self) -> tuple[ObjectPattern, ...]:
        """``tables``, parsed."""
        return tuple(ObjectPattern.parse(table) for table in self.tables)


class PostgresShare(SpecModel):
    """What this service lets another read."""

    service: ServiceId
    """The service that may read."""
    db: DbId = "main"
    """The id of this service's database."""
    tables: Annotated[tuple[PatternText, ...], NOT_EMPTY, AT_LEAST_ONE]
    """`schema.table` or `schema.prefix_*`."""
    columns: tuple[Identifier, ...] = ()
    """The columns it may read; empty for whole tables."""

    @model_validator(mode="after")
    def _rules(self) -> PostgresShare:
        refuse(shared_tables_faults(self.patterns, self.columns))
        return self

    @cached_property
    def patterns(self) -> tuple[ObjectPattern, ...]:
        """``tables``, parsed."""
        return tuple(ObjectPattern.parse(table) for table in self.tables)


class RetiredRole(SpecModel):
    """A role to be removed (with `--prune` only)."""

    role: User
    """The role on the server."""
    reassign_to: Literal["owner"] = "owner"
    """The role that gets what it owns, in each database."""


class PostgresSpec(SpecModel):
    """What the service has on PostgreSQL."""

    databases: Annotated[tuple[PostgresDatabase, ...], NOT_EMPTY, AT_LEAST_ONE] = (PostgresDatabase(),)
    """Its databases; one, `main`, when left out."""
    extra_grants: tuple[ExtraGrant, ...] = ()
    """Exceptions to `grants`, in order: the last that matches decides."""
    reads: tuple[PostgresRead, ...] = ()
    """What this service wants to read of others."""
    shared_with: tuple[PostgresShare, ...] = ()
    """What this service lets others read."""
    retire: tuple[RetiredRole, ...] = ()
    """Roles of the past, removed with `--prune`."""

    @model_validator(mode="after")
    def _rules(self) -> PostgresSpec:
        refuse(part_faults(self))
        return self

    def database(self, db_id: str | None) -> PostgresDatabase | None:
        """The database with this id (None and ``"main"`` are the same), if it is declared."""
        wanted = db_id or "main"
        return next((database for database in self.databases if database.id == wanted), None)
