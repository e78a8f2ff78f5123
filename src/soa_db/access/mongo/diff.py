"""Compare what the specs want with what a MongoDB has. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
    sentence,
)
from soa_db.access.mongo.state import MECHANISM, RoleName, RoleState, UserState
from soa_db.access.plan import Change, Notice, PlanOptions
from soa_db.access.quoting import shown
from soa_db.names import mongo_read_role, mongo_reader

if TYPE_CHECKING:
    from soa_db.access.mongo.desired import Desired, DesiredUser
    from soa_db.access.mongo.state import ServerState

__all__ = ["Findings", "compare"]


@dataclass(slots=True)
class Findings:
    """Changes and notices, in order."""

    changes: list[Change] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    def change(self, group: str, action: Action, *, destructive: bool = False) -> None:
        """Add a change."""
        name = action.role if isinstance(action, CreateRole | SetRole | DropRole) else action.user
        self.changes.append(Change(sentence(action), group, name.database, destructive, action))

    def note(self, text: str, remedy: str = "") -> None:
        """Report something that is not changed."""
        self.notices.append(Notice("note", text, remedy))

    def error(self, text: str, remedy: str) -> None:
        """Report something that makes applying impossible."""
        self.notices.append(Notice("error", text, remedy))


def compare(desired: Desired, state: ServerState, options: PlanOptions) -> Findings:
    """What has to be done, in the order it is done, and what is reported."""
    found = Findings()
    found.notices += [Notice("pending", text) for text in desired.pending]
    _access_control(desired, state, found)
    _wanted_roles(desired, state, found)
    for user in desired.users.values():
        _user(user, desired, state, found)
    for user in desired.users.values():
        _password(user, state, found)
    _retired(desired, state, options, found)
    _undeclared_users(desired, state, options, found)
    _undeclared_roles(desired, state, options, found)
    return found


def _access_control(desired: Desired, state: ServerState, found: Findings) -> None:
    if not state.open_to_all:
        return
    text = "the server has no access control: whoever reaches it may read and change everything"
    if desired.env == "dev":
        found.note(text)
    else:
        remedy = "security.authorization: enabled (or a keyFile) in mongod.conf of every member, then restart them"
        found.notices.append(Notice("unreachable", text, remedy))


# --- users


def _user(wanted: DesiredUser, desired: Desired, state: ServerState, found: Findings) -> None:
    user = wanted.user
    if user == state.admin:
        found.error(f"the specs declare {user}, which is the administrator", "administer as another user")
        return
    for other in state.users.values():
        kept = other.user.database
        if kept.lower() == user.database.lower() and other.service not in {None, wanted.service}:
            found.error(
                f"the database {shown(kept)} belongs to service {shown(other.service or '')} by its user "
                f"{shown(other.user.name)}, but {wanted.service} declares "
                f"{'it' if kept == user.database else f'{shown(user.database)}, the same but for its case'}",
                "choose another database; to hand it over, that service's user there is retired first",
            )
            return
    alike = sorted(name for name in state.databases if name.lower() == user.database.lower())
    if alike and user.database not in alike:
        found.error(
            f"there is a database {shown(alike[0])}, so that MongoDB takes no data into {shown(user.database)}, the "
            "same but for its case",
            f"name it in the spec of {wanted.service} as it is on the server",
        )
        return
    today = state.users.get(user)
    if today is None:
        taken = _taken_from(wanted, state)
        action = CreateUser(user, wanted.service, tuple(sorted(wanted.roles)), taken)
        found.change("users", action, destructive=bool(taken))
        return
    if today.service is None:
        found.change("users", AdoptUser(user, wanted.service), destructive=True)
    _drift(wanted, today, desired, state, found)


def _taken_from(wanted: DesiredUser, state: ServerState) -> tuple[str, ...]:
    """Who and what is in a user's database that no run of ours has given to its service."""
    database = wanted.user.database
    if state.services_of(database):
        return ()
    users = (
        f"the user {other.user}"
        for other in state.users.values()
        if other.service is None
        and other.user != state.admin
        and (other.user.database == database or any(role.database == database for role in other.roles))
    )
    return (*(["somebody's data"] if database in state.databases else []), *sorted(users))


def _drift(wanted: DesiredUser, today: UserState, desired: Desired, state: ServerState, found: Findings) -> None:
    roles = wanted.roles | _agreed_elsewhere(wanted, today, desired, state)
    grant, revoke = roles - today.roles, today.roles - roles
    # Without SCRAM-SHA-256 there is nothing to leave: a password is issued then, which sets it and ends the others.
    ended = today.mechanisms - {MECHANISM} if MECHANISM in today.mechanisms else frozenset[str]()
    if grant or revoke or ended or today.restricted:
        action = AlterUser(
            wanted.user,
            tuple(sorted(roles)),
            grant=tuple(sorted(grant)),
            revoke=tuple(sorted(revoke)),
            mechanisms=tuple(sorted(ended)),
            unrestrict=today.restricted,
        )
        found.change("users", action, destructive=bool(revoke or ended))


def _agreed_elsewhere(
    wanted: DesiredUser, today: UserState, desired: Desired, state: ServerState
) -> frozenset[RoleName]:
    """Its roles in databases of services whose specs it waits for: granted by a run that had both sides.

    This run has one side only; which database is the other's, the marks of the users kept there say.
    """
    name = mongo_read_role(wanted.service)
    return frozenset(
        role
        for role in today.roles
        if role.name == name
        and role.database not in desired.databases
        and not wanted.waits.isdisjoint(state.services_of(role.database))
    )


def _password(wanted: DesiredUser, state: ServerState, found: Findings) -> None:
    password = state.passwords.get(wanted.user)
    if password is not None and password.fault:
        # One password is live: whoever logs in with one that is not the secret's is cut off.
        action = SetPassword(wanted.user, password.secret, password.fault)
        found.change("passwords", action, destructive=wanted.user in state.users)


def _retired(desired: Desired, state: ServerState, options: PlanOptions, found: Findings) -> None:
    for retired in desired.retired:
        today = state.users.get(retired.user)
        if today is None:
            continue
        if retired.user == state.admin or today.service not in {None, retired.service}:
            what = (
                "is the administrator"
                if retired.user == state.admin
                else f"belongs to service {shown(today.service or '')}"
            )
            found.error(
                f"{retired.service} retires user {retired.user}, which {what}",
                "take it out of `retire`; a user made for a service is retired by that service's spec",
            )
        elif options.prune:
            found.change("retired users", DropUser(retired.user, "it is retired"), destructive=True)
        else:
            found.note(f"user {retired.user} is retired", "remove it with --prune")


def _undeclared_users(desired: Desired, state: ServerState, options: PlanOptions, found: Findings) -> None:
    known = {state.admin, *desired.users, *(retired.user for retired in desired.retired)}
    for user, today in sorted(state.users.items()):
        if user in known:
            continue
        if today.service is None:
            granted = ", ".join(map(str, sorted(today.roles))) or "no roles"
            found.note(f"user {user} is not managed here: it is no service's by its mark; it has {granted}")
        elif today.service not in desired.services:
            # Another repository's, for all we know: its absence here says nothing.
            beside = ", ".join(map(str, sorted(_beside_reads(today, desired))))
            found.note(
                f"user {user} is of the service {shown(today.service)}, whose spec is not given"
                f"{f'; it has {beside}' if beside else ''}",
                f"if there is no such service any more: a spec of {shown(today.service)} without a mongo part, and "
                "`--engine mongo --prune`",
            )
        elif options.prune:
            reason = f"the spec of {today.service}, for which it was made, no longer declares it"
            found.change("retired users", DropUser(user, reason), destructive=True)
        else:
            found.note(
                f"user {user} was made for service {today.service}, whose spec no longer declares it",
                "`--engine mongo --prune` deletes it",
            )


def _beside_reads(today: UserState, desired: Desired) -> frozenset[RoleName]:
    """What a user has in declared databases but the roles for reading, which are looked at by themselves."""
    return frozenset(
        role for role in today.roles if role.database in desired.databases and mongo_reader(role.name) is None
    )


# --- roles


def _wanted_roles(desired: Desired, state: ServerState, found: Findings) -> None:
    for wanted in desired.roles.values():
        today = state.roles.get(wanted.role)
        collections = tuple(sorted(wanted.collections))
        if today is None:
            found.change("roles", CreateRole(wanted.role, collections))
        elif today.collections != wanted.collections or today.more:
            loses = _beyond(today, wanted.collections)
            found.change("roles", SetRole(wanted.role, collections, loses), destructive=bool(loses))


def _beyond(today: RoleState, collections: frozenset[str]) -> tuple[str, ...]:
    return (*sorted(map(shown, today.collections - collections)), *today.more)


def _undeclared_roles(desired: Desired, state: ServerState, options: PlanOptions, found: Findings) -> None:
    for role, today in sorted(state.roles.items()):
        if role in desired.roles:
            continue
        reader = mongo_reader(role.name)
        if role.database not in desired.databases:
            owners = state.services_of(role.database)
            if reader is not None and owners <= desired.services:  # else another repository's
                known = bool(owners) or reader in desired.services
                _role_left_behind(role, reader, found, drop=known and options.prune)
            continue
        if reader is None:
            found.note(f"role {shown(role.name)} in {shown(role.database)} is not managed here")
        elif reader in desired.services:
            found.change("roles nobody agreed on", DropRole(role), destructive=True)
        else:
            _role_of_a_stranger(today, reader, desired, options, found)


def _role_left_behind(role: RoleName, reader: str, found: Findings, *, drop: bool) -> None:
    """A reader's role in a database that no spec given declares: its owner has another by now, or none."""
    if drop:
        found.change("roles nobody agreed on", DropRole(role), destructive=True)
    else:
        found.note(
            f"role {shown(role.name)} in {shown(role.database)} lets {reader} read of a database that no spec declares",
            "`--engine mongo --prune` drops it, given the spec of its reader or of who had the database",
        )


def _role_of_a_stranger(today: RoleState, reader: str, desired: Desired, options: PlanOptions, found: Findings) -> None:
    """The role of a reader whose spec is not given: what the owner shares was agreed on in another run, and stays."""
    role = today.role
    shared = desired.shares.get((role.database, reader), frozenset())
    beyond = _beyond(today, shared)
    if not beyond:
        return
    kept = tuple(sorted(today.collections & shared))
    if not options.prune:
        found.note(
            f"role {shown(role.name)} in {shown(role.database)} has more than is shared with {reader}: "
            f"{', '.join(beyond)}",
            "take it away with --prune",
        )
    elif kept:
        found.change("roles nobody agreed on", SetRole(role, kept, beyond), destructive=True)
    else:
        found.change("roles nobody agreed on", DropRole(role), destructive=True)
