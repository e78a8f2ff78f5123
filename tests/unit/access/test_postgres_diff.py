"""Comparing is pure, repeatable, and complete: what it asks for makes the server what the specs want."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soa_db.access.plan import PlanOptions
from soa_db.access.postgres.actions import (
    AdoptRole,
    AlterRole,
    CommentRole,
    CreateDatabase,
    CreateRole,
    CreateSchema,
    DefaultPrivileges,
    GrantMembership,
    Privileges,
    ResetSetting,
    RevokeMembership,
    SetDatabaseOwner,
    SetObjectOwner,
    SetSchemaOwner,
)
from soa_db.access.postgres.desired import Desired, RetiredRole, desired_state
from soa_db.access.postgres.diff import compare_server
from soa_db.access.postgres.diff_contents import FRESH
from soa_db.access.postgres.privileges import builtin_acl, owner_privileges, with_new_owner
from soa_db.access.postgres.state import (
    PUBLIC,
    AclItem,
    Admin,
    ColumnAcl,
    Contents,
    DatabaseState,
    DefaultAcl,
    Membership,
    ObjectGroup,
    ObjectName,
    PasswordState,
    RoleSetting,
    RoleState,
    SchemaState,
    ServerState,
)
from soa_db.access.spec import load_specs

SPECS = """
version: 1
service: chat-api
postgres:
  databases:
    - {schemas: [public, s], grants: {app: [select, insert, update, delete, maintain]}}
    - {id: pii, isolated: true, identities: {owner: pii_owner, app: pii_app, ro: null}}
  extra_grants:
    - {to: app, on: public.audit, revoke: [update, delete]}
    - {to: ro, on: "public.f*()", privileges: [execute]}
    - {to: ro, on: s.t, revoke: [select]}
    - {to: ro, on: s.t, privileges: [select], columns: [id]}
  shared_with: [{service: reports, tables: [public.t], columns: [id]}]
---
version: 1
service: reports
postgres: {reads: [{service: chat-api, tables: [public.t]}]}
"""

ADMIN = Admin("master")
MANAGED = ("chat_api_owner", "chat_api_app", "chat_api_ro", "pii_owner", "pii_app", "reports_app")
STRANGERS = ("stranger", "other")
GRANTEES = (*MANAGED, *STRANGERS, PUBLIC, "master")
NAMES = {
    "table": ("t", "audit", 'odd"%s'),
    "view": ("v",),
    "materialized view": ("m",),
    "foreign table": ("x",),
    "sequence": ("q",),
    "routine": ("f", "g"),
    "type": ("y",),
}


@pytest.fixture(scope="module")
def desired(tmp_path_factory: pytest.TempPathFactory) -> Desired:
    """What two services want."""
    return wanted(tmp_path_factory.mktemp("specs"))


def wanted(folder: Path) -> Desired:
    """The specs above, read."""
    paths = []
    for index, text in enumerate(SPECS.split("---\n")):
        paths.append(folder / f"{index}.yaml")
        paths[-1].write_text(text, "utf-8")
    return desired_state(load_specs(paths), "mirror")


# --- states somebody may have made


def acl(kind: str, owner: str, version: int) -> st.SearchStrategy[tuple[AclItem, ...]]:
    """Any ACL whose grants all come from the owner."""
    privileges = sorted(owner_privileges(kind, version))
    item = st.builds(AclItem, st.sampled_from(GRANTEES), st.sampled_from(privileges), st.just(owner), st.booleans())
    return st.lists(item, max_size=5, unique_by=lambda one: (one.grantee, one.privilege)).map(
        lambda items: tuple(sorted({*items, *(() if items else builtin_acl(kind, owner, version))}))
    )


@st.composite
def contents(draw: st.DrawFn, owner: str, version: int) -> Contents:
    """Any contents of a database."""
    owners = st.sampled_from((owner, owner, "master", "stranger"))
    schemas, objects, columns = [], [], []
    for name in draw(st.sets(st.sampled_from(("public", "s", "undeclared")), min_size=1)):
        its_owner = draw(st.sampled_from((owner, "pg_database_owner", "master")))
        schemas.append(SchemaState(name, its_owner, draw(acl("schema", its_owner, version))))
        for kind in draw(st.sets(st.sampled_from(tuple(NAMES)))):
            its_owner = draw(owners)
            names = tuple(ObjectName(one, "integer" if kind == "routine" else None) for one in NAMES[kind])
            objects.append(ObjectGroup(kind, name, its_owner, draw(acl(kind, its_owner, version)), names))  # type: ignore[arg-type]
            if kind == "table":
                items = tuple(item for item in draw(acl("column", its_owner, version)) if item.grantee != its_owner)
                columns.append(ColumnAcl(name, "t", "id", its_owner, items))
    defaults = [
        DefaultAcl(owner, schema, kind, draw(acl(kind, owner, version)))
        for schema in (None, "public")
        for kind in draw(st.sets(st.sampled_from(("table", "sequence", "routine", "type"))))
    ]
    return Contents(tuple(schemas), tuple(objects), tuple(columns), tuple(defaults))


@st.composite
def states(draw: st.DrawFn) -> ServerState:
    """Any server: some roles, some databases, some of everything."""
    version = draw(st.sampled_from((15, 16, 17, 18)))
    names = draw(st.sets(st.sampled_from(MANAGED)))
    flag = st.booleans()
    roles = {
        name: RoleState(name, login=draw(flag), inherit=draw(flag), createrole=draw(flag), expires=draw(flag))
        for name in sorted(names)
    }
    roles |= {name: RoleState(name) for name in (*STRANGERS, "master", "rds_iam")}
    roles["postgres"] = RoleState("postgres", superuser=True)
    memberships = draw(
        st.sets(
            st.builds(Membership, st.sampled_from(sorted(roles)), st.sampled_from(sorted(roles)), st.just("master")),
            max_size=4,
        )
    )
    databases, inside = {}, {}
    for name, owner in (("chat_api", "chat_api_owner"), ("chat_api_pii_db", "pii_owner")):
        if draw(flag):
            its_owner = draw(st.sampled_from((owner, "master", "stranger")))
            databases[name] = DatabaseState(name, its_owner, draw(acl("database", its_owner, version)))
            inside[name] = draw(contents(owner, version))
    return ServerState(
        version=version,
        admin=replace(ADMIN, administers=frozenset(roles) - {"postgres"}),
        roles=roles,
        memberships=tuple(sorted(memberships)),
        settings=tuple(RoleSetting(name, None, "work_mem") for name in sorted(names) if draw(flag)),
        databases=databases,
        contents=inside,
    )


# --- what the server does with an action


def change_acl(items: tuple[AclItem, ...], action: Privileges | DefaultPrivileges) -> tuple[AclItem, ...]:
    """GRANT and REVOKE on one ACL."""
    found = {(item.grantee, item.privilege): item for item in items}
    for grantee in action.grantees:
        for privilege in action.privileges:
            match action.verb:
                case "grant":
                    found.setdefault((grantee, privilege), AclItem(grantee, privilege, action.owner))
                case "revoke":
                    found.pop((grantee, privilege), None)
                case _:
                    found[grantee, privilege] = replace(found[grantee, privilege], grantable=False)
    return tuple(sorted(found.values()))


def change_contents(inside: Contents, action: object, version: int) -> Contents:  # noqa: PLR0911  (one per action)
    """What an action does inside a database. Objects are taken apart, one group each."""
    match action:
        case CreateSchema(name=name, owner=owner):
            made = SchemaState(name, owner, builtin_acl("schema", owner, version))
            return replace(inside, schemas=(*inside.schemas, made))
        case SetSchemaOwner(name=name, owner=owner, previous=old):
            return replace(
                inside,
                schemas=tuple(
                    replace(one, owner=owner, acl=with_new_owner(one.acl, old, owner)) if one.name == name else one
                    for one in inside.schemas
                ),
            )
        case SetObjectOwner(kind=kind, schema=schema, names=names, owner=owner, previous=old):
            return replace(
                inside,
                objects=tuple(
                    replace(one, owner=owner, acl=with_new_owner(one.acl, old, owner))
                    if (one.kind, one.schema) == (kind, schema) and one.names[0] in names
                    else one
                    for one in inside.objects
                ),
                columns=tuple(
                    replace(one, owner=owner, acl=with_new_owner(one.acl, old, owner))
                    if kind == "table" and one.schema == schema
                    else one
                    for one in inside.columns
                ),
            )
        case Privileges(kind="schema", names=names):
            wanted_names = {one.name for one in names}
            return replace(
                inside,
                schemas=tuple(
                    replace(one, acl=change_acl(one.acl, action)) if one.name in wanted_names else one
                    for one in inside.schemas
                ),
            )
        case Privileges(columns=(), kind=kind, schema=schema, names=names):
            return replace(
                inside,
                objects=tuple(
                    replace(one, acl=change_acl(one.acl, action))
                    if (one.kind, one.schema) == (kind, schema) and one.names[0] in names
                    else one
                    for one in inside.objects
                ),
            )
        case Privileges(schema=schema):
            return replace(
                inside,
                columns=tuple(
                    replace(one, acl=change_acl(one.acl, action)) if one.schema == schema else one
                    for one in inside.columns
                ),
            )
        case DefaultPrivileges(owner=owner, schema=schema, kind=kind):
            entry = next((one for one in inside.default_acls if (one.schema, one.kind) == (schema, kind)), None)
            before = entry or DefaultAcl(
                owner, schema, kind, builtin_acl(kind, owner, version) if schema is None else ()
            )
            rest = tuple(one for one in inside.default_acls if one is not entry)
            return replace(inside, default_acls=(*rest, replace(before, acl=change_acl(before.acl, action))))
        case _:
            raise AssertionError(action)


def simulated(state: ServerState, actions: list[tuple[str | None, object]]) -> ServerState:
    """The server after the actions, as a model of PostgreSQL has it."""
    roles, memberships = dict(state.roles), set(state.memberships)
    settings_, databases, inside = set(state.settings), dict(state.databases), dict(state.contents)
    for database, action in actions:
        match action:
            case CreateRole(name=name, comment=comment):
                roles[name] = RoleState(name, comment=comment)
            case AlterRole(name=name):
                roles[name] = RoleState(name, comment=roles[name].comment)
            case AdoptRole(name=name, comment=comment) | CommentRole(name=name, comment=comment):
                roles[name] = replace(roles[name], comment=comment)
            case GrantMembership(role=role, member=member):
                memberships.add(Membership(role, member, "master"))
            case RevokeMembership(role=role, member=member):
                memberships -= {one for one in memberships if (one.role, one.member) == (role, member)}
            case ResetSetting(role=role, database=where, name=name):
                settings_ -= {one for one in settings_ if (one.role, one.database, one.name) == (role, where, name)}
            case CreateDatabase(name=name):
                databases[name] = DatabaseState(name, "master", builtin_acl("database", "master", state.version))
                inside[name] = FRESH
            case SetDatabaseOwner(name=name, owner=owner, previous=old):
                one = databases[name]
                databases[name] = replace(one, owner=owner, acl=with_new_owner(one.acl, old, owner))
            case Privileges(kind="database", names=(name,)):
                databases[name.name] = replace(databases[name.name], acl=change_acl(databases[name.name].acl, action))
            case _:
                assert database is not None
                inside[database] = change_contents(inside[database], action, state.version)
    return replace(
        state,
        roles=roles,
        memberships=tuple(sorted(memberships)),
        settings=tuple(sorted(settings_)),
        databases=databases,
        contents=inside,
        admin=replace(state.admin, administers=frozenset(roles) - {"postgres"}),
    )


def assert_as_specified(inside: Contents, version: int) -> None:
    """What the specs above say of chat_api, in other words than the code under test; strangers' things aside."""
    everything = {"SELECT", "INSERT", "UPDATE", "DELETE"} | ({"MAINTAIN"} if version >= 17 else set())
    for group in inside.objects:
        if group.kind != "table" or group.schema == "undeclared" or group.owner == "stranger":
            continue
        ((name, _),) = group.names
        held = {who: {one.privilege for one in group.acl if one.grantee == who} for who in (*MANAGED, PUBLIC)}
        held.pop(group.owner, None)
        assert held["chat_api_app"] == (
            everything - {"UPDATE", "DELETE"} if (name, group.schema) == ("audit", "public") else everything
        )
        assert held["chat_api_ro"] == (set() if (name, group.schema) == ("t", "s") else {"SELECT"})
        assert not held[PUBLIC] | held["pii_app"] | held["pii_owner"] | held["reports_app"]
        assert not [
            one for one in group.acl if one.grantable and one.grantee in {"chat_api_app", "chat_api_ro", PUBLIC}
        ]
    for column in inside.columns:
        if column.schema != "undeclared" and column.owner != "stranger":
            # An owner has every right by owning: what is granted to it besides changes nothing, and is left.
            others = {*MANAGED, "reports_ro"} - {column.owner}
            readers = {(one.grantee, one.privilege) for one in column.acl if one.grantee in others}
            assert (
                readers
                == {
                    "s": {("chat_api_ro", "SELECT")},
                    "public": {("reports_app", "SELECT"), ("reports_ro", "SELECT")},
                }[column.schema]
            )


def apart(inside: Contents) -> Contents:
    """The same contents with every object in a group of its own."""
    return replace(
        inside, objects=tuple(replace(group, names=(name,)) for group in inside.objects for name in group.names)
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(state=states(), prune=st.booleans(), reassign=st.booleans())
def test_carrying_out_what_comparing_finds_leaves_nothing_to_find(
    desired: Desired, state: ServerState, prune: bool, reassign: bool
) -> None:
    """``compare(specs, apply(compare(specs, state), state))`` is empty, from any state."""
    options = PlanOptions(prune=prune, reassign=reassign)
    state = replace(state, contents={name: apart(inside) for name, inside in state.contents.items()})
    found = compare_server(desired, state, options)

    after = simulated(state, [(change.database, change.action) for change in found.changes])

    left = compare_server(desired, after, options)
    assert [change.sentence for change in left.changes] == []
    if "chat_api" in after.contents:
        assert_as_specified(after.contents["chat_api"], after.version)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(state=states())
def test_grouping_objects_changes_nothing_but_the_number_of_sentences(desired: Desired, state: ServerState) -> None:
    """One group of objects and as many groups as objects ask for the same."""

    def asked(one: ServerState) -> set[tuple[object, ...]]:
        return {
            (change.database, action.verb, action.kind, action.schema, name, grantee, privilege, action.columns)
            for change in compare_server(desired, one, PlanOptions()).changes
            if isinstance(action := change.action, Privileges)
            for name in action.names
            for grantee in action.grantees
            for privilege in action.privileges
        }

    split = replace(state, contents={name: apart(inside) for name, inside in state.contents.items()})
    assert asked(split) == asked(state)


def test_nothing_is_taken_from_strangers_without_prune(desired: Desired) -> None:
    """Their privileges, memberships and default privileges are notes."""
    owner = "chat_api_owner"
    state = ServerState(
        version=17,
        admin=replace(ADMIN, administers=frozenset({*MANAGED, "rds_iam"})),
        roles={name: RoleState(name) for name in (*MANAGED, "stranger", "master", "rds_iam")},
        memberships=(Membership("chat_api_ro", "stranger", "master"),),
        databases={"chat_api": DatabaseState("chat_api", owner, (AclItem("stranger", "CONNECT", owner),))},
        contents={"chat_api": FRESH},
    )
    found = compare_server(desired, state, PlanOptions())
    assert not [change for change in found.changes if "stranger" in change.sentence]
    assert len([notice for notice in found.notices if "stranger" in notice.sentence]) == 2
    pruned = compare_server(desired, state, PlanOptions(prune=True))
    assert len([change for change in pruned.changes if "stranger" in change.sentence and change.destructive]) == 2


def server(**more: Any) -> ServerState:
    """A PostgreSQL 17 with every role of the specs, well kept, and no database."""
    names = (*MANAGED, "reports_owner", "reports_ro", "stranger", "master", "rds_iam")
    roles = {name: RoleState(name) for name in names} | more.pop("roles", {})
    admin = more.pop("admin", replace(ADMIN, administers=frozenset(roles)))
    return ServerState(**{"version": 17, "admin": admin, "roles": roles, **more})


UNMANAGEABLE: list[tuple[dict[str, Any], str, str, str]] = [
    ({"admin": replace(ADMIN, name="pii_app")}, "error", "which is the administrator", "choose another user"),
    (
        {"roles": {"pii_app": RoleState("pii_app", comment="soa-db: app of service other")}},
        "error",
        "belongs to service other, but chat-api declares it too",
        "choose another user",
    ),
    (
        {"roles": {"pii_app": RoleState("pii_app", superuser=True)}},
        "error",
        "it is a superuser",
        'ALTER ROLE "pii_app" NOSUPERUSER; GRANT "pii_app" TO "master" WITH ADMIN OPTION',
    ),
    (
        {"roles": {"pii_app": RoleState("pii_app", replication=True, bypassrls=True)}},
        "unreachable",
        "alter role pii_app: NOREPLICATION, NOBYPASSRLS",
        'ALTER ROLE "pii_app" NOREPLICATION NOBYPASSRLS',
    ),
    (
        {"admin": replace(ADMIN, administers=frozenset(MANAGED))},
        "error",
        "master may not grant rds_iam",
        'GRANT rds_iam TO "master" WITH ADMIN OPTION',
    ),
    (
        {"settings": (RoleSetting("pii_app", None, "log_statement", resettable=False),)},
        "unreachable",
        "reset setting log_statement of role pii_app",
        "a superuser must do it",
    ),
    (
        {"roles": {"past": RoleState("past", comment="soa-db: app of service chat-api")}},
        "note",
        "role past was made for service chat-api",
        "retire: [{role: past}]",
    ),
    (
        {"databases": {"chat_api": DatabaseState("chat_api", "master", connectable=False)}},
        "error",
        "database chat_api accepts no connections",
        "ALLOW_CONNECTIONS",
    ),
    (
        {"databases": {"chat_api": DatabaseState("chat_api", "postgres")}},
        "error",
        "database chat_api belongs to postgres",
        'ALTER DATABASE "chat_api" OWNER TO "master"',
    ),
    (
        {"memberships": (Membership("stranger", "pii_app", "postgres"),)},
        "unreachable",
        "revoke membership in stranger from pii_app",
        'REVOKE "stranger" FROM "pii_app" GRANTED BY "postgres"',
    ),
]


@pytest.mark.parametrize(("more", "level", "said", "remedy"), UNMANAGEABLE, ids=[case[2] for case in UNMANAGEABLE])
def test_what_cannot_be_done_is_said_with_what_a_human_must_run(
    desired: Desired, more: dict[str, Any], level: str, said: str, remedy: str
) -> None:
    """Never an attempt that fails half-way."""
    found = compare_server(desired, server(**more), PlanOptions())

    assert [
        notice
        for notice in found.notices
        if notice.level == level and said in notice.sentence and remedy in notice.remedy
    ], found.notices


@pytest.mark.parametrize(
    ("places", "more", "said"),
    [
        ({"gone": frozenset({"old"})}, {}, "it cannot be connected to"),
        ({None: frozenset({None})}, {}, "something there belongs to"),
        ({None: frozenset({"master"})}, {"administers": frozenset[str]()}, "drop retired role old"),
    ],
)
def test_a_retired_role_out_of_reach_stays_and_is_reported(
    desired: Desired, places: Any, more: dict[str, Any], said: str
) -> None:
    """Where it has something in a database that cannot be entered, or from somebody who cannot be acted as."""
    retiring = replace(desired, retired=(RetiredRole("old", "chat-api", "chat_api_owner"),))
    state = server(roles={"old": RoleState("old")}, depended={"old": places})
    state = replace(
        state,
        admin=replace(state.admin, **more),
        databases={"postgres": DatabaseState("postgres", "postgres")},
    )

    found = compare_server(retiring, state, PlanOptions(prune=True))

    assert not [change for change in found.changes if "drop retired role" in change.sentence]
    assert [notice for notice in found.notices if notice.level == "unreachable" and said in notice.sentence]


@pytest.mark.parametrize(("comment", "taken_over"), [(None, True), ("soa-db: app of service chat-api", False)])
def test_a_new_password_of_a_role_that_is_taken_over_is_destructive(
    desired: Desired, comment: str | None, taken_over: bool
) -> None:
    """Whoever logs in with the old one is cut off; the password of a role of ours stands in its secret."""
    role = replace(desired.roles["pii_app"], secrets=(("dev/s", "chat_api_pii_db"),))
    dev = replace(desired, env="dev", roles={"pii_app": role})
    state = server(
        roles={"pii_app": RoleState("pii_app", comment=comment)},
        passwords={"pii_app": PasswordState("pii_app", ("dev/s",), "new secret dev/s")},
    )

    found = compare_server(dev, state, PlanOptions())

    (change,) = (change for change in found.changes if change.group == "passwords")
    assert change.destructive is taken_over
    assert any(isinstance(change.action, AdoptRole) for change in found.changes) is taken_over
