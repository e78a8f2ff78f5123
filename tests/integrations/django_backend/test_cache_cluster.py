"""The cache back end on a real Redis cluster: every call, while slots move, and when connections break."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from redis.crc import key_slot
from tests.support.slots import Move, holder, moving
from tests.support.tcp import FaultyProxy

from soa_db import CommandRefused, PoolTimeout, ServerUnavailable
from soa_db.aws import AwsClients
from soa_db.django.cache import RedisCache
from soa_db.django.redis import _commands

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment
    from soa_db.local.redis import RedisServer
    from soa_db.local.redis_cluster import RedisCluster

# A service of its own, on the cluster, with the rights of a service and SCAN.
ON_CLUSTER = "notes-on-cluster"
RULES = (
    f"on resetchannels ~{ON_CLUSTER}:* &{ON_CLUSTER}:* -@all +@read +@write +@connection +@transaction +@pubsub "
    "-@dangerous -@admin -function -randomkey -dbsize +info -client|kill +scan +cluster|slots +cluster|shards"
)
Make = Callable[..., RedisCache]


@pytest.fixture(scope="module")
def on_cluster(local_env: LocalEnvironment, redis_cluster: RedisCluster) -> str:
    """The service: its user on every node, its secret in AWS."""
    password = secrets.token_hex(16)
    for node in redis_cluster.nodes:
        with node.admin() as admin:
            admin.execute_command(f"ACL SETUSER {ON_CLUSTER} >{password} {RULES}")
    payload = {"username": ON_CLUSTER, "password": password, "endpoint": redis_cluster.host, "port": redis_cluster.port}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in local_env.exports().items():
            patch.setenv(name, value)
        with AwsClients() as aws:
            text = json.dumps(payload)
            aws.call("secretsmanager", "create_secret", Name=f"dev/redis/{ON_CLUSTER}", SecretString=text)
    return ON_CLUSTER


@pytest.fixture
def make(local_aws: LocalEnvironment, on_cluster: str, ca_file: Path, django_set_up: None) -> Iterator[Make]:
    """Make caches, as Django does of an entry of CACHES; which raise, unless told otherwise."""
    before = set(_commands)

    def build(prefix: str = "", **options: Any) -> RedisCache:
        given = {"env": "dev", "service": on_cluster, "cluster": True, "tls": {"ca_file": str(ca_file)}}
        given |= {"on_error": "raise", "command_timeout": 3.0}
        return RedisCache("", {"KEY_PREFIX": prefix or secrets.token_hex(4), "OPTIONS": {**given, **options}})

    yield build
    for key in set(_commands) - before:
        # The next test knows nothing of where slots are.
        _commands.pop(key).disconnect()


@pytest.fixture
def cache(make: Make) -> Iterator[RedisCache]:
    """One with keys of its own."""
    found = make()
    yield found
    found.clear()


@pytest.fixture
def slot(cache: RedisCache, redis_cluster: RedisCluster) -> Iterator[Move]:
    """The slot of the keys ``{a}…``, which is to move; the client knows where it is now."""
    cache.set("{a}0", 0)
    with moving(redis_cluster, cache.make_key("{a}0")) as move:
        yield move


def test_every_call_works_across_slots(cache: RedisCache) -> None:
    """Keys of many slots and nodes, over TLS, with a service's rights."""
    values = {f"k{number}": number for number in range(200)}
    assert cache.set_many(values, timeout=60) == []
    assert cache.get_many([*values, "missing"]) == values
    cache.delete_many([f"k{number}" for number in range(100)])
    assert cache.get_many(values) == {f"k{number}": number for number in range(100, 200)}
    assert cache.incr("k150", 5) == 155
    assert cache.decr("k150") == 154
    assert 0 < cache._commands.present().pttl(cache.make_key("k150")) <= 60_000
    assert cache.touch("k150", None) is True
    assert cache.touch("k150", None) is True
    assert cache._commands.present().pttl(cache.make_key("k150")) == -1
    assert cache.touch("k150", 5) is True
    assert cache.touch("missing") is False
    assert cache.touch("missing", None) is False
    assert cache.add("new", 1) is True
    assert cache.add("new", 2) is False
    assert cache.get_or_set("new", 3) == 1
    assert cache.get_or_set("newer", lambda: 3) == 3
    assert cache.has_key("new")
    assert cache.delete("new") is True
    assert cache.delete("new") is False
    with pytest.raises(ValueError, match="missing"):
        cache.incr("missing")
    cache.set("text", "x")
    with pytest.raises(CommandRefused):
        cache.incr("text")
    assert cache.set_many({"k150": 1, "k151": 1}, timeout=0) == []
    assert cache.get_many(["k150", "k151"]) == {}
    cache.clear()
    assert cache.get_many(values) == {}


def test_every_call_works_while_a_slot_moves_and_after_it_has(cache: RedisCache, slot: Move) -> None:
    """ASK, then MOVED: first one key of the slot is there and the others are here, then all are there."""

    def call_everything(turn: int) -> None:
        names = ["{a}0", "{a}1", "{a}2"]
        assert cache.set_many(dict.fromkeys(names, turn)) == []
        assert cache.get_many(names) == dict.fromkeys(names, turn)
        assert [cache.incr(name) for name in names] == [turn + 1] * 3
        assert [cache.decr(name) for name in names] == [turn] * 3
        assert [cache.touch(name, 50) for name in names] == [True] * 3
        assert cache.add(f"{{a}}new{turn}", turn) is True
        assert cache.add(f"{{a}}new{turn}", 0) is False
        assert cache.get_or_set(f"{{a}}new{turn}", 0) == turn
        with pytest.raises(ValueError, match="missing"):
            cache.incr("{a}missing")
        cache.delete_many(["{a}1", "{a}2"])
        assert cache.get_many(names) == {"{a}0": turn}
        cache.set_many({"{a}1": 1, "{a}2": 2})

    call_everything(1)
    slot.begin()
    slot.carry(cache.make_key("{a}0"))
    call_everything(2)
    slot.finish()
    call_everything(3)


def test_clear_while_a_slot_moves_leaves_nothing(cache: RedisCache, slot: Move) -> None:
    """Some of its keys are on one node, some on the other."""
    names = ["{a}0", "{a}1", "{a}2", "b"]
    cache.set_many(dict.fromkeys(names, 1))
    slot.begin()
    slot.carry(cache.make_key("{a}1"))
    cache.clear()
    assert cache.get_many(names) == {}


def test_the_first_call_after_a_slot_has_moved_may_be_an_incr(cache: RedisCache, slot: Move) -> None:
    """Nothing has told the client where the slot is now."""
    slot.whole()
    assert cache.incr("{a}0") == 1
    assert cache.touch("{a}0", 5) is True


def test_a_move_that_was_given_up_half_way_is_an_error_in_time(make: Make, redis_cluster: RedisCluster) -> None:
    """One node sends to the other, which sends back: nothing is counted, and nobody goes round for ever."""
    cache = make(command_timeout=0.4)
    source = holder(redis_cluster, cache.make_key("k"))
    target = next(node for node in redis_cluster.primaries() if node is not source)
    slot = key_slot(cache.make_key("k").encode())
    with target.admin() as admin:
        name = admin.cluster("MYID")
    with source.admin() as admin:
        admin.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", name)
        try:
            with pytest.raises(ServerUnavailable):
                cache.incr("k")
        finally:
            admin.execute_command("CLUSTER SETSLOT", slot, "STABLE")
    with pytest.raises(ValueError, match="k"):
        cache.incr("k")


def test_a_key_may_be_at_a_node_that_the_client_does_not_know_yet(cache: RedisCache, slot: Move) -> None:
    """One that has joined since it looked: it looks again."""
    slot.begin()
    slot.carry(cache.make_key("{a}0"))
    nodes: dict[str, Any] = cache._commands.present().nodes_manager.nodes_cache  # type: ignore[union-attr]  # a cluster's
    nodes.pop(f"{slot.target.host}:{slot.target.port}")
    assert cache.incr("{a}0") == 1


def test_an_incr_waits_for_a_connection_no_longer_than_a_call_may_take(make: Make) -> None:
    """One node's connections are all in use: that is our own crowd."""
    cache = make(max_connections=1, command_timeout=0.3)
    cache.set("n", 0, timeout=20)
    client: Any = cache._commands.present()
    node = client.get_node_from_key(cache.make_key("n"))
    pool = client.get_redis_connection(node).connection_pool
    taken = pool.get_connection()
    try:
        with pytest.raises(PoolTimeout):
            cache.incr("n")
    finally:
        pool.release(taken)
    assert cache.incr("n") == 1


def test_counts_are_exact_while_slots_move_to_and_fro(cache: RedisCache, redis_cluster: RedisCluster) -> None:
    """Each `incr` of several threads is counted once."""
    cache.set("n", 0)
    errors: list[BaseException] = []

    def count() -> None:
        try:
            for _ in range(60):
                cache.incr("n")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        with moving(redis_cluster, cache.make_key("n")) as move:
            move.whole()
    for thread in threads:
        thread.join()
    assert errors == []
    assert cache.get("n") == 240


@pytest.fixture
def near(make: Make, redis_cluster: RedisCluster) -> Iterator[tuple[Make, RedisServer, FaultyProxy]]:
    """Caches whose connections to one of the primaries go through a proxy that can break them."""
    node = redis_cluster.primaries()[0]
    with FaultyProxy(node.host, node.port) as proxy:

        def build(**options: Any) -> RedisCache:
            return make(port=node.port, dial=f"{node.host}:{proxy.port}", max_connections=1, **options)

        yield build, node, proxy


def key_on(cluster: RedisCluster, cache: RedisCache, node: RedisServer) -> str:
    """A key of the cache that is on a node."""
    return next(f"k{n}" for n in range(1000) if holder(cluster, cache.make_key(f"k{n}")) is node)


@pytest.mark.parametrize("on_error", ["raise", "miss"])
def test_an_incr_whose_answer_is_lost_is_an_error_and_counted_once(
    near: tuple[Make, RedisServer, FaultyProxy], redis_cluster: RedisCluster, on_error: str
) -> None:
    """The server has run it, and the client cannot know: it is neither made again nor said to be missing."""
    build, node, proxy = near
    cache = build(on_error=on_error)
    key = key_on(redis_cluster, cache, node)
    cache.set(key, 0, timeout=20)
    if on_error == "miss":
        # That looks first whether the key is there: of its two answers the second is the one that is lost.
        present, cache._commands.has = cache._commands.has, lambda *_: True  # type: ignore[method-assign]
    proxy.mode = "reset"
    with pytest.raises(ServerUnavailable):
        cache.incr(key)
    proxy.mode = "pass"
    with node.admin() as admin:
        assert admin.get(cache.make_key(key)) in {b"1", "1"}
    if on_error == "miss":
        cache._commands.has = present  # type: ignore[method-assign]
    assert cache.incr(key) == 2


def test_an_add_whose_answer_is_lost_is_an_error_and_is_not_made_again(
    near: tuple[Make, RedisServer, FaultyProxy], redis_cluster: RedisCluster
) -> None:
    """Made again it would say that another one has the lock that is ours."""
    build, node, proxy = near
    cache = build()
    key = key_on(redis_cluster, cache, node)
    assert cache.get(key) is None
    proxy.mode = "reset"
    with pytest.raises(ServerUnavailable):
        cache.add(key, "mine", timeout=20)
    proxy.mode = "pass"
    assert cache.add(key, "theirs") is False
    assert cache.get(key) == "mine"


def test_set_many_returns_the_keys_of_the_node_that_is_away(
    near: tuple[Make, RedisServer, FaultyProxy], redis_cluster: RedisCluster
) -> None:
    """And only those: the others are written. Who asked for errors gets one."""
    build, node, proxy = near
    prefix = secrets.token_hex(4)
    miss = build(prefix=prefix, on_error="miss", command_timeout=0.5, connect_timeout=0.5)
    hard = build(prefix=prefix, command_timeout=0.5, connect_timeout=0.6)
    values = {f"k{number}": number for number in range(30)}
    assert miss.set_many(values) == []
    there = {name for name in values if holder(redis_cluster, miss.make_key(name)) is node}
    assert 0 < len(there) < 30
    proxy.blackhole()
    failed = miss.set_many({name: value + 100 for name, value in values.items()})
    with pytest.raises(ServerUnavailable):
        hard.set_many(dict.fromkeys(there, 0))
    proxy.restore()
    assert set(failed) == there
    expected = {name: value + (0 if name in there else 100) for name, value in values.items()}
    assert hard.get_many(values) == expected


def test_a_primary_that_is_replaced_loses_no_answered_count(cache: RedisCache, redis_cluster: RedisCluster) -> None:
    """A planned failover of the node that has the key: calls go to the new primary, and none is counted twice."""
    cache.set("n", 0)
    old = holder(redis_cluster, cache.make_key("n"))
    replica = _replica_of(redis_cluster, old)
    done = 0
    with replica.admin() as admin:
        admin.execute_command("CLUSTER FAILOVER")
    while holder(redis_cluster, cache.make_key("n")) is old:
        done += 1
        assert cache.incr("n") == done
    for _ in range(20):
        done += 1
        assert cache.incr("n") == done
    redis_cluster.wait()


def _replica_of(cluster: RedisCluster, primary: RedisServer) -> RedisServer:
    for node in cluster.replicas():
        with node.admin() as admin:
            if int(admin.info("replication")["master_port"]) == primary.port:
                return node
    raise AssertionError
