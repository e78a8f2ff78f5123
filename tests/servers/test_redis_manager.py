"""The Redis managers, both kinds, on a real server: values, sets, prefixes, life, credentials, errors."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr
from tests.servers.aws_kit import settle
from tests.servers.redis_kit import KINDS, RULES, config_of, connected
from tests.support.credentials import Vault, served_by

from soa_db import (
    AccessDenied,
    AuthenticationFailed,
    CommandRefused,
    ConfigurationError,
    NotConnectedError,
    PasswordAuth,
    PoolTimeout,
    RedisConfig,
    ServerUnavailable,
    ValueMalformed,
)
from soa_db.redis import AsyncRedisConnectionManager, RedisConnectionManager

if TYPE_CHECKING:
    from soa_db.local.redis import RedisServer

VALUES: list[Any] = [None, False, 0, "", [], {}, 1.5, "é\n\x00", {"a": [1, None, {"b": True}]}, 2**70]
KEYS = ["with space", "new\nline", "*?[a]\\", "é", bytes(range(256))]


@pytest.fixture(params=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of manager in turn."""
    return str(request.param)


async def test_values_come_back_and_stand_there_as_bare_json(
    redis_server: RedisServer, kind: str, unique_name: str
) -> None:
    """Falsy ones too; a key that is not there is the default, a null is None."""
    async with connected(kind, config_of(redis_server)) as cache:
        for number, value in enumerate(VALUES):
            key = f"{unique_name}:{number}"
            await settle(cache.set(key, value))
            assert await settle(cache.get(key, default="none")) == value
        assert await settle(cache.get(f"{unique_name}:no", default="none")) == "none"
        await settle(cache.set(unique_name, {"a": ["é", 1]}))
        assert await settle(cache.client.get(unique_name)) == '{"a":["é",1]}'.encode()
        assert await settle(cache.delete(unique_name)) is True
        assert await settle(cache.delete(unique_name)) is False


@pytest.mark.parametrize("key", KEYS, ids=range(len(KEYS)))
async def test_a_key_may_hold_anything(
    redis_server: RedisServer, kind: str, unique_name: str, key: str | bytes
) -> None:
    """Spaces, newlines, glob characters, every byte."""
    prefix: Any = unique_name if isinstance(key, str) else unique_name.encode()
    async with connected(kind, config_of(redis_server)) as cache:
        await settle(cache.set(prefix + key, 1))
        assert await settle(cache.get(prefix + key)) == 1
        await settle(cache.mset({prefix + key: 2}))
        assert await settle(cache.mget([prefix + key, prefix])) == [2, None]
        assert await settle(cache.clear_by_prefix(prefix + key)) == 1


async def test_a_time_to_live_is_in_seconds(redis_server: RedisServer, kind: str, unique_name: str) -> None:
    """600 s by default, a fraction in milliseconds, None for as long as the server keeps it."""
    async with connected(kind, config_of(redis_server)) as cache:
        for ttl, low, high in ((600.0, 590_000, 600_000), (2.5, 1000, 2500)):
            await settle(cache.set(unique_name, 1, ttl))
            assert low < await settle(cache.client.pttl(unique_name)) <= high
        await settle(cache.set(unique_name, 1))
        assert 590_000 < await settle(cache.client.pttl(unique_name)) <= 600_000
        await settle(cache.set(unique_name, 1, ttl=None))
        assert await settle(cache.client.pttl(unique_name)) == -1
        await settle(cache.mset({unique_name: 1}))
        assert 590_000 < await settle(cache.client.pttl(unique_name)) <= 600_000


async def test_what_cannot_be_written_leaves_nothing_half_written(
    redis_server: RedisServer, kind: str, unique_name: str
) -> None:
    """Values and times are looked at before anything is sent."""
    async with connected(kind, config_of(redis_server)) as cache:
        calls: list[Callable[[], Any]] = [
            lambda: cache.mset({f"{unique_name}:1": 1, f"{unique_name}:2": float("nan")}),
            lambda: cache.mset({f"{unique_name}:1": 1}, ttl=0),
            lambda: cache.set(f"{unique_name}:1", object()),
            lambda: cache.set(f"{unique_name}:1", 1, ttl=-1),
            lambda: cache.sadd(f"{unique_name}:1", 1, {2}),
            lambda: cache.cached_call(f"{unique_name}:1", len, ttl=0),
            lambda: cache.clear_by_prefix(""),
            lambda: cache.get(f"{unique_name}:1", on_error="ignore"),
        ]
        for call in calls:
            with pytest.raises(ConfigurationError):
                await settle(call())
        assert await settle(cache.client.exists(f"{unique_name}:1")) == 0


async def test_sets_round_trip_any_value(redis_server: RedisServer, kind: str, unique_name: str) -> None:
    """Objects and lists too, which fit in no Python set."""
    async with connected(kind, config_of(redis_server)) as cache:
        assert await settle(cache.sadd(unique_name, *VALUES, ttl=60)) == len(VALUES)
        assert await settle(cache.client.pttl(unique_name)) > 0
        members = await settle(cache.smembers(unique_name))
        assert len(members) == len(VALUES)
        assert all(value in members for value in VALUES)
        assert await settle(cache.srem(unique_name, {"a": [1, None, {"b": True}]}, "no")) == 1
        assert {"a": [1, None, {"b": True}]} not in await settle(cache.smembers(unique_name))
        assert await settle(cache.smembers(f"{unique_name}:no")) == []
        assert await settle(cache.sadd(unique_name)) == await settle(cache.srem(unique_name)) == 0


async def test_a_huge_value_passes(redis_server: RedisServer, kind: str, unique_name: str) -> None:
    """Tens of megabytes."""
    async with connected(kind, config_of(redis_server)) as cache:
        await settle(cache.set(unique_name, "x" * 30_000_000))
        assert len(await settle(cache.get(unique_name))) == 30_000_000
        await settle(cache.delete(unique_name))


async def test_a_prefix_is_cleared_and_nothing_else(redis_server: RedisServer, kind: str, unique_name: str) -> None:
    """More keys than one batch; a star in the prefix is a star."""
    async with connected(kind, config_of(redis_server)) as cache:
        await settle(cache.mset({f"{unique_name}:*:{number}": number for number in range(2500)}))
        await settle(cache.mset({f"{unique_name}:x:1": 1, f"other:{unique_name}:*:": 1}))
        assert await settle(cache.clear_by_prefix(f"{unique_name}:*:")) == 2500
        assert await settle(cache.mget([f"{unique_name}:x:1", f"other:{unique_name}:*:"])) == [1, 1]
        assert await settle(cache.mdel([f"{unique_name}:x:1", f"other:{unique_name}:*:", "no"])) == 2
        assert await settle(cache.mget([])) == []


@pytest.fixture
def service(redis_server: RedisServer, unique_name: str) -> RedisConfig:
    """A service with the rights FACTS gives it."""
    with redis_server.admin() as admin:
        admin.execute_command(
            f"ACL SETUSER {unique_name} on >first-password resetchannels ~{unique_name}:* &{unique_name}:* {RULES}"
        )
    auth = PasswordAuth(password=SecretStr("first-password"))
    return config_of(redis_server, user=unique_name, auth=auth)


async def test_a_services_own_rights_are_enough(service: RedisConfig, kind: str, unique_name: str) -> None:
    """The handshake, every call, the lock; but SCAN, whose refusal says what to declare."""
    async with connected(kind, service) as cache:
        key = f"{unique_name}:1"
        await settle(cache.set(key, 1))
        assert await settle(cache.get(key)) == 1
        await settle(cache.sadd(f"{unique_name}:s", 1))

        def value() -> int:
            return 5

        async def avalue() -> int:
            return 5

        origin = value if kind == "sync" else avalue
        assert await settle(cache.cached_call(f"{unique_name}:c", origin, lock=30, stale_while_revalidate=5)) == 5
        assert await settle(cache.client.exists(f"{unique_name}:c_lock")) == 0
        with pytest.raises(AccessDenied, match="scan: true"):
            await settle(cache.clear_by_prefix(f"{unique_name}:"))
        with pytest.raises(AccessDenied, match="no permissions") as caught:
            await settle(cache.get("other:1", on_error="miss"))
        assert "other:1" in str(caught.value)


async def test_what_a_key_holds_is_told_by_the_key_alone(
    redis_server: RedisServer, kind: str, unique_name: str
) -> None:
    """Not JSON, another type; the value is never quoted."""
    async with connected(kind, config_of(redis_server)) as cache:
        await settle(cache.client.set(unique_name, "canary{"))
        with pytest.raises(ValueMalformed, match=unique_name) as caught:
            await settle(cache.get(unique_name))
        assert "canary" not in str(caught.value)
        with pytest.raises(ValueMalformed, match=unique_name):
            await settle(cache.cached_call(unique_name, lambda: 1))
        with pytest.raises(CommandRefused, match="WRONGTYPE"):
            await settle(cache.smembers(unique_name))


async def test_life(redis_server: RedisServer, kind: str) -> None:
    """Idempotent both ways, usable again; NotConnectedError outside."""
    cache = KINDS[kind](config_of(redis_server, instance_name="a cache"))
    for call in (lambda: cache.client, cache.stats):
        with pytest.raises(NotConnectedError):
            call()
    with pytest.raises(NotConnectedError):
        await settle(cache.get("k"))
    assert await settle(cache.ping()) is False
    for _ in range(2):
        await settle(cache.connect())
        client = cache.client
        await settle(cache.connect())
        assert cache.client is client
        assert cache.is_connected
        assert await settle(cache.ping()) is True
        assert await settle(client.client_getname()) in {"a-cache", b"a-cache"}
        assert cache.stats()["connected"] == 1
        await settle(cache.drain())
        assert await settle(cache.ping()) is True
        await settle(cache.disconnect())
        await settle(cache.disconnect())
        assert not cache.is_connected
    assert "a cache" in repr(cache)


async def test_bad_credentials_fail_in_connect_at_once_and_show_nothing(
    redis_server: RedisServer, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One attempt; the secret stands in no message, repr or log line."""
    caplog.set_level(logging.DEBUG)
    wrong = config_of(redis_server, auth=PasswordAuth(password=SecretStr("canary-password")))
    cache = KINDS[kind](wrong)
    with pytest.raises(AuthenticationFailed, match=r"WRONGPASS|invalid username") as caught:
        await settle(cache.connect())
    assert caught.value.hint
    assert "canary" not in f"{caught.value!s}{caught.value!r}{cache!r}{caplog.text}"
    await settle(cache.disconnect())


async def test_a_refused_password_is_read_again_within_the_same_connect(
    redis_server: RedisServer, service: RedisConfig, kind: str
) -> None:
    """No call fails: not the first, not one whose connection was cut after the password changed."""
    vault = Vault(str(service.user), "first-password")
    vault.served = "stale-password"
    cache = served_by(vault, KINDS[kind](service))
    await settle(cache.connect())
    assert vault.refreshes == 1
    with redis_server.admin() as admin:
        admin.client_kill_filter(user=service.user)
    await settle(cache.set(f"{service.user}:1", 1))
    assert vault.refreshes == 1
    await settle(cache.disconnect())


async def test_a_full_pool_waits_and_then_says_so(redis_server: RedisServer, kind: str) -> None:
    """Callers queue; one that waits too long gets PoolTimeout."""
    async with connected(kind, config_of(redis_server, max_connections=1, command_timeout=0.5)) as cache:
        pool = cache.client.connection_pool
        taken = await settle(pool.get_connection())
        with pytest.raises(PoolTimeout) as caught:
            await settle(cache.get("k"))
        assert "max_connections" in caught.value.hint
        await settle(pool.release(taken))
        assert await settle(cache.get("no such key")) is None


async def test_a_server_that_is_not_there_is_tried_three_times(
    redis_server: RedisServer, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then a typed error says what was tried."""
    module = f"soa_db._{kind}.redis.manager"
    waits: list[float] = []

    def blocking(seconds: float) -> None:
        waits.append(seconds)

    async def awaiting(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(f"{module}.sleep", blocking if kind == "sync" else awaiting)
    cache = KINDS[kind](config_of(redis_server, port=1))
    with pytest.raises(ServerUnavailable, match=r"127\.0\.0\.1:1"):
        await settle(cache.connect())
    assert len(waits) == 2
    await settle(cache.disconnect())


async def test_subscriptions_work_with_a_services_rights_and_are_made_anew_when_their_token_ends(
    service: RedisConfig, unique_name: str
) -> None:
    """RESP2 takes no AUTH on a subscribed connection: it is replaced and subscribed again."""
    async with AsyncRedisConnectionManager(service) as cache:
        subscription: Any = cache.client.pubsub(ignore_subscribe_messages=True)
        await subscription.subscribe(f"{unique_name}:news")

        async def message() -> Any:
            for _ in range(50):
                found = await subscription.get_message(timeout=0.1)
                if found is not None:
                    return found["data"]
            return None

        await cache.client.publish(f"{unique_name}:news", "one")
        assert await message() == b"one"
        old = subscription.connection._writer
        subscription.connection._renew_at = 0.0
        await subscription.get_message(timeout=0.1)
        assert subscription.connection._writer is not old
        await cache.client.publish(f"{unique_name}:news", "two")
        assert await message() == b"two"
        await subscription.aclose()


async def test_a_connection_whose_token_ends_is_replaced_before_it_is_handed_out(
    redis_server: RedisServer, kind: str
) -> None:
    """ElastiCache would cut it after 12 hours, in the middle of a call perhaps."""
    async with connected(kind, config_of(redis_server)) as cache:
        before = await settle(cache.client.client_id())
        assert await settle(cache.client.client_id()) == before
        pool = cache.client.connection_pool
        connection = await settle(pool.get_connection())
        connection._renew_at = 0.0
        await settle(pool.release(connection))
        assert await settle(cache.client.client_id()) != before


async def test_cancelled_callers_leave_no_reply_to_others(redis_server: RedisServer, unique_name: str) -> None:
    """redis-py closes a connection whose caller went away: prove it, a reply of another would be worse than none."""
    async with AsyncRedisConnectionManager(config_of(redis_server, max_connections=3)) as cache:
        for number in range(50):
            await cache.set(f"{unique_name}:{number}", number)

        async def read(number: int) -> None:
            assert await cache.get(f"{unique_name}:{number}") == number

        for turn in range(100):
            tasks = [asyncio.create_task(read(number)) for number in range(50)]
            for _ in range(turn % 7):
                await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert [one for one in done if one is not None and not isinstance(one, asyncio.CancelledError)] == []
        assert cache.stats()["in_use"] == 0
        assert cache.stats()["idle"] <= 3


async def test_nothing_is_left_behind(redis_server: RedisServer, kind: str) -> None:
    """No thread, no warning, no connection on the server."""
    name = f"left-{os.urandom(4).hex()}"
    threads = set(threading.enumerate())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with connected(kind, config_of(redis_server, instance_name=name)) as cache:
            await settle(cache.mset({f"{name}:{number}": number for number in range(100)}))
            assert set(threading.enumerate()) == threads
        del cache
        gc.collect()
    with redis_server.admin() as admin:
        for _ in range(50):
            if not [one for one in admin.client_list() if one["name"] == name]:
                break
            await asyncio.sleep(0.1)
        assert [one for one in admin.client_list() if one["name"] == name] == []


async def test_a_child_forked_in_a_running_loop_leaves_the_parents_connections_alone(
    redis_server: RedisServer, unique_name: str
) -> None:
    """Collecting the child's copy as garbage would take the parent's sockets out of the epoll instance both share."""
    async with AsyncRedisConnectionManager(config_of(redis_server, command_timeout=5.0)) as cache:
        await asyncio.gather(*(cache.set(f"{unique_name}-{number}", number) for number in range(5)))
        child = os.fork()
        if child == 0:
            gc.collect()
            os._exit(0)
        os.waitpid(child, 0)
        assert await asyncio.gather(*(cache.get(f"{unique_name}-{number}") for number in range(5))) == [0, 1, 2, 3, 4]


def test_a_forked_child_connects_anew_and_leaves_the_parents_connections_alone(
    redis_server: RedisServer, unique_name: str
) -> None:
    """Two processes must not talk on one socket, nor may the child end the parent's."""
    with RedisConnectionManager(config_of(redis_server)) as cache:
        cache.set(unique_name, "parent")
        mine = cache.client.client_id()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                same = cache.client.client_id() if cache._client is not None else 0
                ok = cache.get(unique_name) == "parent" and cache.client.client_id() not in {mine, same}
                os.write(writer, b"yes" if ok else b"no")
            except BaseException as error:
                os.write(writer, type(error).__name__.encode())
            finally:
                os._exit(0)
        os.close(writer)
        assert os.read(reader, 100) == b"yes"
        os.waitpid(child, 0)
        os.close(reader)
        assert cache.client.client_id() == mine
