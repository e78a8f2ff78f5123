"""What an identity can do inside a database, asked in a session of its own.

Rights on objects are read from the server for every object (memberships, PUBLIC and predefined roles counted in) and
tried for real on one object of each schema and kind, in forms that cannot take effect: ``EXPLAIN`` checks the privilege
and runs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, LiteralString

from psycopg import sql

from soa_db.access.postgres.attempt import Attempt, attempt, judge, probe_name, rows
from soa_db.access.postgres.expect import Wanted
from soa_db.access.report import Aspect, Check, Outcome, Probe

if TYPE_CHECKING:
    import psycopg

    from soa_db.access.postgres.expect import DatabaseAccess, UserAccess

__all__ = ["listed", "probe_session", "table_privileges"]

_ASPECT: dict[str, Aspect] = {"SELECT": "read", "EXECUTE": "rights", "CREATE": "ddl"}
_TRIED: dict[str, LiteralString] = {
    "SELECT": "EXPLAIN SELECT FROM {relation}",
    "INSERT": "EXPLAIN INSERT INTO {relation} DEFAULT VALUES",
    "UPDATE": "EXPLAIN UPDATE {relation} SET {column} = DEFAULT",
    "DELETE": "EXPLAIN DELETE FROM {relation}",
}
# EXPLAIN of a write to a view is refused for its shape before privileges are looked at; that of a foreign table may
# call the other server.
_TRIED_ON: dict[str, str] = {"SELECT": "rpvm", "INSERT": "rp", "UPDATE": "rp", "DELETE": "rp"}


def listed(names: Iterable[str]) -> str:
    """``a, b, c and 12 more``."""
    found = list(names)
    more = f" and {len(found) - 4} more" if len(found) > 5 else ""
    return ", ".join(found if not more else found[:4]) + more


def table_privileges(version: int) -> list[str]:
    """Every table privilege of a server version (``server_version`` as libpq gives it)."""
    known = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"]
    return [*known, "MAINTAIN"] if version >= 170000 else known


@dataclass(slots=True)
class _Tally:
    """One privilege of one identity over all objects of a kind: where it is needed, and where it must not be."""

    needed: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    withheld: list[str] = field(default_factory=list)
    surplus: list[str] = field(default_factory=list)
    # One object for each schema and kind, to be tried for real.
    try_can: dict[tuple[str, str], Any] = field(default_factory=dict)
    try_cannot: dict[tuple[str, str], Any] = field(default_factory=dict)

    def add(self, name: str, privilege: str, wanted: Wanted, held: bool) -> None:
        if privilege in wanted.must:
            (self.needed if held else self.lacking).append(name)
        elif privilege not in wanted.may:
            (self.surplus if held else self.withheld).append(name)


def probe_session(
    connection: psycopg.Connection[Any], database: DatabaseAccess, user: UserAccess, *, mend: str
) -> Iterator[Check]:
    """Ask everything about one identity in a database it may connect to.

    Args:
        connection: logged in as the identity, guarded (``attempt.guard``).
        database: what the specs say about the database.
        user: what they say about the identity there.
        mend: the command that provisions.
    """
    ask = _Asker(user.user, database.name)
    found = rows(connection, "probe_relations", privileges=table_privileges(connection.info.server_version))
    relations = [(relation, _wanted(database, user, relation)) for relation in found]
    yield from _relations(connection, relations, ask, mend)
    if user.part != "owner":
        yield from _columns(connection, relations, ask, mend)
    yield from _schemas(connection, database, user, ask, mend)
    yield from _routines(connection, database, user, ask, mend)
    yield from _creating(connection, database, user, ask, mend)
    yield from _reserved_functions(connection, database, user, ask)
    yield from _elsewhere(connection, user, ask)


def _wanted(database: DatabaseAccess, user: UserAccess, relation: Any) -> Wanted:
    wanted = database.on_relation(user, relation.schema, relation.name, relation.kind)
    if relation.of_extension and user.part == "owner":
        return replace(wanted, must=frozenset())
    if relation.of_extension:
        # An extension's script says who may do what with its tables. Reading them is what "every table" is about;
        # writing them changes how the extension works for everybody, and takes a rule that names them.
        rules = [
            rule
            for rule in user.rules
            if rule.pattern.kind == "relation" and rule.pattern.matches(relation.schema, relation.name)
        ]
        named = {privilege for rule in rules if rule.pattern.exact is not None for privilege in rule.added}
        taken = {privilege for rule in rules for privilege in rule.taken}
        may = (wanted.may & ({"SELECT"} | named)) | (frozenset(relation.initial) - taken)
        return replace(wanted, must=frozenset(), may=may)
    # The sequence of an identity column is used with nobody's rights: none is needed, too many are too many.
    return replace(wanted, must=frozenset()) if relation.internal else wanted


@dataclass(frozen=True, slots=True)
class _Asker:
    user: str
    database: str

    def __call__(self, aspect: Aspect, what: str, *, can: bool, tried: bool) -> Probe:
        return Probe(
            self.user, self.database, aspect, what, "can" if can else "cannot", "attempt" if tried else "catalog"
        )


def _relations(
    connection: psycopg.Connection[Any], relations: list[tuple[Any, Wanted]], ask: _Asker, mend: str
) -> Iterator[Check]:
    privileges = table_privileges(connection.info.server_version)
    tallies: dict[tuple[str, str], _Tally] = {}
    for relation, wanted in relations:
        sequence = relation.kind == "S"
        name = f"{relation.schema}.{relation.name}"
        kind = f"{'sequences' if sequence else 'relations'}{' of extensions' if relation.of_extension else ''}"
        for privilege in ("SELECT", "USAGE", "UPDATE") if sequence else privileges:
            tally = tallies.setdefault((privilege, kind), _Tally())
            tally.add(name, privilege, wanted, privilege in relation.held)
            if (
                relation.of_extension
                or relation.kind not in _TRIED_ON.get(privilege, "")
                or (privilege == "UPDATE" and relation.first_column is None)
            ):
                continue
            if privilege in wanted.must:
                tally.try_can.setdefault((relation.schema, relation.kind), relation)
            elif privilege not in wanted.may and privilege not in wanted.columns:
                tally.try_cannot.setdefault((relation.schema, relation.kind), relation)
    for (privilege, kind), tally in tallies.items():
        aspect = _ASPECT.get(privilege, "write")
        yield from _settle(
            ask, aspect, f"{privilege} on {{count}} {kind}", tally, mend=mend, try_on=_trying(connection, privilege)
        )


def _trying(connection: psycopg.Connection[Any], privilege: str) -> Callable[[Any], Attempt]:
    def try_on(relation: Any) -> Attempt:
        return attempt(
            connection,
            sql.SQL(_TRIED[privilege]).format(
                relation=sql.Identifier(relation.schema, relation.name),
                column=sql.Identifier(relation.first_column or ""),
            ),
        )

    return try_on


def _settle(
    ask: _Asker, aspect: Aspect, what: str, tally: _Tally, *, mend: str, try_on: Callable[[Any], Attempt] | None = None
) -> Iterator[Check]:
    """One check for where the privilege is needed and one for where it must not be, as far as there are such objects.

    What was read decides for all objects; what was tried must agree with it, or has the last word.
    """
    for can, right, wrong, samples in (
        (True, tally.needed, tally.lacking, tally.try_can),
        (False, tally.withheld, tally.surplus, tally.try_cannot),
    ):
        if not right and not wrong:
            continue
        count = len(right) + len(wrong)
        probe = ask(aspect, what.format(count=count), can=can, tried=bool(samples) and try_on is not None)
        if wrong:
            seen = "missing on" if can else "permitted on"
            yield Check(probe, Outcome.VIOLATED, f"{seen} {listed(wrong)}", mend)
            continue
        yield _tried(probe, samples.values(), try_on, mend)


def _tried(probe: Probe, samples: Iterable[Any], try_on: Callable[[Any], Attempt] | None, mend: str) -> Check:
    undecided: Check | None = None
    for sample in samples if try_on else ():
        assert try_on is not None
        check = judge(probe, try_on(sample), mend=mend)
        if check.outcome is Outcome.VIOLATED:
            # A view's functions are called with the rights of whoever reads it, whatever the rights on its tables.
            step = f"name the function in extra_grants, then {mend}" if "for function" in check.detail else mend
            return Check(probe, Outcome.VIOLATED, f"{sample.schema}.{sample.name}: {check.detail}", step)
        if check.outcome is Outcome.INCONCLUSIVE:
            undecided = Check(probe, check.outcome, f"{sample.schema}.{sample.name}: {check.detail}", check.mend)
    return undecided or Check(probe, Outcome.OK)


def _columns(
    connection: psycopg.Connection[Any], relations: list[tuple[Any, Wanted]], ask: _Asker, mend: str
) -> Iterator[Check]:
    wanted = {(relation.schema, relation.name): rights for relation, rights in relations if relation.kind != "S"}
    limited = [place for place, rights in wanted.items() if rights.columns]
    tallies: dict[str, _Tally] = {}
    for column in rows(
        connection,
        "probe_columns",
        schemas=[schema for schema, _ in limited],
        names=[name for _, name in limited],
    ):
        rights = wanted.get((column.schema, column.name))
        if rights is None:
            continue
        name = f"{column.schema}.{column.name}({column.column_name})"
        for privilege in ("SELECT", "INSERT", "UPDATE", "REFERENCES"):
            held = privilege in column.held
            tally = tallies.setdefault(privilege, _Tally())
            if column.column_name in rights.columns.get(privilege, ()):
                (tally.needed if held else tally.lacking).append(name)
            elif privilege not in rights.may:
                (tally.surplus if held else tally.withheld).append(name)
    for privilege, tally in tallies.items():
        aspect: Aspect = "read" if privilege == "SELECT" else "write"
        yield from _settle(ask, aspect, f"{privilege} on {{count}} columns", tally, mend=mend)


def _schemas(
    connection: psycopg.Connection[Any], database: DatabaseAccess, user: UserAccess, ask: _Asker, mend: str
) -> Iterator[Check]:
    usage, create = _Tally(), _Tally()
    found = rows(connection, "probe_schemas")
    for schema in found:
        wanted = database.on_schema(user, schema.schema)
        if schema.of_extension:
            wanted = Wanted(may=wanted.may | {"USAGE"})
        usage.add(schema.schema, "USAGE", wanted, "USAGE" in schema.held)
        create.add(schema.schema, "CREATE", wanted, "CREATE" in schema.held)
    missing = set(database.schemas) - {schema.schema for schema in found}
    if user.part == "owner" and missing:
        usage.lacking += [f"{name} (there is no such schema)" for name in sorted(missing)]
    yield from _settle(ask, "read", "USAGE of {count} schemas", usage, mend=mend)
    yield from _settle(ask, "ddl", "CREATE in {count} schemas", create, mend=mend)


def _routines(
    connection: psycopg.Connection[Any], database: DatabaseAccess, user: UserAccess, ask: _Asker, mend: str
) -> Iterator[Check]:
    tally = _Tally()
    for routine in rows(connection, "probe_routines"):
        wanted = database.on_routine(user, routine.schema, routine.name)
        tally.add(f"{routine.schema}.{routine.signature}", "EXECUTE", wanted, routine.held)
    yield from _settle(ask, "rights", "EXECUTE of {count} routines", tally, mend=mend)


def _creating(
    connection: psycopg.Connection[Any], database: DatabaseAccess, user: UserAccess, ask: _Asker, mend: str
) -> Iterator[Check]:
    """CREATE and TEMP, really tried, with objects of the probe's own that are rolled back."""
    owner = user.part == "owner"
    name = sql.Identifier(probe_name())
    for schema in database.schemas:
        yield judge(
            ask("ddl", f"create a table in {schema}", can=owner, tried=True),
            attempt(connection, sql.SQL("CREATE TABLE {}.{} ()").format(sql.Identifier(schema), name)),
            mend=mend,
        )
    for schema in database.schemas[:1]:
        # Functions in such a language do whatever the server can. For who may not create here that is the refusal.
        text = "CREATE FUNCTION {}.{}(text) RETURNS text LANGUAGE internal AS 'lower'"
        yield judge(
            ask("roles", "create a function in an untrusted language", can=False, tried=True),
            attempt(connection, sql.SQL(text).format(sql.Identifier(schema), name)),
            mend="as a superuser: UPDATE pg_language SET lanpltrusted = false WHERE lanname = 'internal'",
        )
    yield judge(
        ask("ddl", "create a schema", can=owner, tried=True),
        attempt(connection, sql.SQL("CREATE SCHEMA {}").format(name)),
        mend=mend,
    )
    if not owner:
        yield judge(
            ask("temp", "create a temporary table", can=False, tried=True),
            attempt(connection, sql.SQL("CREATE TEMPORARY TABLE {} ()").format(name)),
            mend=mend,
        )
    check = judge(
        ask("rights", "create a large object", can=False, tried=True),
        attempt(connection, sql.SQL("SELECT pg_catalog.lo_create(0)")),
        mend="",
    )
    if check.outcome is Outcome.VIOLATED:
        # PUBLIC may, on every server, and only a superuser can take it away (FACTS, Postgres 15).
        check = Check(
            check.probe,
            Outcome.NOTED,
            "PostgreSQL lets everybody",
            "as a superuser: REVOKE EXECUTE ON FUNCTION lo_create(oid), lo_creat(integer), lo_from_bytea(oid, bytea) "
            "FROM PUBLIC, in each database",
        )
    yield check


def _reserved_functions(
    connection: psycopg.Connection[Any], database: DatabaseAccess, user: UserAccess, ask: _Asker
) -> Iterator[Check]:
    """Functions kept from PUBLIC; their ACLs are each database's own."""
    functions = [
        row.signature
        for row in rows(connection, "probe_powers")
        if not database.named_routine(user, row.schema, row.name)
    ]
    probe = ask("roles", "call functions reserved for administrators", can=False, tried=False)
    if functions:
        step = (
            f"REVOKE EXECUTE ON FUNCTION {listed(functions)} FROM {ask.user}, PUBLIC, or the membership that gives it"
        )
        yield Check(probe, Outcome.VIOLATED, listed(functions), step)
    else:
        yield Check(probe, Outcome.OK)


def _elsewhere(connection: psycopg.Connection[Any], user: UserAccess, ask: _Asker) -> Iterator[Check]:
    """Rights on what no spec can name. An owner may use what an administrator has given it for its migrations.

    A large object is data like a table's: who may do a thing to every table may be given it on a large object.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows(connection, "probe_reach"):
        if row.kind == "LARGE OBJECT" and row.privilege in user.base:
            continue
        if row.kind in {"TABLE", "SCHEMA"} or user.part != "owner":
            found.setdefault((row.kind, row.privilege), []).append(row.name)
    for (kind, privilege), names in found.items():
        noun = f"system {kind.lower()}" if kind in {"TABLE", "SCHEMA"} else kind.lower()
        step = f"REVOKE {privilege} ON {kind} {listed(names)} FROM {ask.user}, PUBLIC, or the membership that gives it"
        probe = ask("rights", f"{privilege} on {noun} {listed(names)}", can=False, tried=False)
        yield Check(probe, Outcome.VIOLATED, "granted", step)
    if not found:
        yield Check(
            ask("rights", "use system tables, servers or large objects kept from it", can=False, tried=False),
            Outcome.OK,
        )
