"""What a user can do once it is logged in, asked in its own session; nothing that is tried takes effect.

What is really written are keys of the probe's own, under the user's own patterns, with a mark no key has in its name;
they expire by themselves if the run is ended before it removes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from soa_db.access.attempt import Attempt, judge
from soa_db.access.redis.attempt import attempt, tried
from soa_db.access.redis.expect import is_exact, sample
from soa_db.access.redis.session import CommandRefused
from soa_db.access.report import Aspect, Check, Outcome, Probe

if TYPE_CHECKING:
    from soa_db.access.redis.expect import RedisAccess, UserAccess
    from soa_db.access.redis.session import Session

__all__ = ["DATABASE", "probe_session"]

DATABASE = "redis"
"""What stands in the matrix where PostgreSQL has a database's name."""

_EXPIRY = 10_000  # milliseconds a key of a probe's lives if nobody removes it
_NAME = "soa-db-probe"
# What is about everybody's keys, users or settings: nobody's, whatever the profile.
_EVERYBODYS: tuple[tuple[str, ...], ...] = (
    ("KEYS", _NAME),
    ("RANDOMKEY",),
    ("DBSIZE",),
    ("FLUSHALL", "BADARG"),
    ("FLUSHDB", "BADARG"),
    ("SWAPDB", "x", "y"),
    ("CONFIG", "GET", _NAME),
    ("CONFIG", "SET", _NAME, "x"),
    ("ACL", "LIST"),
    ("ACL", "SETUSER", _NAME, "BADARG"),
    ("FUNCTION", "LIST", "BADARG"),
    ("FUNCTION", "LOAD", "BADARG"),
    ("FCALL", _NAME, "0"),
    ("DEBUG", "BADARG"),
    ("MONITOR",),
    ("CLIENT", "LIST", "BADARG"),
    ("CLIENT", "KILL", "BADARG"),
    ("CLIENT", "PAUSE", "BADARG"),
    ("PUBSUB", "CHANNELS", _NAME),
    ("REPLICAOF", "BADARG", "BADARG"),
    ("SCRIPT", "FLUSH", "BADARG"),
    ("SLOWLOG", "GET", "BADARG"),
    ("CLUSTER", "RESET", "BADARG"),
    ("MODULE", "LIST"),
)
_IN_SCRIPT = re.compile(r"NOPERM|ACL failure in script|can't access at least one of the keys")
_SCRIPT = "return redis.call('EXISTS', ARGV[1])"


@dataclass(frozen=True, slots=True)
class _Asker:
    user: str
    mend: str

    def __call__(self, aspect: Aspect, what: str, expect: Literal["can", "cannot"]) -> Probe:
        return Probe(self.user, DATABASE, aspect, what, expect, "attempt")


def probe_session(
    session: Session,
    access: RedisAccess,
    user: UserAccess,
    *,
    mark: str,
    elsewhere: Callable[[str, int], Session],
    mend: str,
) -> Iterator[Check]:
    """Ask everything about one user.

    Args:
        session: logged in as the user.
        access: what the specs say about everybody.
        user: what they say about this one.
        mark: part of the names of the probe's own keys.
        elsewhere: opens the user's session on another node of a cluster, by host and port.
        mend: the command that provisions.

    Raises:
        ServerUnavailable: the connection broke.
    """
    ask = _Asker(user.user, mend)
    yield from _handshakes(session, user, ask)
    yield from _own_keys(session, user, ask, mark, elsewhere)
    yield from _foreign_keys(session, access, user, ask, mark)
    yield from _channels(session, access, user, ask, mark)
    yield from _everybodys(session, user, ask)
    yield from _scripts(session, access, user, ask, mark)


def _handshakes(session: Session, user: UserAccess, ask: _Asker) -> Iterator[Check]:
    """What redis-py, ioredis, node-redis and BullMQ send by themselves; one that is unknown is no matter to them."""
    commands: list[tuple[str, ...]] = [
        ("PING",),
        ("CLIENT", "SETNAME", "soa-db-verify"),
        ("CLIENT", "SETINFO", "LIB-NAME", "soa-db"),
        ("CLIENT", "ID"),
        ("INFO",),
        ("SELECT", "0"),
    ]
    if user.profile == "queue":
        commands += [("SCRIPT", "LOAD", "return 0"), ("EVALSHA", "0" * 40, "0"), ("EVAL", "return 0", "0")]
    if _in_cluster(session):
        commands += [("CLUSTER", "SLOTS"), ("CLUSTER", "SHARDS"), ("CLUSTER", "INFO"), ("READONLY",)]
    yield judge(
        ask("connect", "do what client libraries do first", "can"),
        {" ".join(words[:2]): attempt(session, *words) for words in commands},
        mend=ask.mend,
    )


def _in_cluster(session: Session) -> bool:
    try:
        return "cluster_enabled:1" in str(session.call("INFO", "cluster"))
    except CommandRefused:
        return False  # INFO is asked for by itself


def _own_keys(
    session: Session, user: UserAccess, ask: _Asker, mark: str, elsewhere: Callable[[str, int], Session]
) -> Iterator[Check]:
    keys = [sample(pattern, mark) for pattern in user.keys]
    for pattern in user.keys:
        key = sample(pattern, mark)
        if not user.writes:
            continue
        probe = ask("write", f"write, read and remove a key of {pattern}", "can")
        if is_exact(pattern):
            # It is the service's own: not written, only asked about.
            yield judge(probe, {key: attempt(session, "SET", key, "x")}, mend=ask.mend)
        else:
            yield _round_trip(session, probe, key, elsewhere, ask.mend)
    readable = [*keys, *(sample(pattern, mark) for pattern in user.read_only_keys)]
    yield judge(
        ask("read", "read its keys", "can"), {key: attempt(session, "GET", key) for key in readable}, mend=ask.mend
    )
    unwritable = [key for key in readable if not user.may_write(key)]
    if unwritable:
        yield judge(
            ask("write", f"write {len(unwritable)} kinds of keys it only reads", "cannot"),
            {key: attempt(session, "SET", key, "x") for key in unwritable},
            mend=ask.mend,
        )


def _round_trip(session: Session, probe: Probe, key: str, elsewhere: Callable[[str, int], Session], mend: str) -> Check:
    try:
        try:
            return _written(session, probe, key)
        except CommandRefused as error:
            if error.code != "MOVED":
                raise
            host, _, port = error.message.split()[2].rpartition(":")
            with elsewhere(host or session.config.host, int(port)) as other:
                return _written(other, probe, key)
    except CommandRefused as error:
        if error.code == "NOPERM":
            return Check(probe, Outcome.VIOLATED, error.message, mend)
        return Check(probe, Outcome.INCONCLUSIVE, error.message, "look at the error, then verify again")


def _written(session: Session, probe: Probe, key: str) -> Check:
    session.call("SET", key, "soa-db", "NX", "PX", _EXPIRY)
    read = session.call("GET", key)
    removed = session.call("DEL", key)
    if read == "soa-db" and removed == 1:
        return Check(probe, Outcome.OK)
    return Check(probe, Outcome.INCONCLUSIVE, "what was written did not come back", "is it a cache that is full?")


def _foreign_keys(session: Session, access: RedisAccess, user: UserAccess, ask: _Asker, mark: str) -> Iterator[Check]:
    foreign = access.foreign_keys(user, mark)
    own = sample(user.keys[0], mark)
    forms: tuple[tuple[Aspect, str, Callable[[str], tuple[str, ...]]], ...] = (
        ("read", "GET", lambda key: ("GET", key)),
        ("read", "COPY from", lambda key: ("COPY", key, own)),
        ("write", "SET", lambda key: ("SET", key, "x")),
        ("write", "DEL", lambda key: ("DEL", key)),
        ("write", "COPY to", lambda key: ("COPY", own, key)),
        ("write", "RENAME to", lambda key: ("RENAME", own, key)),
        ("write", "SORT STORE to", lambda key: ("SORT", own, "STORE", key)),
    )
    for aspect, what, form in forms:
        yield judge(
            ask(aspect, f"{what} keys of others", "cannot"),
            {key: attempt(session, *form(key)) for key in foreign},
            mend=ask.mend,
        )


def _channels(session: Session, access: RedisAccess, user: UserAccess, ask: _Asker, mark: str) -> Iterator[Check]:
    own = [sample(pattern, mark) for pattern in user.channels]
    foreign = access.foreign_channels(user, mark)
    publish: Literal["can", "cannot"] = "can" if user.writes else "cannot"

    def over(command: str, names: Iterable[str], *rest: str) -> dict[str, Attempt]:
        return {name: attempt(session, command, name, *rest) for name in names}

    yield judge(ask("read", "subscribe to its channels", "can"), over("SUBSCRIBE", own), mend=ask.mend)
    yield judge(
        ask("read", "subscribe to its channel patterns", "can"), over("PSUBSCRIBE", user.channels), mend=ask.mend
    )
    yield judge(ask("write", "publish to its channels", publish), over("PUBLISH", own, "x"), mend=ask.mend)
    yield judge(ask("read", "subscribe to channels of others", "cannot"), over("SUBSCRIBE", foreign), mend=ask.mend)
    yield judge(
        ask("read", "subscribe to channel patterns of others", "cannot"),
        over("PSUBSCRIBE", access.foreign_patterns(user)),
        mend=ask.mend,
    )
    yield judge(ask("write", "publish to channels of others", "cannot"), over("PUBLISH", foreign, "x"), mend=ask.mend)


def _everybodys(session: Session, user: UserAccess, ask: _Asker) -> Iterator[Check]:
    for words in _EVERYBODYS:
        name = " ".join(words[:2]) if words[0] in _CONTAINERS else words[0]
        yield judge(ask("rights", name, "cannot"), {"": attempt(session, *words)}, mend=ask.mend)
    # A server refuses to queue it, before it looks at rights; with this argument it does nothing.
    yield judge(
        ask("rights", "SHUTDOWN", "cannot"),
        {"": tried(session, "SHUTDOWN", "BADARG", harmless="syntax error")},
        mend=ask.mend,
    )
    scan: Literal["can", "cannot"] = "can" if user.scan else "cannot"
    yield judge(ask("rights", "SCAN", scan), {"": attempt(session, "SCAN", "0")}, mend=ask.mend)
    if not user.scan:
        yield judge(
            ask("rights", "CLIENT TRACKING", "cannot"),
            {"": attempt(session, "CLIENT", "TRACKING", "BADARG")},
            mend=ask.mend,
        )


_CONTAINERS = frozenset({"CONFIG", "ACL", "FUNCTION", "CLIENT", "PUBSUB", "SCRIPT", "SLOWLOG", "CLUSTER", "MODULE"})


def _scripts(session: Session, access: RedisAccess, user: UserAccess, ask: _Asker, mark: str) -> Iterator[Check]:
    if user.profile != "queue":
        yield judge(ask("rights", "EVAL", "cannot"), {"": attempt(session, "EVAL", "return 0", "0")}, mend=ask.mend)
        return
    foreign = access.foreign_keys(user, mark)
    yield judge(
        ask("write", "name keys of others to a script", "cannot"),
        {key: attempt(session, "EVAL", "return 0", "1", key) for key in foreign},
        mend=ask.mend,
    )
    # This one runs: it asks whether a key exists that has the probe's mark in its name.
    yield judge(
        ask("read", "reach keys of others that a script does not name", "cannot"),
        {key: _script(session, key) for key in foreign},
        mend=ask.mend,
    )


def _script(session: Session, key: str) -> Attempt:
    try:
        session.call("EVAL", _SCRIPT, "0", key)
    except CommandRefused as error:
        # Within a script a refusal has had several texts (Redis 7.0, 7.2 and Valkey; script.c).
        if _IN_SCRIPT.search(error.message):
            return Attempt(permitted=False, seen=error.message)
        if "attempted to access a non local key in a cluster node" in error.message:
            return Attempt(permitted=True, seen="it is permitted")
        return Attempt(None, error.message[:120])
    return Attempt(permitted=True, seen="the script ran")
