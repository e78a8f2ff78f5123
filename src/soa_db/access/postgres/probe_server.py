"""What the shared catalogs say: role attributes, memberships, settings, databases, server parameters.

Read once per server, by any identity that can log in; the judgements are pure functions over the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from soa_db.access.postgres.attempt import rows
from soa_db.access.postgres.survey import Strangers
from soa_db.access.report import Aspect, Check, Outcome, Probe

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import psycopg

    from soa_db.access.postgres.expect import ServerAccess

__all__ = ["IAM_ROLE", "ServerFacts", "judge_server", "read_server"]

IAM_ROLE = "rds_iam"
# Settings of a role or database with which the sessions of everybody concerned are somebody else's.
_TELLING = {"role", "session_authorization", "session_replication_role", "local_preload_libraries",
            "session_preload_libraries", "lo_compat_privileges", "row_security", "search_path"}  # fmt: skip
_ATTRIBUTES = ("superuser", "createrole", "createdb", "replication", "bypassrls")
# Memberships that give rights in every database without a line in any ACL.
_EVERYWHERE = {"pg_read_all_data", "pg_write_all_data", "pg_maintain", "pg_execute_server_program",
               "pg_read_server_files", "pg_write_server_files"}  # fmt: skip
# What a parameter must be, where the server knows it. Only RDS has rds.force_ssl.
_PARAMETERS = {"password_encryption": "scram-sha-256", "lo_compat_privileges": "off", "allow_system_table_mods": "off",
               "session_replication_role": "origin", "row_security": "on"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The rows of the shared catalogs."""

    roles: Mapping[str, Any]
    memberships: tuple[Any, ...]
    settings: tuple[Any, ...]
    databases: tuple[Any, ...]
    parameters: Mapping[str, str]
    parameter_rights: tuple[Any, ...]

    def open_to_all(self, declared: Collection[str], *, templates: bool = True) -> tuple[str, ...]:
        """Other databases that PUBLIC may connect to."""
        return tuple(
            sorted(
                row.name
                for row in self.databases
                if row.name not in declared
                and (row.grantee, row.privilege) == ("PUBLIC", "CONNECT")
                and (templates or not row.template)
            )
        )

    @property
    def strangers(self) -> Strangers:
        """Who administers the server, and which roles came with it."""
        powers = {
            name for name, role in self.roles.items() if role.superuser or role.createrole or name == "rds_superuser"
        }
        # Members of administrators are administrators: a DBA's own login in rds_superuser, for one.
        grown = True
        while grown:
            more = {edge.member for edge in self.memberships if edge.role in powers} - powers
            powers |= more
            grown = bool(more)
        return Strangers(
            administrators=frozenset(powers),
            system=frozenset(
                name
                for name, role in self.roles.items()
                # rdsadmin is a superuser there; elsewhere a role of that name is like any other.
                if role.predefined or (name.startswith("rds_") and not role.can_login)
            ),
            services={
                name: service
                for name, role in self.roles.items()
                if (role.comment or "").startswith("soa-db: ")
                and (service := role.comment.rpartition(" of service ")[2])
            },
        )


def read_server(connection: psycopg.Connection[Any]) -> ServerFacts:
    """Read the shared catalogs in half a dozen queries."""
    version = connection.info.server_version
    memberships = "probe_memberships" if version >= 160000 else "probe_memberships_15"
    return ServerFacts(
        roles={role.name: role for role in rows(connection, "probe_roles")},
        memberships=tuple(rows(connection, memberships)),
        settings=tuple(rows(connection, "probe_settings")),
        databases=tuple(rows(connection, "probe_databases")),
        parameters={row.name: row.setting for row in rows(connection, "probe_parameters")},
        parameter_rights=tuple(rows(connection, "probe_parameter_acl")) if version >= 150000 else (),
    )


def judge_server(facts: ServerFacts, access: ServerAccess, *, iam: bool, mend: str) -> Iterator[Check]:
    """Judge roles, memberships, settings, undeclared databases and parameters.

    Args:
        facts: what ``read_server`` read.
        access: what the specs say.
        iam: whether the declared users are to log in by IAM token.
        mend: the command that provisions.
    """
    yield from _attributes(facts, access, mend)
    yield from _memberships(facts, access, iam, mend)
    yield from _settings(facts, access, mend)
    yield from _databases(facts, access, mend)
    yield from _parameters(facts, iam)
    yield from _powerful(facts, access)


def _ask(identity: str, aspect: Aspect, what: str, *, is_state: bool = False) -> Probe:
    return Probe(identity, "", aspect, what, "is" if is_state else "cannot", "catalog")


def _attributes(facts: ServerFacts, access: ServerAccess, mend: str) -> Iterator[Check]:
    for user in sorted(access.users):
        role = facts.roles.get(user)
        if role is None:
            probe = Probe(user, "", "connect", "log in", "can", "catalog")
            yield Check(probe, Outcome.VIOLATED, "there is no such role", mend)
            continue
        wrong = [name.upper() for name in _ATTRIBUTES if getattr(role, name)]
        wrong += [] if role.can_login else ["NOLOGIN"]
        wrong += [] if role.inherits else ["NOINHERIT"]
        wrong += ["VALID UNTIL a time that has passed"] if role.expired else []
        probe = _ask(user, "roles", "a plain login role without special attributes", is_state=True)
        if wrong:
            yield Check(probe, Outcome.VIOLATED, f"has {', '.join(wrong)}", mend)
        else:
            yield Check(probe, Outcome.OK)


def _paths(start: str, edges: Mapping[str, list[Any]]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Every role reached from ``start`` by memberships, with a shortest path of edges."""
    seen = {start}
    frontier: list[tuple[str, tuple[Any, ...]]] = [(start, ())]
    while frontier:
        name, path = frontier.pop(0)
        for edge in edges.get(name, ()):
            if edge.role not in seen:
                seen.add(edge.role)
                frontier.append((edge.role, (*path, edge)))
                yield edge.role, (*path, edge)


def _kind(edge: Any) -> str:
    options = [name for name in ("inherit", "set", "admin") if getattr(edge, name)]
    match options:
        case ["set"]:
            return "SET only"
        case ["admin"]:
            return "ADMIN only"
        case []:
            return "no option"
        case _:
            return ", ".join(options).upper()


def _memberships(facts: ServerFacts, access: ServerAccess, iam: bool, mend: str) -> Iterator[Check]:
    edges: dict[str, list[Any]] = {}
    for edge in facts.memberships:
        edges.setdefault(edge.member, []).append(edge)
    problems: set[str] = set()
    administrators = facts.strangers.administrators
    for member in sorted(set(facts.roles) - administrators | access.users & set(facts.roles)):
        for role, path in _paths(member, edges):
            if member in access.users:
                if iam and role == IAM_ROLE and not any(edge.admin for edge in path):
                    continue
                what = f"be a member of {role}"
            elif role in access.users and len(path) == 1:
                # Of a stranger's memberships those in declared identities matter; the path's last step names it.
                what = f"become {role}"
            elif role in _EVERYWHERE and member not in facts.strangers.expected:
                what = f"have the rights of {role} in every database"
            else:
                continue
            problems.add(member)
            chain = " → ".join((member, *(f"{edge.role} ({_kind(edge)})" for edge in path)))
            step = f"REVOKE {path[0].role} FROM {member}"
            text = f"{mend}; it does: {step}" if member in access.users else f"{step}, or {mend} --prune"
            yield Check(_ask(member, "roles", what), Outcome.VIOLATED, chain, text)
    for user in sorted(access.users & set(facts.roles)):
        if iam:
            member_of = {role for role, _ in _paths(user, edges)}
            probe = _ask(user, "auth", f"a member of {IAM_ROLE}: it logs in by IAM token", is_state=True)
            missing = IAM_ROLE not in member_of
            yield Check(probe, Outcome.VIOLATED if missing else Outcome.OK, "it is not" if missing else "", mend)
        if user not in problems:
            yield Check(_ask(user, "roles", "be a member of any role"), Outcome.OK)


def _settings(facts: ServerFacts, access: ServerAccess, mend: str) -> Iterator[Check]:
    problems: set[str] = set()
    declared = {database.name for database in access.databases}
    for setting in facts.settings:
        where = f" in {setting.database}" if setting.database else ""
        mine = setting.role in access.users
        shared = not setting.role and setting.database in {*declared, ""} and setting.name in _TELLING
        if not mine and not shared:
            continue
        problems.add(setting.role)
        subject = f"ROLE {setting.role or 'ALL'}{' IN DATABASE ' + setting.database if setting.database else ''}"
        if not setting.role and setting.database:
            subject = f"DATABASE {setting.database}"
        yield Check(
            _ask(
                setting.role,
                "roles",
                "no settings of its own" if mine else f"nobody's {setting.name} is set",
                is_state=True,
            ),
            Outcome.VIOLATED,
            f"{setting.name} is set{where}",
            f"ALTER {subject} RESET {setting.name}" + (f", or {mend}" if mine else ""),
        )
    for user in sorted(access.users & set(facts.roles) - problems):
        yield Check(_ask(user, "roles", "no settings of its own", is_state=True), Outcome.OK)


def _databases(facts: ServerFacts, access: ServerAccess, mend: str) -> Iterator[Check]:
    """Owners of declared databases; and what identities can do with databases no spec declares."""
    declared = {database.name: database for database in access.databases}
    by_name: dict[str, list[Any]] = {}
    for row in facts.databases:
        by_name.setdefault(row.name, []).append(row)
    for name, database in declared.items():
        probe = Probe(database.owner or "", name, "rights", "owns the database", "is", "catalog")
        if name not in by_name:
            yield Check(probe, Outcome.VIOLATED, "there is no such database", mend)
        elif database.owner is not None:
            owner = by_name[name][0].owner
            wrong = owner != database.owner
            yield Check(probe, Outcome.VIOLATED if wrong else Outcome.OK, f"{owner} does" if wrong else "", mend)
        if any(row.template for row in by_name.get(name, ())):
            yield Check(
                Probe("", name, "rights", "nobody but its owner and superusers can copy it", "is", "catalog"),
                Outcome.VIOLATED,
                "it is a template: every role with CREATEDB may copy it",
                f"ALTER DATABASE {name} IS_TEMPLATE false",
            )
    for name in sorted(set(by_name) - set(declared)):
        for row in by_name[name]:
            if row.grantee in access.users:
                yield Check(
                    _ask(row.grantee, "connect", f"{row.privilege} on the undeclared database {name}"),
                    Outcome.VIOLATED,
                    f"it belongs to {row.owner}",
                    f"REVOKE ALL ON DATABASE {name} FROM {row.grantee}, or declare the database",
                )
    if open_to_all := facts.open_to_all(declared):
        yield Check(
            _ask("", "connect", f"connect to databases no spec declares ({', '.join(open_to_all)})"),
            Outcome.NOTED,
            "PUBLIC has CONNECT",
            "their owners can: REVOKE CONNECT, TEMPORARY ON DATABASE … FROM PUBLIC",
        )


def _parameters(facts: ServerFacts, iam: bool) -> Iterator[Check]:
    wanted = {**_PARAMETERS, **({"rds.force_ssl": "1"} if iam else {})}
    problems = False
    for name, value in wanted.items():
        seen = facts.parameters.get(name, value)
        good = {"1", "on"} if name == "rds.force_ssl" else {value}
        if seen not in good:
            problems = True
            yield Check(
                _ask("", "roles", f"the server parameter {name} is {value}", is_state=True),
                Outcome.VIOLATED,
                f"it is {seen}",
                f"set {name} = {value} in postgresql.conf or the RDS parameter group",
            )
    expected = facts.strangers.expected
    for right in facts.parameter_rights:
        if right.grantee in expected:
            continue
        problems = True
        yield Check(
            _ask(right.grantee, "roles", f"{right.privilege} on the server parameter {right.name}"),
            Outcome.VIOLATED,
            "granted",
            f"REVOKE {right.privilege} ON PARAMETER {right.name} FROM {right.grantee}",
        )
    if not problems:
        yield Check(_ask("", "roles", "the server's parameters keep identities apart", is_state=True), Outcome.OK)


def _powerful(facts: ServerFacts, access: ServerAccess) -> Iterator[Check]:
    """Who can give itself anything, or see everything: for a person to look at, since no spec says who may."""
    edges: dict[str, list[Any]] = {}
    for edge in facts.memberships:
        edges.setdefault(edge.member, []).append(edge)
    administrators = facts.strangers.administrators
    named: list[str] = []
    for name, role in facts.roles.items():
        if name in access.users or role.predefined:
            continue
        through = sorted({reached for reached, _ in _paths(name, edges)} & administrators)
        special = [attribute.upper() for attribute in _ATTRIBUTES if getattr(role, attribute)]
        if special or through:
            named.append(f"{name} ({', '.join((*special, *(f'member of {one}' for one in through)))})")
    if named:
        yield Check(
            _ask("", "roles", "roles beside the declared ones with powers over everything", is_state=True),
            Outcome.NOTED,
            "; ".join(named),
            "see that each of them is meant to be there",
        )
