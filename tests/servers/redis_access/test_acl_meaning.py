"""Access strings mean here what they mean to real servers, asked with ACL DRYRUN about every command they know."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soa_db.access.redis.access_string import DesiredUser, Profile, setuser_rules
from soa_db.access.redis.acl import Acl, CommandTable, parse, same_access, takes_away
from soa_db.access.redis.inspect import acl_lines
from soa_db.access.redis.session import CommandRefused

if TYPE_CHECKING:
    from soa_db.access.redis.session import Session

_CATEGORIES = (
    "@all",
    "@read",
    "@write",
    "@connection",
    "@pubsub",
    "@dangerous",
    "@admin",
    "@scripting",
    "@transaction",
)
_COMMANDS = (
    "get",
    "set",
    "info",
    "keys",
    "config",
    "config|get",
    "config|set",
    "client",
    "client|kill",
    "scan",
    "eval",
)
_RULE = st.builds(lambda sign, name: sign + name, st.sampled_from("+-"), st.sampled_from(_CATEGORIES + _COMMANDS))
_RULES = st.lists(_RULE, max_size=8)
_PATTERN = st.sampled_from(("~a:*", "~b:*", "%R~a:*", "%W~a:*", "%RW~b:*", "%R~c:?", "~*"))
# After ~* a server takes no further pattern.
_KEYS = st.lists(_PATTERN, max_size=4).map(lambda words: words[: words.index("~*") + 1] if "~*" in words else words)
_CHANNELS = st.sampled_from(((), ("&a:*",), ("&a:*", "&b:*"), ("&b:*", "&a:*"), ("allchannels",)))
_ASKED = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def table_of(session: Session) -> CommandTable:
    """The server's commands."""
    names = session.call("ACL", "CAT")
    return CommandTable({name: frozenset(session.call("ACL", "CAT", name)) for name in names})


def made(session: Session, words: list[str]) -> tuple[str, Acl]:
    """A user with these rules and no others, and what the server says of it."""
    name = f"t{secrets.token_hex(6)}"
    session.call("ACL", "SETUSER", name, "reset", *words)
    return name, parse(acl_lines(session.call("ACL", "LIST"))[name])


def dry(session: Session, name: str, *command: str) -> bool:
    """Whether the server would let the user do this; the rest of its answer is about arguments."""
    return not str(session.call("ACL", "DRYRUN", name, *command)).startswith(("This user", "User"))


def permitted(session: Session, name: str, commands: frozenset[str]) -> frozenset[str]:
    """The commands the server permits, whatever their keys."""
    arity = {command: _arguments(session, command) for command in commands}
    found = {command for command in commands if dry(session, name, *command.split("|"), *arity[command])}
    return frozenset(found)


_ARITY: dict[tuple[str, str], list[str]] = {}


def _arguments(session: Session, command: str) -> list[str]:
    """Arguments that get past the check of their number, of commands without keys."""
    key = (session.address, command)
    if key not in _ARITY:
        (found,) = session.call("COMMAND", "INFO", command)
        _ARITY[key] = ["1"] * (abs(found[1]) - 1 - command.count("|"))
    return _ARITY[key]


def without_keys(session: Session, table: CommandTable) -> frozenset[str]:
    """Commands whose arguments are no keys and no channels, so that only the command rules decide."""
    chosen = set()
    containers = {command.partition("|")[0] for command in table.commands if "|" in command}
    for command in table.commands - containers:
        (found,) = session.call("COMMAND", "INFO", command)
        # Name, arity, flags, first key, last key, step, categories, tips, key specifications. AUTH and its like are
        # permitted always.
        if found is None or found[3] or found[8] or {"movablekeys", "no_auth"} & set(found[2]) or "@pubsub" in found[6]:
            continue
        chosen.add(command)
    return frozenset(chosen)


@given(rules=_RULES)
@_ASKED
def test_the_commands_permitted_are_those_the_server_permits(admin: Session, rules: list[str]) -> None:
    """However rules contradict each other; and what the server gives back permits the same."""
    table = table_of(admin)
    name, told = made(admin, rules)
    asked = without_keys(admin, table)
    allowed = parse(" ".join(rules)).root.commands(table)
    assert permitted(admin, name, asked) == allowed & asked
    assert told.root.commands(table) == allowed
    admin.call("ACL", "DELUSER", name)


@given(one=_RULES, other=_RULES)
@_ASKED
def test_strings_compare_equal_exactly_when_the_server_treats_them_alike(
    admin: Session, one: list[str], other: list[str]
) -> None:
    """With the server's table; without it, equal is never said of two that differ."""
    table = table_of(admin)
    left, right = parse(" ".join(one)), parse(" ".join(other))
    (left_name, told_left), (right_name, told_right) = made(admin, one), made(admin, other)
    alike = told_left.root.commands(table) == told_right.root.commands(table)
    assert same_access(left, right, table) == alike
    assert same_access(told_left, right, table) == alike
    if same_access(left, right):
        assert alike
        asked = without_keys(admin, table)
        assert permitted(admin, left_name, asked) == permitted(admin, right_name, asked)
    if not takes_away(parse(" ".join(["on", *one])), parse(" ".join(["on", *other])), table):
        assert left.root.commands(table) <= right.root.commands(table)
    admin.call("ACL", "DELUSER", left_name, right_name)


@given(keys=_KEYS, channels=_CHANNELS, other_keys=_KEYS, other_channels=_CHANNELS)
@_ASKED
def test_patterns_mean_what_they_mean_to_the_server(
    admin: Session, keys: list[str], channels: tuple[str, ...], other_keys: list[str], other_channels: tuple[str, ...]
) -> None:
    """Read and write permissions of one pattern add up; the order of patterns has no meaning."""
    asked = [
        command
        for key in ("a:1", "b:1", "c:1", "d:1")
        for command in (("GET", key), ("GETSET", key, "1"), ("SET", key, "1"))
    ]
    asked += [("PUBLISH", f"{channel}:1", "x") for channel in "abc"]
    answers, told = [], []
    for these, those in ((keys, channels), (other_keys, other_channels)):
        words = ["on", *these, "resetchannels", *those, "+@all"]
        name, acl = made(admin, words)
        assert same_access(acl, parse(" ".join(words)), table_of(admin))
        answers.append([dry(admin, name, *command) for command in asked])
        told.append(acl)
        admin.call("ACL", "DELUSER", name)
    if same_access(told[0], told[1]):
        assert answers[0] == answers[1]
    if set(keys) != set(other_keys) and answers[0] != answers[1]:
        assert not same_access(told[0], told[1])


_USERS = st.builds(
    DesiredUser,
    service=st.just("svc"),
    name=st.just("svc-dev"),
    secret=st.just("dev/redis/svc"),
    keys=st.sampled_from((("svc:*",), ("svc:*", "shared:[ab]?:\\*"), ("svc",))),
    read_only_keys=st.sampled_from(((), ("flags:*",), ("flags:*", "more:*"))),
    channels=st.sampled_from((("svc:*",), ("svc:*", "all:*"))),
    profile=st.sampled_from(("app", "readonly", "queue")),
    scan=st.booleans(),
)


@given(user=_USERS, cluster=st.booleans())
@_ASKED
def test_what_is_built_comes_back_as_the_same(admin: Session, user: DesiredUser, cluster: bool) -> None:
    """Set over whatever was there, read back from ACL LIST: the same, and nothing is lost in the second setting."""
    table = table_of(admin)
    text = user.access_string(version=7, cluster=cluster)
    name, _ = made(admin, ["on", "~*", "&*", "+@all", "skip-sanitize-payload", "(~x +get)"])
    for _ in range(2):
        admin.call("ACL", "SETUSER", name, *setuser_rules(text, version=7))
        told = parse(acl_lines(admin.call("ACL", "LIST"))[name])
        assert same_access(told, parse(text), table)
    admin.call("ACL", "DELUSER", name)


_EVERYBODYS = [
    "SCAN 0",
    "RANDOMKEY",
    "DBSIZE",
    "KEYS *",
    "FLUSHALL",
    "FLUSHDB",
    "SWAPDB 0 1",
    "CONFIG GET x",
    "ACL LIST",
]
_EVERYBODYS += [
    "FUNCTION LIST",
    "FUNCTION LOAD x",
    "DEBUG SLEEP 0",
    "MONITOR",
    "SHUTDOWN",
    "CLIENT LIST",
    "CLIENT KILL x",
]
_EVERYBODYS += ["CLIENT TRACKING on", "PUBSUB CHANNELS", "REPLICAOF no one", "CLUSTER RESET", "SCRIPT FLUSH", "SAVE"]
_EVERYBODYS += ["GET flagsx", "SET other:1 1", "COPY other:1 svc:1", "COPY svc:1 other:1", "RENAME svc:1 other:1"]
_EVERYBODYS += ["SORT svc:1 STORE other:1", "SET flags:1 1", "PUBLISH other:1 x", "FCALL f 0", "CLUSTER NODES"]
_OWN = ["PING", "CLIENT SETNAME x", "CLIENT SETINFO lib-name x", "CLIENT ID", "INFO", "HELLO 3", "MULTI", "EXEC"]
_OWN += ["GET svc:1", "GET flags:1", "MGET svc:1 svc:2", "SELECT 0", "WATCH svc:1"]
_WRITES = [
    "SET svc:1 x",
    "DEL svc:1",
    "UNLINK svc:1",
    "SADD svc:1 x",
    "SREM svc:1 x",
    "EXPIRE svc:1 9",
    "XADD svc:1 * a b",
]
_WRITES += ["COPY svc:1 svc:2", "RENAME svc:1 svc:2", "PUBLISH svc:1 x", "COPY flags:1 svc:1", "BLPOP svc:1 1"]
_SCRIPTS = ["EVAL x 0", "EVALSHA x 0", "SCRIPT LOAD x", "SCRIPT EXISTS x", "EVAL x 1 svc:1"]


@pytest.mark.parametrize("profile", ["app", "readonly", "queue"])
def test_a_profile_permits_what_it_is_for_and_nothing_of_others(admin: Session, profile: Profile) -> None:
    """Command by command, as the server answers."""
    user = DesiredUser("svc", "svc-dev", "s", ("svc:*",), ("flags:*",), ("svc:*",), profile)
    name, _ = made(admin, user.access_string(version=7, cluster=False).split())
    version = "SETINFO" if any("setinfo" in str(one) for one in admin.call("ACL", "CAT", "connection")) else ""
    own = [line for line in _OWN if version or "SETINFO" not in line]
    could = {line: dry(admin, name, *line.split()) for line in (*_EVERYBODYS, *own, *_WRITES, *_SCRIPTS)}
    assert [line for line in _EVERYBODYS if could[line]] == []
    assert [line for line in own if not could[line]] == []
    assert [line for line in _WRITES if could[line] == (profile == "readonly")] == []
    assert [line for line in _SCRIPTS if could[line] != (profile == "queue")] == []
    for line in ("SUBSCRIBE svc:1", "SSUBSCRIBE svc:1"):
        assert dry(admin, name, *line.split())
        assert not dry(admin, name, *line.replace("svc", "other").split())
    admin.call("ACL", "DELUSER", name)


def test_scan_and_a_cluster_add_what_they_say(admin: Session) -> None:
    """And nothing else of everybody's."""
    extras: dict[tuple[bool, bool], list[str]] = {}
    for scan in (False, True):
        for cluster in (False, True):
            user = DesiredUser("svc", "svc-dev", "s", ("svc:*",), (), ("svc:*",), scan=scan)
            name, _ = made(admin, user.access_string(version=7, cluster=cluster).split())
            extras[scan, cluster] = [line for line in _EVERYBODYS if dry(admin, name, *line.split())]
            assert dry(admin, name, "CLUSTER", "SLOTS") == cluster
            assert dry(admin, name, "CLUSTER", "SHARDS") == cluster
            admin.call("ACL", "DELUSER", name)
    assert extras[False, False] == []
    assert set(extras[True, False]) == {"SCAN 0", "CLIENT TRACKING on"}
    assert set(extras[False, True]) == {"CLUSTER NODES"}


def test_client_tracking_tells_of_everybodys_keys(admin: Session) -> None:
    """Why it is denied: a user with rights on its own keys hears of all others in broadcasting mode."""
    name, _ = made(admin, ["on", "nopass", "~own:*", "+@connection", "+get", "&*", "+subscribe"])
    from soa_db.access.redis.session import connect

    with connect(admin.config, name, "x") as nosy, connect(admin.config, name, "x") as listener:
        # RESP2 hears of keys on a second connection.
        listener.call("SUBSCRIBE", "__redis__:invalidate")
        nosy.call("CLIENT", "TRACKING", "ON", "BCAST", "REDIRECT", _id(admin, listener, name))
        key = f"other:{secrets.token_hex(4)}"
        admin.call("SET", key, "x", "PX", "5000")
        heard: Any = listener._read()
        assert key in heard[2]
    admin.call("ACL", "DELUSER", name)


def _id(admin: Session, listener: Session, name: str) -> str:
    lines = [line for line in admin.call("CLIENT", "LIST").splitlines() if f"user={name}" in line and " sub=1" in line]
    assert listener.config is admin.config
    return str(lines[0].split()[0]).removeprefix("id=")


def test_an_unknown_rule_is_refused_by_the_server_not_by_us(admin: Session) -> None:
    """What a newer server may know is kept as a word, and never compares equal to its absence."""
    assert not same_access(parse("on ~a +get newthing"), parse("on ~a +get"))
    with pytest.raises(CommandRefused, match="newthing"):
        made(admin, ["newthing"])
