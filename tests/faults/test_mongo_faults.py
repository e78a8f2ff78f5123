"""What goes wrong between a MongoDB provider and its servers: no lost write, no hang, no leak, typed errors.

The blocking provider is generated from the asynchronous one: it is tried where the driver, or the runtime, is another.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from pymongo.errors import AutoReconnect, PyMongoError
from tests.servers.aws_kit import settle
from tests.servers.mongo_kit import KINDS, config_of, connected
from tests.support.tcp import FaultyProxy

from soa_db import MongoConfig, MongoOptions, ServerUnavailable, TlsConfig
from soa_db._core.mongo.classify import Category
from soa_db._mongo.failures import category_of
from soa_db.config import Dial
from soa_db.local.mongo import MongoServer
from soa_db.local.tls import ServerTls
from soa_db.mongo import AsyncMongoProvider

if TYPE_CHECKING:
    from soa_db.local.mongo_set import MongoReplicaSet

# A server that is killed resets connections before their TLS handshake: CPython's ssl module then drops its socket
# unclosed (SSLSocket._create, where recv raises); pymongo's monitors in threads meet it, and nothing of ours can.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")

MongoServerFactory = Callable[..., MongoServer]
SHORT = MongoOptions(connect_timeout=0.5, server_selection_timeout=0.5, operation_timeout=0.5)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits between the three attempts of connect."""
    for shell in ("_async", "_sync"):
        monkeypatch.setattr(f"soa_db.{shell}.mongo.provider._CONNECT_BASE", 0.05)


@pytest.fixture
def proxy(mongo_server: MongoServer) -> Iterator[FaultyProxy]:
    """A network that misbehaves, before the shared server."""
    with FaultyProxy(mongo_server.host, mongo_server.port) as one:
        yield one


def through(server: MongoServer, proxy: FaultyProxy, **fields: Any) -> MongoConfig:
    """The server's config, through the proxy, with short times."""
    return config_of(server, **{"dial": Dial(host="localhost", port=proxy.port), "options": SHORT, **fields})


async def again(call: Callable[[], Any]) -> Any:
    """What a call gives once it succeeds."""
    for _ in range(100):
        with contextlib.suppress(PyMongoError):
            return await settle(call())
        await asyncio.sleep(0.05)
    return await settle(call())


@pytest.mark.parametrize("kind", KINDS)
async def test_a_blackhole_ends_in_time_and_the_provider_recovers(
    mongo_server: MongoServer, proxy: FaultyProxy, kind: str, unique_name: str
) -> None:
    """Idle connections and new ones; disconnecting does not wait for the silent server either."""
    async with connected(kind, through(mongo_server, proxy)) as provider:
        rooms = provider.database[unique_name]
        await settle(rooms.insert_one({"_id": 1}))
        proxy.blackhole()
        start = time.monotonic()
        with pytest.raises(PyMongoError):
            await settle(rooms.find_one())
        assert not await settle(provider.ping(timeout=0.3))
        assert time.monotonic() - start < 10
        assert provider.is_connected
        proxy.restore()
        proxy.cut()
        assert await again(rooms.find_one) == {"_id": 1}
        proxy.blackhole()
        start = time.monotonic()
    assert time.monotonic() - start < 10


async def test_a_blackhole_from_the_start_fails_in_time(mongo_tls_server: MongoServer) -> None:
    """Also within the TLS handshake, which asyncio would wait a minute for."""
    with FaultyProxy(mongo_tls_server.host, mongo_tls_server.port) as proxy:
        proxy.blackhole()
        tls = TlsConfig(ca_file=str(mongo_tls_server.ca_file))
        start = time.monotonic()
        with pytest.raises(ServerUnavailable) as caught:
            await AsyncMongoProvider(through(mongo_tls_server, proxy, tls=tls)).connect()
        assert time.monotonic() - start < 20
        assert f"dial=localhost:{proxy.port}" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "mode"), [("async", "garbage"), ("async", "hang_up"), ("async", "reset"), ("sync", "reset")]
)
async def test_no_answer_is_made_of_garbage(
    mongo_server: MongoServer, proxy: FaultyProxy, kind: str, unique_name: str, mode: Any
) -> None:
    """Another protocol, a hang-up, a reset in the middle of a reply: pymongo's error, and good again afterwards."""
    async with connected(kind, through(mongo_server, proxy)) as provider:
        rooms = provider.database[unique_name]
        await settle(rooms.insert_one({"_id": 1, "text": "x" * 1000}))
        proxy.mode = mode
        proxy.cut()
        with pytest.raises(PyMongoError):
            for _ in range(3):
                await settle(rooms.find_one())
        proxy.restore()
        assert (await again(rooms.find_one))["_id"] == 1
        assert provider.stats()["in_use"] == 0


@pytest.mark.parametrize(("kind", "mode"), [("async", "hang_up"), ("sync", "garbage")])
async def test_a_server_that_is_no_mongodb_is_unavailable(
    mongo_server: MongoServer, proxy: FaultyProxy, kind: str, mode: Any
) -> None:
    """Typed, after three attempts, with the next step."""
    proxy.mode = mode
    with pytest.raises(ServerUnavailable) as caught:
        await settle(KINDS[kind](through(mongo_server, proxy)).connect())
    assert "MongoDB" in caught.value.hint


async def test_a_restart_with_a_certificate_of_another_authority_opens_nothing(
    mongo_server_factory: MongoServerFactory, server_tls: ServerTls
) -> None:
    """What was connected does not come back by itself to a server that cannot be verified."""
    server = mongo_server_factory(tls=server_tls)
    assert server_tls.ca_pem is not None
    config = config_of(server, tls=TlsConfig(ca_pem=server_tls.ca_pem.decode()), options=SHORT)
    async with connected("async", config) as provider:
        await provider.database["rooms"].insert_one({"_id": 1})
        server.stop()
        authority = trustme.CA()
        own = authority.issue_cert("localhost", "127.0.0.1")
        server.tls = ServerTls(
            own.cert_chain_pems[0].bytes(), own.private_key_pem.bytes(), ca_pem=authority.cert_pem.bytes()
        )
        server.start()
        for _ in range(2):
            with pytest.raises(AutoReconnect):
                await provider.database["rooms"].find_one()
        assert not await provider.ping(timeout=0.5)
        server.stop()
        server.tls = server_tls
        server.start()
        assert await again(provider.database["rooms"].find_one) == {"_id": 1}


def set_config(members: MongoReplicaSet, ca_file: Path) -> MongoConfig:
    """The administrator's config of the set, as in prod: TLS, and so retryWrites; majority writes."""
    options = MongoOptions(write_concern="majority", connect_timeout=2, server_selection_timeout=20)
    return config_of(members, tls=TlsConfig(ca_file=str(ca_file)), options=options)


def step_down(members: MongoReplicaSet) -> None:
    """Have the primary give way."""
    primary = members.primary()
    assert primary is not None
    with contextlib.suppress(AutoReconnect), primary.system() as client:
        client.admin.command("replSetStepDown", 5, secondaryCatchUpPeriodSecs=4)


@pytest.mark.parametrize(("kind", "how"), [("async", "kill"), ("sync", "step down")])
async def test_an_election_under_load_loses_no_acknowledged_write(
    mongo_set: MongoReplicaSet, ca_file: Path, kind: str, how: str, unique_name: str
) -> None:
    """The primary is killed, or steps down: calls wait for the next one; what was acknowledged is there, once.

    A call in flight may fail, at most one of each caller, and then says why: pymongo does not repeat a write that the
    server interrupted while it ran (code 189), nor one that it sent into a connection just found dead.
    """
    acknowledged: list[int] = []
    failures: list[BaseException] = []
    stopped = False

    async with connected(kind, set_config(mongo_set, ca_file)) as provider:
        rooms = provider.database[unique_name]

        async def work(number: int) -> None:
            turn = 0
            while not stopped:
                key = number * 100_000 + turn
                turn += 1
                try:
                    await rooms.insert_one({"_id": key})
                except Exception as error:
                    failures.append(error)
                else:
                    acknowledged.append(key)

        def blocking(number: int) -> None:
            turn = 0
            while not stopped:
                key = number * 100_000 + turn
                turn += 1
                try:
                    rooms.insert_one({"_id": key})
                except Exception as error:
                    failures.append(error)
                else:
                    acknowledged.append(key)

        def start(number: int) -> Awaitable[None]:
            loop = asyncio.get_running_loop()
            return (
                loop.create_task(work(number)) if kind == "async" else loop.run_in_executor(threads, blocking, number)
            )

        with ThreadPoolExecutor(10) as threads:
            tasks = [start(number) for number in range(10)]
            await asyncio.sleep(0.2)
            victim = mongo_set.primary()
            assert victim is not None
            try:
                if how == "kill":
                    victim.kill()
                else:
                    await asyncio.to_thread(step_down, mongo_set)
                reached = len(acknowledged)
                deadline = time.monotonic() + 30
                while len(acknowledged) < reached + 100 and time.monotonic() < deadline:
                    await asyncio.sleep(0.02)
                more = len(acknowledged) >= reached + 100
            finally:
                stopped = True
                await asyncio.gather(*tasks)
                # In this thread: a server ends with the thread that started it.
                victim.start()
                mongo_set.wait()
        assert more
        assert {category_of(error) for error in failures} <= {Category.NOT_READY, Category.UNREACHABLE}
        assert len(failures) <= len(tasks)
        found = await settle(rooms.distinct("_id"))
        assert set(acknowledged) <= set(found)
        assert len(acknowledged) == len(set(acknowledged))
        assert provider.stats()["in_use"] == 0


async def test_without_a_primary_a_write_fails_in_time_and_connect_says_so(
    mongo_set: MongoReplicaSet, ca_file: Path
) -> None:
    """A minority elects nobody."""
    victims = mongo_set.nodes[:2]
    config = set_config(mongo_set, ca_file)
    quick = config.options.model_copy(update={"server_selection_timeout": 0.5})
    async with connected("async", config.model_copy(update={"options": quick})) as provider:
        try:
            for victim in victims:
                victim.kill()
            start = time.monotonic()
            with pytest.raises(PyMongoError):
                for _ in range(5):
                    await provider.database["rooms"].insert_one({})
            assert not await provider.ping(timeout=0.5)
            assert time.monotonic() - start < 20
            assert provider.is_connected
        finally:
            for victim in victims:
                victim.start()
            mongo_set.wait()


async def test_cancelled_calls_leave_no_connection_in_use(mongo_server: MongoServer, unique_name: str) -> None:
    """Cancelled at every step of making a connection or of a round trip, the pool stays sound."""
    async with AsyncMongoProvider(config_of(mongo_server, options=MongoOptions(max_pool_size=2))) as provider:
        rooms = provider.database[unique_name]
        await rooms.insert_one({"_id": 1})
        for turn in range(0, 40, 2):
            await provider.drain()
            task = asyncio.create_task(rooms.find_one())
            for _ in range(turn):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert await rooms.find_one() == {"_id": 1}
        assert provider.stats()["in_use"] == 0
