"""The cache back end on real Redis servers: Django's whole cache API, and what it adds of ours."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from tests.integrations.django_backend.conftest import NO_SCAN

from soa_db import AccessDenied, CommandRefused, ConfigurationError, SecretNotFound, ServerUnavailable, ValueMalformed
from soa_db.django import SettingsError
from soa_db.django.cache import RedisCache
from soa_db.django.redis import _commands

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment

Make = Callable[..., RedisCache]
PICKLE = "soa_db.django.serializers.PickleSerializer"
HUGE = pytest.param(10**5000, id="huge")


@pytest.fixture
def make(local_aws: LocalEnvironment, service: str, django_set_up: None) -> Make:
    """Make caches, as Django does of an entry of CACHES."""

    def build(location: str = "", *, prefix: str = "", timeout: Any = 300, **options: Any) -> RedisCache:
        entry = {"KEY_PREFIX": prefix, "TIMEOUT": timeout, "OPTIONS": {"env": "dev", "service": service, **options}}
        return RedisCache(location, entry)

    return build


@pytest.fixture
def cache(make: Make) -> Iterator[RedisCache]:
    """One with keys of its own, which raises."""
    found = make(prefix=secrets.token_hex(4), on_error="raise")
    yield found
    found.clear()


def native(cache: RedisCache) -> Any:
    """The native client."""
    return cache._commands.present()


@pytest.mark.parametrize("env", ["dev", "mirror"])
def test_a_value_is_the_services_key_and_bare_json(make: Make, service: str, env: str) -> None:
    """What the TypeScript packages read; by password in dev, with TLS in mirror."""
    cache = make(env=env, prefix="p")
    cache.set("a", {"b": [1, None, "ü"]}, timeout=30, version=7)
    assert native(cache).get(f"{service}:p:7:a") == '{"b":[1,null,"ü"]}'.encode()
    assert cache.get("a", version=7) == {"b": [1, None, "ü"]}
    assert cache.get("a") is None
    assert cache.delete("a", version=7) is True
    assert cache.delete("a", version=7) is False


def test_the_prefix_is_the_service_once(make: Make, service: str) -> None:
    """Whoever writes the service into KEY_PREFIX means the same."""
    for prefix, key in (("", f"{service}:1:k"), (service, f"{service}:1:k"), (f"{service}:x", f"{service}:x:1:k")):
        assert make(prefix=prefix).make_key("k") == key


def test_timeouts(cache: RedisCache) -> None:
    """Seconds and their fractions; None for ever; 0 and less not at all; touch gives another."""
    cache.set("k", 1)
    assert 299_000 < native(cache).pttl(cache.make_key("k")) <= 300_000
    cache.set("k", 1, timeout=0.25)
    assert 0 < native(cache).pttl(cache.make_key("k")) <= 250
    cache.set("k", 1, timeout=None)
    assert native(cache).pttl(cache.make_key("k")) == -1
    # Django's own back end says here that the key is not there.
    assert cache.touch("k", None) is True
    assert cache.touch("k", 5) is True
    assert 0 < native(cache).pttl(cache.make_key("k")) <= 5000
    assert cache.touch("none") is False
    for over in (0, -1):
        cache.set("k", 1, timeout=over)
        assert "k" not in cache
        cache.set("k", 1)
        assert cache.touch("k", over) is True
        assert "k" not in cache
        assert cache.touch("k", over) is False
        assert cache.add("k", 1, timeout=over) is True
        assert "k" not in cache


@pytest.mark.parametrize("timeout", [float("nan"), float("inf"), 1e300, HUGE, True, False, "soon", [1]])
def test_what_is_no_timeout_is_refused_by_every_call_and_nothing_is_sent(cache: RedisCache, timeout: Any) -> None:
    """A typed error, not what Python or the server makes of it."""
    cache.set("k", 1)
    calls: list[Callable[[], object]] = [
        lambda: cache.set("k", 2, timeout=timeout),
        lambda: cache.add("new", 2, timeout=timeout),
        lambda: cache.touch("k", timeout),
        lambda: cache.set_many({"k": 2, "new": 2}, timeout=timeout),
        lambda: cache.get_or_set("new", 2, timeout=timeout),
    ]
    for call in calls:
        with pytest.raises(ConfigurationError, match="timeout"):
            call()
    assert cache.get_many(["k", "new"]) == {"k": 1}


def test_the_longest_timeout_and_one_of_the_environment(cache: RedisCache) -> None:
    """What our own calls take at most; whole numbers as text, as Django's own back end has them."""
    cache.set("k", 1, timeout=10**12)
    assert native(cache).pttl(cache.make_key("k")) > 9 * 10**14
    assert cache.touch("k", "60") is True  # type: ignore[arg-type]  # text
    assert 0 < native(cache).pttl(cache.make_key("k")) <= 60_000


@pytest.mark.parametrize("delta", [HUGE, 2**63, True, 1.5, "1", None])
def test_what_the_server_cannot_add_is_refused(cache: RedisCache, delta: Any) -> None:
    """Not as a ValueError, which says that the key is not there."""
    cache.set("n", 1)
    with pytest.raises(ConfigurationError, match="delta"):
        cache.incr("n", delta)
    assert cache.get("n") == 1
    with pytest.raises(CommandRefused):
        cache.incr("n", 2**63 - 1)


def test_integers_of_any_size_come_back(make: Make) -> None:
    """Pickled, where they are too large to be counted in: then `incr` is refused."""
    pickled = make(prefix=secrets.token_hex(4), serializer=PICKLE, on_error="raise")
    values = {"a": 2**63 - 1, "b": 2**63, "c": -(10**5000)}
    assert pickled.set_many(values, timeout=20) == []
    assert pickled.get_many(values) == values
    assert pickled.decr("a") == 2**63 - 2
    with pytest.raises(CommandRefused):
        pickled.incr("b")


@pytest.mark.parametrize(("timeout", "milliseconds"), [(0.5, 500), ("60", 60_000), (None, None), (0, 0), (-1, 0)])
def test_the_settings_timeout(make: Make, timeout: Any, milliseconds: int | None) -> None:
    """A fraction of a second is not cut off."""
    assert make(timeout=timeout).get_backend_timeout() == milliseconds


def test_add_writes_once_and_none_is_a_value(cache: RedisCache) -> None:
    """Falsy values are there."""
    assert cache.add("k", None) is True
    assert cache.add("k", 1) is False
    assert cache.get("k", "default") is None
    assert cache.has_key("k")
    assert cache.get_or_set("k", 5) is None
    assert cache.get_or_set("other", lambda: 6) == 6
    assert cache.add("other", 7, timeout=0) is False


def test_several_keys_at_once(cache: RedisCache) -> None:
    """None among the values; missing keys left out; nothing for nothing."""
    assert cache.set_many({"a": None, "b": 2, "c": "x"}, timeout=20) == []
    assert cache.get_many(["a", "b", "missing"]) == {"a": None, "b": 2}
    assert 0 < native(cache).pttl(cache.make_key("b")) <= 20_000
    cache.delete_many(["a", "missing"])
    assert cache.get_many(iter(["a", "b"])) == {"b": 2}
    assert cache.set_many({"b": 1}, timeout=0) == []
    assert cache.get_many(["b"]) == {}
    assert cache.get_many([]) == {}
    assert cache.set_many({}) == []
    cache.delete_many([])


def test_numbers_are_added_to_atomically_and_only_where_they_are(cache: RedisCache) -> None:
    """By many threads; the timeout stays; what is not there is a ValueError and stays away."""
    cache.set("n", 1, timeout=50)

    def add() -> None:
        for _ in range(25):
            cache.incr("n")

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.get("n") == 101
    assert cache.decr("n", 100) == 1
    assert 0 < native(cache).pttl(cache.make_key("n")) <= 50_000
    with pytest.raises(ValueError, match="missing"):
        cache.incr("missing")
    time.sleep(0.02)
    assert "missing" not in cache
    cache.set("text", "x")
    with pytest.raises(CommandRefused):
        cache.incr("text")


def test_a_keys_version_is_raised(cache: RedisCache) -> None:
    """Django's own way, over our calls."""
    cache.set("k", "v")
    assert cache.incr_version("k") == 2
    assert cache.get("k") is None
    assert cache.get("k", version=2) == "v"
    assert cache.decr_version("k", version=2) == 1


async def test_the_asynchronous_calls(cache: RedisCache) -> None:
    """Each one; those of several keys make one round trip, and `aincr` is atomic."""
    await cache.aset("k", 1)
    assert await cache.aadd("k", 2) is False
    assert await cache.aget("k") == 1
    assert await cache.aincr("k", 4) == 5
    assert await cache.adecr("k") == 4
    assert await cache.ahas_key("k")
    assert await cache.atouch("k", 9)
    assert await cache.aset_many({"a": 1, "b": 2}) == []
    assert await cache.aget_many(["a", "b", "c"]) == {"a": 1, "b": 2}
    await cache.adelete_many(["a", "b"])
    assert await cache.aget_or_set("o", 3) == 3
    assert await cache.adelete("k") is True
    await cache.aclear()
    assert await cache.aget("o") is None


def test_clear_deletes_what_begins_with_the_prefix_and_nothing_else(make: Make) -> None:
    """Two caches of one service do not clear each other."""
    one, two = make(prefix=secrets.token_hex(4)), make(prefix=secrets.token_hex(4))
    one.set("k", 1)
    two.set("k", 2)
    one.clear()
    assert one.get("k") is None
    assert two.get("k") == 2
    two.clear()


def test_clear_without_the_right_to_scan_names_it(make: Make) -> None:
    """And everything else works."""
    cache = make(service=NO_SCAN)
    cache.set("k", 1, timeout=5)
    assert cache.get("k") == 1
    with pytest.raises(AccessDenied, match="scan: true"):
        cache.clear()


def test_json_refuses_what_it_cannot_hold_and_pickle_takes_it(make: Make) -> None:
    """The refusal says what to do. Integers stay digits, so that they can be added to; a bool stays a bool."""
    value = {"when": {1, 2}}
    cache = make(prefix=secrets.token_hex(4))
    with pytest.raises(ConfigurationError, match="PickleSerializer"):
        cache.set("k", value)
    pickled = make(prefix=secrets.token_hex(4), serializer=PICKLE)
    pickled.set_many({"k": value, "n": 1, "b": True})
    assert pickled.get_many(["k", "n", "b"]) == {"k": value, "n": 1, "b": True}
    assert pickled.get("b") is True
    assert pickled.incr("n") == 2
    pickled.clear()


def test_what_another_writes_is_no_code_to_json_and_an_error_to_pickle(make: Make) -> None:
    """A pickle in a key that JSON reads is ValueMalformed and is not run; so is what is no pickle."""
    cache = make(prefix=secrets.token_hex(4))
    evil = b"cbuiltins\nexec\n(S'raise SystemExit'\ntR."
    native(cache).set(cache.make_key("k"), evil, ex=5)
    with pytest.raises(ValueMalformed):
        cache.get("k")
    pickled = make(prefix=secrets.token_hex(4), serializer=PICKLE)
    native(pickled).set(pickled.make_key("k"), b'{"a":1}', ex=5)
    with pytest.raises(ValueMalformed):
        pickled.get("k")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"location": "redis://x"}, "LOCATION"),
        ({"service": None}, "'service'"),
        ({"env": ""}, "'env'"),
        ({"password": "hunter2hunter2"}, "unknown 'password'"),
        ({"on_error": "ignore"}, "on_error"),
        ({"serializer": "no.such.Thing"}, "imported"),
        ({"serializer": object()}, "dumps"),
        ({"tls": 1}, "'tls'"),
        ({"aws": 1}, "'aws'"),
        ({"timeout": float("inf")}, "TIMEOUT"),
        ({"timeout": "hunter2"}, "TIMEOUT"),
        ({"timeout": True}, "TIMEOUT"),
    ],
)
def test_settings_that_cannot_be_used_are_told(make: Make, options: dict[str, Any], said: str) -> None:
    """When the cache is made; no value is quoted."""
    with pytest.raises(SettingsError, match=said) as info:
        make(**options)
    assert "hunter2" not in str(info.value)


def test_threads_share_one_pool_and_a_fork_connects_anew(make: Make) -> None:
    """Django makes a cache object for each thread; a connection of the parent's is not the child's."""
    one, two = make(prefix="f", max_connections=7), make(prefix="g", max_connections=7)
    assert one._commands is two._commands
    one.set("k", 1, timeout=20)
    child = os.fork()
    if child == 0:
        ended = 1
        try:
            ended = 0 if one.get("k") == 1 and one.incr("k") == 2 else 2
        finally:
            os._exit(ended)
    assert os.waitpid(child, 0)[1] == 0
    assert one.get("k") == 2


def test_while_redis_is_away_reads_miss_and_writes_are_dropped_unless_told_to_raise(
    make: Make, local_aws: LocalEnvironment
) -> None:
    """Also for a process whose first request comes then; it is there again as soon as the server is."""
    kind, fresh = make(prefix="away", command_timeout=0.3), make(prefix="away", command_timeout=0.31)
    raising = make(prefix="away", on_error="raise", command_timeout=0.3)
    kind.set("k", 1, timeout=20)
    local_aws.kill_server("dev", "redis")
    try:
        for cache in (kind, fresh):
            assert cache.get("k", "nothing") == "nothing"
            assert cache.get_many(["k"]) == {}
            assert cache.has_key("k") is False
            assert cache.add("k", 1) is False
            assert cache.delete("k") is False
            assert cache.touch("k", 5) is False
            cache.set("k", 2)
            assert cache.set_many({"k": 2}) == ["k"]
            with pytest.raises(ValueError, match="k"):
                cache.incr("k")
        with pytest.raises(ServerUnavailable):
            raising.get("k")
        with pytest.raises(ServerUnavailable):
            kind.clear()
    finally:
        local_aws.start_server("dev", "redis")
    deadline = time.monotonic() + 20
    while not kind.add("back", 1, timeout=20):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert kind.get("back") == 1


def test_what_is_no_outage_is_raised(make: Make) -> None:
    """A secret that is not there is no miss, however often it is asked for."""
    cache = make(service="never-provisioned")
    for _ in range(2):
        with pytest.raises(SecretNotFound):
            cache.get("k")
    assert all(not commands.is_connected for key, commands in _commands.items() if "never-provisioned" in str(key))
