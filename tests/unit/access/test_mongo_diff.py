"""What a MongoDB has against what specs want: what is changed, what is reported, what stands in the way."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soa_db.access.mongo.actions import SetPassword
from soa_db.access.mongo.desired import Desired, desired_state
from soa_db.access.mongo.diff import Findings, compare
from soa_db.access.mongo.inspect import role_state, user_state
from soa_db.access.mongo.render import render
from soa_db.access.mongo.state import PasswordState, RoleName, RoleState, ServerState, UserName, UserState
from soa_db.access.plan import PlanOptions
from soa_db.access.spec import MongoRead, MongoShare, MongoSpec, RetiredUser, Spec, SpecSet
from soa_db.names import mongo_read_role, mongo_reader

if TYPE_CHECKING:
    from soa_db.names import Env

CHAT = UserName("chat_api_db", "chat_api_app")
REPORTS = UserName("reports_api_db", "reports_api_app")
ROLE = RoleName("chat_api_db", "soa-db-read-for-reports-api")
ADMIN = UserName("admin", "master")


def spec(service: str = "chat-api", **mongo: Any) -> Spec:
    """A service with a ``mongo`` part."""
    return Spec(version=1, service=service, mongo=MongoSpec(**mongo))


def reads(service: str, *collections: str) -> tuple[MongoRead, ...]:
    """Collections another service owns."""
    return (MongoRead(service=service, collections=collections),)


def shares(service: str, *collections: str) -> tuple[MongoShare, ...]:
    """Collections for another service."""
    return (MongoShare(service=service, collections=collections),)


SHARING = spec(shared_with=shares("reports-api", "rooms", "users"))
READING = spec("reports-api", reads=reads("chat-api", "rooms"))


def user(name: UserName = CHAT, *roles: RoleName, **fields: Any) -> UserState:
    """A user of chat-api in order, but for what is given."""
    granted = roles or (RoleName(name.database, "readWrite"),)
    return UserState(name, **{"roles": frozenset(granted), "service": "chat-api", **fields})


def state(*found: UserState | RoleState, **fields: Any) -> ServerState:
    """A server with these users and roles, and nothing wrong with passwords."""
    users = {one.user: one for one in found if isinstance(one, UserState)}
    roles = {one.role: one for one in found if isinstance(one, RoleState)}
    return ServerState(ADMIN, **{"users": users, "roles": roles, **fields})


def compared(seen: ServerState, *specs: Spec, env: Env = "prod", **options: Any) -> Findings:
    """Compare."""
    return compare(desired_state(SpecSet(specs or (spec(),)), env), seen, PlanOptions(**options))


def said(found: Findings) -> list[str]:
    """The sentences of what is reported."""
    return [f"{notice.level}: {notice.sentence}" for notice in found.notices]


def changes(found: Findings) -> list[tuple[str, bool]]:
    """The sentences of the changes, and whether each is destructive."""
    return [(change.sentence, change.destructive) for change in found.changes]


def test_a_server_in_order_needs_nothing() -> None:
    """Neither a change nor a word."""
    found = compared(state(user()))
    assert (found.changes, found.notices) == ([], [])


def test_an_empty_server_gets_a_user_per_service_in_its_own_database() -> None:
    """With the built-in roles of the spec on that database; nothing destructive."""
    found = compared(state(), spec(database="Chat", roles=("readWrite", "dbAdmin")), spec("reports-api"))
    assert changes(found) == [
        ("create user chat_api_app in Chat: dbAdmin on Chat, readWrite on Chat", False),
        ("create user reports_api_app in reports_api_db: readWrite on reports_api_db", False),
    ]


def test_a_read_that_both_sides_want_is_a_role_in_the_owners_database() -> None:
    """Of the collections asked for and no others; made before it is granted."""
    found = compared(state(), SHARING, READING)
    assert [sentence for sentence, _ in changes(found)] == [
        "create role soa-db-read-for-reports-api in chat_api_db: it reads rooms",
        "create user chat_api_app in chat_api_db: readWrite on chat_api_db",
        (
            "create user reports_api_app in reports_api_db: soa-db-read-for-reports-api on chat_api_db, readWrite on "
            "reports_api_db"
        ),
    ]


def test_a_read_whose_other_side_is_not_given_is_pending_and_takes_nothing_away() -> None:
    """What a run with both sides has granted stays; it is not granted by this one."""
    reader = user(REPORTS, RoleName("reports_api_db", "readWrite"), service="reports-api")
    found = compared(state(reader), READING)
    assert (found.changes, said(found)) == (
        [],
        ["pending: reports-api wants to read the collections rooms of chat-api, whose spec is not given: not granted"],
    )
    granted = replace(reader, roles=reader.roles | {ROLE})
    assert compared(state(granted, user()), READING).changes == []
    assert changes(compared(state(granted, user()), spec("reports-api"))) == [
        ("alter user reports_api_app in reports_api_db: revoke soa-db-read-for-reports-api on chat_api_db", True)
    ], "it does not want to read any more"
    other = replace(reader, roles=reader.roles | {RoleName("chat_api_db", "read")})
    assert compared(state(other, user()), READING).changes, "only the role of its own name is let stand"
    waiting = spec("reports-api", reads=reads("ledger-api", "accounts"))
    revoked = [
        ("alter user reports_api_app in reports_api_db: revoke soa-db-read-for-reports-api on chat_api_db", True)
    ]
    assert changes(compared(state(granted, user()), spec(), waiting)) == revoked
    assert changes(compared(state(granted, user()), waiting)) == revoked, "it waits for ledger-api, and for no other"
    assert changes(compared(state(granted), READING)) == revoked, "the database is nobody's any more"


def test_the_owners_spec_alone_leaves_the_role_that_was_agreed_on() -> None:
    """And names what goes beyond what it shares; with prune it is taken away."""
    owner = spec(shared_with=shares("reports-api", "rooms"))
    role = RoleState(ROLE, frozenset({"rooms"}))
    assert (compared(state(user(), role), owner).changes, said(compared(state(user(), role), owner))) == ([], [])
    wide = replace(role, collections=frozenset({"rooms", "secrets"}), more=("insert on rooms of chat_api_db",))
    found = compared(state(user(), wide), owner)
    assert found.changes == []
    assert said(found) == [
        (
            "note: role soa-db-read-for-reports-api in chat_api_db has more than is shared with reports-api: secrets, "
            "insert on rooms of chat_api_db"
        )
    ]
    assert changes(compared(state(user(), wide), owner, prune=True)) == [
        (
            (
                "set role soa-db-read-for-reports-api in chat_api_db: it reads rooms (no more: secrets, insert on "
                "rooms of chat_api_db)"
            ),
            True,
        )
    ]
    assert compared(state(user(), role), spec()).changes == []
    assert changes(compared(state(user(), role), spec(), prune=True)) == [
        ("drop role soa-db-read-for-reports-api in chat_api_db, which the specs do not agree on", True)
    ]


def test_a_read_that_one_side_takes_back_is_taken_away() -> None:
    """By both specs, without being asked twice."""
    seen = state(
        user(),
        user(REPORTS, RoleName("reports_api_db", "readWrite"), ROLE, service="reports-api"),
        RoleState(ROLE, frozenset({"rooms"})),
    )
    assert compared(seen, SHARING, READING).changes == []
    assert changes(compared(seen, SHARING, spec("reports-api"))) == [
        ("alter user reports_api_app in reports_api_db: revoke soa-db-read-for-reports-api on chat_api_db", True),
        ("drop role soa-db-read-for-reports-api in chat_api_db, which the specs do not agree on", True),
    ]


@pytest.mark.parametrize(
    ("today", "told", "destructive"),
    [
        (RoleState(ROLE, frozenset()), "it reads rooms", False),
        (RoleState(ROLE, frozenset({"rooms", "x"})), "it reads rooms (no more: x)", True),
        (RoleState(ROLE, frozenset({"rooms"}), ("the role root on admin",)), "(no more: the role root on admin)", True),
    ],
)
def test_a_role_that_drifted_is_put_right(today: RoleState, told: str, destructive: bool) -> None:
    """Too little, too much."""
    reader = user(REPORTS, RoleName("reports_api_db", "readWrite"), ROLE, service="reports-api")
    ((sentence, marked),) = changes(compared(state(user(), reader, today), SHARING, READING))
    assert told in sentence
    assert marked is destructive


@pytest.mark.parametrize(
    ("today", "told", "destructive"),
    [
        (
            user(CHAT, RoleName("chat_api_db", "read")),
            "grant readWrite on chat_api_db; revoke read on chat_api_db",
            True,
        ),
        (replace(user(), roles=frozenset()), "grant readWrite on chat_api_db", False),
        (
            user(CHAT, RoleName("chat_api_db", "readWrite"), RoleName("admin", "root")),
            "revoke root on admin",
            True,
        ),
        (
            user(mechanisms=frozenset({"SCRAM-SHA-1", "SCRAM-SHA-256"})),
            "end its logins by SCRAM-SHA-1, which leaves SCRAM-SHA-256",
            True,
        ),
        (user(restricted=True), "lift its authentication restrictions", False),
    ],
)
def test_a_user_that_drifted_is_put_right(today: UserState, told: str, destructive: bool) -> None:
    """Roles, mechanisms, restrictions."""
    assert changes(compared(state(today))) == [(f"alter user chat_api_app in chat_api_db: {told}", destructive)]


def test_a_user_without_the_mechanism_is_mended_by_its_password() -> None:
    """There is nothing to leave it: its password is set again."""
    fault = PasswordState(CHAT, "the-secret", "it cannot log in by SCRAM-SHA-256")
    weak = user(mechanisms=frozenset({"SCRAM-SHA-1"}))
    assert changes(compared(state(weak, passwords={CHAT: fault}))) == [
        ("issue a password for chat_api_app in chat_api_db through the-secret: it cannot log in by SCRAM-SHA-256", True)
    ]


def test_a_user_nobody_marked_is_taken_over_as_a_destructive_change() -> None:
    """It may be somebody else's."""
    assert changes(compared(state(user(service=None)))) == [
        (
            (
                "take over user chat_api_app in chat_api_db, which soa-db did not make: its password and roles become "
                "the spec's"
            ),
            True,
        )
    ]


def test_a_database_that_was_there_is_taken_over_as_a_destructive_change() -> None:
    """By whoever names it: it may be somebody else's, whose users have no marks, or none but in ``admin``."""
    old = user(UserName("legacy_db", "old"), service=None)
    beside = user(UserName("admin", "beside"), RoleName("legacy_db", "readWrite"), service=None)
    created = "create user chat_api_app in legacy_db: readWrite on legacy_db"
    claimed = f"{created}; it takes over the database, in which there is "
    for seen, told in (
        (state(databases=frozenset({"legacy_db"})), "somebody's data"),
        (state(old), "the user old in legacy_db"),
        (state(beside), "the user beside in admin"),
        (
            state(old, beside, databases=frozenset({"legacy_db"})),
            "somebody's data, the user beside in admin, the user old in legacy_db",
        ),
    ):
        assert changes(compared(seen, spec(database="legacy_db"))) == [(claimed + told, True)]
    ours = user(UserName("legacy_db", "chat_api_old"))
    seen = state(
        old, ours, user(ADMIN, RoleName("legacy_db", "read"), service=None), databases=frozenset({"legacy_db"})
    )
    assert changes(compared(seen, spec(database="legacy_db"))) == [(created, False)], "it has been given to the service"


def test_what_belongs_to_another_service_stands_in_the_way() -> None:
    """Its user, and its database, whoever claims them."""
    assert said(compared(state(user(service="other-api")))) == [
        (
            "error: the database chat_api_db belongs to service other-api by its user chat_api_app, but chat-api "
            "declares it"
        )
    ]
    found = compared(state(user()), spec("thief", database="chat_api_db"))
    assert found.changes == []
    assert "the database chat_api_db belongs to service chat-api" in said(found)[0]
    found = compared(state(user()), spec("thief", database="Chat_API_db"))
    assert found.changes == [], "whoever writes there first keeps the other from writing at all"
    assert said(found)[0].endswith("but thief declares Chat_API_db, the same but for its case")
    found = compared(state(databases=frozenset({"Chat_Api_Db"})))
    assert found.changes == []
    assert said(found) == [
        (
            "error: there is a database Chat_Api_Db, so that MongoDB takes no data into chat_api_db, the same but for "
            "its case"
        )
    ]
    assert "which is the administrator" in said(compared(replace(state(user()), admin=CHAT)))[0]


def test_a_retired_user_goes_with_prune_only() -> None:
    """That of the service's own database; nobody else's user, nor the administrator."""
    old = UserName("chat_api_db", "old_app")
    retiring = spec(retire=(RetiredUser(user="old_app"),))
    seen = state(user(), user(old, service=None), user(UserName("admin", "old_app"), service=None))
    found = compared(seen, retiring)
    assert found.changes == []
    assert said(found)[0] == "note: user old_app in chat_api_db is retired"
    assert "note: user old_app in admin is not managed here" in said(found)[1]
    assert changes(compared(seen, retiring, prune=True)) == [
        ("delete user old_app in chat_api_db: it is retired", True)
    ]
    assert compared(state(user()), retiring).notices == []
    (stands,) = [line for line in said(compared(replace(seen, admin=old), retiring, prune=True)) if "error" in line]
    assert "which is the administrator" in stands
    others = state(user(), user(old, service="other-api"))
    assert any("which belongs to service other-api" in line for line in said(compared(others, retiring, prune=True)))


def test_users_nobody_declared_are_reported() -> None:
    """Those of services whose specs are given go with prune; those of others, and strangers, never."""
    moved, theirs = UserName("old_db", "chat_api_app"), UserName("their_db", "their_app")
    stranger = UserName("admin", 'mo"nitor\n')
    seen = state(
        user(),
        user(moved),
        user(theirs, service="theirs"),
        user(stranger, RoleName("admin", "root"), service=None),
        user(ADMIN, RoleName("admin", "root"), service=None),
    )
    found = compared(seen)
    assert found.changes == []
    assert said(found) == [
        (
            'note: user "mo""nitor\\u000a" in admin is not managed here: it is no service\'s by its mark; it has root '
            "on admin"
        ),
        "note: user chat_api_app in old_db was made for service chat-api, whose spec no longer declares it",
        "note: user their_app in their_db is of the service theirs, whose spec is not given",
    ]
    ours = RoleName("chat_api_db", "readWrite"), RoleName("chat_api_db", "soa-db-read-for-theirs")
    reaching = state(user(), user(theirs, RoleName("their_db", "readWrite"), *ours, service="theirs"))
    assert said(compared(reaching)) == [
        (
            "note: user their_app in their_db is of the service theirs, whose spec is not given; it has readWrite on "
            "chat_api_db"
        )
    ]
    assert changes(compared(seen, prune=True)) == [
        (
            "delete user chat_api_app in old_db: the spec of chat-api, for which it was made, no longer declares it",
            True,
        )
    ]


def test_a_role_of_somebody_elses_is_reported() -> None:
    """It is not ours by its name."""
    assert said(compared(state(user(), RoleState(RoleName("chat_api_db", "theirs"))))) == [
        "note: role theirs in chat_api_db is not managed here"
    ]


def test_a_readers_role_in_a_database_that_was_given_up_is_reported_and_dropped_with_prune() -> None:
    """Whoever holds it still reads what was left there. That of another repository's database is not looked at."""
    left = RoleState(RoleName("old_db", "soa-db-read-for-reports-api"), frozenset({"rooms"}))
    note = "note: role soa-db-read-for-reports-api in old_db lets reports-api read of a database that no spec declares"
    dropped = ("drop role soa-db-read-for-reports-api in old_db, which the specs do not agree on", True)
    moved, nobody = state(user(), user(UserName("old_db", "chat_api_app")), left), state(user(), left)
    for seen, specs in ((moved, (spec(),)), (nobody, (spec(), Spec(version=1, service="reports-api")))):
        assert note in said(compared(seen, *specs))
        assert compared(seen, *specs).changes == []
        assert changes(compared(seen, *specs, prune=True))[-1] == dropped
    assert (changes(compared(nobody, prune=True)), said(compared(nobody, prune=True))) == ([], [note])
    theirs = state(user(), user(UserName("old_db", "their_app"), service="theirs"), left)
    assert note not in said(compared(theirs, spec(), Spec(version=1, service="reports-api")))
    assert compared(theirs, spec(), Spec(version=1, service="reports-api"), prune=True).changes == []
    assert compared(state(user(), RoleState(RoleName("old_db", "theirs"))), prune=True) == Findings()


@pytest.mark.parametrize(("env", "level"), [("dev", "note"), ("mirror", "unreachable"), ("prod", "unreachable")])
def test_a_server_without_access_control_is_reported(env: Env, level: str) -> None:
    """Roles mean nothing there; usual in dev only."""
    assert said(compared(state(user(), open_to_all=True), env=env))[0].startswith(f"{level}: the server has no access")


def test_a_password_that_is_not_in_order_is_issued() -> None:
    """Destructive where somebody may be using another."""
    wrong = PasswordState(CHAT, "s", "the server refuses the secret's password")
    found = compared(state(user(), passwords={CHAT: wrong}))
    assert [(change.group, change.destructive) for change in found.changes] == [("passwords", True)]
    found = compared(state(passwords={CHAT: replace(wrong, fault="new secret s")}))
    assert [(change.group, change.destructive) for change in found.changes] == [("users", False), ("passwords", False)]


def test_a_readers_role_is_known_by_its_name() -> None:
    """Any other name is somebody else's."""
    assert mongo_reader(mongo_read_role("coach")) == "coach"
    assert [mongo_reader(name) for name in ("coach", "soa-db-read-for-", "soa-db-read-for-A")] == [None] * 3


# --- the law: what a plan leads to needs no plan

_SERVICES = ("alpha", "beta", "gamma")
_COLLECTIONS = ("a", "b")


@st.composite
def _specs(draw: st.DrawFn) -> SpecSet:
    given = draw(st.lists(st.sampled_from(_SERVICES), min_size=1, unique=True))
    agreed = draw(st.dictionaries(st.tuples(st.sampled_from(_SERVICES), st.sampled_from(_SERVICES)), _subsets))
    return SpecSet(
        tuple(
            Spec(
                version=1,
                service=service,
                mongo=MongoSpec(
                    roles=tuple(draw(st.lists(st.sampled_from(["read", "readWrite"]), min_size=1, unique=True))),
                    reads=tuple(
                        MongoRead(service=owner, collections=tuple(sorted(some)))
                        for (reader, owner), some in agreed.items()
                        if reader == service != owner
                    ),
                    shared_with=tuple(
                        MongoShare(service=reader, collections=_COLLECTIONS)
                        for reader, owner in agreed
                        if owner == service != reader
                    ),
                    retire=(RetiredUser(user=f"old-{service}"),) if draw(st.booleans()) else (),
                ),
            )
            for service in given
        )
    )


_subsets = st.frozensets(st.sampled_from(_COLLECTIONS), min_size=1)
_databases = st.sampled_from([f"{service}_db" for service in _SERVICES])
_granted = st.frozensets(
    st.builds(RoleName, _databases, st.sampled_from(["read", "readWrite", *map(mongo_read_role, _SERVICES)])),
    max_size=3,
)


@st.composite
def _states(draw: st.DrawFn) -> ServerState:
    users, roles = {}, {}
    for service in _SERVICES:
        for name in (f"{service}_app", f"old-{service}"):
            if draw(st.booleans()):
                user = UserName(f"{service}_db", name)
                mechanisms = draw(st.sampled_from([{"SCRAM-SHA-256"}, {"SCRAM-SHA-256", "SCRAM-SHA-1"}]))
                marked = draw(st.sampled_from([service, None]))
                users[user] = UserState(user, draw(_granted), frozenset(mechanisms), draw(st.booleans()), marked)
        for reader in _SERVICES:
            if draw(st.booleans()):
                role = RoleName(f"{service}_db", mongo_read_role(reader))
                more = draw(st.sampled_from([(), ("insert on a of a_db",)]))
                roles[role] = RoleState(role, draw(_subsets | st.just(frozenset())), more)
    return ServerState(ADMIN, users=users, roles=roles)


def _applied(found: Findings, state: ServerState) -> ServerState:
    """What a server has after the commands of a plan, as its manual says."""
    users, roles = dict(state.users), dict(state.roles)
    for change in found.changes:
        action: Any = change.action
        if isinstance(action, SetPassword):
            continue
        about = getattr(action, "user", None) or action.role
        before = users.get(about)
        command = render(action, password="x", custom=before.custom if before else None)
        match next(iter(command)):
            case "createUser":
                users[about] = user_state({**command, "user": about.name, "db": about.database}, restricted=False)
            case "updateUser":
                assert before is not None
                told = {
                    "roles": [{"role": one.name, "db": one.database} for one in before.roles],
                    "mechanisms": before.mechanisms,
                    "customData": {
                        **before.custom,
                        **({"soa_db": {"service": before.service}} if before.service else {}),
                    },
                    **command,
                }
                restricted = before.restricted and "authenticationRestrictions" not in command
                users[about] = user_state({**told, "user": about.name, "db": about.database}, restricted=restricted)
            case "dropUser":
                del users[about]
            case "dropRole":
                del roles[about]
                for name, one in users.items():
                    users[name] = replace(one, roles=one.roles - {about})
            case _:
                roles[about] = role_state({**command, "role": about.name, "db": about.database})
    return replace(state, users=users, roles=roles)


@given(_specs(), _states(), st.booleans())
def test_what_a_plan_leads_to_needs_no_plan(specs: SpecSet, before: ServerState, prune: bool) -> None:
    """From any state, whatever the specs; and whoever shares nothing is read by nobody who is declared."""
    desired = desired_state(specs, "prod")
    options = PlanOptions(prune=prune)
    found = compare(desired, before, options)
    if any(notice.level == "error" for notice in found.notices):
        return
    after = _applied(found, before)
    assert compare(desired, after, options).changes == []
    _nobody_reads_unasked(desired, after)


def _nobody_reads_unasked(desired: Desired, after: ServerState) -> None:
    for user, wanted in desired.users.items():
        for role in after.users[user].roles:
            if role.database in desired.databases and role.database != user.database:
                assert after.roles[role].collections <= desired.shares[role.database, wanted.service]
                assert after.roles[role].more == ()
