"""The ``mongo`` part of a spec, and the rules within it.

Limits: https://www.mongodb.com/docs/manual/reference/limits/#naming-restrictions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from soa_db.access.spec.faults import Fault, refuse, suggestion
from soa_db.access.spec.fields import AT_LEAST_ONE, NOT_EMPTY, ServiceId, SpecModel
from soa_db.access.spec.postgres_rules import repeated
from soa_db.names import MONGO_LOCK_DATABASE

__all__ = ["MongoRead", "MongoShare", "MongoSpec", "RetiredUser"]

_ROLES = ("read", "readWrite", "dbAdmin")
# They reach other databases, or let their holder give itself more.
_REFUSED_ROLES = {
    "__system", "backup", "clusterAdmin", "clusterManager", "clusterMonitor", "dbAdminAnyDatabase", "dbOwner",
    "enableSharding", "hostManager", "readAnyDatabase", "readWriteAnyDatabase", "restore", "root", "userAdmin",
    "userAdminAnyDatabase",
}  # fmt: skip
_RESERVED_DATABASES = {"admin", "config", "local"}


def _printable(value: str, what: str) -> None:
    if not value:
        raise ValueError(f"the {what} is empty")
    if not value.isprintable():
        raise ValueError(f"the {what} {value!r} holds a control character")


def _database(value: str) -> str:
    _printable(value, "database")
    if bad := sorted(set('/\\. "$*<>:|?') & set(value)):
        raise ValueError(f'a MongoDB database name holds none of / \\ . " $ * < > : | ? and blanks; here: {bad[0]!r}')
    if len(value.encode()) > 63:
        raise ValueError(f"the database {value!r} is {len(value.encode())} bytes long; MongoDB takes 63")
    if value.lower() in _RESERVED_DATABASES:
        raise ValueError(f"{value!r} is a database of the server's own")
    if value.lower() == MONGO_LOCK_DATABASE:
        raise ValueError(f"{value!r} is the database of the provisioning lock")
    return value


def _collection(value: str) -> str:
    _printable(value, "collection")
    if value.startswith("system.") or "$" in value:
        raise ValueError(f"{value!r} is a collection of the server's own")
    if "*" in value:
        raise ValueError("collections are named exactly: MongoDB's privileges know no wildcards")
    # A namespace, database and all, has 255 bytes.
    if len(value.encode()) > 255 - 64:
        raise ValueError("the collection's name is too long: with its database it has 255 bytes")
    return value


def _role(value: str) -> str:
    if value in _REFUSED_ROLES:
        raise ValueError(f"the role {value} reaches beyond the service's own data: use one of {', '.join(_ROLES)}")
    if value not in _ROLES:
        near = suggestion(value, _ROLES)
        raise ValueError(f"{value!r} is not a role a service can have: {', '.join(_ROLES)}{near}")
    return value


def _user(value: str) -> str:
    _printable(value, "user")
    return value


Collection = Annotated[str, AfterValidator(_collection)]


class MongoRead(SpecModel):
    """Collections of another service's database this one wants to read; the other side must share them."""

    service: ServiceId
    """The service that owns the collections."""
    collections: Annotated[tuple[Collection, ...], NOT_EMPTY, AT_LEAST_ONE]
    """Their names."""


class MongoShare(SpecModel):
    """Collections this service lets another read."""

    service: ServiceId
    """The service that may read."""
    collections: Annotated[tuple[Collection, ...], NOT_EMPTY, AT_LEAST_ONE]
    """Their names."""


class RetiredUser(SpecModel):
    """A MongoDB user to be removed (with `--prune` only)."""

    user: Annotated[str, AfterValidator(_user)]
    """The user on the server."""


class MongoSpec(SpecModel):
    """What the service has on MongoDB."""

    database: Annotated[str, AfterValidator(_database)] | None = None
    """The name on the server; `{service}_db`, with `_` for `-`, when left out."""
    roles: Annotated[
        tuple[Annotated[str, AfterValidator(_role), Field(json_schema_extra={"enum": list(_ROLES)})], ...],
        NOT_EMPTY,
        AT_LEAST_ONE,
    ] = ("readWrite",)
    """Built-in roles of its user on that database: read, readWrite, dbAdmin."""
    reads: tuple[MongoRead, ...] = ()
    """What this service wants to read of others."""
    shared_with: tuple[MongoShare, ...] = ()
    """What this service lets others read."""
    retire: tuple[RetiredUser, ...] = ()
    """Users of the past, removed with `--prune`."""

    @model_validator(mode="after")
    def _rules(self) -> MongoSpec:
        refuse(self._faults())
        return self

    def _faults(self) -> Iterator[Fault]:
        yield from repeated(self.roles, ("roles",), "the role")
        yield from repeated(self.retire, ("retire",), "the user", lambda retired: retired.user)
        for name in ("reads", "shared_with"):
            seen: set[tuple[str, str]] = set()
            for index, entry in enumerate(getattr(self, name)):
                for number, collection in enumerate(entry.collections):
                    if (entry.service, collection) in seen:
                        yield Fault((name, index, "collections", number), "the collection stands here twice")
                    seen.add((entry.service, collection))
