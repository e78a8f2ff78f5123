"""What can be done to the users of a Redis, as values, and the sentence a person reads for each. No I/O."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "Action",
    "ChangeMembers",
    "CreateGroup",
    "CreateUser",
    "DisableDefault",
    "DropUser",
    "MarkUser",
    "SaveUsers",
    "SetAccess",
    "SetPassword",
    "sentence",
]


@dataclass(frozen=True, slots=True)
class CreateUser:
    """A user that nobody can log in as yet: it has no password anybody knows."""

    name: str
    service: str
    access: str


@dataclass(frozen=True, slots=True)
class SetAccess:
    """Exactly this access, and no way in without a password; ``where`` it differs now, all nodes when empty."""

    name: str
    access: str
    where: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MarkUser:
    """The tags by which a managed user of ElastiCache is known."""

    name: str
    service: str


@dataclass(frozen=True, slots=True)
class SetPassword:
    """A password that is in the secret and opens the server."""

    name: str
    secret: str
    reason: str


@dataclass(frozen=True, slots=True)
class DropUser:
    """Delete a user; its connections are closed."""

    name: str


@dataclass(frozen=True, slots=True)
class DisableDefault:
    """Nobody gets in without a name any more."""


@dataclass(frozen=True, slots=True)
class SaveUsers:
    """Make the users survive a restart: a run was ended before it did."""


@dataclass(frozen=True, slots=True)
class CreateGroup:
    """ElastiCache's user group, with a user ``default`` that is off."""

    name: str
    default: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChangeMembers:
    """Users that come into the group and leave it, at once: it must hold one ``default`` at any time.

    With ``default``, it is the group's ``default`` that is replaced, by this user, which is off.
    """

    group: str
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    default: str | None = None


Action = (
    CreateUser
    | SetAccess
    | MarkUser
    | SetPassword
    | DropUser
    | DisableDefault
    | SaveUsers
    | CreateGroup
    | ChangeMembers
)


def sentence(action: Action) -> str:  # noqa: PLR0911  (one line per action)
    """What a person reads."""
    match action:
        case CreateUser(name, _, access):
            return f"create user {name}: {access}"
        case SetAccess(name, access, where):
            on = f" (it differs on {', '.join(where)})" if where else ""
            return f"set the access of {name}{on}: {access}"
        case MarkUser(name, service):
            return f"mark {name} as a user of {service}"
        case SetPassword(name, secret, reason):
            return f"issue a password for {name} through {secret}: {reason}"
        case DropUser(name):
            return f"delete user {name}"
        case DisableDefault():
            return "turn the user default off: nobody gets in without a name"
        case SaveUsers():
            return "save the users, so that they survive a restart: an earlier run was ended before it did"
        case CreateGroup(name, _, members):
            return f"create user group {name} with {', '.join(members) or 'nobody but default, which is off'}"
        case ChangeMembers(group, _, remove, str(default)):
            instead = f", in the place of {', '.join(remove)}" if remove else ""
            return f"user group {group}: its default user is {default}, which is off{instead}"
        case ChangeMembers(group, add, remove):
            parts = [f"add {', '.join(add)}"] if add else []
            parts += [f"remove {', '.join(remove)}"] if remove else []
            return f"user group {group}: {' and '.join(parts)}"
