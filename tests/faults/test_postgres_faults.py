"""The provider when the server dies, freezes, lies or vanishes, and when callers are cancelled."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tests.support.postgres import PASSWORD, config, eventually, sessions
from tests.support.tcp import FaultyProxy

from soa_db._async.postgres import provider as provider_module
from soa_db.config import PasswordAuth, PoolConfig
from soa_db.errors import PoolTimeout, ServerUnavailable, SoaDbError
from soa_db.local.postgres import MASTER_USER
from soa_db.postgres import AsyncPostgresProvider, PostgresProvider

if TYPE_CHECKING:
    from tests.conftest import ServerFactory

    from soa_db.local.postgres import PostgresServer


@pytest.fixture
def proxy(server: PostgresServer) -> Iterator[FaultyProxy]:
    """Between the provider and the server."""
    with FaultyProxy(server.host, server.port) as faulty:
        yield faulty


@pytest.fixture
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the waits out of connect()."""
    monkeypatch.setattr(provider_module, "full_jitter", lambda *_, **__: 0.0)


async def select(provider: AsyncPostgresProvider) -> None:
    """A call that must work."""
    async with provider.connection() as conn:
        await conn.execute("SELECT 1")


# --- the server dies


async def test_a_crash_under_load_loses_nothing_and_fails_only_the_calls_in_flight(
    pg_server_factory: ServerFactory,
) -> None:
    """kill -9 of every process, and a restart, under 200 writing tasks: a ledger of what was acknowledged."""
    server = pg_server_factory(version=17)
    ledger = "CREATE TABLE public.ledger (id bigint PRIMARY KEY); GRANT ALL ON public.ledger TO master"
    with psycopg.connect(server.superuser_conninfo, autocommit=True) as conn:
        conn.execute(ledger)
    wanted = config(
        server,
        MASTER_USER,
        auth=PasswordAuth(password="master-password-of-the-tests"),
        pool=PoolConfig(max_size=20, timeout=60),
    )
    acknowledged: list[int] = []
    errors: list[tuple[bool, BaseException]] = []
    accepting = asyncio.Event()
    stop = asyncio.Event()
    back: set[int] = set()

    async with AsyncPostgresProvider(wanted) as provider:

        async def write(task: int) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                key = task * 1_000_000 + number
                begun_after = accepting.is_set()
                try:
                    async with provider.connection() as conn:
                        await conn.execute("INSERT INTO ledger VALUES (%s)", (key,))
                except Exception as error:
                    errors.append((begun_after, error))
                else:
                    acknowledged.append(key)
                    if accepting.is_set():
                        back.add(task)

        tasks = [asyncio.create_task(write(task)) for task in range(200)]
        async with asyncio.timeout(60):
            while len(acknowledged) < 500:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(server.kill)
            await asyncio.sleep(0.2)
            await asyncio.to_thread(server.start)
            accepting.set()
            while len(back) < 200:
                await asyncio.sleep(0.01)
            stop.set()
            await asyncio.gather(*tasks)
        assert provider.is_connected
        stats = provider.stats()
        assert (stats["generation"], stats["pool_size"]) == (1, 20)
    assert [error for _, error in errors if not isinstance(error, ServerUnavailable)] == []
    assert len(errors) <= 20
    assert [error for begun_after, error in errors if begun_after] == []
    with psycopg.connect(server.superuser_conninfo) as conn:
        kept = {row[0] for row in conn.execute("SELECT id FROM ledger")}
    assert set(acknowledged) - kept == set()


def test_a_crash_under_threads(pg_server_factory: ServerFactory) -> None:
    """The blocking provider likewise."""
    server = pg_server_factory(version=17)
    wanted = config(
        server,
        MASTER_USER,
        auth=PasswordAuth(password="master-password-of-the-tests"),
        pool=PoolConfig(max_size=4, timeout=60),
    )
    stop = threading.Event()
    errors: list[Exception] = []
    calls = [0] * 12
    with PostgresProvider(wanted) as provider:

        def work(number: int) -> None:
            while not stop.is_set():
                try:
                    with provider.connection() as conn:
                        conn.execute("SELECT 1")
                    calls[number] += 1
                except Exception as error:
                    errors.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        eventually(lambda: all(calls))
        server.kill()
        server.start()
        before = list(calls)
        eventually(lambda: all(now > then for now, then in zip(calls, before, strict=True)))
        stop.set()
        for thread in threads:
            thread.join(30)
    assert [error for error in errors if not isinstance(error, ServerUnavailable)] == []
    assert len(errors) <= 4


async def test_waiting_callers_see_a_fast_shutdown_through(pg_server_factory: ServerFactory) -> None:
    """57P01 to those in flight; who asks while it is down waits, and is served."""
    server = pg_server_factory(version=15)
    wanted = config(server, MASTER_USER, auth=PasswordAuth(password="master-password-of-the-tests"))
    async with AsyncPostgresProvider(wanted) as provider:
        await asyncio.to_thread(server.stop)
        with pytest.raises(ServerUnavailable):
            await select(provider)
        assert not provider.is_connected
        callers = [asyncio.create_task(select(provider)) for _ in range(10)]
        await asyncio.sleep(0.1)
        await asyncio.to_thread(server.start)
        async with asyncio.timeout(20):
            await asyncio.gather(*callers)


async def test_a_server_that_stays_away_is_a_pool_timeout_with_the_reason(pg_server_factory: ServerFactory) -> None:
    """And disconnecting meanwhile does not hang."""
    server = pg_server_factory(version=17)
    wanted = config(server, MASTER_USER, auth=PasswordAuth(password="master-password-of-the-tests"))
    async with AsyncPostgresProvider(wanted) as provider:
        await asyncio.to_thread(server.kill)
        with pytest.raises(ServerUnavailable):
            await select(provider)
        with pytest.raises(PoolTimeout, match="refused"):
            async with provider.connection(timeout=0.3):
                pass
        assert not await provider.ping(timeout=0.1)


async def test_a_standby_that_refuses_a_write_is_taken_for_a_demotion(pg_server_factory: ServerFactory) -> None:
    """The next connection may find the new primary: here, the same server promoted."""
    server = pg_server_factory(version=17)
    await asyncio.to_thread(server.stop)
    signal_file = server.data_directory / "standby.signal"
    signal_file.touch()
    await asyncio.to_thread(server.start)
    wanted = config(server, MASTER_USER, auth=PasswordAuth(password="master-password-of-the-tests"))
    async with AsyncPostgresProvider(wanted) as provider:
        async with provider.connection() as conn:
            pid = conn.info.backend_pid
        with pytest.raises(ServerUnavailable) as caught:
            async with provider.connection() as conn:
                await conn.execute("CREATE TEMP TABLE t (id int)")
        assert isinstance(caught.value.__cause__, psycopg.errors.ReadOnlySqlTransaction)
        assert provider.stats()["generation"] == 1
        async with provider.connection() as conn:
            assert conn.info.backend_pid != pid
        with psycopg.connect(server.superuser_conninfo, autocommit=True) as admin:
            admin.execute("SELECT pg_promote()")
        async with provider.connection() as conn:
            await conn.execute("CREATE TEMP TABLE t (id int)")


async def test_a_frozen_server_fails_ping_and_nothing_else_for_good(pg_server_factory: ServerFactory) -> None:
    """SIGSTOP: connections stay open and nothing answers; ping is bounded and the pool comes back."""
    server = pg_server_factory(version=17)
    wanted = config(server, MASTER_USER, auth=PasswordAuth(password="master-password-of-the-tests"))
    async with AsyncPostgresProvider(wanted) as provider:
        server.pause()
        try:
            assert not await provider.ping(timeout=0.2)
        finally:
            server.resume()
        async with asyncio.timeout(20):
            await select(provider)


# --- the network


@pytest.mark.parametrize("mode", ["garbage", "hang_up"])
async def test_something_else_behind_the_port_is_no_server(
    server: PostgresServer, user: str, proxy: FaultyProxy, no_backoff: None, mode: Any
) -> None:
    """Typed, after three attempts."""
    proxy.mode = mode
    with pytest.raises(ServerUnavailable):
        await AsyncPostgresProvider(config(server, user, port=proxy.port)).connect()
    assert proxy.accepted == 3


async def test_a_silent_peer_is_given_up_after_the_connect_timeout(
    server: PostgresServer, user: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole seconds, as libpq counts."""
    monkeypatch.setattr(provider_module, "_CONNECT_ATTEMPTS", 1)
    proxy.mode = "blackhole"
    wanted = config(server, user, port=proxy.port, pool=PoolConfig(connect_timeout=0.5))
    with pytest.raises(ServerUnavailable, match="timeout"):
        await AsyncPostgresProvider(wanted).connect()


async def test_a_slow_server_is_waited_for(server: PostgresServer, user: str, proxy: FaultyProxy) -> None:
    """Slow is not dead."""
    proxy.mode = "slow"
    async with AsyncPostgresProvider(config(server, user, port=proxy.port)) as provider:
        await select(provider)


async def test_a_connection_reset_in_the_middle_of_a_reply_fails_typed(
    server: PostgresServer, user: str, proxy: FaultyProxy
) -> None:
    """Only that call; the next one has a new connection."""
    async with AsyncPostgresProvider(config(server, user, port=proxy.port)) as provider:
        proxy.mode = "reset"
        with pytest.raises(ServerUnavailable) as caught:
            async with asyncio.timeout(20), provider.connection() as conn:
                await conn.execute("SELECT repeat('x', 100000)")
        assert isinstance(caught.value, psycopg.OperationalError)
        proxy.mode = "pass"
        async with asyncio.timeout(20):
            await select(provider)
        assert provider.is_connected


async def test_a_network_that_swallows_everything_is_survived(
    server: PostgresServer, user: str, proxy: FaultyProxy
) -> None:
    """A call with a deadline ends, ping says no, and when the network is back so is the pool."""
    async with AsyncPostgresProvider(config(server, user, port=proxy.port)) as provider:
        proxy.blackhole()
        assert not await provider.ping(timeout=0.2)
        proxy.restore()
        proxy.cut()
        async with asyncio.timeout(30):
            await select(provider)


def test_the_blocking_ping_is_bounded_too(server: PostgresServer, user: str, proxy: FaultyProxy) -> None:
    """No thread hangs in it."""
    with PostgresProvider(config(server, user, port=proxy.port)) as provider:
        proxy.blackhole()
        assert not provider.ping(timeout=0.2)
        proxy.restore()
        proxy.cut()
        assert provider.ping(timeout=20)


# --- cancellation


async def test_a_cancelled_query_gives_its_connection_back(server: PostgresServer, user: str) -> None:
    """The cancellation reaches the caller and the server; the slot is free at once."""
    async with AsyncPostgresProvider(config(server, user, pool=PoolConfig(max_size=1, timeout=10))) as provider:

        async def sleep() -> None:
            async with provider.connection() as conn:
                await conn.execute("SELECT pg_sleep(60)")

        task = asyncio.create_task(sleep())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(10):
            await select(provider)
        assert provider.stats()["generation"] == 0


async def test_a_storm_of_cancellations_leaks_no_connection(server: PostgresServer, user: str) -> None:
    """At any moment, twice over: waiting, connecting, in a query, in a transaction, giving back."""
    chance = random.Random(20261123)
    wanted = config(server, user, pool=PoolConfig(max_size=4, timeout=10))
    cancelled = 0
    async with AsyncPostgresProvider(wanted) as provider:

        async def work() -> None:
            async with provider.transaction() as conn:
                await conn.execute("SELECT pg_sleep(0.002)")

        for _ in range(30):
            tasks = [asyncio.create_task(work()) for _ in range(12)]
            for task in tasks:
                await asyncio.sleep(chance.random() * 0.002)
                task.cancel()
            for task in chance.sample(tasks, 6):
                await asyncio.sleep(chance.random() * 0.001)
                task.cancel()
            async with asyncio.timeout(20):
                results = await asyncio.gather(*tasks, return_exceptions=True)
            for result in results:
                assert result is None or isinstance(result, asyncio.CancelledError | SoaDbError | psycopg.Error)
                cancelled += isinstance(result, asyncio.CancelledError)
        assert cancelled > 100
        async with asyncio.timeout(20):
            # All four slots can be had at the same time: none was lost.
            async with provider.connection(), provider.connection(), provider.connection(), provider.connection():
                assert provider.stats()["pool_size"] == 4
            await asyncio.gather(*(work() for _ in range(40)))
    await asyncio.to_thread(eventually, lambda: sessions(server, user) == 0)


async def test_cancelling_connect_leaves_nothing_open(server: PostgresServer, user: str, proxy: FaultyProxy) -> None:
    """And the provider can be connected afterwards."""
    proxy.mode = "blackhole"
    provider = AsyncPostgresProvider(config(server, user, port=proxy.port, auth=PasswordAuth(password=PASSWORD)))
    task = asyncio.create_task(provider.connect())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not provider.is_connected
    proxy.restore()
    async with provider:
        await select(provider)
