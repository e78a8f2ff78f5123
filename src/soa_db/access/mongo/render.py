"""Actions as the commands that carry them out. Pure: names and passwords go as BSON values, never into a string.

The server keeps ``pwd`` out of its log and its profiler, pymongo out of its own log ("createUser", "Log Messages",
MongoDB Manual); a SCRAM-SHA-256 verifier cannot be computed here: the server takes none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from soa_db.access.mongo.actions import (
    Action,
    AdoptUser,
    AlterUser,
    CreateRole,
    CreateUser,
    DropRole,
    DropUser,
    SetPassword,
    SetRole,
)
from soa_db.access.mongo.state import MARK, MECHANISM, RoleName

__all__ = ["render"]

_READ = ("find",)


def render(  # noqa: PLR0911  (one command per action)
    action: Action, *, password: str | None = None, custom: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """The command for an action, to be run on the database of its user or role.

    Args:
        action: what is to be done.
        password: of CreateUser and SetPassword.
        custom: of AdoptUser: the custom data the user has, which stays.
    """
    match action:
        case CreateRole(role, collections):
            return {"createRole": role.name, "privileges": _privileges(role, collections), "roles": []}
        case SetRole(role, collections):
            return {
                "updateRole": role.name,
                "privileges": _privileges(role, collections),
                "roles": [],
                "authenticationRestrictions": [],
            }
        case DropRole(role):
            return {"dropRole": role.name}
        case CreateUser(user, service, roles):
            return {
                "createUser": user.name,
                "pwd": password,
                "roles": _roles(roles),
                "mechanisms": [MECHANISM],
                "customData": {MARK: {"service": service}},
            }
        case AdoptUser(user, service):
            return {"updateUser": user.name, "customData": {**(custom or {}), MARK: {"service": service}}}
        case AlterUser(user, roles):
            command: dict[str, Any] = {"updateUser": user.name, "roles": _roles(roles)}
            if action.mechanisms:
                command["mechanisms"] = [MECHANISM]
            if action.unrestrict:
                command["authenticationRestrictions"] = []
            return command
        case SetPassword(user):
            return {"updateUser": user.name, "pwd": password, "mechanisms": [MECHANISM]}
        case DropUser(user):
            return {"dropUser": user.name}


def _privileges(role: RoleName, collections: Iterable[str]) -> list[dict[str, Any]]:
    return [
        {"resource": {"db": role.database, "collection": collection}, "actions": list(_READ)}
        for collection in collections
    ]


def _roles(roles: Iterable[RoleName]) -> list[dict[str, str]]:
    return [{"role": role.name, "db": role.database} for role in roles]
