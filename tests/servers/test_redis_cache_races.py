"""Cached calls where callers, outages and endings cross each other."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.servers.aws_kit import settle
from tests.servers.redis_kit import config_of, connected, origin_of

from soa_db import AccessDenied, TlsConfig
from soa_db.local.redis import RedisServer
from soa_db.redis import AsyncRedisConnectionManager, RedisConnectionManager

if TYPE_CHECKING:
    from soa_db.local.redis_cluster import RedisCluster

RedisServerFactory = Callable[..., RedisServer]


@pytest.fixture(params=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of manager in turn."""
    return str(request.param)


async def test_callers_of_one_origin_call_get_objects_of_their_own(redis_server: RedisServer, unique_name: str) -> None:
    """What one of them does to its list, the others do not see: as if each had had a hit."""

    async def origin() -> list[int]:
        await asyncio.sleep(0.05)
        return [1]

    async with AsyncRedisConnectionManager(config_of(redis_server)) as cache:
        found = await asyncio.gather(*(cache.cached_call(unique_name, origin) for _ in range(3)))
    found[0].append(2)
    assert found == [[1, 2], [1], [1]]


async def test_a_cancelled_look_leaves_the_next_one_to_the_next_caller(
    redis_server_factory: RedisServerFactory,
) -> None:
    """The one who looks whether an outage is over is cancelled meanwhile: nobody waits until it would have seen."""

    async def origin() -> int:
        return 1

    server = redis_server_factory()
    async with AsyncRedisConnectionManager(config_of(server, command_timeout=60, connect_timeout=60)) as cache:
        server.kill()
        assert await cache.cached_call("k", origin) == 1
        assert not cache.is_connected
        server.start()
        # It takes connections then, but answers nothing.
        server.pause()
        # Past the pause before the next look.
        await asyncio.sleep(0.1)
        look = asyncio.create_task(cache.cached_call("k", origin))
        await asyncio.sleep(0.1)
        look.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await look
        server.resume()
        assert await cache.cached_call("k", origin) == 1
        assert cache.is_connected


async def test_whoever_is_answered_ends_an_outage(
    redis_server_factory: RedisServerFactory, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A plain call, a ping, a refusal, a read that takes outages for misses: each is an answer."""
    caplog.set_level(logging.INFO, "soa_db.redis")
    server = redis_server_factory(users=("narrow on >secret-of-narrow ~own:* +@all",))
    config = config_of(server, command_timeout=1)

    async def refused(cache: Any) -> None:
        with pytest.raises(AccessDenied):
            await settle(cache.cached_call("other", origin_of(kind, lambda: 1)))

    answers: list[Callable[[Any], Any]] = [
        lambda cache: cache.get("own:k"),
        lambda cache: cache.ping(),
        lambda cache: cache.get("own:k", on_error="miss"),
        refused,
    ]
    user = config.auth.model_copy(update={"password": type(config.auth.password)("secret-of-narrow")})  # type: ignore[union-attr]
    async with connected(kind, config.model_copy(update={"user": "narrow", "auth": user})) as cache:
        for answer in answers:
            server.kill()
            assert await settle(cache.get("own:k", default=2, on_error="miss")) == 2
            assert not cache.is_connected
            server.start()
            for _ in range(200):
                with contextlib.suppress(pytest.fail.Exception):
                    await settle(answer(cache))
                if cache.is_connected:
                    break
                await asyncio.sleep(0.02)
            assert cache.is_connected
        assert cache.stats()["away"] == len(answers)


async def test_reading_that_takes_an_outage_for_a_miss_waits_for_nothing(
    redis_server_factory: RedisServerFactory, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One attempt; then not even that, until it is time to look again."""
    server = redis_server_factory()
    asked = 0

    async with connected(kind, config_of(server)) as cache:
        server.kill()

        def refuse_to_wait(seconds: float) -> None:
            raise AssertionError(f"waits for {seconds} s")

        monkeypatch.setattr(f"soa_db._{kind}.redis.calls.sleep", refuse_to_wait)
        client = cache.client
        native = client.get

        def counted(*arguments: Any) -> Any:
            nonlocal asked
            asked += 1
            return native(*arguments)

        monkeypatch.setattr(client, "get", counted)
        cache._cache._outage._look_at = 0.0
        for _ in range(100):
            assert await settle(cache.get("k", default=5, on_error="miss")) == 5
        assert 1 <= asked < 100


async def test_stale_values_are_hits_on_a_server_that_takes_no_writes(
    redis_server_factory: RedisServerFactory, kind: str
) -> None:
    """Without memory the marker of being fresh cannot be set: the value is given, and nothing is renewed."""
    server = redis_server_factory()
    calls: list[int] = []

    def origin() -> int:
        calls.append(1)
        return len(calls)

    async with connected(kind, config_of(server)) as cache:
        for _ in range(2):
            assert await settle(cache.cached_call("k", origin_of(kind, origin), stale_while_revalidate=60)) == 1
        with server.admin() as admin:
            admin.delete("k_refresh")
            admin.config_set("maxmemory", "1")
        for _ in range(2):
            assert await settle(cache.cached_call("k", origin_of(kind, origin), stale_while_revalidate=60)) == 1
        assert len(calls) == 1


async def test_a_cached_call_refused_as_read_only_leaves_the_replica(
    redis_server_factory: RedisServerFactory, kind: str
) -> None:
    """The pool's connections lead to a server that was demoted: the next call connects anew, to the endpoint."""
    server, other = redis_server_factory(), redis_server_factory()
    async with connected(kind, config_of(server)) as cache:
        await settle(cache.ping())
        with server.admin() as admin:
            admin.replicaof(other.host, other.port)
            before = {one["id"] for one in admin.client_list() if one["name"] == "cache"}
            assert before
            assert await settle(cache.cached_call("k", origin_of(kind, lambda: 1))) == 1
            assert str(await settle(cache.client.client_id())) not in before


async def test_drained_connections_are_not_used_again(redis_server: RedisServer, kind: str) -> None:
    """Not even once more."""
    async with connected(kind, config_of(redis_server)) as cache:
        before = await settle(cache.client.client_id())
        assert await settle(cache.client.client_id()) == before
        await settle(cache.drain())
        assert await settle(cache.client.client_id()) != before


async def test_a_caller_gets_the_origins_value_though_the_manager_is_disconnected_meanwhile(
    redis_server: RedisServer, unique_name: str
) -> None:
    """It is not kept, but it is there."""
    under_way, go_on = asyncio.Event(), asyncio.Event()

    async def origin() -> int:
        under_way.set()
        await go_on.wait()
        return 5

    cache = AsyncRedisConnectionManager(config_of(redis_server))
    await cache.connect()
    call = asyncio.create_task(cache.cached_call(unique_name, origin))
    await under_way.wait()
    await cache.disconnect()
    go_on.set()
    assert await call == 5


async def test_disconnect_ends_the_origin_calls_nobody_waits_for(redis_server: RedisServer, unique_name: str) -> None:
    """A renewal's, and one whose callers were all cancelled; it waits for their ends."""
    under_way, ended = asyncio.Event(), []

    async def hangs() -> int:
        under_way.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            ended.append(1)
        return 2

    async def one() -> int:
        return 1

    cache = AsyncRedisConnectionManager(config_of(redis_server))
    await cache.connect()
    assert await cache.cached_call(unique_name, one, stale_while_revalidate=60) == 1
    await cache.delete(f"{unique_name}_refresh")
    assert await cache.cached_call(unique_name, hangs, stale_while_revalidate=60) == 1
    await under_way.wait()
    under_way.clear()
    caller = asyncio.create_task(cache.cached_call(f"{unique_name}:other", hangs))
    await under_way.wait()
    caller.cancel()
    await asyncio.wait((caller,))
    await cache.disconnect()
    assert len(ended) == 2
    assert asyncio.all_tasks() == {asyncio.current_task()}
    # And it works again.
    await cache.connect()
    assert await cache.cached_call(f"{unique_name}:other", one) == 1
    await cache.disconnect()


async def test_an_origin_that_does_not_let_itself_be_cancelled_does_not_keep_disconnect(
    redis_server: RedisServer, unique_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It goes on after the command timeout, and the log says so; what it returns is not kept."""
    under_way, go_on = asyncio.Event(), asyncio.Event()

    async def stubborn() -> int:
        under_way.set()
        while not go_on.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await go_on.wait()
        return 2

    async def one() -> int:
        return 1

    cache = AsyncRedisConnectionManager(config_of(redis_server, command_timeout=0.3))
    await cache.connect()
    await cache.cached_call(unique_name, one, stale_while_revalidate=60)
    await cache.delete(f"{unique_name}_refresh")
    await cache.cached_call(unique_name, stubborn, stale_while_revalidate=60)
    await under_way.wait()
    await cache.disconnect()
    go_on.set()
    assert "1 origin calls in the background go on" in caplog.text
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        await task


async def test_a_renewal_that_takes_longer_than_its_claim_is_not_joined_by_another(
    redis_server: RedisServer, kind: str, unique_name: str
) -> None:
    """In one process. It claims nothing more meanwhile: another process may renew the value."""
    calls: list[int] = []
    go_on = threading.Event()

    def slow() -> int:
        calls.append(1)
        assert go_on.wait(10)
        return 2

    async def slow_too() -> int:
        calls.append(1)
        assert await asyncio.to_thread(go_on.wait, 10)
        return 2

    async with connected(kind, config_of(redis_server)) as cache:
        await settle(cache.cached_call(unique_name, origin_of(kind, lambda: 1), stale_while_revalidate=60))
        for _ in range(3):
            await settle(cache.delete(f"{unique_name}_refresh"))
            origin = slow_too if kind == "async" else slow
            assert await settle(cache.cached_call(unique_name, origin, stale_while_revalidate=60)) == 1
            await asyncio.sleep(0.02)
        async with connected(kind, config_of(redis_server)) as other, asyncio.timeout(10):
            origin = origin_of(kind, lambda: 3)
            while await settle(other.cached_call(unique_name, origin, stale_while_revalidate=60)) == 1:
                await asyncio.sleep(0.01)
        go_on.set()
    assert len(calls) == 1


async def test_whoever_is_cancelled_stops_waiting_and_the_others_go_on(
    redis_server: RedisServer, unique_name: str
) -> None:
    """The first, one in the middle and the last of many; with all of them gone, the value is cached all the same."""
    under_way, go_on = asyncio.Event(), asyncio.Event()
    calls: list[int] = []

    async def origin() -> int:
        calls.append(1)
        under_way.set()
        await go_on.wait()
        return 5

    async with AsyncRedisConnectionManager(config_of(redis_server)) as cache:
        callers = [asyncio.create_task(cache.cached_call(unique_name, origin)) for _ in range(30)]
        while cache.stats()["misses"] < 30 or not under_way.is_set():
            await asyncio.sleep(0.01)
        for number in (0, 14, 29):
            callers[number].cancel()
        await asyncio.sleep(0.01)
        assert [number for number, caller in enumerate(callers) if caller.cancelled()] == [0, 14, 29]
        go_on.set()
        ended = await asyncio.gather(*callers, return_exceptions=True)
        assert [one for one in ended if not isinstance(one, asyncio.CancelledError)] == [5] * 27
        go_on.clear()
        alone = asyncio.create_task(cache.cached_call(f"{unique_name}:alone", origin))
        while len(calls) < 2:
            await asyncio.sleep(0.01)
        alone.cancel()
        await asyncio.sleep(0.01)
        assert alone.cancelled()
        go_on.set()
        for _ in range(200):
            if await cache.get(f"{unique_name}:alone") == 5:
                break
            await asyncio.sleep(0.01)
        assert await cache.get(f"{unique_name}:alone") == 5
        assert len(calls) == 2


async def test_each_waiter_gets_an_error_of_its_own(redis_server: RedisServer, unique_name: str) -> None:
    """One error object raised by all of them would collect the traceback of each, and the context of the last."""

    async def origin() -> int:
        await asyncio.sleep(0.1)
        raise LookupError("gone") from KeyError("why")

    async with AsyncRedisConnectionManager(config_of(redis_server)) as cache:
        errors = await asyncio.gather(
            *(cache.cached_call(unique_name, origin) for _ in range(50)), return_exceptions=True
        )
    assert len({id(error) for error in errors}) == 50
    for error in errors:
        assert isinstance(error, LookupError)
        assert isinstance(error.__cause__, KeyError)
        assert len(traceback.extract_tb(error.__traceback__)) < 20


def test_an_origin_that_hangs_in_the_background_does_not_keep_disconnect(
    redis_server: RedisServer, unique_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A thread cannot be stopped: it is left behind after the command timeout, and the log says so."""
    called, go_on = threading.Event(), threading.Event()

    def hangs() -> int:
        called.set()
        go_on.wait()
        return 2

    cache = RedisConnectionManager(config_of(redis_server, command_timeout=0.5))
    cache.connect()
    cache.cached_call(unique_name, lambda: 1, stale_while_revalidate=60)
    cache.delete(f"{unique_name}_refresh")
    assert cache.cached_call(unique_name, hangs, stale_while_revalidate=60) == 1
    called.wait()
    ender = threading.Timer(30, go_on.set)
    ender.start()
    cache.disconnect()
    left_behind = not go_on.is_set()
    ender.cancel()
    go_on.set()
    assert left_behind
    assert "1 origin calls in the background go on" in caplog.text


def test_threads_that_renew_do_not_trip_over_each_other(redis_server: RedisServer, unique_name: str) -> None:
    """Stale hits of many keys in many threads at once."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with RedisConnectionManager(config_of(redis_server)) as cache, ThreadPoolExecutor(8) as pool:

            def hit(number: int) -> int:
                key = f"{unique_name}:{number}"
                cache.cached_call(key, lambda: 1, ttl=0.001, stale_while_revalidate=60)
                return cache.cached_call(key, lambda: 1, ttl=0.001, stale_while_revalidate=60)

            assert set(pool.map(hit, [number % 40 for number in range(800)])) == {1}
    finally:
        sys.setswitchinterval(before)


async def test_a_burst_of_hits_in_a_cluster_calls_no_origin(
    redis_cluster: RedisCluster, ca_file: Path, unique_name: str
) -> None:
    """More callers than connections to a node: they wait for one, as on one server."""

    async def never() -> int:
        raise AssertionError("a hit calls no origin")

    config = config_of(redis_cluster, tls=TlsConfig(ca_file=str(ca_file)), max_connections=2, command_timeout=30)
    async with AsyncRedisConnectionManager(config) as cache:
        await cache.set(unique_name, 1)
        assert await asyncio.gather(*(cache.cached_call(unique_name, never) for _ in range(100))) == [1] * 100
        await cache.delete(unique_name)
