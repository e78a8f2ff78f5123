"""Connections that logged in with a token are made anew before the server ends them: calls and subscriptions.

ElastiCache ends them after 12 hours. Here a real server and a real cluster take passwords, and the time is ours.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from tests.servers.aws_kit import settle
from tests.servers.redis_kit import config_of, connected

from soa_db import RedisConfig, TlsConfig
from soa_db._redis import _async, _sync

if TYPE_CHECKING:
    from soa_db.local.redis import RedisServer
    from soa_db.local.redis_cluster import RedisCluster

_HOURS = 3600.0


@pytest.fixture(params=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of manager in turn."""
    return str(request.param)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Every login counts as one with a token; a function that lets seconds pass for the connections."""
    passed = [0.0]

    def monotonic() -> float:
        return time.monotonic() + passed[0]

    def wait(seconds: float) -> None:
        passed[0] += seconds

    for module in (_async, _sync):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=monotonic))
        monkeypatch.setattr(module.Login, "lifetime", module._TOKEN_CONNECTION_SECONDS)
    return wait


@pytest.fixture(params=["one server", "cluster"])
def config(
    request: pytest.FixtureRequest, redis_server: RedisServer, redis_cluster: RedisCluster, ca_file: Path
) -> RedisConfig:
    """Without TLS, and with it."""
    if request.param == "cluster":
        return config_of(redis_cluster, tls=TlsConfig(ca_file=str(ca_file)))
    return config_of(redis_server)


@pytest.fixture
async def cache(config: RedisConfig, kind: str, later: Callable[[float], None]) -> AsyncIterator[Any]:
    """A manager whose logins count as with a token."""
    async with connected(kind, config) as one:
        yield one


async def connection_of(cache: Any, key: str) -> int:
    """The server's number of the connection that calls for a key go through."""
    client = cache.client
    if not cache.config.cluster:
        return int(await settle(client.client_id()))
    return int(await settle(client.execute_command("CLIENT ID", target_nodes=client.get_node_from_key(key))))


async def next_of(hear: Callable[..., Any], kind: str) -> Any:
    """What the next message of a kind says."""
    for _ in range(100):
        found = await settle(hear(timeout=0.1))
        if found is not None:
            assert found["type"] in {kind, f"s{kind}"}
            return found["data"]
    raise AssertionError(f"no {kind} came")


async def listeners(servers: list[RedisServer], name: str) -> set[tuple[int, str]]:
    """The subscribed connections of a name on some servers: port and number."""
    found = set()
    for server in servers:
        with server.admin() as admin:
            found |= {(server.port, one["id"]) for one in admin.client_list(_type="pubsub") if one["name"] == name}
    return found


async def test_a_connection_is_made_anew_when_its_token_ends_and_not_before(
    cache: Any, unique_name: str, later: Callable[[float], None]
) -> None:
    """And then again, some 11 hours later; of a pipeline too."""
    await settle(cache.set(unique_name, 1))
    numbers = [await connection_of(cache, unique_name)]
    for hours, fresh in ((10, False), (2, True), (10, False), (2, True)):
        later(hours * _HOURS)
        await settle(cache.mset({unique_name: 1}))
        numbers.append(await connection_of(cache, unique_name))
        assert (numbers[-1] != numbers[-2]) is fresh
    assert cache.stats()["in_use"] == 0


async def test_no_call_fails_while_connections_are_made_anew(
    cache: Any, kind: str, unique_name: str, later: Callable[[float], None]
) -> None:
    """Calls that may not run twice, on connections whose time comes while they run."""

    async def add(task: int) -> None:
        for number in range(15):
            later(_HOURS)
            if kind == "sync":
                await asyncio.to_thread(cache.sadd, unique_name, [task, number])
            else:
                await cache.sadd(unique_name, [task, number])

    await asyncio.gather(*(add(task) for task in range(10)))
    assert len(await settle(cache.smembers(unique_name))) == 150
    await settle(cache.delete(unique_name))


@pytest.mark.parametrize("sharded", [False, True])
async def test_a_subscription_moves_to_a_new_connection_and_hears_what_comes_there(
    cache: Any, unique_name: str, later: Callable[[float], None], sharded: bool
) -> None:
    """redis-py's own classes, those of a cluster among them; RESP2 takes no AUTH on a subscribed connection."""
    sharded = sharded and cache.config.cluster
    subscription = cache.client.pubsub()
    hear = subscription.get_sharded_message if sharded else subscription.get_message
    try:
        await settle((subscription.ssubscribe if sharded else subscription.subscribe)(unique_name))
        for text in (b"one", b"two"):
            # Of a new connection, as the server counts from one again.
            assert await next_of(hear, "subscribe") == 1
            await settle(cache.client.execute_command("SPUBLISH" if sharded else "PUBLISH", unique_name, text))
            assert await next_of(hear, "message") == text
            later(12 * _HOURS)
    finally:
        await settle(getattr(subscription, "aclose", subscription.close)())


async def test_a_subscription_that_hears_nothing_is_made_anew_in_time(
    redis_server: RedisServer, kind: str, unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it waits, for as long as it takes: the server would end its connection, and the wait with it."""
    monkeypatch.setattr((_async if kind == "async" else _sync).Login, "lifetime", 0.3)
    async with connected(kind, config_of(redis_server, instance_name=unique_name)) as cache:
        subscription = cache.client.pubsub(ignore_subscribe_messages=True)
        await settle(subscription.subscribe(unique_name))

        def wait() -> Any:
            while True:
                found = subscription.get_message(timeout=None)
                if found is not None:
                    return found["data"]

        async def await_() -> Any:
            while True:
                found = await subscription.get_message(timeout=None)
                if found is not None:
                    return found["data"]

        waiting = asyncio.create_task(await_() if kind == "async" else asyncio.to_thread(wait))
        first = await listeners([redis_server], unique_name)
        assert len(first) == 1
        while not (await listeners([redis_server], unique_name)) - first:
            assert not waiting.done()
            await asyncio.sleep(0.02)
        # One connection may be ending while the next one is subscribed.
        while not waiting.done():
            await settle(cache.client.publish(unique_name, "news"))
            await asyncio.sleep(0.02)
        assert await waiting == b"news"
        await settle(getattr(subscription, "aclose", subscription.close)())
