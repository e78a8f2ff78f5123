"""What a MongoDB has today, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from soa_db.access.quoting import shown

__all__ = ["MARK", "MECHANISM", "PasswordState", "RoleName", "RoleState", "ServerState", "UserName", "UserState"]

MARK = "soa_db"
"""The field of a managed user's custom data that says whose it is: ``{"soa_db": {"service": "chat-api"}}``."""

MECHANISM = "SCRAM-SHA-256"
"""The one way services log in: SCRAM-SHA-1 keeps a hash of MD5 of the password."""


@dataclass(frozen=True, slots=True, order=True)
class UserName:
    """A user, known by the database it is kept in (its authSource) and its name."""

    database: str
    name: str

    def __str__(self) -> str:
        return f"{shown(self.name)} in {shown(self.database)}"


@dataclass(frozen=True, slots=True, order=True)
class RoleName:
    """A role, known by the database it is defined in and its name; of a built-in one, the database it is on."""

    database: str
    name: str

    def __str__(self) -> str:
        return f"{shown(self.name)} on {shown(self.database)}"


@dataclass(frozen=True, slots=True)
class UserState:
    """One user.

    Attributes:
        user: which.
        roles: what it was granted.
        mechanisms: how it can log in.
        restricted: whether it may log in from, or to, some addresses only.
        service: whose it is by its mark; None for a user that no run of ours made.
        custom: all its custom data.
    """

    user: UserName
    roles: frozenset[RoleName] = frozenset()
    mechanisms: frozenset[str] = frozenset({MECHANISM})
    restricted: bool = False
    service: str | None = None
    custom: Mapping[str, object] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class RoleState:
    """One role that somebody defined.

    Attributes:
        role: which.
        collections: those of its own database that it may read documents of.
        more: everything beyond that: other privileges, inherited roles, restrictions, for people.
    """

    role: RoleName
    collections: frozenset[str] = frozenset()
    more: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PasswordState:
    """One user's password: what is wrong with it, empty when all is in order."""

    user: UserName
    secret: str
    fault: str = ""


@dataclass(frozen=True, slots=True)
class ServerState:
    """Everything that is compared with the specs.

    Attributes:
        admin: who looks; None where the server asks nobody who they are.
        users: every user of every database.
        roles: the roles that were defined in declared databases, and those by which services read, in any.
        databases: databases that hold anything and have the name of a declared one, but for upper and lower case.
        open_to_all: whether somebody who did not log in may administer it: it has no access control.
        passwords: each declared user's password.
    """

    admin: UserName | None
    users: Mapping[UserName, UserState] = field(default_factory=dict)
    roles: Mapping[RoleName, RoleState] = field(default_factory=dict)
    databases: frozenset[str] = frozenset()
    open_to_all: bool = False
    passwords: Mapping[UserName, PasswordState] = field(default_factory=dict)

    def services_of(self, database: str) -> frozenset[str]:
        """Whose a database is: it has no owner on MongoDB, but users kept in it, and those have marks."""
        kept = (user.service for user in self.users.values() if user.user.database == database)
        return frozenset(service for service in kept if service is not None)
