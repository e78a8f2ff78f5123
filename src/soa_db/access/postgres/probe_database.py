"""What one database's catalogs say about everybody: PUBLIC, strangers, grant options, owners, views, definer functions.

Read once per database, by any identity that can connect; the judgements are pure functions over the rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from soa_db.access.postgres.attempt import rows
from soa_db.access.postgres.probe_session import listed
from soa_db.access.report import Aspect, Check, Outcome, Probe

if TYPE_CHECKING:
    import psycopg

    from soa_db.access.postgres.expect import DatabaseAccess, ServerAccess, Share

__all__ = ["Strangers", "probe_database"]


@dataclass(frozen=True, slots=True)
class Strangers:
    """How roles the specs do not know are to be taken.

    Attributes:
        administrators: superusers and roles with CREATEROLE, and members of such: they can give themselves anything.
        system: predefined roles, and those the cloud provider's server comes with.
        services: role → the service it belongs to, by the comment `provision` gave it.
    """

    administrators: frozenset[str] = frozenset()
    system: frozenset[str] = frozenset()
    services: Mapping[str, str] = field(default_factory=dict)

    @property
    def expected(self) -> frozenset[str]:
        """Roles whose rights are nobody's fault."""
        return self.administrators | self.system


@dataclass(frozen=True, slots=True)
class _Survey:
    """The context of one database's judgements."""

    access: ServerAccess
    database: DatabaseAccess
    strangers: Strangers
    mend: str

    def ask(
        self,
        identity: str,
        aspect: Aspect,
        what: str,
        expect: Literal["can", "cannot", "is"] = "cannot",
    ) -> Probe:
        return Probe(identity, self.database.name, aspect, what, expect, "catalog")


def probe_database(
    connection: psycopg.Connection[Any],
    access: ServerAccess,
    database: DatabaseAccess,
    strangers: Strangers,
    *,
    mend: str,
) -> Iterator[Check]:
    """Judge what stands in the catalogs of one database.

    Args:
        connection: in that database, as any user, guarded.
        access: what the specs say about the server.
        database: … about this database.
        strangers: how to take roles the specs do not know.
        mend: the command that provisions.
    """
    survey = _Survey(access, database, strangers, mend)
    users = [part.user for part in database.users]
    yield from _acl(survey, rows(connection, "probe_acl", users=users))
    owners = [database.owner or "", "pg_database_owner"]
    yield from _owners(survey, rows(connection, "probe_owners", owners=owners))
    others = [user for user in users if user != database.owner]
    yield from _views(survey, rows(connection, "probe_views", users=others))
    yield from _view_writes(survey, rows(connection, "probe_view_writes", users=others))
    yield from _definers(survey, rows(connection, "probe_definers", users=others))
    yield from _mappings(survey, rows(connection, "probe_mappings"))


def _acl(survey: _Survey, found: list[Any]) -> Iterator[Check]:
    """Rights of PUBLIC and of strangers, and grant options. ``pg_database_owner`` is the owner under another name."""
    database, known = survey.database, {part.user for part in survey.database.users}
    problems = False
    for entry in found:
        kind, names = entry.kind, list(entry.names)
        # A role the server came with is no better than another: whoever is a member of it has what it is granted here.
        if entry.grantee in survey.strangers.administrators or entry.grantee == "pg_database_owner":
            continue
        what = f"{entry.privilege} on {kind.lower()} {listed(names)}"
        undo = f"REVOKE {entry.privilege} ON {kind} {listed(names)} FROM {entry.grantee}"
        mend = f"{survey.mend}; it does: {undo}"
        aspect = _aspect(kind, entry.privilege)
        if entry.grantee in known:
            # The owner of default privileges or an object apart, only the grant option brings a known user here.
            what = f"grant {what} to others"
            undo = f"REVOKE GRANT OPTION FOR {undo.removeprefix('REVOKE ')}"
            mend = f"{survey.mend}; it does: {undo}"
        elif entry.grantee == "PUBLIC":
            if kind == "DEFAULT PRIVILEGES":
                continue  # proved by objects really made (probe_later)
            if entry.of_superuser:
                # Who is not a superuser revokes nothing on a superuser's objects: only a warning comes (FACTS).
                mend = f"as a superuser: {undo}"
        elif entry.grantee in survey.access.users:
            mend = f"{survey.mend}; or declare it on both sides (reads, shared_with)"
        elif entry.grantee in survey.access.retired:
            mend = f"{survey.mend} --prune: the specs retire this role"
        else:
            mend = f"{undo}; or declare the role, or retire it (`retire:`) and provision with --prune"
        if entry.grantee not in survey.access.users and (reader := _pending(survey, entry)):
            detail = f"shared with {reader}, whose spec is not given"
            yield Check(survey.ask(entry.grantee, aspect, what), Outcome.NOTED, detail, f"give the spec of {reader}")
            continue
        problems = True
        yield Check(survey.ask(entry.grantee, aspect, what), Outcome.VIOLATED, f"granted in {database.name}", mend)
    if not problems:
        yield Check(survey.ask("", "rights", "nobody but the declared identities has rights here", "is"), Outcome.OK)


# schema.name or schema.name(column), each part as quote_ident writes it.
_PART = r'("(?:[^"]|"")+"|[^".()]+)'
_QUALIFIED = re.compile(rf"{_PART}\.{_PART}(?:\({_PART}\))?")


def _pending(survey: _Survey, entry: Any) -> str | None:
    """The service a right belongs to that this side shares; whether the other side wants it, its spec would say."""
    service = survey.strangers.services.get(entry.grantee)
    shares = [share for share in survey.database.shares if share.service == service]
    if not shares or entry.grantable:
        return None
    match entry.kind, entry.privilege:
        case "DATABASE", "CONNECT":
            within = True
        case "SCHEMA", "USAGE":
            within = any(pattern.schema == entry.schema for share in shares for pattern in share.patterns)
        case "TABLE" | "COLUMN", "SELECT":
            within = all(any(_shared(share, name) for share in shares) for name in entry.names)
        case _:
            within = False
    return service if within else None


def _shared(share: Share, qualified: str) -> bool:
    parts = _QUALIFIED.fullmatch(qualified)
    if parts is None:
        return False
    schema, name, column = (
        part and re.sub('""', '"', part[1:-1]) if (part or "")[:1] == '"' else part for part in parts.groups()
    )
    if not any(pattern.matches(schema, name) for pattern in share.patterns):
        return False
    return not share.columns or column in share.columns


def _aspect(kind: str, privilege: str) -> Aspect:
    match kind, privilege:
        case "DATABASE", "TEMPORARY":
            return "temp"
        case "DATABASE", "CONNECT":
            return "connect"
        case _, "CREATE":
            return "ddl"
        case _:
            return "rights"


def _owners(survey: _Survey, found: list[Any]) -> Iterator[Check]:
    """Objects and schemas that are not the owner's: its default privileges pass them by, and it cannot alter them."""
    if survey.database.owner is None:
        return
    problems = False
    for group in found:
        what = f"own {group.kind.lower()} {listed(group.names)}"
        outcome, detail = Outcome.VIOLATED, f"{survey.database.owner} is to own everything here"
        mend = f"{survey.mend} --prune, or ALTER … OWNER TO {survey.database.owner}"
        if group.kind == "SCHEMA" and group.of_superuser:
            outcome, mend = Outcome.NOTED, f"as a superuser: ALTER SCHEMA … OWNER TO {survey.database.owner}"
        elif group.kind == "SCHEMA" and group.schema not in survey.database.schemas:
            detail, mend = "a schema no spec declares", "declare it (`schemas:`) or drop it"
        problems = problems or outcome is Outcome.VIOLATED
        yield Check(survey.ask(group.owner, "rights", what), outcome, detail, mend)
    if not problems:
        probe = survey.ask(survey.database.owner, "rights", "owns every object and schema", "is")
        yield Check(probe, Outcome.OK)


def _views(survey: _Survey, found: list[Any]) -> Iterator[Check]:
    """Views that lend their owner's rights to somebody who has none on what lies underneath.

    A view the spec names for that user exactly (not by a wildcard) is meant to do so.
    """
    problems: set[str] = set()
    for view in found:
        part = survey.database.of(view.user)
        if part is not None and any(
            rule.pattern.kind == "relation"
            and rule.pattern.exact is not None
            and "SELECT" in rule.added
            and rule.pattern.matches(view.schema, view.name)
            for rule in part.rules
        ):
            continue
        problems.add(view.user)
        step = (
            "ALTER VIEW … SET (security_invoker = true)"
            if view.kind == "v"
            else "a materialized view has its owner's rights: revoke SELECT on it"
        )
        yield Check(
            survey.ask(view.user, "read", f"read {listed(view.bases)} through {view.schema}.{view.name}"),
            Outcome.VIOLATED,
            "the view is read with its owner's rights",
            f"{step}, or name the view in the spec if that is intended",
        )
    for part in survey.database.users:
        if part.part != "owner" and part.user not in problems:
            yield Check(survey.ask(part.user, "read", "read through a view what is withheld from it"), Outcome.OK)


def _view_writes(survey: _Survey, found: list[Any]) -> Iterator[Check]:
    """Views through which a user writes what it may not write itself; naming view and privilege is how to allow it."""
    problems = False
    for view in found:
        part = survey.database.of(view.user)
        if part is not None and any(
            rule.pattern.kind == "relation"
            and rule.pattern.exact is not None
            and view.privilege in rule.added
            and rule.pattern.matches(view.schema, view.name)
            for rule in part.rules
        ):
            continue
        problems = True
        yield Check(
            survey.ask(view.user, "write", f"{view.privilege} {listed(view.bases)} through {view.schema}.{view.name}"),
            Outcome.VIOLATED,
            "the view is written with its owner's rights",
            "ALTER VIEW … SET (security_invoker = true), or an extra_grants entry that revokes it on the view, "
            "or names the view if that is intended",
        )
    if not problems:
        yield Check(survey.ask("", "write", "no view writes what is withheld from its users", "is"), Outcome.OK)


def _definers(survey: _Survey, found: list[Any]) -> Iterator[Check]:
    """SECURITY DEFINER functions: who may call one acts as its owner. Naming it in the spec is how to allow it."""
    problems = False
    for routine in found:
        callers = [
            user
            for user in routine.callers
            if (part := survey.database.of(user)) is None
            or not survey.database.named_routine(part, routine.schema, routine.name)
        ]
        reasons = list(_definer_faults(routine, callers, survey.database.owner))
        for who, detail, mend in reasons:
            problems = True
            probe = survey.ask(who, "rights", f"act as {routine.owner} through {routine.signature} (SECURITY DEFINER)")
            yield Check(probe, Outcome.VIOLATED, detail, mend)
    if not problems:
        yield Check(
            survey.ask("", "rights", "no function lends its owner's rights beyond what the specs name", "is"),
            Outcome.OK,
        )


def _definer_faults(routine: Any, callers: Iterable[str], owner: str | None) -> Iterator[tuple[str, str, str]]:
    unnamed = tuple(callers)
    named = bool(set(routine.callers) - set(unnamed))
    if routine.public:
        yield "PUBLIC", "everybody may call it", f"REVOKE EXECUTE ON ROUTINE {routine.signature} FROM PUBLIC"
    for user in unnamed:
        yield (
            user,
            "it may call it, and no extra_grants entry names the function",
            f"name it in extra_grants, make it SECURITY INVOKER, or REVOKE EXECUTE ON ROUTINE {routine.signature}",
        )
    if named and not routine.fixed_path:
        yield (
            "",
            "it has no search_path of its own: a caller's objects can take the place of those it means",
            f"ALTER ROUTINE {routine.signature} SET search_path = pg_catalog, {routine.schema}",
        )
    if named and owner is not None and routine.owner != owner:
        yield "", f"it runs as {routine.owner}, not as {owner}", f"ALTER ROUTINE {routine.signature} OWNER TO {owner}"


def _mappings(survey: _Survey, found: list[Any]) -> Iterator[Check]:
    """Foreign servers: rights on them stand in the ACLs; a user mapping is a login elsewhere."""
    problems = False
    for mapping in found:
        if mapping.user in survey.strangers.expected:
            continue
        problems = True
        yield Check(
            survey.ask(mapping.user, "rights", f"log in elsewhere through the foreign server {mapping.server}"),
            Outcome.VIOLATED,
            "it has a user mapping",
            f"DROP USER MAPPING FOR {mapping.user} SERVER {mapping.server}",
        )
    if not problems:
        yield Check(survey.ask("", "rights", "no foreign server can be used", "is"), Outcome.OK)
