"""What a Redis has against what specs want: what is changed, what is reported, what stands in the way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from soa_db.access.plan import PlanOptions
from soa_db.access.redis.access_string import Desired, desired_users
from soa_db.access.redis.acl import Acl, parse
from soa_db.access.redis.diff import Findings, compare
from soa_db.access.redis.state import GroupState, NodeState, PasswordState, ServerState, UserState
from soa_db.access.spec import RedisSpec, Spec, SpecSet


def wanted(env: Any = "prod", **redis: Any) -> Desired:
    """One service."""
    return desired_users(SpecSet((Spec(version=1, service="chat-api", redis=RedisSpec(**redis)),)), env)


def user(name: str = "chat-api-prod", access: str | None = None, **fields: Any) -> UserState:
    """A user that is in order, but for what is given."""
    text = wanted().users["chat-api-prod"].access_string(version=7, cluster=False) if access is None else access
    return UserState(name, parse(text), **{"passwords": 1, "managed": True, **fields})


def node(*users: UserState, **fields: Any) -> NodeState:
    """A node with these users."""
    return NodeState(
        **{"address": "h:1", "version": 7, "users": {one.name: one for one in users}, "keeps": "aclfile", **fields}
    )


def state(*nodes: NodeState, **fields: Any) -> ServerState:
    """A self-run server with these nodes and good passwords."""
    passwords = {"chat-api-prod": PasswordState("chat-api-prod", "prod/redis/chat-api")}
    return ServerState(**{"address": "h:1", "nodes": nodes, "admin": "master", "passwords": passwords, **fields})


def said(found: Findings) -> list[str]:
    """The sentences of what is reported."""
    return [f"{notice.level}: {notice.sentence}" for notice in found.notices]


def sentences(found: Findings) -> list[str]:
    """The first words of the changes."""
    return [change.sentence.split(":")[0] for change in found.changes]


def compared(seen: ServerState, desired: Desired | None = None, **options: Any) -> Findings:
    """Compare."""
    return compare(desired or wanted(), seen, PlanOptions(**options))


def test_a_server_in_order_needs_nothing() -> None:
    """Neither a change nor a word."""
    found = compared(state(node(user())))
    assert (found.changes, found.notices) == ([], [])


def test_read_only_keys_on_an_old_server_stand_in_the_way() -> None:
    """Patterns for reading only came with Redis 7."""
    old = node(user(), version=6)
    assert any(
        line.startswith("error: chat-api declares read_only_keys")
        for line in said(compared(state(old), wanted(read_only_keys=["flags:*"])))
    )
    assert not any(line.startswith("error") for line in said(compared(state(old))))


def test_an_administrator_that_is_a_services_user_stands_in_the_way() -> None:
    """Its rights would be cut down to a service's in the middle of the run, and nobody could mend it."""
    (line,) = said(compared(state(node(user()), admin="chat-api-prod")))
    assert line.startswith("error: the administrator logs in as chat-api-prod, which is the user of chat-api")


def test_users_that_a_restart_loses_are_reported() -> None:
    """Where there is no ACL file."""
    assert said(compared(state(node(user(), keeps="nowhere")))) == [
        "unreachable: h:1 has neither an ACL file nor a configuration file: its users vanish at a restart"
    ]
    assert "CONFIG REWRITE" in said(compared(state(node(user(), keeps="config"))))[0]


def test_what_was_not_saved_is_saved() -> None:
    """A run was ended between changing and saving."""
    assert sentences(compared(state(node(user()), unsaved=True))) == ["save the users, so that they survive a restart"]


def test_a_replica_that_was_not_looked_at_is_reported() -> None:
    """Users are not copied: there they are what they were."""
    found = compared(state(node(user()), unreached=(("r:1", "connection refused"),)))
    assert found.changes == []
    assert said(found) == [
        "unreachable: the replica r:1 keeps the users it has, since it was not looked at: connection refused"
    ]


def test_default_is_not_turned_off_under_replicas_that_log_in_as_it() -> None:
    """It would end replication."""
    open_to_all = UserState("default", Acl(enabled=True, nopass=True))
    seen = state(node(user(), open_to_all))
    assert sentences(compared(seen)) == ["turn the user default off"]
    found = compared(replace(seen, as_default=(("r:1",), 3)))
    assert found.changes == []
    assert "r:1 replicate as it" in said(found)[0]


def test_a_node_of_several_is_named() -> None:
    """And the change is destructive only where something is taken away."""
    found = compared(state(node(user()), node(user(access="on ~* +@all"), address="h:2")))
    assert [change.destructive for change in found.changes] == [True]
    assert "(it differs on h:2)" in found.changes[0].sentence
    found = compared(state(node(user()), node(address="h:2")))
    assert [change.destructive for change in found.changes] == [False]


def test_a_stranger_is_reported_wherever_it_gets_in_and_so_that_it_can_be_read() -> None:
    """On the second node only; its name moves no cursor and is no broken text."""
    off, on = user("ops\x1b[2J\udcff", "off"), user("ops\x1b[2J\udcff", "on ~* +@all")
    nodes = node(user(), replace(off, managed=False)), node(user(), replace(on, managed=False), address="h:2")
    (line,) = said(compared(state(*nodes)))
    assert line.startswith(r"note: the user 'ops\x1b[2J\udcff' is not managed here")


def test_access_that_only_grows_is_not_destructive() -> None:
    """Without a table of commands, rules must be the same for that."""
    less = user(access="on resetchannels -@all")
    assert [change.destructive for change in compared(state(node(less))).changes] == [False]
    other_keys = user().acl
    moved = replace(user(), acl=replace(other_keys, root=replace(other_keys.root, keys={"old:*": "RW"})))
    assert [change.destructive for change in compared(state(node(moved))).changes] == [True]


def test_a_group_of_elasticache() -> None:
    """Made, filled, its default replaced, its members left alone."""
    default = UserState("cache-prod-default", parse("off -@all"), 1)
    group = GroupState("cache-prod", exists=True, members=frozenset({"chat-api-prod", "cache-prod-default"}))
    good = replace(group, default="cache-prod-default", attached=("the-cache",))

    def seen(group: GroupState, *more: UserState) -> ServerState:
        return state(node(user(), default, *more), group=group, admin=None)

    assert compared(seen(good)).changes == []
    assert sentences(compared(seen(GroupState("cache-prod")))) == ["create user group cache-prod with chat-api-prod"]
    found = compared(seen(replace(good, default="default"), UserState("default", parse("on ~* +@all"))))
    assert sentences(found) == ["user group cache-prod"]
    assert found.changes[0].destructive
    assert "attached to no cache" in said(compared(seen(replace(good, attached=()))))[0]
    stranger = user("other", managed=False)
    assert (
        "the user other is not managed here"
        in said(compared(seen(replace(good, members=good.members | {"other"}), stranger), prune=True))[0]
    )
    more = replace(good, default="default", members=frozenset({"default"}))
    found = compared(seen(more, UserState("default", parse("on ~* +@all"))))
    assert sentences(found) == ["user group cache-prod", "user group cache-prod"]
    assert [change.destructive for change in found.changes] == [False, True], (
        "taking default away is a change by itself"
    )
    unmarked = state(node(user(managed=False), default), group=good, admin=None)
    assert sentences(compared(unmarked)) == ["mark chat-api-prod as a user of chat-api"]


def test_passwords() -> None:
    """A wrong one is issued anew, a second one reported; prod's default users are off, dev's are not our business."""
    wrong = PasswordState("chat-api-prod", "prod/redis/chat-api", "secret prod/redis/chat-api has another port")
    for lost, destructive in ((0, False), (1, True)):
        found = compared(state(node(user()), passwords={"chat-api-prod": replace(wrong, lost=lost)}))
        assert [(change.group, change.destructive) for change in found.changes] == [("passwords", destructive)]
    more = PasswordState("chat-api-prod", "prod/redis/chat-api", others=1)
    assert "1 live password beside" in said(compared(state(node(user()), passwords={"chat-api-prod": more})))[0]
    assert wanted("dev").default_off is False
    assert wanted("mirror").default_off is True
