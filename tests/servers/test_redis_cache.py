"""Cached calls, both kinds, on a real server: one origin call, what is cached, stale values, locks, outages."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.servers.aws_kit import settle
from tests.servers.redis_kit import config_of, connected, origin_of

from soa_db import ConfigurationError, RedisConfig
from soa_db.errors import ServerUnavailable
from soa_db.local.redis import RedisServer
from soa_db.redis import AsyncRedisConnectionManager, RedisConnectionManager

RedisServerFactory = Callable[..., RedisServer]


@pytest.fixture(params=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of manager in turn."""
    return str(request.param)


class Origin:
    """Counts its calls."""

    def __init__(self, value: object = 1) -> None:
        self.value = value
        self.calls = 0

    def __call__(self) -> object:
        # Before it is counted: a test that has seen the count may change it.
        value = self.value
        self.calls += 1
        if isinstance(value, Exception):
            raise value
        return value


@pytest.mark.parametrize("value", [None, False, 0, "", [], {"a": 1}])
async def test_any_value_is_cached(redis_server: RedisServer, kind: str, unique_name: str, value: object) -> None:
    """Falsy ones and None too; with the time to live that was asked for."""
    origin = Origin(value)
    async with connected(kind, config_of(redis_server)) as cache:
        for _ in range(3):
            assert await settle(cache.cached_call(unique_name, origin_of(kind, origin), ttl=50)) == value
        assert origin.calls == 1
        assert 40_000 < await settle(cache.client.pttl(unique_name)) <= 50_000
        assert cache.stats()["hits"] == 2
        assert cache.stats()["origin_calls"] == 1


async def test_the_first_caller_gets_what_later_ones_get(
    redis_server: RedisServer, kind: str, unique_name: str
) -> None:
    """A tuple is a list for all of them."""
    async with connected(kind, config_of(redis_server)) as cache:
        origin = origin_of(kind, Origin((1, 2)))
        assert [await settle(cache.cached_call(unique_name, origin)) for _ in range(2)] == [[1, 2], [1, 2]]


async def test_what_the_origin_raises_passes_through_and_is_not_cached(
    redis_server: RedisServer, kind: str, unique_name: str
) -> None:
    """Nor is what it returns that is no JSON."""
    origin = Origin(LookupError("gone"))
    async with connected(kind, config_of(redis_server)) as cache:
        for _ in range(2):
            with pytest.raises(LookupError, match="gone"):
                await settle(cache.cached_call(unique_name, origin_of(kind, origin)))
        assert origin.calls == 2
        for value in (object(), {1: "a"}):
            with pytest.raises(ConfigurationError, match="JSON"):
                await settle(cache.cached_call(unique_name, origin_of(kind, Origin(value))))
        assert await settle(cache.client.exists(unique_name)) == 0


async def test_a_thousand_misses_are_one_origin_call(redis_server: RedisServer, unique_name: str) -> None:
    """And the first caller's cancellation is its own affair."""
    calls = 0

    async def origin() -> str:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.2)
        return "value"

    async with AsyncRedisConnectionManager(config_of(redis_server)) as cache:
        first = asyncio.create_task(cache.cached_call(unique_name, origin))
        await asyncio.sleep(0.1)
        rest = [asyncio.create_task(cache.cached_call(unique_name, origin)) for _ in range(1000)]
        await asyncio.sleep(0)
        first.cancel()
        assert set(await asyncio.gather(*rest)) == {"value"}
        with pytest.raises(asyncio.CancelledError):
            await first
    assert calls == 1


def test_threads_share_one_origin_call(redis_server: RedisServer, unique_name: str) -> None:
    """The blocking kind."""
    calls: list[int] = []
    gate = threading.Event()

    def origin() -> int:
        calls.append(1)
        gate.wait(5)
        return 7

    results: list[int] = []
    with RedisConnectionManager(config_of(redis_server)) as cache:
        threads = [
            threading.Thread(target=lambda: results.append(cache.cached_call(unique_name, origin))) for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        gate.set()
        for thread in threads:
            thread.join()
    assert results == [7] * 20
    assert len(calls) == 1


async def test_one_process_of_many_calls_the_origin_when_asked_to(redis_server: RedisServer, unique_name: str) -> None:
    """Managers of their own share nothing but the server: the lock; it is given back."""
    calls = 0

    async def origin() -> int:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.3)
        return 5

    managers = [AsyncRedisConnectionManager(config_of(redis_server)) for _ in range(8)]
    for manager in managers:
        await manager.connect()
    try:
        assert await asyncio.gather(*(one.cached_call(unique_name, origin, lock=30) for one in managers)) == [5] * 8
        assert calls == 1
        assert await managers[0].client.exists(f"{unique_name}_lock") == 0
    finally:
        for manager in managers:
            await manager.disconnect()


async def test_a_lock_whose_holder_died_ends_by_itself(redis_server: RedisServer, kind: str, unique_name: str) -> None:
    """And one that is another's by now is not deleted."""
    async with connected(kind, config_of(redis_server)) as cache:
        await settle(cache.client.set(f"{unique_name}_lock", "of a dead one", px=300))
        origin = Origin()
        assert await settle(cache.cached_call(unique_name, origin_of(kind, origin), lock=10)) == 1
        assert origin.calls == 1
        await settle(cache.delete(unique_name))

        async def steal() -> int:
            await settle(cache.client.set(f"{unique_name}_lock", "of another"))
            return 2

        def steal_now() -> int:
            cache.client.set(f"{unique_name}_lock", "of another")
            return 2

        await settle(cache.cached_call(unique_name, steal if kind == "async" else steal_now, lock=10))
        assert await settle(cache.client.get(f"{unique_name}_lock")) == b"of another"


async def test_a_stale_value_is_given_at_once_and_renewed_once(
    redis_server: RedisServer, kind: str, unique_name: str
) -> None:
    """By one caller of all; a fresh one is left alone; an origin that fails leaves the stale value."""
    origin = Origin("old")

    async def call() -> Any:
        return await settle(cache.cached_call(unique_name, origin_of(kind, origin), ttl=30, stale_while_revalidate=60))

    async with connected(kind, config_of(redis_server)) as cache:
        assert await call() == "old"
        assert 80_000 < await settle(cache.client.pttl(unique_name)) <= 90_000
        assert [await call() for _ in range(3)] == ["old"] * 3
        assert origin.calls == 1
        origin.value = RuntimeError("down")
        await settle(cache.client.delete(f"{unique_name}_refresh"))
        assert [await call() for _ in range(3)] == ["old"] * 3
        async with asyncio.timeout(10):
            while origin.calls < 2:
                await asyncio.sleep(0.01)
            origin.value = "new"
            await settle(cache.client.delete(f"{unique_name}_refresh"))
            assert await call() == "old"
            # The failed renewal may still be at its end then: one of these calls begins the next.
            while await call() == "old":
                await asyncio.sleep(0.01)
        assert await call() == "new"
        assert origin.calls == 3


async def test_a_refresh_is_throttled(redis_server: RedisServer, kind: str, unique_name: str) -> None:
    """In seconds, among all; a failed one does not count."""
    origin = Origin(1)
    async with connected(kind, config_of(redis_server)) as cache:
        with pytest.raises(ZeroDivisionError):
            await settle(cache.refresh_cache(unique_name, origin_of(kind, Origin(ZeroDivisionError()))))
        assert await settle(cache.refresh_cache(unique_name, origin_of(kind, origin), throttle=30, ttl=70)) is True
        assert await settle(cache.refresh_cache(unique_name, origin_of(kind, origin), throttle=30, ttl=70)) is False
        assert origin.calls == 1
        assert await settle(cache.get(unique_name)) == 1
        assert 20_000 < await settle(cache.client.pttl(f"{unique_name}_refresh")) <= 30_000
        assert 60_000 < await settle(cache.client.pttl(unique_name)) <= 70_000
        with pytest.raises(ConfigurationError, match="throttle"):
            await settle(cache.refresh_cache(unique_name, origin_of(kind, origin), throttle=0))


async def test_a_refresh_that_fails_leaves_the_marker_of_another(
    redis_server: RedisServer, kind: str, unique_name: str
) -> None:
    """Its own ended while the origin was at work, and another process refreshes by now."""
    marker = f"{unique_name}_refresh"
    async with connected(kind, config_of(redis_server)) as cache:

        def fail() -> object:
            with redis_server.admin() as admin:
                assert admin.exists(marker)
                admin.set(marker, "another's")
            raise LookupError

        with pytest.raises(LookupError):
            await settle(cache.refresh_cache(unique_name, origin_of(kind, fail)))
        assert await settle(cache.client.get(marker)) == b"another's"


async def test_an_outage_goes_to_the_origin_with_one_line_in_the_log(
    redis_server_factory: RedisServerFactory, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With a lock and stale values too; reading calls may take it for a miss; afterwards it caches again."""
    caplog.set_level(logging.INFO, "soa_db.redis")
    server = redis_server_factory()
    origin = Origin(4)
    async with connected(kind, config_of(server)) as cache:
        server.kill()
        for number in range(20):
            assert await settle(cache.cached_call(f"k{number}", origin_of(kind, origin))) == 4
        assert await settle(cache.cached_call("l", origin_of(kind, origin), lock=10)) == 4
        assert await settle(cache.cached_call("s", origin_of(kind, origin), stale_while_revalidate=10)) == 4
        assert origin.calls == 22
        assert not cache.is_connected
        assert len([one for one in caplog.records if one.levelno >= logging.WARNING]) == 1
        server.start()
        for _ in range(200):
            await settle(cache.cached_call("again", origin_of(kind, origin)))
            if cache.is_connected:
                break
            await asyncio.sleep(0.05)
        assert cache.is_connected
        calls = origin.calls
        await settle(cache.cached_call("again", origin_of(kind, origin)))
        await settle(cache.cached_call("again", origin_of(kind, origin)))
        assert origin.calls <= calls + 1
        assert [one.levelno for one in caplog.records] == [logging.WARNING, logging.INFO]
        assert cache.stats()["away"] == 1


async def test_a_server_without_memory_costs_the_caching_and_not_the_value(
    redis_server_factory: RedisServerFactory, kind: str
) -> None:
    """noeviction: reads go on, writes are refused with a typed error."""
    from soa_db import CommandRefused

    server = redis_server_factory(settings={"maxmemory": "500kb", "maxmemory-policy": "noeviction"})
    async with connected(kind, config_of(server)) as cache:
        with pytest.raises(CommandRefused, match="no writes"):
            await settle(cache.set("k", 1))
        assert await settle(cache.cached_call("k", origin_of(kind, Origin(9)))) == 9
        assert await settle(cache.get("k")) is None


async def test_on_error_miss_reads_nothing_during_an_outage(
    redis_server_factory: RedisServerFactory, kind: str
) -> None:
    """For get, mget and smembers; without it the error is typed."""
    from soa_db import ServerUnavailable

    server = redis_server_factory()
    config: RedisConfig = config_of(server, command_timeout=0.3, connect_timeout=0.3)
    async with connected(kind, config) as cache:
        server.kill()
        assert await settle(cache.get("k", default=5, on_error="miss")) == 5
        assert await settle(cache.mget(["k", "l"], on_error="miss")) == [None, None]
        assert await settle(cache.smembers("k", on_error="miss")) == []
        with pytest.raises(ServerUnavailable):
            await settle(cache.get("k"))


def test_an_outage_that_ends_while_it_is_told_of_is_no_error(redis_server: RedisServer) -> None:
    """Another thread finds the server back between two looks of this one."""
    manager = RedisConnectionManager(config_of(redis_server))
    cache = manager._cache._outage

    def other_thread(record: logging.LogRecord) -> bool:
        if record.levelno == logging.WARNING:
            cache.answered()
        return True

    log = logging.getLogger("soa_db.redis")
    log.addFilter(other_thread)
    try:
        cache.met(ServerUnavailable("gone"))
    finally:
        log.removeFilter(other_thread)
    assert not cache.is_away
