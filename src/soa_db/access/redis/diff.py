"""Compare what the specs want with what a Redis has. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from soa_db.access.plan import Change, Notice, PlanOptions
from soa_db.access.quoting import printable
from soa_db.access.redis.acl import Acl, parse, same_access, takes_away
from soa_db.access.redis.actions import (
    Action,
    ChangeMembers,
    CreateGroup,
    CreateUser,
    DisableDefault,
    DropUser,
    MarkUser,
    SaveUsers,
    SetAccess,
    SetPassword,
    sentence,
)
from soa_db.access.redis.state import DEFAULT
from soa_db.names import redis_default_user_id

if TYPE_CHECKING:
    from soa_db.access.redis.access_string import Desired, DesiredUser
    from soa_db.access.redis.state import GroupState, ServerState

__all__ = ["Findings", "compare"]

_USER_ID = 40  # characters (API reference, CreateUser)


@dataclass(slots=True)
class Findings:
    """Changes and notices, in order."""

    changes: list[Change] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    def change(self, group: str, action: Action, *, destructive: bool = False) -> None:
        """Add a change."""
        self.changes.append(Change(sentence(action), group, None, destructive, action))


def compare(desired: Desired, state: ServerState, options: PlanOptions) -> Findings:
    """What has to be done, in the order it is done, and what is reported."""
    found = Findings()
    _check_version(desired, state, found)
    _check_administrator(desired, state, found)
    for user in desired.users.values():
        _user(user, state, found)
    if state.group is not None:
        _group(desired, state, state.group, found)
    for user in desired.users.values():
        _password(user, state, found)
    _undeclared(desired, state, options, found)
    if state.group is None:
        _default(desired, state, found)
        _persistence(state, found)
    return found


def _check_version(desired: Desired, state: ServerState, found: Findings) -> None:
    if state.version >= 7:
        return
    for user in desired.users.values():
        if user.read_only_keys:
            found.notices.append(
                Notice(
                    "error",
                    f"{user.service} declares read_only_keys, and this is Redis {state.version}: key patterns for "
                    "reading only came with Redis 7",
                    "upgrade the server, or take read_only_keys out of the spec",
                )
            )


def _check_administrator(desired: Desired, state: ServerState, found: Findings) -> None:
    user = desired.users.get(state.admin or "")
    if user is not None:
        found.notices.append(
            Notice(
                "error",
                f"the administrator logs in as {user.name}, which is the user of {user.service}: with a service's "
                "access it could not go on",
                "make an administrator of another name, and name it in the administrator's secret or URL",
            )
        )


def _user(user: DesiredUser, state: ServerState, found: Findings) -> None:
    if state.group is not None and len(user.name) > _USER_ID:
        found.notices.append(
            Notice("error", f"{user.name} is longer than the {_USER_ID} characters ElastiCache's user ids have")
        )
        return
    access = user.access_string(version=state.version, cluster=state.cluster)
    wanted = parse(access)
    there = state.users(user.name)
    if not any(there):
        found.change("users", CreateUser(user.name, user.service, access))
        return
    differing = []
    loses = False
    for node, today in zip(state.nodes, there, strict=True):
        # Missing on one node of several: it is made there, with the passwords it has elsewhere.
        acl = today.acl if today is not None else Acl()
        if today is None or not same_access(acl, wanted, node.table) or today.auth == "none":
            differing.append(node.address)
            loses = loses or takes_away(acl, wanted, node.table) or (today is not None and today.auth == "none")
    if differing:
        where = () if len(differing) == len(state.nodes) else tuple(differing)
        found.change("users", SetAccess(user.name, access, where), destructive=loses)
    if state.group is not None and not all(today is None or today.managed for today in there):
        found.change("users", MarkUser(user.name, user.service))


def _group(desired: Desired, state: ServerState, group: GroupState, found: Findings) -> None:
    members = tuple(desired.users)
    default = redis_default_user_id(desired.env)
    if not group.exists:
        found.change("user group", CreateGroup(group.name, default, members))
    else:
        add = tuple(name for name in members if name not in group.members)
        if add:
            found.change("user group", ChangeMembers(group.name, add))
        mine = next((user for user in state.users(group.default or "") if user is not None), None)
        if mine is None or mine.acl.enabled:
            # Apart from the others, since it is done last: as long as it is there, whoever has no password yet gets in.
            old = () if group.default in {None, default} else (group.default,)
            change = ChangeMembers(group.name, (default,), old, default)
            found.change("user group", change, destructive=bool(old) or default in group.members)
    if not group.attached:
        found.notices.append(
            Notice(
                "unreachable",
                f"the user group {group.name} is attached to no cache, so that its users cannot log in; passwords are "
                "issued once it is",
                "aws elasticache modify-replication-group --replication-group-id … "
                f"--user-group-ids-to-add {group.name}",
            )
        )


def _password(user: DesiredUser, state: ServerState, found: Findings) -> None:
    password = state.passwords.get(user.name)
    if password is None:
        return
    if password.fault:
        found.change(
            "passwords",
            SetPassword(user.name, password.secret, password.fault),
            # Whoever logs in with a password that is taken away is cut off.
            destructive=password.lost > 0,
        )
    elif password.others:
        found.notices.append(
            Notice(
                "note",
                f"{user.name} has {password.others} live password{'' if password.others == 1 else 's'} beside the "
                "secret's",
                "`soa-db rotate --finish` takes them away",
            )
        )


def _undeclared(desired: Desired, state: ServerState, options: PlanOptions, found: Findings) -> None:
    known = {*desired.users, DEFAULT, state.admin, redis_default_user_id(desired.env)}
    if state.group is not None:
        known.add(state.group.default)
    for name in state.names:
        if name in known:
            continue
        there = [user for user in state.users(name) if user is not None]
        managed = any(user.managed for user in there)
        member = state.group is None or name in state.group.members
        if managed and not desired.is_given(name):
            # Another repository's, for all we know: its absence here says nothing.
            service = printable(desired.service_of(name))
            found.notices.append(
                Notice(
                    "note",
                    f"the user {printable(name)} is of the service {service}, whose spec is not given",
                    f"if there is no such service any more: a spec of {service} without a redis part, and "
                    "`--engine redis --prune`",
                )
            )
        elif managed and options.prune:
            found.change("users", DropUser(name), destructive=True)
        elif managed:
            found.notices.append(
                Notice(
                    "note",
                    f"the user {printable(name)} is not declared by its spec",
                    "`--engine redis --prune` deletes it",
                )
            )
        elif member and any(user.acl.enabled for user in there):
            found.notices.append(
                Notice(
                    "note", f"the user {printable(name)} is not managed here: it is no service's by its name and marks"
                )
            )


def _default(desired: Desired, state: ServerState, found: Findings) -> None:
    enabled = [user for user in state.users(DEFAULT) if user is not None and user.acl.enabled]
    if not enabled:
        return
    if not desired.default_off:
        found.notices.append(Notice("note", f"the user default is on, as is usual in {desired.env}"))
    elif state.admin == DEFAULT:
        found.notices.append(
            Notice(
                "unreachable",
                "the user default is on, and the administrator logs in as it: it cannot be turned off",
                "make an administrator (ACL SETUSER master on >… ~* &* +@all), name it in the administrator's secret, "
                "and provision again",
            )
        )
    elif state.as_default[0]:
        found.notices.append(
            Notice(
                "unreachable",
                f"the user default is on, and {', '.join(state.as_default[0])} replicate as it: turning it off would "
                "end that",
                "set masteruser and masterauth on every node to a user with +psync +replconf +ping, restart the "
                "links, and provision again",
            )
        )
    else:
        found.change("default user", DisableDefault(), destructive=True)
        if state.as_default[1]:
            found.notices.append(
                Notice("note", f"{state.as_default[1]} clients are connected as default now, and are cut off by that")
            )


def _persistence(state: ServerState, found: Findings) -> None:
    if state.unsaved:
        found.change("persistence", SaveUsers())
    for node in state.nodes:
        if node.keeps == "nowhere":
            found.notices.append(
                Notice(
                    "unreachable",
                    f"{node.address} has neither an ACL file nor a configuration file: its users vanish at a restart",
                    "start it with `aclfile /path/users.acl` in its configuration",
                )
            )
        elif node.keeps == "config":
            found.notices.append(
                Notice(
                    "note",
                    f"{node.address} has no ACL file; its users are kept by CONFIG REWRITE in its configuration file",
                    "start it with `aclfile /path/users.acl` in its configuration",
                )
            )
    for address, reason in state.unreached:
        found.notices.append(
            Notice(
                "unreachable",
                f"the replica {address} keeps the users it has, since it was not looked at: {reason}",
                "users are not copied to replicas: see that the administrator is a user of it too and reaches it from "
                "here, and provision again",
            )
        )
