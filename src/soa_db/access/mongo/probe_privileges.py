"""Who a session is, which roles it has and which privileges: exactly what the specs say, as the server itself puts it.

What a built-in role permits depends on the server's version. It is asked of the server, which lets every user see the
roles it has: built-in roles are part of the program, and nobody can change them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from soa_db.access.mongo.inspect import resource_text
from soa_db.access.mongo.state import RoleName, UserName
from soa_db.access.report import Aspect, Check, Outcome, Probe

if TYPE_CHECKING:
    from soa_db.access.mongo.expect import MongoAccess, UserAccess
    from soa_db.access.mongo.session import Session

__all__ = ["Privileges", "probe_privileges"]

# A resource, as sorted pairs → the actions on it.
Privileges = dict[tuple[tuple[str, Any], ...], frozenset[str]]

# What is too dangerous to be tried in any form.
_UNTRIED: Mapping[str, str] = {
    "shutdown": "shut the server down",
    "dropDatabase": "drop databases",
    "killop": "end operations of others",
    "fsync": "lock the server against writes",
    "setParameter": "change the server's parameters",
    "applyOps": "write by applyOps",
    "anyAction": "do anything",
    "internal": "act as a member of the cluster",
}


def probe_privileges(session: Session, access: MongoAccess, user: UserAccess, *, mend: str) -> Iterator[Check]:
    """Compare what the server says a session may do with what the specs say.

    Args:
        session: logged in as the user.
        access: what the specs say about everybody.
        user: what they say about this one.
        mend: the command that provisions.

    Raises:
        SoaDbError: the server did not answer.
    """
    status = session.read("admin", {"connectionStatus": 1, "showPrivileges": True}, what="see its privileges")
    info = status["authInfo"]

    def ask(aspect: Aspect, what: str) -> Probe:
        return Probe(user.user.name, user.database, aspect, what, "is", "catalog")

    who = {UserName(one["db"], one["user"]) for one in info["authenticatedUsers"]}
    seen = "" if who == {user.user} else f"it is {', '.join(map(str, sorted(who))) or 'nobody'}"
    yield _judged(ask("connect", "is logged in as itself"), seen, mend)

    # Those it inherits are among them.
    has = {RoleName(one["db"], one["role"]) for one in info["authenticatedUserRoles"]}
    pending = {role for role in has - user.roles if _is_pending(role, access, user)}
    beyond, missing = has - user.roles - pending, user.roles - has
    seen = _difference((str(role) for role in beyond), (str(role) for role in missing))
    yield _judged(ask("roles", "its roles are what the spec says"), seen, mend)

    today = _merged(info["authenticatedUserPrivileges"])
    wanted = _wanted(session, user, has)
    waiting: list[str] = []
    more: list[str] = []
    for resource, actions in today.items():
        extra = actions - wanted.get(resource, frozenset())
        if not extra:
            continue
        line = f"{', '.join(sorted(extra))} on {resource_text(dict(resource))}"
        (waiting if pending and _waited_for(dict(resource), extra, access, user) else more).append(line)
    less = [
        f"{', '.join(sorted(lost))} on {resource_text(dict(resource))}"
        for resource, actions in wanted.items()
        if (lost := actions - today.get(resource, frozenset()))
    ]
    yield _judged(ask("rights", "its privileges are exactly what the spec says"), _difference(more, less), mend)
    if waiting:
        probe = ask("rights", "it reads of a service whose spec is not given")
        yield Check(probe, Outcome.NOTED, "; ".join(sorted(waiting)), "verify with that service's spec too")
    for action, what in _UNTRIED.items():
        where = [
            resource_text(dict(resource))
            for resource, actions in today.items()
            if action in actions and action not in wanted.get(resource, frozenset())
        ]
        probe = Probe(user.user.name, user.database, "rights", f"{what} (by its privileges)", "cannot", "catalog")
        yield _judged(probe, f"it has {action} on {'; '.join(where)}" if where else "", mend)


def _judged(probe: Probe, seen: str, mend: str) -> Check:
    return Check(probe, Outcome.VIOLATED, seen, mend) if seen else Check(probe, Outcome.OK)


def _difference(beyond: Iterable[str], missing: Iterable[str]) -> str:
    parts = [("beyond it", sorted(beyond)), ("missing", sorted(missing))]
    return "; ".join(f"{what}: {' and '.join(found)}" for what, found in parts if found)


def _merged(privileges: Iterable[Mapping[str, Any]]) -> Privileges:
    found: Privileges = {}
    for one in privileges:
        resource = tuple(sorted(one["resource"].items()))
        found[resource] = found.get(resource, frozenset()) | frozenset(one["actions"])
    return found


def _wanted(session: Session, user: UserAccess, has: Iterable[RoleName]) -> Privileges:
    """What the roles of the spec permit; of one that the user lacks the server says nothing, and that it lacks it is
    said already.
    """
    found: list[Mapping[str, Any]] = []
    for name in sorted(user.builtin):
        if RoleName(user.database, name) not in has:
            continue
        command = {"rolesInfo": {"role": name, "db": user.database}, "showPrivileges": True}
        roles = session.read(user.database, command, what=f"see what {name} permits")["roles"]
        # One that somebody made under that name would not be.
        found += [one for role in roles if role["isBuiltin"] for one in role["privileges"]]
    found += [
        {"resource": {"db": database, "collection": collection}, "actions": ["find"]}
        for database, collections in user.reads.items()
        for collection in collections
    ]
    return _merged(found)


def _is_pending(role: RoleName, access: MongoAccess, user: UserAccess) -> bool:
    """Whether it was granted by a run that had the spec of the other side, which this one has not."""
    return bool(user.pending) and role.name == user.read_role and role.database not in access.databases


def _waited_for(resource: Mapping[str, Any], extra: frozenset[str], access: MongoAccess, user: UserAccess) -> bool:
    database, collection = resource.get("db"), resource.get("collection")
    return extra == {"find"} and bool(database) and database not in access.databases and collection in user.pending
