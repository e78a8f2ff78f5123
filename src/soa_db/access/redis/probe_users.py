"""What an administrator's look tells that no service can: users nobody declared, selectors, access beyond the spec.

The look is the one ``plan`` takes: ACL LIST on every node, or ElastiCache's describe calls. Nothing is changed by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from soa_db.access.quoting import printable
from soa_db.access.redis.acl import parse, same_access
from soa_db.access.redis.probe_session import DATABASE
from soa_db.access.redis.state import DEFAULT
from soa_db.access.report import Check, Outcome, Probe
from soa_db.access.spec.redis import patterns_overlap

if TYPE_CHECKING:
    from soa_db.access.redis.access_string import Desired
    from soa_db.access.redis.state import NodeState, ServerState, UserState

__all__ = ["judge_users", "not_looked_at"]


def not_looked_at(reason: str) -> Check:
    """That nobody could look, as a note: logins have proved what they can."""
    probe = Probe("", DATABASE, "roles", "its list of users was read", "is", "catalog")
    return Check(probe, Outcome.NOTED, f"not looked at: {reason}", "verify with an administrator's access to see it")


def judge_users(desired: Desired, state: ServerState, *, mend: str) -> Iterator[Check]:
    """Judge every user of every node.

    Args:
        desired: what the specs want.
        state: what was seen.
        mend: the command that provisions.
    """
    for user in desired.users.values():
        wanted = parse(user.access_string(version=state.version, cluster=state.cluster))
        faults = []
        for node, today in zip(state.nodes, state.users(user.name), strict=True):
            where = "" if len(state.nodes) == 1 else f" on {node.address}"
            if today is None:
                faults.append(f"it is missing{where}")
                continue
            if today.acl.selectors:
                faults.append(f"it has selectors beside its own rights{where}")
            if today.auth == "none":
                faults.append(f"anybody gets in as it without a password{where}")
            if not same_access(today.acl, wanted, node.table) and not today.acl.selectors:
                faults.append(f"its access string is another one{where}")
        probe = Probe(user.name, DATABASE, "roles", "its access is what the spec says", "is", "catalog")
        yield _found(probe, faults, mend)
    for address, reason in state.unreached:
        probe = Probe(
            "", DATABASE, "roles", f"the users of the replica {address} are what the specs say", "is", "catalog"
        )
        yield Check(probe, Outcome.INCONCLUSIVE, reason, "verify as an administrator who reaches it")
    services = _strangers(desired, state, managed=True)
    yield _found(
        Probe("", DATABASE, "roles", "every user of a service is declared", "is", "catalog"),
        [f"{printable(name)} is not declared by its spec" for name in services if desired.is_given(name)],
        f"{mend} --engine redis --prune deletes them",
    )
    foreign = [name for name in services if not desired.is_given(name)]
    if foreign:
        yield from _foreign(desired, state, foreign)
    others = _strangers(desired, state, managed=False)
    if others:
        probe = Probe("", DATABASE, "roles", "there are users that are no service's", "is", "catalog")
        yield Check(
            probe, Outcome.NOTED, ", ".join(map(printable, others)), "whoever made them knows what they are for"
        )
    if state.group is None:
        yield from _default(desired, state, mend)
    elif not state.group.attached:
        probe = Probe("", DATABASE, "roles", f"the user group {state.group.name} opens a cache", "is", "catalog")
        yield Check(probe, Outcome.VIOLATED, "it is attached to none", "attach it to the replication group")


def _foreign(desired: Desired, state: ServerState, names: list[str]) -> Iterator[Check]:
    """Users of services whose specs are not given: what they may do to the services that are."""
    probe = Probe("", DATABASE, "roles", "no user of another service may change what is declared here", "is", "catalog")
    mine = {(pattern, user.service) for user in desired.users.values() for pattern in user.keys}
    faults = []
    for name in names:
        acls = [user.acl for user in state.users(name) if user is not None]
        patterns = {
            pattern
            for acl in acls
            for selector in (acl.root, *acl.selectors)
            for pattern, access in selector.keys.items()
            if "W" in access
        }
        reached = sorted({service for key, service in mine if any(patterns_overlap(key, other) for other in patterns)})
        if reached:
            faults.append(f"{printable(name)} may write keys of {', '.join(reached)}")
    yield _found(probe, faults, "give the other service's spec too, and let the two not overlap")
    probe = Probe("", DATABASE, "roles", "there are users of services whose specs are not given", "is", "catalog")
    yield Check(probe, Outcome.NOTED, ", ".join(map(printable, names)), "verify with their specs too")


def _default(desired: Desired, state: ServerState, mend: str) -> Iterator[Check]:
    on = [node.address for node in state.nodes if (user := node.users.get(DEFAULT)) is not None and user.acl.enabled]
    probe = Probe("", DATABASE, "roles", "the user default is off", "is", "catalog")
    if on and not desired.default_off:
        yield Check(probe, Outcome.NOT_APPLICABLE, f"in {desired.env} it may be on")
    else:
        yield _found(probe, [f"it is on at {', '.join(on)}"] if on else [], mend)


def _strangers(desired: Desired, state: ServerState, *, managed: bool) -> list[str]:
    known = {*desired.users, DEFAULT, state.admin, state.group.default if state.group else None}
    return [
        name
        for name in state.names
        if name not in known
        and any(
            _counts(name, user, node, state, managed=managed) for node in state.nodes if (user := node.users.get(name))
        )
    ]


def _counts(name: str, user: UserState, node: NodeState, state: ServerState, *, managed: bool) -> bool:
    inside = state.group is None or name in state.group.members
    return user.managed is managed and user.acl.enabled and inside and name in node.users


def _found(probe: Probe, faults: list[str], mend: str) -> Check:
    if not faults:
        return Check(probe, Outcome.OK)
    return Check(probe, Outcome.VIOLATED, "; ".join(faults[:6]), mend)
