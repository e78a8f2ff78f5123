"""What an administrator's look tells that no service can: who else is there, and what mechanisms and roles there are.

The look is the one ``plan`` takes, and what each user may do in the end, as the server resolves it. Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from soa_db.access.mongo.inspect import inspect_server, resource_text
from soa_db.access.mongo.state import MECHANISM, RoleName, RoleState, UserName, UserState
from soa_db.access.quoting import printable, shown
from soa_db.access.report import Check, Outcome, Probe
from soa_db.names import mongo_reader

if TYPE_CHECKING:
    from soa_db.access.mongo.expect import MongoAccess, UserAccess
    from soa_db.access.mongo.session import Session
    from soa_db.access.mongo.state import ServerState

__all__ = ["judge_users", "look", "not_looked_at"]

# User → privileges, those of inherited roles included.
Reach = Mapping[UserName, tuple[Mapping[str, Any], ...]]


def not_looked_at(reason: str) -> Check:
    """That nobody could look, as a note: logins have proved what they can."""
    probe = Probe("", "", "roles", "its list of users was read", "is", "catalog")
    return Check(probe, Outcome.NOTED, f"not looked at: {reason}", "verify with an administrator's access to see it")


def look(session: Session, databases: Collection[str]) -> tuple[ServerState, Reach]:
    """Read all users, the roles of some databases, and what each user may do.

    Raises:
        ProvisionError: the administrator may not.
        ConnectionFailed: there is no primary.
    """
    state = inspect_server(session, databases)
    named = [{"user": user.name, "db": user.database} for user in state.users]
    found: dict[UserName, tuple[Mapping[str, Any], ...]] = {}
    if named:
        command = {"usersInfo": named, "showPrivileges": True}
        for one in session.read("admin", command, what="inspect what users may do")["users"]:
            found[UserName(one["db"], one["user"])] = tuple(one.get("inheritedPrivileges", ()))
    return state, found


def judge_users(access: MongoAccess, state: ServerState, reach: Reach, *, mend: str) -> Iterator[Check]:
    """Judge every user and role.

    Args:
        access: what the specs say.
        state: what was seen.
        reach: what each user may do.
        mend: the command that provisions.
    """
    for user in access.users:
        probe = Probe(user.user.name, user.database, "roles", "is kept as the spec says", "is", "catalog")
        yield _found(probe, list(_declared(user, state.users.get(user.user))), mend)
    for user in access.users:
        namesakes = [one for one in state.users if one.name == user.user.name and one.database != user.database]
        probe = Probe(
            user.user.name, user.database, "roles", "no other database keeps a user of its name", "is", "catalog"
        )
        yield _found(probe, [f"there is {one}" for one in namesakes], "drop it, unless somebody knows what it is for")
    yield from _strangers(access, state, reach, mend)
    yield from _roles(access, state, mend)


def _declared(user: UserAccess, today: UserState | None) -> Iterator[str]:
    if today is None:
        yield "it is missing"
        return
    if today.mechanisms != {MECHANISM}:
        yield f"it logs in by {', '.join(sorted(today.mechanisms)) or 'nothing'}"
    if today.restricted:
        yield "it may log in from, or to, some addresses only"
    if beyond := {role for role in today.roles - user.roles if not (user.pending and role.name == user.read_role)}:
        yield f"it is granted {', '.join(map(str, sorted(beyond)))} beyond the spec"
    if missing := user.roles - today.roles:
        yield f"it is not granted {', '.join(map(str, sorted(missing)))}"
    if today.service != user.service:
        yield f"it is marked as service {shown(today.service)}'s" if today.service else "it bears no mark of a service"


def _strangers(access: MongoAccess, state: ServerState, reach: Reach, mend: str) -> Iterator[Check]:
    declared = {user.user for user in access.users}
    others = [user for name, user in sorted(state.users.items()) if name not in declared and name != state.admin]
    leftover = [one for one in others if one.service in access.services and one.user not in access.retired]
    retired = [one for one in others if one.user in access.retired]
    reaching = {
        one.user: what
        for one in others
        if one not in leftover and one not in retired and (what := _inside(one, reach.get(one.user, ()), access))
    }
    rest = [one for one in others if one not in leftover and one not in retired and one.user not in reaching]

    def ask(what: str) -> Probe:
        return Probe("", "", "roles", what, "is", "catalog")

    probe = ask("no user made for a service is left that its spec does not declare")
    yield _found(probe, [str(one.user) for one in leftover], f"{mend} --engine mongo --prune deletes them")
    probe = ask("no retired user is left")
    yield _found(probe, [str(one.user) for one in retired], f"{mend} --prune deletes them")
    probe = ask("no other user may do anything in particular in a service's database")
    mended = "drop it or revoke that; what a service is meant to read stands in specs (`reads` and `shared_with`)"
    yield _found(probe, [f"{user} has {what}" for user, what in reaching.items()], mended)
    if rest:
        probe = ask("there are users that are no service's here")
        seen = "; ".join(f"{one.user} ({', '.join(map(str, sorted(one.roles))) or 'no roles'})" for one in rest)
        yield Check(probe, Outcome.NOTED, printable(seen), "whoever made them knows what they are for")


def _inside(user: UserState, privileges: Collection[Mapping[str, Any]], access: MongoAccess) -> str:
    """What a user may do in a declared database by privileges on just that one, but for what its spec shares."""
    found: list[str] = []
    for one in privileges:
        resource, actions = one["resource"], frozenset(one["actions"])
        database = resource.get("db")
        if database not in access.databases:
            continue
        shared = access.shared.get((database, user.service or ""), frozenset())
        if actions == {"find"} and resource.get("collection") in shared:
            continue
        found.append(f"{', '.join(sorted(actions)[:4])}{' …' if len(actions) > 4 else ''} on {resource_text(resource)}")
    return "; ".join(found[:3])


def _roles(access: MongoAccess, state: ServerState, mend: str) -> Iterator[Check]:
    wanted = {
        RoleName(database, user.read_role): collections
        for user in access.users
        for database, collections in user.reads.items()
    }
    faults: list[str] = []
    for role in sorted({*wanted, *state.roles}):
        if role.database not in access.databases:
            continue  # another repository's: what it lets a service do, that service's privileges tell
        today = state.roles.get(role)
        if today is None:
            faults.append(f"the role {role} is missing")
            continue
        faults += _role(today, wanted.get(role), access)
    probe = Probe("", "", "roles", "the roles defined in services' databases are what the specs say", "is", "catalog")
    yield _found(probe, faults, f"{mend} (a role of another name: drop it)")


def _role(today: RoleState, wanted: frozenset[str] | None, access: MongoAccess) -> Iterator[str]:
    reader = mongo_reader(today.role.name)
    if wanted is None and reader is not None and reader not in access.services:
        # Agreed on in another run, which had the reader's spec.
        beyond = today.collections - access.shared.get((today.role.database, reader), frozenset())
    elif wanted is None:
        yield f"nobody declared the role {today.role}"
        return
    else:
        beyond = today.collections - wanted
        if missing := wanted - today.collections:
            yield f"the role {today.role} lacks {', '.join(map(shown, sorted(missing)))}"
    if more := [*map(shown, sorted(beyond)), *today.more]:
        yield f"the role {today.role} has more: {'; '.join(more)}"


def _found(probe: Probe, faults: list[str], mend: str) -> Check:
    if not faults:
        return Check(probe, Outcome.OK)
    return Check(probe, Outcome.VIOLATED, printable("; ".join(faults[:6])), mend)
