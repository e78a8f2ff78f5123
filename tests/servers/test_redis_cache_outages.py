"""What cached calls take for an outage and what not, and what the log says of it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trustme
from tests.servers.aws_kit import settle
from tests.servers.redis_kit import config_of, connected, origin_of
from tests.support.tcp import FaultyProxy

from soa_db import AuthenticationFailed, CredentialError, ServerUnavailable, TlsConfig, TlsVerificationFailed
from soa_db.errors import CommandRefused
from soa_db.local.redis import RedisServer
from soa_db.local.tls import ServerTls
from soa_db.redis import AsyncRedisConnectionManager, RedisConnectionManager

RedisServerFactory = Callable[..., RedisServer]


@pytest.fixture(params=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of manager in turn."""
    return str(request.param)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the log has so far: level, and what follows the manager's name."""
    caplog.set_level(logging.INFO, "soa_db.redis")
    return lambda: [f"{one.levelname} {one.getMessage().split(': ')[1]}" for one in caplog.records]


def never() -> int:
    """An origin that must not be called."""
    raise AssertionError("the origin was called")


async def until_connected(cache: Any, call: Callable[[], Any]) -> None:
    """Call again and again until the end of an outage is seen."""
    for _ in range(400):
        await settle(call())
        if cache.is_connected:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it still takes the server for away")


# --- what is no outage


async def test_a_refused_password_is_raised_and_no_outage(
    redis_server_factory: RedisServerFactory, kind: str, lines: Callable[[], list[str]]
) -> None:
    """Somebody who may not log in any more must hear of it, not work without a cache."""
    server = redis_server_factory()
    async with connected(kind, config_of(server)) as cache:
        with server.admin() as admin:
            admin.execute_command("ACL", "SETUSER", "master", "resetpass", ">another-password-by-now")
            admin.client_kill_filter(_type="normal", skipme=False)
        for _ in range(2):
            with pytest.raises(AuthenticationFailed):
                await settle(cache.cached_call("k", origin_of(kind, never)))
            with pytest.raises(AuthenticationFailed):
                await settle(cache.get("k", on_error="miss"))
        assert cache.stats()["away"] == 0
        assert lines() == []


async def test_a_certificate_that_does_not_stand_up_is_raised_and_no_outage(
    redis_server_factory: RedisServerFactory, server_tls: ServerTls, kind: str
) -> None:
    """Whoever answers at the address now is not the server."""
    server = redis_server_factory(tls=server_tls)
    assert server_tls.ca_pem is not None
    config = config_of(server, tls=TlsConfig(ca_pem=server_tls.ca_pem.decode()))
    async with connected(kind, config) as cache:
        server.kill()
        authority = trustme.CA()
        other = authority.issue_cert("localhost", "127.0.0.1")
        tls = ServerTls(
            b"".join(part.bytes() for part in other.cert_chain_pems),
            other.private_key_pem.bytes(),
            ca_pem=authority.cert_pem.bytes(),
        )
        redis_server_factory(tls=tls, port=server.port, admin_password=server.admin_password)
        with pytest.raises(TlsVerificationFailed):
            await settle(cache.cached_call("k", origin_of(kind, never)))
        with pytest.raises(TlsVerificationFailed):
            await settle(cache.mget(["k"], on_error="miss"))
        assert cache.stats()["away"] == 0


async def test_a_failure_of_aws_during_an_outage_is_raised_and_not_the_end_of_the_outage(
    redis_server_factory: RedisServerFactory, kind: str, lines: Callable[[], list[str]]
) -> None:
    """No credentials, no connection: nothing was seen of the server."""
    server = redis_server_factory()
    async with connected(kind, config_of(server)) as cache:
        credentials = cache.client.connection_pool.connection_class.login.credentials
        server.kill()
        assert await settle(cache.cached_call("k", origin_of(kind, lambda: 1))) == 1
        assert lines() == ["WARNING Redis is away, cached calls go to their origins"]

        def fails(*_: object) -> Any:
            raise CredentialError("AWS is away too")

        works, credentials.get = credentials.get, fails
        await asyncio.sleep(0.1)
        with pytest.raises(CredentialError):
            await settle(cache.cached_call("k", origin_of(kind, never)))
        server.start()
        with pytest.raises(CredentialError):
            await settle(cache.cached_call("k", origin_of(kind, never)))
        assert not cache.is_connected
        assert len(lines()) == 1
        credentials.get = works
        await until_connected(cache, lambda: cache.cached_call("k", origin_of(kind, lambda: 1)))
        assert lines()[1:] == ["INFO Redis is back"]


@pytest.mark.parametrize("keywords", [{}, {"stale_while_revalidate": 60}, {"lock": 20}], ids=["plain", "stale", "lock"])
async def test_one_connection_that_is_cut_is_no_outage(
    redis_server: RedisServer, kind: str, unique_name: str, lines: Callable[[], list[str]], keywords: dict[str, float]
) -> None:
    """The call is made once more, on another connection: a hit stays a hit."""
    with FaultyProxy(redis_server.host, redis_server.port) as proxy:
        async with connected(kind, config_of(redis_server, port=proxy.port)) as cache:
            await settle(cache.set(unique_name, "kept"))
            proxy.delay, proxy.mode = 0.5, "slow"

            def in_a_thread() -> Any:
                return cache.cached_call(unique_name, never, **keywords)

            call: Any = (
                asyncio.create_task(cache.cached_call(unique_name, origin_of(kind, never), **keywords))
                if kind == "async"
                else asyncio.create_task(asyncio.to_thread(in_a_thread))
            )
            # The command is on its way, the reply is held back.
            await asyncio.sleep(0.2)
            proxy.mode = "pass"
            proxy.cut()
            assert await call == "kept"
            assert cache.is_connected
            assert cache.stats()["away"] == 0
            assert lines() == []


async def test_a_lock_whose_reply_was_lost_is_known_for_ones_own(
    redis_server: RedisServer, kind: str, unique_name: str
) -> None:
    """Taking it may run twice; another's it is not."""
    async with connected(kind, config_of(redis_server)) as cache:
        name = unique_name.encode()
        for token, taken in ((b"a", True), (b"a", True), (b"b", False)):
            assert await settle(cache._cache._take(cache.client, name, token, 50_000)) is taken
        await settle(cache._cache._give_back(name, b"b"))
        assert await settle(cache.client.get(name)) == b"a"
        await settle(cache._cache._give_back(name, b"a"))
        assert await settle(cache.client.exists(name)) == 0


# --- what is one


async def test_threads_that_meet_an_outage_at_once_tell_of_it_once(
    redis_server: RedisServer, lines: Callable[[], list[str]]
) -> None:
    """And of its end."""
    outage = RedisConnectionManager(config_of(redis_server))._cache._outage
    start = threading.Barrier(8)

    def meet() -> None:
        start.wait()
        for _ in range(50):
            outage.met(ServerUnavailable("gone"))
        start.wait()
        outage.answered()

    threads = [threading.Thread(target=meet) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lines() == ["WARNING Redis is away, cached calls go to their origins", "INFO Redis is back"]
    assert outage.counts()["away"] == 1


def test_a_forked_child_that_cannot_connect_calls_its_origin(
    redis_server_factory: RedisServerFactory, monkeypatch: pytest.MonkeyPatch, lines: Callable[[], list[str]]
) -> None:
    """Its first call connects anew; an outage then is one like any other."""
    monkeypatch.setattr("soa_db._sync.redis.manager._CONNECT_BASE", 0.0)
    server = redis_server_factory()
    cache = RedisConnectionManager(config_of(server))
    cache.connect()
    server.kill()
    cache.after_fork_in_child()
    for number in range(3):
        assert cache.cached_call(f"k{number}", lambda: 1) == 1
    assert lines() == ["WARNING Redis is away, cached calls go to their origins"]
    cache.disconnect()


# --- a server that answers and takes no writes


async def test_a_replica_is_told_of_once_until_it_takes_writes_again(
    redis_server_factory: RedisServerFactory, kind: str, lines: Callable[[], list[str]]
) -> None:
    """It answers, so that it is not away: values come from it, or from the origin, and are not cached."""
    server, other = redis_server_factory(), redis_server_factory()
    origin = origin_of(kind, itertools.count(1).__next__)
    async with connected(kind, config_of(server)) as cache:
        await settle(cache.set("there", 7))
        with server.admin() as admin:
            admin.replicaof(other.host, other.port)
            for number in range(4):
                assert await settle(cache.cached_call(f"k{number}", origin)) == number + 1
                assert await settle(cache.get("there", on_error="miss")) == 7
            assert await settle(cache.cached_call("l", origin, lock=10)) == 5
            for _ in range(3):
                assert await settle(cache.cached_call("there", origin, stale_while_revalidate=10)) == 7
            assert cache.is_connected
            assert lines() == ["WARNING Redis takes no writes, values are not cached"]
            admin.replicaof("NO", "ONE")
        for number in range(2):
            assert await settle(cache.cached_call(f"n{number}", origin)) == 6 + number
        assert lines()[1:] == ["INFO Redis takes writes again"]
        assert cache.stats()["away"] == 0
        assert cache.stats()["unwritable"] == 1


async def test_stale_hits_leave_a_replica_for_what_the_endpoint_leads_to(
    redis_server_factory: RedisServerFactory, kind: str
) -> None:
    """After a failover nothing would be renewed otherwise, as long as there are hits; not each of them reconnects."""
    server, other = redis_server_factory(), redis_server_factory()
    async with connected(kind, config_of(server)) as cache:
        await settle(cache.set("k", 7))
        before = await settle(cache.client.client_id())
        with server.admin() as admin:
            admin.replicaof(other.host, other.port)
        for _ in range(40):
            assert await settle(cache.cached_call("k", origin_of(kind, never), stale_while_revalidate=60)) == 7
        after = await settle(cache.client.client_id())
        assert before < after < before + 40


async def test_a_full_server_is_told_of_once_until_it_has_room(
    redis_server_factory: RedisServerFactory, kind: str, lines: Callable[[], list[str]]
) -> None:
    """The value is there for the caller each time."""
    server = redis_server_factory()
    async with connected(kind, config_of(server)) as cache:
        with server.admin() as admin:
            admin.config_set("maxmemory", "1")
            for number in range(4):
                assert await settle(cache.cached_call(f"k{number}", origin_of(kind, lambda: 3), lock=10)) == 3
            assert lines() == ["WARNING Redis takes no writes, values are not cached"]
            admin.config_set("maxmemory", "0")
        assert await settle(cache.cached_call("k", origin_of(kind, lambda: 3))) == 3
        assert lines()[1:] == ["INFO Redis takes writes again"]


async def test_what_a_full_server_refuses_is_quoted_nowhere(
    redis_server_factory: RedisServerFactory, kind: str
) -> None:
    """Neither in the message nor in what it comes from: redis-py's pipeline puts the whole command into its text."""
    server = redis_server_factory()
    async with connected(kind, config_of(server)) as cache:
        with server.admin() as admin:
            admin.config_set("maxmemory", "1")
        with pytest.raises(CommandRefused) as caught:
            await settle(cache.mset({"a": "opaque", "b": "opaque"}))
        error: BaseException | None = caught.value
        while error is not None:
            assert "opaque" not in f"{error!r} {error}"
            error = error.__cause__ or error.__context__


async def test_a_marker_or_lock_whose_answer_is_lost_is_not_left_behind(
    redis_server: RedisServer, unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled after the marker was set and before that was known: the next one refreshes."""

    async def origin() -> int:
        return 1

    async with AsyncRedisConnectionManager(config_of(redis_server)) as cache:
        native, taken = cache._cache._take, asyncio.Event()

        async def take(*arguments: Any, **keywords: Any) -> bool:
            await native(*arguments, **keywords)
            taken.set()
            await asyncio.Event().wait()
            return True

        monkeypatch.setattr(cache._cache, "_take", take)
        for call in (cache.refresh_cache(unique_name, origin), cache.cached_call(f"{unique_name}:c", origin, lock=50)):
            task = asyncio.create_task(call)
            async with asyncio.timeout(30):
                await taken.wait()
            taken.clear()
            task.cancel()
            await asyncio.wait((task,))
            assert task.cancelled()
        assert await cache.client.exists(f"{unique_name}_refresh") == 0
        for flight in cache._cache._shared.take_unawaited():
            flight.cancel()
            await flight.join(5)
        assert await cache.client.exists(f"{unique_name}:c_lock") == 0
