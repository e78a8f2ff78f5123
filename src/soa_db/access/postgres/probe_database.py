"""What one database's catalogs say about everybody: PUBLIC, strangers, grant options, owners, default privileges.

Read once per database, by any identity that can connect; the judgements are pure functions over the rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from soa_db.access.postgres.attempt import rows
from soa_db.access.postgres.probe_indirect import probe_indirect
from soa_db.access.postgres.probe_later import rights_on_new
from soa_db.access.postgres.probe_session import listed
from soa_db.access.postgres.survey import Survey
from soa_db.access.report import Aspect, Check, Outcome

if TYPE_CHECKING:
    import psycopg

    from soa_db.access.postgres.expect import DatabaseAccess, ServerAccess, Share
    from soa_db.access.postgres.survey import Strangers

__all__ = ["probe_database"]


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
    survey = Survey(access, database, strangers, mend)
    users = [part.user for part in database.users]
    yield from _acl(survey, rows(connection, "probe_acl", users=users))
    owners = [database.owner or "", "pg_database_owner"]
    yield from _owners(survey, rows(connection, "probe_owners", owners=owners))
    yield from _possessions(survey, rows(connection, "probe_possessions"))
    yield from _default_privileges(survey, rows(connection, "probe_default_acl"))
    yield from probe_indirect(connection, survey)
    yield from _mappings(survey, rows(connection, "probe_mappings"))


def _acl(survey: Survey, found: list[Any]) -> Iterator[Check]:
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


def _pending(survey: Survey, entry: Any) -> str | None:
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


def _owners(survey: Survey, found: list[Any]) -> Iterator[Check]:
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


def _possessions(survey: Survey, found: list[Any]) -> Iterator[Check]:
    """Objects of every other kind: only the owner and administrators own any, and only they what is the system's."""
    problems = False
    for group in found:
        own = group.owner in {survey.database.owner, "pg_database_owner"}
        if group.owner in survey.strangers.expected or (own and not group.of_system):
            continue
        problems = True
        yield Check(
            survey.ask(group.owner, "rights", f"own {listed(group.names)}"),
            Outcome.VIOLATED,
            "what one owns one may do anything with",
            "ALTER … OWNER TO "
            + ("the administrator" if group.of_system or survey.database.owner is None else survey.database.owner),
        )
    if not problems:
        yield Check(survey.ask("", "rights", "nobody but the owner and administrators owns anything", "is"), Outcome.OK)


def _default_privileges(survey: Survey, found: list[Any]) -> Iterator[Check]:
    """What would be granted on objects the owner's probe does not make: others' objects, those in other schemas.

    What strangers are promised stands among the ACLs. A user may be promised what it may have on a declared object.
    """
    database, problems = survey.database, False
    for entry in found:
        made = entry.role == database.owner and entry.schema in {"", *database.schemas}
        part = database.of(entry.grantee)
        if (made and entry.kind != "large object") or (part is None and entry.grantee != "PUBLIC"):
            continue
        if part is not None:
            declared = not entry.schema or entry.schema in database.schemas
            _, may = rights_on_new(part, entry.kind, declared=declared)
            if part.part == "owner" or (declared and entry.privilege in may):
                continue
        problems = True
        what = f"{entry.privilege} on every {entry.kind} {entry.role} makes later"
        within = f" IN SCHEMA {entry.schema}" if entry.schema else ""
        yield Check(
            survey.ask(entry.grantee, "later", what + (f" in {entry.schema}" if entry.schema else "")),
            Outcome.VIOLATED,
            "default privileges say so",
            f"ALTER DEFAULT PRIVILEGES FOR ROLE {entry.role}{within} REVOKE {entry.privilege} ON "
            f"{entry.kind.upper()}S FROM {entry.grantee}",
        )
    if not problems:
        yield Check(survey.ask("", "later", "no other default privileges give more than the specs", "is"), Outcome.OK)


def _mappings(survey: Survey, found: list[Any]) -> Iterator[Check]:
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
