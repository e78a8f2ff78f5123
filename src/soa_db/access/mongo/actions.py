"""What can be done to the users and roles of a MongoDB, as values, and the sentence a person reads. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from soa_db.access.mongo.state import MECHANISM
from soa_db.access.quoting import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from soa_db.access.mongo.state import RoleName, UserName

__all__ = [
    "Action",
    "AdoptUser",
    "AlterUser",
    "CreateRole",
    "CreateUser",
    "DropRole",
    "DropUser",
    "SetPassword",
    "SetRole",
    "sentence",
]


@dataclass(frozen=True, slots=True)
class CreateRole:
    """A role that may read these collections of its database."""

    role: RoleName
    collections: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetRole:
    """A role that may read exactly these collections of its database, and nothing else; ``loses`` what it may now."""

    role: RoleName
    collections: tuple[str, ...]
    loses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DropRole:
    """Take a role away, from everybody who has it."""

    role: RoleName


@dataclass(frozen=True, slots=True)
class CreateUser:
    """A user that nobody can log in as yet: it has a password nobody knows.

    Attributes:
        user: which.
        service: whose.
        roles: all it is granted.
        taken_from: who and what was in its database before any run, for people; empty where nothing was.
    """

    user: UserName
    service: str
    roles: tuple[RoleName, ...]
    taken_from: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AdoptUser:
    """A user that was there before any run, from now on managed: it is marked."""

    user: UserName
    service: str


@dataclass(frozen=True, slots=True)
class AlterUser:
    """Exactly these roles, logins by SCRAM-SHA-256 alone where it can already, from anywhere.

    Attributes:
        user: which.
        roles: all it has then.
        grant: those it has not now.
        revoke: those it has now and not then.
        mechanisms: the ways of logging in that are ended.
        unrestrict: whether restrictions to addresses are lifted.
    """

    user: UserName
    roles: tuple[RoleName, ...]
    grant: tuple[RoleName, ...] = ()
    revoke: tuple[RoleName, ...] = ()
    mechanisms: tuple[str, ...] = ()
    unrestrict: bool = False


@dataclass(frozen=True, slots=True)
class SetPassword:
    """A password that is in the secret and opens the server."""

    user: UserName
    secret: str
    reason: str


@dataclass(frozen=True, slots=True)
class DropUser:
    """Delete a user; ``reason`` says why it is to go."""

    user: UserName
    reason: str


Action = CreateRole | SetRole | DropRole | CreateUser | AdoptUser | AlterUser | SetPassword | DropUser


def sentence(action: Action) -> str:  # noqa: PLR0911  (one line per action)
    """What a person reads."""
    match action:
        case CreateRole(role, collections):
            return f"create role {_defined(role)}: it reads {_listed(collections)}"
        case SetRole(role, collections, loses):
            less = f" (no more: {', '.join(loses)})" if loses else ""
            return f"set role {_defined(role)}: it reads {_listed(collections)}{less}"
        case DropRole(role):
            return f"drop role {_defined(role)}, which the specs do not agree on"
        case CreateUser(user, _, roles, taken_from):
            taken = f"; it takes over the database, in which there is {', '.join(taken_from)}" if taken_from else ""
            return f"create user {user}: {_names(roles)}{taken}"
        case AdoptUser(user):
            return f"take over user {user}, which soa-db did not make: its password and roles become the spec's"
        case AlterUser():
            return f"alter user {action.user}: {'; '.join(_differences(action))}"
        case SetPassword(user, secret, reason):
            return f"issue a password for {user} through {secret}: {reason}"
        case DropUser(user, reason):
            return f"delete user {user}: {reason}"


def _differences(action: AlterUser) -> Iterable[str]:
    if action.grant:
        yield f"grant {_names(action.grant)}"
    if action.revoke:
        yield f"revoke {_names(action.revoke)}"
    if action.mechanisms:
        yield f"end its logins by {', '.join(map(shown, action.mechanisms))}, which leaves {MECHANISM}"
    if action.unrestrict:
        yield "lift its authentication restrictions"


def _defined(role: RoleName) -> str:
    return f"{shown(role.name)} in {shown(role.database)}"


def _names(roles: Iterable[RoleName]) -> str:
    return ", ".join(map(str, roles)) or "no roles"


def _listed(collections: Iterable[str]) -> str:
    return ", ".join(map(shown, collections)) or "nothing"
