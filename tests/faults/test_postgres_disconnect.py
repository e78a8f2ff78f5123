"""Disconnecting while something hangs: prompt, without a warning, and nothing is left open.

Whatever hangs here would hang for a minute or more, while psycopg_pool waits five seconds for its workers and then logs
that it could not stop them. Promptness is so seen without a clock: no such line in the log, and the hung attempt given
up although its own time is not over.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.postgres import config, end_sessions, eventually, sessions
from tests.support.tcp import FaultyProxy

from soa_db.aws import AsyncAwsClients, AwsClients
from soa_db.config import PoolConfig, SecretAuth
from soa_db.errors import NotConnectedError, ServerUnavailable
from soa_db.postgres import AsyncPostgresProvider, PostgresProvider

if TYPE_CHECKING:
    from soa_db.local.postgres import PostgresServer

pytestmark = pytest.mark.usefixtures("quiet")

PATIENT = PoolConfig(max_size=3, timeout=60, connect_timeout=90)


@pytest.fixture
def proxy(server: PostgresServer) -> Iterator[FaultyProxy]:
    """Between the provider and the server; a black hole also for what is no PostgreSQL at all."""
    with FaultyProxy(server.host, server.port) as faulty:
        yield faulty


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing is logged as a warning by the pool or by asyncio."""
    yield
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [line for line in told if "discarding closed connection" not in line] == []


@pytest.fixture
def aws_black_hole(proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An AWS that takes every request and never answers; the endpoint. The calls given up end with the test."""
    proxy.mode = "blackhole"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "made-up")
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    yield f"http://127.0.0.1:{proxy.port}"
    proxy.mode = "hang_up"
    proxy.cut()
    eventually(lambda: not any(thread.name.startswith("soa-db ") for thread in threading.enumerate()), within=60)


async def until(true: Callable[[], bool]) -> None:
    """Let the loop run until something is so."""
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.005)


async def in_the_black_hole(provider: AsyncPostgresProvider, proxy: FaultyProxy) -> list[asyncio.Task[None]]:
    """Callers that wait for connections that will never be made; one attempt under way, at least."""
    proxy.blackhole()
    await asyncio.to_thread(proxy.cut)
    with pytest.raises(ServerUnavailable):
        async with provider.connection() as conn:
            await conn.execute("SELECT 1")

    async def call() -> None:
        async with provider.connection():
            pass

    before = proxy.accepted
    callers = [asyncio.create_task(call()) for _ in range(3)]
    await until(lambda: proxy.accepted > before and provider.stats()["requests_waiting"] == 3)
    return callers


async def test_disconnecting_gives_up_connects_that_hang(server: PostgresServer, user: str, proxy: FaultyProxy) -> None:
    """Who waits is told, and no task is left."""
    tasks = asyncio.all_tasks()
    provider = AsyncPostgresProvider(config(server, user, port=proxy.port, pool=PATIENT))
    await provider.connect()
    callers = await in_the_black_hole(provider, proxy)
    await provider.disconnect()
    for caller in callers:
        with pytest.raises(NotConnectedError):
            await caller
    assert asyncio.all_tasks() <= tasks
    proxy.restore()
    async with provider, provider.connection() as conn:
        await conn.execute("SELECT 1")


async def test_a_cancelled_disconnect_gives_up_connects_that_hang_too(
    server: PostgresServer, user: str, proxy: FaultyProxy
) -> None:
    """To its end, although nobody waits for that."""
    tasks = asyncio.all_tasks()
    provider = AsyncPostgresProvider(config(server, user, port=proxy.port, pool=PATIENT))
    await provider.connect()
    callers = await in_the_black_hole(provider, proxy)
    ending = asyncio.create_task(provider.disconnect())
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    for caller in callers:
        with pytest.raises(NotConnectedError):
            await caller
    await until(lambda: asyncio.all_tasks() <= tasks)
    assert not provider.is_connected


def test_disconnecting_gives_up_threads_that_hang(server: PostgresServer, user: str, proxy: FaultyProxy) -> None:
    """The blocking twin: the hung attempt ends by itself, and what it brings is closed."""
    provider = PostgresProvider(config(server, user, port=proxy.port, pool=PATIENT))
    provider.connect()
    workers = {thread for thread in threading.enumerate() if thread.name.startswith("chat-")}
    proxy.blackhole()
    proxy.cut()
    with pytest.raises(ServerUnavailable), provider.connection() as conn:
        conn.execute("SELECT 1")
    errors: list[Exception] = []

    def call() -> None:
        try:
            with provider.connection():
                pass
        except NotConnectedError as error:
            errors.append(error)

    before = proxy.accepted
    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    eventually(lambda: proxy.accepted > before and provider.stats()["requests_waiting"] == 3)
    provider.disconnect()
    for caller in callers:
        caller.join(20)
    assert len(errors) == 3
    assert not any(worker.is_alive() for worker in workers)
    proxy.restore()
    with provider, provider.connection() as conn:
        conn.execute("SELECT 1")
    proxy.cut()
    eventually(lambda: not any(thread.name == "soa-db call" for thread in threading.enumerate()))


def test_a_connection_that_comes_after_the_end_is_closed(server: PostgresServer, user: str, proxy: FaultyProxy) -> None:
    """The server was slow to let us in; by then nobody wants it."""
    provider = PostgresProvider(config(server, user, port=proxy.port, pool=PATIENT))
    provider.connect()
    end_sessions(server, user)
    proxy.mode, proxy.delay = "slow", 0.7
    with pytest.raises(ServerUnavailable), provider.connection() as conn:
        conn.execute("SELECT 1")
    before = proxy.accepted
    eventually(lambda: proxy.accepted > before)
    provider.disconnect()
    eventually(lambda: not any(thread.name == "soa-db call" for thread in threading.enumerate()))
    eventually(lambda: sessions(server, user) == 0)


async def test_disconnecting_ends_a_connect_that_hangs(server: PostgresServer, user: str, proxy: FaultyProxy) -> None:
    """The caller of connect() is told, and may call it again."""
    proxy.mode = "blackhole"
    provider = AsyncPostgresProvider(config(server, user, port=proxy.port, pool=PATIENT))
    connecting = asyncio.create_task(provider.connect())
    await until(lambda: proxy.accepted == 1)
    await provider.disconnect()
    with pytest.raises(NotConnectedError, match="meanwhile"):
        await connecting
    assert not provider.is_connected
    proxy.restore()
    async with provider, provider.connection() as conn:
        await conn.execute("SELECT 1")


@pytest.mark.parametrize("mode", ["blackhole", "hang_up"])
def test_disconnecting_ends_a_blocking_connect_that_hangs(
    server: PostgresServer, user: str, proxy: FaultyProxy, mode: Any
) -> None:
    """Also between two attempts."""
    proxy.mode = mode
    provider = PostgresProvider(config(server, user, port=proxy.port, pool=PATIENT))
    ended: list[str] = []
    connecting = threading.Thread(target=lambda: ended.append(outcome(provider.connect)))
    connecting.start()
    eventually(lambda: proxy.accepted > 0)
    provider.disconnect()
    connecting.join(20)
    assert ended == ["NotConnectedError"]
    assert not provider.is_connected


def outcome(call: Callable[[], None]) -> str:
    """The name of what it raises."""
    try:
        call()
    except Exception as error:
        return type(error).__name__
    return "nothing"


@pytest.mark.parametrize("what", ["configuration", "credentials"])
async def test_disconnecting_ends_a_connect_that_waits_for_aws(
    server: PostgresServer, user: str, proxy: FaultyProxy, aws_black_hole: str, what: str
) -> None:
    """Whether the loader waits for a secret or the first connection does."""
    async with AsyncAwsClients(region="us-west-2", endpoint_url=aws_black_hole) as aws:
        if what == "configuration":
            provider = AsyncPostgresProvider.from_aws(env="dev", service="chat-api", aws=aws)
        else:
            shown = config(server, user, auth=SecretAuth(secret_id="dev/postgres-shared/chat-api/app"))
            provider = AsyncPostgresProvider(shown, aws=aws)
        connecting = asyncio.create_task(provider.connect())
        await until(lambda: proxy.accepted > 0)
        await provider.disconnect()
        with pytest.raises(NotConnectedError, match="meanwhile"):
            await connecting
        assert not provider.is_connected


@pytest.mark.parametrize("what", ["configuration", "credentials"])
def test_disconnecting_ends_a_blocking_connect_that_waits_for_aws(
    server: PostgresServer, user: str, proxy: FaultyProxy, aws_black_hole: str, what: str
) -> None:
    """Likewise, although botocore cannot be interrupted."""
    with AwsClients(region="us-west-2", endpoint_url=aws_black_hole) as aws:
        if what == "configuration":
            provider = PostgresProvider.from_aws(env="dev", service="chat-api", aws=aws)
        else:
            shown = config(server, user, auth=SecretAuth(secret_id="dev/postgres-shared/chat-api/app"))
            provider = PostgresProvider(shown, aws=aws)
        ended: list[str] = []
        connecting = threading.Thread(target=lambda: ended.append(outcome(provider.connect)))
        connecting.start()
        eventually(lambda: proxy.accepted > 0)
        provider.disconnect()
        connecting.join(20)
        assert ended == ["NotConnectedError"]
        assert not provider.is_connected
