"""What users reach with the rights of others: views, rules, triggers, definer functions, parents of tables.

The judgements are pure functions over the rows of one database's catalogs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from soa_db.access.postgres.attempt import rows
from soa_db.access.postgres.probe_session import listed
from soa_db.access.report import Check, Outcome

if TYPE_CHECKING:
    import psycopg

    from soa_db.access.postgres.survey import Survey

__all__ = ["probe_indirect", "probe_lent"]


def probe_indirect(connection: psycopg.Connection[Any], survey: Survey) -> Iterator[Check]:
    """Judge every way of a declared database by which one acts with another's rights.

    Args:
        connection: in that database, as any user, guarded.
        survey: the database, and what is known around it.
    """
    owner = survey.database.owner
    users = [part.user for part in survey.database.users]
    others = [user for user in users if user != owner]
    yield from _views(survey, rows(connection, "probe_views", users=others))
    yield from _indirect_writes(survey, rows(connection, "probe_indirect_writes", users=others))
    yield from _inherited(survey, rows(connection, "probe_inherited", users=others))
    yield from _definers(survey, rows(connection, "probe_definers", users=users))
    yield from _event_triggers(survey, rows(connection, "probe_event_triggers"))


def probe_lent(connection: psycopg.Connection[Any], survey: Survey) -> Iterator[Check]:
    """Judge what functions lend in a database that no spec declares and everybody may connect to.

    Roles are the whole server's: who acts as an administrator there does so everywhere.

    Args:
        connection: in that database, as any user, guarded.
        survey: that database as one without owner and users.
    """
    yield from _definers(survey, rows(connection, "probe_definers", users=[]))


def _views(survey: Survey, found: list[Any]) -> Iterator[Check]:
    """Views that lend their owner's rights to somebody who has none on what lies underneath.

    A view the spec names for that user exactly (not by a wildcard) is meant to do so.
    """
    problems: set[str] = set()
    for view in found:
        if survey.named(view.user, view.schema, view.name, "SELECT"):
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


def _indirect_writes(survey: Survey, found: list[Any]) -> Iterator[Check]:
    """Views, rules and triggers through which a user does what it may not do itself.

    Naming the relation and the command that sets it off is how to allow it.
    """
    problems = False
    for way in found:
        if survey.named(way.user, way.schema, way.name, way.command):
            continue
        problems = True
        place = f"{way.schema}.{way.name}"
        detail = f"{'the view' if way.view else 'a rule'} is written with its owner's rights"
        step = "ALTER VIEW … SET (security_invoker = true)" if way.view else f"DROP RULE … ON {place}"
        if way.definer is not None:
            detail, step = f"its trigger calls {way.definer}, SECURITY DEFINER", "make the function SECURITY INVOKER"
        elif not way.view or way.command != way.privilege:
            detail = f"a rule does so with the rights of the owner of {place} on {way.command}"
        yield Check(
            survey.ask(way.user, "write", f"{way.privilege} {listed(way.bases or ['anything'])} through {place}"),
            Outcome.VIOLATED,
            detail,
            f"{step}, or an extra_grants entry that revokes {way.command} on {place}, or names it if that is intended",
        )
    if not problems:
        yield Check(survey.ask("", "write", "no view writes what is withheld from its users", "is"), Outcome.OK)


def _inherited(survey: Survey, found: list[Any]) -> Iterator[Check]:
    """Tables a user reaches through a parent although the spec takes that privilege on them away from it.

    That a partition is reached through its parent alone is how partitions are used: it matters where a spec says no.
    """
    problems = False
    for row in found:
        part = survey.database.of(row.user)
        if part is None:
            continue
        taken = any(
            rule.pattern.kind == "relation"
            and row.privilege in rule.taken
            and rule.pattern.matches(row.schema, row.name)
            for rule in part.rules
        )
        if not taken or row.privilege in survey.database.on_relation(part, row.schema, row.name, row.kind).may:
            continue
        problems = True
        place = f"{row.schema}.{row.name}"
        yield Check(
            survey.ask(
                row.user,
                "read" if row.privilege == "SELECT" else "write",
                f"{row.privilege} {place} through its parent {listed(row.parents)}",
            ),
            Outcome.VIOLATED,
            "a parent's privileges are enough for its children's rows",
            f"revoke {row.privilege} on the parent too, or ALTER TABLE {place} NO INHERIT (DETACH PARTITION)",
        )
    if not problems:
        yield Check(survey.ask("", "rights", "no parent opens a table that is withheld", "is"), Outcome.OK)


def _event_triggers(survey: Survey, found: list[Any]) -> Iterator[Check]:
    """An event trigger's function runs as whoever sets it off; its owner can replace it."""
    problems = False
    for row in found:
        if row.owner in survey.strangers.administrators:
            continue
        problems = True
        yield Check(
            survey.ask(row.owner, "rights", f"have others run its {row.signature} (event trigger {row.name})"),
            Outcome.VIOLATED,
            "whoever sets it off runs it with rights of their own, administrators too",
            f"as a superuser: DROP EVENT TRIGGER {row.name}, or ALTER FUNCTION {row.signature} OWNER TO …",
        )
    if not problems:
        yield Check(survey.ask("", "rights", "no event trigger runs an identity's function", "is"), Outcome.OK)


def _definers(survey: Survey, found: list[Any]) -> Iterator[Check]:
    """Functions that lend rights: who may call one acts as its owner. Naming it in the spec is how to allow it.

    A trigger's function is set off, not called: it must be the owner's and find what it means.
    """
    problems = False
    for routine in found:
        callers = [
            user
            for user in routine.callers
            if (part := survey.database.of(user)) is None
            or not survey.database.named_routine(part, routine.schema, routine.name)
        ]
        if routine.extension is not None:
            if callers or routine.public:
                what = f"act as {routine.owner} through {routine.signature} (SECURITY DEFINER)"
                yield Check(
                    survey.ask("PUBLIC" if routine.public else listed(callers), "rights", what),
                    Outcome.NOTED,
                    f"it belongs to the extension {routine.extension}",
                    "see that the extension is meant to be there",
                )
            continue
        lent = f"act as {routine.owner} through {routine.signature} (SECURITY DEFINER)"
        if not routine.definer:
            lent = f"run {routine.signature} inside the server, past all rights (language {routine.language})"
        for who, detail, mend in _definer_faults(routine, callers, survey.database.owner):
            problems = True
            yield Check(survey.ask(who, "rights", lent), Outcome.VIOLATED, detail, mend)
    if not problems:
        yield Check(
            survey.ask("", "rights", "no function lends its owner's rights beyond what the specs name", "is"),
            Outcome.OK,
        )


def _definer_faults(routine: Any, callers: Iterable[str], owner: str | None) -> Iterator[tuple[str, str, str]]:
    unnamed = () if routine.trigger else tuple(callers)
    used = bool(set(routine.callers) - set(unnamed))
    if routine.public:
        yield "PUBLIC", "everybody may call it", f"REVOKE EXECUTE ON ROUTINE {routine.signature} FROM PUBLIC"
    for user in unnamed:
        yield (
            user,
            "it may call it, and no extra_grants entry names the function",
            f"name it in extra_grants, make it SECURITY INVOKER, or REVOKE EXECUTE ON ROUTINE {routine.signature}",
        )
    if not routine.definer:
        return
    if used and not routine.fixed_path:
        yield (
            "",
            "it has no search_path of its own: a caller's objects can take the place of those it means",
            f"ALTER ROUTINE {routine.signature} SET search_path = pg_catalog, {routine.schema}",
        )
    if used and owner is not None and routine.owner != owner:
        yield "", f"it runs as {routine.owner}, not as {owner}", f"ALTER ROUTINE {routine.signature} OWNER TO {owner}"
