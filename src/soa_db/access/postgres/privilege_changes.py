"""Differences of many access control lists → few changes, each one statement and one sentence. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from soa_db.access.postgres.actions import DefaultPrivileges, GrantKind, Privileges, Verb, sentence, shown
from soa_db.access.postgres.state import PUBLIC, ObjectName

if TYPE_CHECKING:
    from soa_db.access.postgres.context import Context, Findings
    from soa_db.access.postgres.privileges import AclDiff

__all__ = ["PrivilegeChanges", "default_privilege_changes"]

_ORDER: Mapping[Verb, int] = {"revoke": 0, "revoke grant option": 1, "grant": 2}


class _What(NamedTuple):
    """What is done, but for whom and on which columns."""

    order: int
    verb: Verb
    kind: GrantKind
    schema: str
    owner: str
    privileges: tuple[str, ...]
    names: tuple[ObjectName, ...]


class _One(NamedTuple):
    """What is done for one grantee on one column, or on the whole (empty), but on which objects."""

    verb: Verb
    kind: GrantKind
    schema: str
    owner: str
    privileges: tuple[str, ...]
    grantee: str
    column: str


@dataclass(slots=True)
class PrivilegeChanges:
    """Gathers the differences of one database.

    Attributes:
        context: who is managed, whom the administrator can act as.
        database: the database.
        used: somebody not declared uses the database, so that what PUBLIC loses is missed.
    """

    context: Context
    database: str
    used: bool
    _found: dict[_One, set[ObjectName]] = field(default_factory=dict)
    _handed_on: dict[_One, set[ObjectName]] = field(default_factory=dict)

    def add(
        self,
        diff: AclDiff,
        *,
        kind: GrantKind,
        schema: str,
        names: Iterable[ObjectName],
        owner: str,
        column: str = "",
    ) -> None:
        """Take in how the ACL of some objects (or of one column of them) differs from the one wanted."""
        objects = tuple(names)
        for verb, side in diff.steps:
            for grantee, privileges in side.items():
                one = _One(verb, kind, schema, owner, tuple(sorted(privileges)), grantee, column)
                self._found.setdefault(one, set()).update(objects)
        for grantee, privilege, grantor in diff.foreign:
            one = _One("revoke", kind, schema, grantor, (privilege,), grantee, column)
            self._handed_on.setdefault(one, set()).update(objects)

    def tell(self, findings: Findings) -> None:
        """Add changes and notices to the findings."""
        merged: dict[tuple[_What, str, bool], set[str]] = {}
        unknown: dict[str, list[str]] = {}
        for one, objects in self._found.items():
            names = tuple(sorted(objects))
            if one.verb != "grant" and not self.context.may_take_from(one.grantee, self.database):
                if not self.context.is_exempt(one.grantee):
                    unknown.setdefault(one.grantee, []).append(_holding(one, names))
                continue
            what = _What(_ORDER[one.verb], one.verb, one.kind, one.schema, one.owner, one.privileges, names)
            # A difference of the whole table and one of its columns are two statements.
            merged.setdefault((what, one.grantee, bool(one.column)), set()).add(one.column)
        together: dict[tuple[_What, tuple[str, ...], bool], list[str]] = {}
        for (what, grantee, by_column), columns_ in merged.items():
            columns = tuple(sorted(columns_)) if by_column else ()
            together.setdefault((what, columns, grantee == PUBLIC), []).append(grantee)
        for (what, columns, public), grantees in sorted(together.items()):
            action = Privileges(
                what.verb,
                what.kind,
                what.schema,
                what.names,
                what.owner,
                tuple(sorted(grantees)),
                what.privileges,
                columns,
            )
            self._tell(action, findings, destructive=what.verb != "grant" and (self.used or not public))
        for role, holdings in sorted(unknown.items()):
            service = self.context.reads_for(role, self.database)
            who = "which no spec declares" if service is None else f"of service {service}, whose spec is not given"
            findings.note(
                f"role {shown(role)}, {who}, has {'; '.join(sorted(holdings))} (database {shown(self.database)})",
                "declare it, retire it, or take its rights away with --prune"
                if service is None
                else "give its spec too: what it may read is then set right",
            )
        self._tell_handed_on(findings)

    def _tell(self, action: Privileges, findings: Findings, *, destructive: bool) -> None:
        if self.context.may_become(action.owner, self.database):
            findings.change(action, destructive=destructive)
            return
        findings.unreachable(
            f"not possible as {shown(self.context.state.admin.name)}: {sentence(action, self.database)}",
            f"{shown(action.owner)} owns it: that role or a superuser must do it",
        )

    def _tell_handed_on(self, findings: Findings) -> None:
        for one, objects in sorted(self._handed_on.items()):
            if self.context.is_exempt(one.grantee) or self.context.may_take_from(one.owner, self.database):
                continue  # It goes with the grantor's grant option.
            findings.unreachable(
                f"{_holding(one, tuple(sorted(objects)))} (database {shown(self.database)}) was handed on to "
                f"{'PUBLIC' if one.grantee == PUBLIC else shown(one.grantee)} by {shown(one.owner)}, "
                "which no spec declares and which holds the grant option",
                "take that role's rights away with --prune",
            )


def default_privilege_changes(
    diff: AclDiff, *, owner: str, schema: str | None, kind: str, context: Context, findings: Findings
) -> None:
    """Add what is to change in one entry of the owner's default privileges."""
    for verb, side in diff.steps:
        together: dict[tuple[tuple[str, ...], bool], list[str]] = {}
        for grantee, privileges in sorted(side.items()):
            names = tuple(sorted(privileges))
            if verb == "grant" or context.may_take_from(grantee, findings.database or ""):
                together.setdefault((names, grantee == PUBLIC), []).append(grantee)
            elif not context.is_exempt(grantee):
                findings.note(
                    f"role {shown(grantee)}, which no spec declares, is to get {', '.join(names)} on {kind}s "
                    f"{shown(owner)} makes later (database {shown(findings.database or '')})",
                    "take it away with --prune",
                )
        for (names, public), grantees in sorted(together.items()):
            findings.change(
                DefaultPrivileges(verb, owner, schema, kind, tuple(grantees), names),
                destructive=verb != "grant" and not public,
            )


def _holding(one: _One, names: tuple[ObjectName, ...]) -> str:
    columns = (one.column,) if one.column else ()
    action = Privileges("grant", one.kind, one.schema, names, one.owner, (one.grantee,), one.privileges, columns)
    option = "the grant option for " if one.verb == "revoke grant option" else ""
    return option + sentence(action).removeprefix("grant ").rpartition(" to ")[0]
