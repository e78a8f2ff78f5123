"""What a MongoDB says about its users and roles: a handful of commands, however many there are.

What it takes: ``viewUser`` and ``viewRole`` on any database, ``find`` on ``admin.system.roles`` and ``listDatabases``,
all of which ``userAdminAnyDatabase`` has ("Built-In Roles", MongoDB Manual).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from soa_db.access.mongo.state import MARK, RoleName, RoleState, ServerState, UserName, UserState
from soa_db.access.quoting import shown
from soa_db.errors import ProvisionError
from soa_db.names import MONGO_READ_ROLE

if TYPE_CHECKING:
    from soa_db.access.mongo.session import Session

__all__ = ["inspect_server", "is_open_to_all", "resource_text", "role_state", "user_state"]

_READS = frozenset({"find"})


def inspect_server(session: Session, databases: Collection[str]) -> ServerState:
    """Read every user, and the roles that are defined in some databases or let services read.

    Args:
        session: the administrator's.
        databases: those whose users and roles are looked at in full, and whether there are any data.

    Raises:
        ProvisionError: the administrator may not.
        ConnectionFailed: there is no primary.
    """
    users = _users(session, databases)
    named = sorted(databases)
    which = {"$or": [{"db": {"$in": named}}, {"role": {"$regex": f"^{re.escape(MONGO_READ_ROLE)}"}}]}
    with session.typed("inspect the roles"):
        roles = list(session.client["admin"]["system.roles"].find(which))
    there = session.read("admin", {"listDatabases": 1, "nameOnly": True}, what="list the databases")["databases"]
    declared = {name.lower() for name in databases}
    found = [role_state(one) for one in roles]
    return ServerState(
        admin=_admin(session),
        users={one.user: one for one in users},
        roles={one.role: one for one in found},
        databases=frozenset(one["name"] for one in there if one["name"].lower() in declared),
    )


def is_open_to_all(nobody: Session) -> bool:
    """Whether a session that did not log in may list the users: the server asks nobody who they are.

    The localhost exception gives no such right; it lets the first user be made, and nothing else.
    """
    try:
        nobody.read("admin", {"usersInfo": 1}, what="list the users without a login")
    except ProvisionError:
        return False
    return True


def _admin(session: Session) -> UserName | None:
    status = session.read("admin", {"connectionStatus": 1}, what="see who is logged in")
    users = status["authInfo"]["authenticatedUsers"]
    return UserName(users[0]["db"], users[0]["user"]) if users else None


def _users(session: Session, databases: Collection[str]) -> list[UserState]:
    everybody = session.read("admin", {"usersInfo": {"forAllDBs": True}}, what="inspect the users")["users"]
    # Restrictions are shown of users that are named only.
    named = [{"user": one["user"], "db": one["db"]} for one in everybody if one["db"] in databases]
    restrictions: dict[UserName, bool] = {}
    if named:
        command = {"usersInfo": named, "showAuthenticationRestrictions": True}
        for one in session.read("admin", command, what="inspect the users")["users"]:
            restrictions[UserName(one["db"], one["user"])] = bool(one.get("authenticationRestrictions"))
    return [user_state(one, restricted=restrictions.get(UserName(one["db"], one["user"]), False)) for one in everybody]


def user_state(found: Mapping[str, Any], *, restricted: bool) -> UserState:
    """A user, from a document of ``usersInfo``, and whether it has authentication restrictions."""
    custom = found.get("customData")
    custom = custom if isinstance(custom, Mapping) else {}
    return UserState(
        user=UserName(found["db"], found["user"]),
        roles=frozenset(RoleName(one["db"], one["role"]) for one in found.get("roles", ())),
        mechanisms=frozenset(found.get("mechanisms", ())),
        restricted=restricted,
        service=_service(custom),
        custom=custom,
    )


def _service(custom: Mapping[str, Any]) -> str | None:
    mark = custom.get(MARK)
    service = mark.get("service") if isinstance(mark, Mapping) else None
    return service if isinstance(service, str) and service else None


def role_state(found: Mapping[str, Any]) -> RoleState:
    """A role, from a document of ``system.roles``."""
    role = RoleName(found["db"], found["role"])
    collections: set[str] = set()
    more: list[str] = []
    for privilege in found.get("privileges", ()):
        resource, actions = privilege["resource"], frozenset(privilege["actions"])
        name = resource.get("collection")
        own = resource.get("db") == role.database and isinstance(name, str) and bool(name)
        if own and not _READS.isdisjoint(actions):
            collections.add(name)
        if beyond := actions - _READS if own else actions:
            more.append(f"{', '.join(sorted(beyond))} on {resource_text(resource)}")
    more += [f"the role {RoleName(one['db'], one['role'])}" for one in found.get("roles", ())]
    if found.get("authenticationRestrictions"):
        more.append("authentication restrictions")
    return RoleState(role, frozenset(collections), tuple(sorted(more)))


def resource_text(resource: Mapping[str, Any]) -> str:
    """What a privilege is on, for people."""
    match resource:
        case {"cluster": True}:
            return "the cluster"
        case {"anyResource": True}:
            return "everything"
        case {"db": str(database), "collection": str(collection)}:
            return f"{_or_any(collection, 'collections')} of {_or_any(database, 'databases')}"
        case _:
            return shown(repr(dict(resource)))


def _or_any(name: str, what: str) -> str:
    return shown(name) if name else f"all {what}"
