"""``db-access.yaml`` version 1 as frozen models, and the reader that turns files into them.

The models are the source of the committed JSON Schema. Names follow DESIGN section 6.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from soa_db.names import Role, postgres_database, postgres_user

__all__ = [
    "ExtraGrant",
    "MongoSpec",
    "PostgresDatabase",
    "PostgresRead",
    "PostgresShare",
    "PostgresSpec",
    "RedisSpec",
    "RetiredRole",
    "Spec",
    "TablePrivilege",
]

TablePrivilege = Literal["select", "insert", "update", "delete", "truncate", "references", "trigger", "maintain"]
Privilege = TablePrivilege | Literal["usage", "execute", "create"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class PostgresDatabase(_Model):
    """One database of a service."""

    id: str = "main"
    database: str | None = None
    schemas: tuple[str, ...] = ("public",)
    isolated: bool = False
    identities: dict[Role, str | None] = Field(default_factory=dict)
    grants: dict[Role, tuple[TablePrivilege, ...]] = Field(default_factory=dict)


class ExtraGrant(_Model):
    """Privileges beyond (or below: ``revoke``) what the role has in general, on one table or routine pattern."""

    to: Role
    db: str = "main"
    on: str
    privileges: tuple[Privilege, ...] = ()
    revoke: tuple[Privilege, ...] = ()
    columns: tuple[str, ...] = ()


class PostgresRead(_Model):
    """What this service wants to read of another's database; the other side must share it."""

    service: str
    db: str = "main"
    tables: tuple[str, ...]
    to: tuple[Role, ...] = ("app", "ro")


class PostgresShare(_Model):
    """What this service lets another read."""

    service: str
    db: str = "main"
    tables: tuple[str, ...]
    columns: tuple[str, ...] = ()


class RetiredRole(_Model):
    """A role to be removed (with ``--prune`` only): what it owns goes to ``reassign_to``."""

    role: str
    reassign_to: Role = "owner"


class PostgresSpec(_Model):
    """The ``postgres`` part."""

    databases: tuple[PostgresDatabase, ...] = (PostgresDatabase(),)
    extra_grants: tuple[ExtraGrant, ...] = ()
    reads: tuple[PostgresRead, ...] = ()
    shared_with: tuple[PostgresShare, ...] = ()
    retire: tuple[RetiredRole, ...] = ()


class RedisSpec(_Model):
    """The ``redis`` part."""

    keys: tuple[str, ...] = ()
    read_only_keys: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    profile: Literal["app", "readonly", "queue"] = "app"
    scan: bool = False


class MongoRead(_Model):
    """Collections of another service's database this one wants to read."""

    service: str
    collections: tuple[str, ...]


class MongoShare(_Model):
    """Collections this service lets another read."""

    service: str
    collections: tuple[str, ...]


class RetiredUser(_Model):
    """A MongoDB user to be removed."""

    user: str


class MongoSpec(_Model):
    """The ``mongo`` part."""

    database: str | None = None
    roles: tuple[str, ...] = ("readWrite",)
    reads: tuple[MongoRead, ...] = ()
    shared_with: tuple[MongoShare, ...] = ()
    retire: tuple[RetiredUser, ...] = ()


class Spec(_Model):
    """One service's ``db-access.yaml``."""

    version: Annotated[int, Field(ge=1, le=1)]
    service: str
    postgres: PostgresSpec | None = None
    redis: RedisSpec | None = None
    mongo: MongoSpec | None = None

    def postgres_databases(self) -> tuple[PostgresDatabase, ...]:
        """The declared PostgreSQL databases, none when the service has no ``postgres`` part."""
        return self.postgres.databases if self.postgres else ()

    def database_name(self, database: PostgresDatabase) -> str:
        """The name on the server: ``database`` of the spec, else derived."""
        return database.database or postgres_database(self.service, database.id)

    def user(self, database: PostgresDatabase, role: Role) -> str | None:
        """The user that plays ``role`` in ``database``; None where the spec says there is none."""
        if role in database.identities:
            return database.identities[role]
        return postgres_user(self.service, role)
