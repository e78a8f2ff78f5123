"""What goes wrong between a Redis manager and its server: no hang, no reply for another, no leak, typed errors."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.servers.aws_kit import settle
from tests.servers.redis_kit import config_of, connected, origin_of
from tests.support.tcp import FaultyProxy

from soa_db import RedisConfig, ServerUnavailable, SoaDbError, TlsConfig
from soa_db.local.redis import RedisServer
from soa_db.redis import AsyncRedisConnectionManager

if TYPE_CHECKING:
    from soa_db.local.redis_cluster import RedisCluster

RedisServerFactory = Callable[..., RedisServer]
SHORT: dict[str, Any] = {"connect_timeout": 0.5, "command_timeout": 0.5}


@pytest.fixture(params=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of manager in turn."""
    return str(request.param)


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[FaultyProxy]:
    """A network that misbehaves, before the shared server."""
    with FaultyProxy(redis_server.host, redis_server.port) as one:
        yield one


def through(server: RedisServer, proxy: FaultyProxy, **fields: Any) -> RedisConfig:
    """The server's config, through the proxy, with short times."""
    return config_of(server, port=proxy.port, **{**SHORT, **fields})


async def test_a_blackhole_ends_in_a_typed_error_and_the_pool_recovers(
    redis_server: RedisServer, proxy: FaultyProxy, kind: str, unique_name: str
) -> None:
    """Idle connections too; a cached call is bounded, and the ones after it do not wait at all."""
    async with connected(kind, through(redis_server, proxy)) as cache:
        await settle(cache.set(unique_name, 1))
        proxy.blackhole()
        with pytest.raises(ServerUnavailable, match="in time"):
            await settle(cache.get(unique_name))
        assert await settle(cache.ping()) is False
        assert await settle(cache.cached_call(unique_name, origin_of(kind, lambda: 2))) == 2
        assert await settle(cache.get(unique_name, default=3, on_error="miss")) == 3
        proxy.restore()
        proxy.cut()
        for _ in range(50):
            with contextlib.suppress(ServerUnavailable):
                assert await settle(cache.get(unique_name)) == 1
                break
        assert await settle(cache.get(unique_name)) == 1
        assert cache.stats()["in_use"] == 0


@pytest.mark.parametrize("mode", ["garbage", "hang_up", "reset"])
async def test_no_reply_is_made_of_garbage(
    redis_server: RedisServer, proxy: FaultyProxy, kind: str, unique_name: str, mode: Any
) -> None:
    """Another protocol, a hang-up, a reset in the middle of a reply: typed, and good again afterwards."""
    async with connected(kind, through(redis_server, proxy)) as cache:
        await settle(cache.set(unique_name, "x" * 1000))
        proxy.mode = mode
        proxy.cut()
        with pytest.raises(ServerUnavailable):
            await settle(cache.get(unique_name))
        assert await settle(cache.cached_call(f"{unique_name}:c", origin_of(kind, lambda: 2))) == 2
        proxy.restore()
        assert await settle(cache.get(unique_name)) == "x" * 1000
        assert cache.stats()["in_use"] == 0


async def test_a_native_write_is_never_repeated_blindly(
    redis_server: RedisServer, proxy: FaultyProxy, kind: str, unique_name: str
) -> None:
    """The connection is cut while INCR's reply is on its way: it ran once, and is told as failed."""
    async with connected(kind, through(redis_server, proxy)) as cache:
        await settle(cache.client.set(unique_name, 0))
        proxy.mode = "reset"
        with pytest.raises(Exception, match=r"closed|reset|Error"):
            await settle(cache.client.incr(unique_name))
        proxy.restore()
        assert await settle(cache.client.get(unique_name)) == b"1"


async def test_a_killed_server_that_comes_back_costs_waiting_callers_nothing(
    redis_server_factory: RedisServerFactory,
) -> None:
    """Under 100 tasks: calls that may run twice outlast a restart; nothing is left in use."""
    server = redis_server_factory()
    failures: list[BaseException] = []
    async with AsyncRedisConnectionManager(config_of(server, command_timeout=20)) as cache:
        stop = asyncio.Event()

        async def work(number: int) -> None:
            while not stop.is_set():
                try:
                    await cache.set(f"k{number}", number)
                    assert await cache.get(f"k{number}") in {number, None}
                except Exception as error:
                    failures.append(error)
                await asyncio.sleep(0.01)

        tasks = [asyncio.create_task(work(number)) for number in range(100)]
        await asyncio.sleep(0.2)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await asyncio.sleep(0.5)
        stop.set()
        await asyncio.gather(*tasks)
        assert failures == []
        assert cache.stats()["in_use"] == 0


async def test_a_paused_server_stops_nobody_for_longer_than_the_timeout(
    redis_server_factory: RedisServerFactory, kind: str
) -> None:
    """And no late reply is taken for another call's."""
    server = redis_server_factory()
    async with connected(kind, config_of(server, **SHORT)) as cache:
        for number in range(5):
            await settle(cache.set(f"k{number}", number))
        server.pause()
        for number in range(2):
            with pytest.raises(ServerUnavailable):
                await settle(cache.get(f"k{number}"))
        server.resume()
        for number in range(5):
            assert await settle(cache.get(f"k{number}")) == number


async def test_a_server_that_became_a_replica_is_left_for_the_new_primary(
    redis_server_factory: RedisServerFactory, kind: str
) -> None:
    """READONLY was not run: it is repeated until somebody is the primary; without one it is a typed error."""
    primary, other = redis_server_factory(), redis_server_factory()
    with FaultyProxy(primary.host, primary.port) as endpoint:
        auth = config_of(primary).auth
        config = config_of(primary, port=endpoint.port, auth=auth, command_timeout=2)
        async with connected(kind, config) as cache:
            await settle(cache.set("k", 1))
            with primary.admin() as admin:
                admin.replicaof(other.host, other.port)
            with pytest.raises(ServerUnavailable, match=r"read only|READONLY"):
                await settle(cache.set("k", 2))
            with primary.admin() as admin:
                admin.replicaof("NO", "ONE")
            await settle(cache.set("k", 3))
            assert await settle(cache.get("k")) == 3


async def test_a_failover_of_a_cluster_fails_no_call_that_may_run_twice(
    redis_cluster: RedisCluster, ca_file: Path, unique_name: str
) -> None:
    """A primary is killed; its replica takes over; values written before are there."""
    config = config_of(redis_cluster, tls=TlsConfig(ca_file=str(ca_file)), command_timeout=30, connect_timeout=2)
    keys = [f"{unique_name}:{number}" for number in range(60)]
    async with AsyncRedisConnectionManager(config) as cache:
        for key in keys:
            await cache.set(key, 1)
        victim = redis_cluster.primaries()[0]
        try:
            await asyncio.to_thread(victim.kill)
            await asyncio.gather(*(cache.set(key, 2) for key in keys))
            assert [await cache.get(key) for key in keys] == [2] * 60
            assert cache.stats()["in_use"] == 0
        finally:
            # In this thread: a server ends with the thread that started it, and the pool's end with the test.
            victim.start()
            redis_cluster.wait()


async def test_cancelled_logins_leave_no_connection_that_is_not_logged_in(
    redis_server: RedisServer, unique_name: str
) -> None:
    """Cancelled at every step of making a connection, the pool stays sound."""
    async with AsyncRedisConnectionManager(config_of(redis_server, max_connections=2)) as cache:
        await cache.set(unique_name, 1)
        for turn in range(60):
            await cache.drain()
            client: Any = cache.client
            await client.connection_pool.disconnect()
            task = asyncio.create_task(cache.get(unique_name))
            for _ in range(turn):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, SoaDbError):
                await task
            assert await cache.get(unique_name) == 1
        assert cache.stats()["in_use"] == 0
