"""Roles of the past: what they own goes to the owners of the declared databases, then they are dropped. Pure.

A role is retired everywhere or nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from soa_db.access.postgres.actions import DropRole, RetireIn, sentence, shown
from soa_db.access.postgres.context import Context, Findings
from soa_db.access.postgres.desired import DesiredDatabase, RetiredRole, service_of
from soa_db.access.postgres.remedies import human_grant, quoted

if TYPE_CHECKING:
    from soa_db.access.postgres.state import ServerState

__all__ = ["retired_changes"]

# Where shared objects are seen to; every server has it.
ADMIN_DATABASE = "postgres"


def retired_changes(context: Context) -> Findings:
    """Add what retires each role that is there, or why it stays."""
    findings = Findings("retired roles")
    state = context.state
    for retired in context.desired.retired:
        if retired.name not in state.roles:
            continue
        other = service_of(state.roles[retired.name].comment)
        if retired.name == state.admin.name or other not in {None, retired.service}:
            what = "is the administrator" if other is None else f"belongs to service {shown(other)}"
            findings.error(
                f"{retired.service} retires role {shown(retired.name)}, which {what}",
                "take it out of `retire`; a role made for a service is retired by that service's spec",
            )
            continue
        strays = _strays(retired.name, context)
        report = findings.error if context.options.prune else findings.note
        for name, what in strays:
            findings.database = name
            report(
                f"retired role {shown(retired.name)} owns {what}, which no spec declares: it cannot be dropped",
                "declare the database, by giving its spec too if there is one; or give what it owns away there: "
                f"REASSIGN OWNED BY {quoted(retired.name)} TO …",
            )
        findings.database = None
        if not context.options.prune:
            findings.note(f"role {shown(retired.name)} is retired", "remove it with --prune")
        elif not context.may_manage(retired.name):
            found = state.roles[retired.name]
            findings.unreachable(
                f"not possible as {shown(state.admin.name)}: {sentence(DropRole(retired.name))}",
                f"a superuser must run: {human_grant(retired.name, found, state.admin.name, context.version)}",
            )
        elif not strays:
            _retire(retired, context, findings)
    return findings


def _strays(role: str, context: Context) -> list[tuple[str, str]]:
    """The undeclared databases in which a retired role owns something: whose that is to be, nobody has said."""
    state, declared = context.state, context.desired.databases
    found = {name: f"objects in database {shown(name)}" for name in state.owning.get(role, ()) if name is not None}
    found |= {name: f"database {shown(name)}" for name, database in state.databases.items() if database.owner == role}
    return sorted((name, what) for name, what in found.items() if name not in declared)


def _retire(retired: RetiredRole, context: Context, findings: Findings) -> None:
    """Add what retires a role everywhere, or, when it is out of reach somewhere, nothing but that."""
    role = Findings(findings.group)
    reachable = [_retire_in(retired, place, context, role) for place in _places(retired.name, context.state)]
    findings.notices += role.notices
    if all(reachable):
        findings.changes += role.changes
        findings.change(DropRole(retired.name), destructive=True)


def _places(role: str, state: ServerState) -> list[tuple[str, frozenset[str | None]]]:
    """The databases to go to, with the owners of what depends on the role there."""
    found: dict[str, frozenset[str | None]] = {}
    for place, owning in state.depended.get(role, {}).items():
        # What hangs on shared objects (a right to connect) can be dropped from any database.
        name = ADMIN_DATABASE if place is None else place
        found[name] = found.get(name, frozenset()) | owning
    # Shared objects first: REASSIGN OWNED gives them away too, from wherever it is run.
    return sorted(found.items(), key=lambda item: (item[0] != ADMIN_DATABASE, item[0]))


def _heir(retired: RetiredRole, declared: DesiredDatabase | None) -> str | None:
    """Who gets what a retired role owns in a database: never an identity that has no business there."""
    if declared is None or retired.heir in {declared.owner, *declared.tables}:
        return retired.heir
    return declared.owner


def _retire_in(
    retired: RetiredRole, place: tuple[str, frozenset[str | None]], context: Context, findings: Findings
) -> bool:
    """Add what retires a role in one database; False when that is out of reach."""
    name, owning = place
    findings.database = name
    role, state = retired.name, context.state
    database = state.databases.get(name)
    declared = context.desired.databases.get(name)
    heir = _heir(retired, declared) or state.admin.name
    enters = declared is not None or (database is not None and database.connectable and database.admin_may_connect)
    beyond = sorted(
        "a superuser" if owner is None else owner
        for owner in owning
        if not state.admin.superuser and (owner is None or not context.may_become(owner, name))
    )
    if enters and not beyond:
        owner = {declared.owner} if declared is not None else set()
        acting = {one for one in owning | owner if one is not None}
        findings.change(RetireIn(role, heir, tuple(sorted(acting))), destructive=True)
        return True
    reason = f"something there belongs to {', '.join(map(shown, beyond))}" if enters else "it cannot be connected to"
    findings.unreachable(
        f"retired role {shown(role)} stays: {shown(state.admin.name)} cannot see to database {shown(name)}: {reason}",
        f"a superuser must run there: REASSIGN OWNED BY {quoted(role)} TO {quoted(heir)}; DROP OWNED BY {quoted(role)}",
    )
    return False
