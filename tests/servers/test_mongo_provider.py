"""The MongoDB provider of both kinds, on a real server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pymongo
import pytest
from pydantic import SecretStr
from pymongo.errors import OperationFailure
from tests.servers.aws_kit import settle
from tests.servers.mongo_kit import KINDS, config_of, connected
from tests.support.tcp import FaultyProxy

from soa_db import (
    AccessDenied,
    AuthenticationFailed,
    ConfigurationError,
    CredentialError,
    Dial,
    MongoConfig,
    MongoOptions,
    NoAuth,
    NotConnectedError,
    PasswordAuth,
    ServerUnavailable,
    TlsConfig,
)
from soa_db.credentials import Credentials
from soa_db.local.mongo import MongoServer
from soa_db.local.ports import free_port
from soa_db.mongo import AsyncMongoProvider

MongoServerFactory = Callable[..., MongoServer]


@pytest.fixture(params=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of provider in turn."""
    return str(request.param)


@pytest.fixture
def service(mongo_server: MongoServer, unique_name: str) -> MongoConfig:
    """A service's own user, kept in the service's database."""
    database = f"{unique_name}_db"
    mongo_server.create_user(f"{unique_name}_app", "app-password", database=database)
    return config_of(
        mongo_server,
        database=database,
        user=f"{unique_name}_app",
        auth=PasswordAuth(password=SecretStr("app-password")),
        auth_source=None,
        instance_name=unique_name,
    )


@pytest.fixture
def proxy(mongo_server: MongoServer) -> Iterator[FaultyProxy]:
    """A tunnel to the shared server, which counts connections."""
    with FaultyProxy(mongo_server.host, mongo_server.port) as one:
        yield one


def sessions(server: MongoServer, name: str) -> int:
    """How many connections of an instance the server has."""
    with server.admin() as client:
        pipeline: list[dict[str, Any]] = [
            {"$currentOp": {"allUsers": True, "idleConnections": True}},
            {"$match": {"appName": name}},
        ]
        return len(list(client.admin.aggregate(pipeline)))


async def all_left(server: MongoServer, name: str) -> bool:
    """Whether the server soon has no connection of an instance: a blocking client's monitors end by themselves."""
    deadline = time.monotonic() + 10
    while sessions(server, name) and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    return sessions(server, name) == 0


async def test_life(service: MongoConfig, kind: str) -> None:
    """The flag says what connect and disconnect did; connecting twice changes nothing; afterwards all starts anew."""
    provider = KINDS[kind](service)
    assert not provider.is_connected
    assert not await settle(provider.ping())
    for use in ("client", "database", "stats"):
        with pytest.raises(NotConnectedError, match="not connected"):
            found = getattr(provider, use)
            found()
    for _ in range(2):
        await settle(provider.connect())
        client = provider.client
        await settle(provider.connect())
        assert provider.client is client
        assert provider.is_connected
        assert "connected" in repr(provider)
        assert await settle(provider.ping())
        await settle(provider.database["rooms"].insert_one({"name": "a"}))
        assert (await settle(provider.database["rooms"].find_one()))["name"] == "a"
        assert provider.config is service
        await settle(provider.disconnect())
        assert not provider.is_connected
        await settle(provider.disconnect())
        with pytest.raises(NotConnectedError):
            _ = provider.client


async def test_a_user_without_any_right_in_the_database_fails_in_connect_at_once(
    mongo_server: MongoServer, kind: str, unique_name: str
) -> None:
    """Code 13, told as what it is; neither the command nor its data stand in the message."""
    database = f"{unique_name}_db"
    mongo_server.create_user(unique_name, "nobody-password", database=database, roles=[])
    auth = PasswordAuth(password=SecretStr("nobody-password"))
    config = config_of(mongo_server, database=database, user=unique_name, auth=auth, auth_source=None)
    with pytest.raises(AccessDenied, match="not authorized on") as caught:
        await settle(KINDS[kind](config).connect())
    assert "lsid" not in str(caught.value)
    cause = caught.value.__cause__
    assert isinstance(cause, OperationFailure)
    assert cause.code == 13


@pytest.mark.parametrize(
    "change",
    [
        {"auth": PasswordAuth(password=SecretStr("canary-password"))},
        {"auth_source": "another_db"},
        {"user": "unheard-of"},
        {"auth": NoAuth()},
    ],
    ids=["password", "auth_source", "user", "none"],
)
async def test_bad_credentials_fail_in_connect_at_once_and_show_nothing(
    service: MongoConfig,
    mongo_server: MongoServer,
    kind: str,
    change: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One attempt, whose client is closed; the secret stands in no message, repr or log line."""
    caplog.set_level(logging.DEBUG)
    provider = KINDS[kind](service.model_copy(update=change))
    with pytest.raises(AuthenticationFailed) as caught:
        await settle(provider.connect())
    assert caught.value.hint
    assert caught.value.context["user"] == change.get("user", service.user)
    chain = f"{caught.value!s}{caught.value!r}{caught.value.__cause__!s}{provider!r}{caplog.text}"
    assert "canary" not in chain
    assert "app-password" not in chain
    # Not a second attempt, before which there is a wait of up to a second.
    assert len([record for record in caplog.records if "Starting topology monitoring" in record.getMessage()]) == 1
    assert await all_left(mongo_server, service.instance_name)
    assert not provider.is_connected
    await settle(provider.disconnect())


@pytest.mark.parametrize("password", ["canary\x07", "\u0627canary1", "canary\ud800", "canary\U0001f600"])
async def test_a_password_that_scram_forbids_is_told(mongo_server: MongoServer, kind: str, password: str) -> None:
    """A typed error, without it."""
    config = config_of(mongo_server, auth=PasswordAuth(password=SecretStr(password)))
    with pytest.raises(CredentialError, match="SCRAM-SHA-256 forbids") as caught:
        await settle(KINDS[kind](config).connect())
    assert "canary" not in f"{caught.value!s}{caught.value.__cause__!s}"


async def test_the_server_does_not_pick_the_weaker_mechanism(mongo_server: MongoServer, kind: str) -> None:
    """Who can do nothing but SCRAM-SHA-1 gets in only where the configuration says so."""
    user, password = f"old_{kind}", "app-password"
    with pymongo.MongoClient[dict[str, Any]](mongo_server.admin_url) as admin:
        admin.admin.command("createUser", user, pwd=password, roles=["root"], mechanisms=["SCRAM-SHA-1"])
        try:
            config = config_of(mongo_server, user=user, auth=PasswordAuth(password=SecretStr(password)))
            with pytest.raises(AuthenticationFailed) as caught:
                await settle(KINDS[kind](config).connect())
            assert "options.mechanism" in caught.value.hint
            weak = config.model_copy(update={"options": MongoOptions(mechanism="SCRAM-SHA-1")})
            async with connected(kind, weak) as provider:
                assert await settle(provider.ping())
        finally:
            admin.admin.command("dropUser", user)


async def test_no_password_stands_in_what_tools_print_of_a_client(service: MongoConfig, kind: str) -> None:
    """Neither the client nor its options hold one; what holds it does not show it."""
    async with connected(kind, service) as provider:
        client = provider.client
        assert "app-password" not in f"{client!r}{vars(client)!r}{client.options._options!r}"
        credentials = Credentials(service.user, "app-password")
        assert "app-password" not in repr(provider._login.store.of(credentials))


async def test_a_server_that_is_not_there_is_tried_three_times(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With jittered waits between, then the typed error that names the hosts."""
    waits: list[Any] = []

    async def wait(seconds: Any) -> None:
        waits.append(seconds)

    module = "_async" if kind == "async" else "_sync"
    target = f"soa_db.{module}.mongo.provider"
    monkeypatch.setattr(f"{target}.sleep", wait if kind == "async" else waits.append)
    monkeypatch.setattr(f"{target}.full_jitter", lambda attempt, **of: (attempt, of["base"], of["cap"]))
    port = free_port()
    config = MongoConfig(
        instance_name="away",
        hosts=[{"host": "localhost", "port": port}],
        database="d",
        tls=None,
        options=MongoOptions(server_selection_timeout=0.2),
    )
    provider = KINDS[kind](config)
    with pytest.raises(ServerUnavailable, match=f"localhost:{port}") as caught:
        await settle(provider.connect())
    assert "has a primary" in caught.value.hint
    assert waits == [(1, 1.0, 4.0), (2, 1.0, 4.0)]
    assert not provider.is_connected


async def test_a_server_that_comes_up_meanwhile_is_found(
    mongo_server: MongoServer, proxy: FaultyProxy, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second attempt makes a client of its own."""
    proxy.mode = "hang_up"

    async def restore(seconds: float) -> None:
        proxy.restore()

    module = "_async" if kind == "async" else "_sync"
    restoring: Any = restore if kind == "async" else lambda _: proxy.restore()
    monkeypatch.setattr(f"soa_db.{module}.mongo.provider.sleep", restoring)
    dial = Dial(host="localhost", port=proxy.port)
    options = MongoOptions(server_selection_timeout=0.3)
    async with connected(kind, config_of(mongo_server, dial=dial, options=options)) as provider:
        assert await settle(provider.ping())


async def test_a_tunnel_is_dialled_directly(mongo_tls_server: MongoServer, kind: str, unique_name: str) -> None:
    """The set's members are not asked for: their names lead nowhere from here. The set's name is dropped."""
    from soa_db import TlsConfig

    with FaultyProxy(mongo_tls_server.host, mongo_tls_server.port) as tunnel:
        config = config_of(
            mongo_tls_server,
            hosts=[{"host": "mongo-1.internal.invalid"}],
            replica_set="another-set",
            tls=TlsConfig(ca_file=str(mongo_tls_server.ca_file)),
            dial=Dial(host="localhost", port=tunnel.port),
        )
        async with connected(kind, config) as provider:
            await settle(provider.database[unique_name].insert_one({"a": 1}))
            assert provider.stats()["servers"] == 1
            (address,) = provider.client.nodes
            assert address == ("localhost", tunnel.port)


async def test_the_wrong_set_is_told(mongo_tls_server: MongoServer, kind: str) -> None:
    """A typed error whose hint names the setting."""
    from soa_db import TlsConfig

    config = config_of(
        mongo_tls_server,
        replica_set="another-set",
        tls=TlsConfig(ca_file=str(mongo_tls_server.ca_file)),
        options=MongoOptions(server_selection_timeout=0.3),
    )
    provider = KINDS[kind](config)
    with pytest.raises(ServerUnavailable) as caught:
        await settle(provider._probe(await _login(provider)))
    assert "replica_set" in caught.value.hint


async def _login(provider: Any) -> Any:
    from soa_db._async.mongo.pool import AsyncLogin
    from soa_db._sync.mongo.pool import Login

    provider._enter()
    config, credentials = await settle(provider._principal.resolve())
    return (AsyncLogin if isinstance(provider, AsyncMongoProvider) else Login)(config, credentials)


async def test_options_reach_the_driver(service: MongoConfig, kind: str) -> None:
    """Seconds are seconds; the server knows the connections by the instance's name."""
    options = MongoOptions(
        max_pool_size=7,
        min_pool_size=1,
        max_idle=60,
        connect_timeout=3,
        server_selection_timeout=4,
        pool_timeout=5,
        operation_timeout=6,
        write_concern=1,
    )
    async with connected(kind, service.model_copy(update={"options": options})) as provider:
        client = provider.client
        pool = client.options.pool_options
        assert (pool.max_pool_size, pool.min_pool_size, pool.max_idle_time_seconds) == (7, 1, 60)
        assert (pool.connect_timeout, pool.wait_queue_timeout) == (3, 5)
        assert (client.options.server_selection_timeout, client.options.timeout) == (4, 6)
        assert client.write_concern.document == {"w": 1}
        assert client.options.retry_writes is False
    retrying = service.model_copy(update={"options": MongoOptions(retry_writes=True)})
    async with connected(kind, retrying) as provider:
        assert provider.client.options.retry_writes is True


async def test_what_the_driver_does_not_take_is_a_configuration_error(kind: str) -> None:
    """Nothing is dialled."""
    config = MongoConfig(instance_name="x", hosts=[{"host": "a"}, {"host": "b"}], database="d", tls=None)
    config = config.model_copy(update={"options": MongoOptions.model_construct(max_pool_size=-1)})
    with pytest.raises(ConfigurationError, match="pymongo does not take"):
        await settle(KINDS[kind](config).connect())


async def test_a_drained_pool_is_made_anew(service: MongoConfig, kind: str) -> None:
    """Idle connections are replaced; the counts say so."""
    async with connected(kind, service) as provider:
        who = {"whatsmyuri": 1}
        before = await settle(provider.client.admin.command(who))
        assert provider.stats() == {"idle": 1, "in_use": 0, "servers": 1, "connected": 1}
        await settle(provider.drain())
        assert provider.stats()["idle"] == 0
        assert (await settle(provider.client.admin.command(who)))["you"] != before["you"]
        assert provider.stats()["idle"] == 1


async def test_a_ping_is_bounded_and_never_raises(mongo_server: MongoServer, proxy: FaultyProxy, kind: str) -> None:
    """Into a black hole, and when all connections are taken."""
    dial = Dial(host="localhost", port=proxy.port)
    async with connected(kind, config_of(mongo_server, dial=dial)) as provider:
        assert await settle(provider.ping())
        proxy.blackhole()
        start = time.monotonic()
        assert not await settle(provider.ping(timeout=0.3))
        assert time.monotonic() - start < 5
        proxy.restore()
        proxy.cut()
    options = MongoOptions(max_pool_size=1)
    async with connected("sync", config_of(mongo_server, options=options)) as provider:
        with provider.client.start_session() as session, session.start_transaction():
            assert provider.ping()


async def test_a_ping_is_bounded_within_a_tls_handshake_too(mongo_tls_server: MongoServer, kind: str) -> None:
    """asyncio alone would wait a minute for it, and an operation with a timeout as long."""
    tls = TlsConfig(ca_file=str(mongo_tls_server.ca_file))
    with FaultyProxy(mongo_tls_server.host, mongo_tls_server.port) as proxy:
        dial = Dial(host="localhost", port=proxy.port)
        async with connected(kind, config_of(mongo_tls_server, tls=tls, dial=dial)) as provider:
            await settle(provider.drain())
            proxy.blackhole()
            start = time.monotonic()
            assert not await settle(provider.ping(timeout=0.3))
            # By the connect timeout it would be 20.
            assert time.monotonic() - start < 10
            proxy.cut()


async def test_nothing_is_left_behind(service: MongoConfig, mongo_server: MongoServer, kind: str) -> None:
    """No connection at the server, no warning when what was used is collected."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            async with connected(kind, service) as provider:
                await settle(provider.database["rooms"].find_one())
                assert sessions(mongo_server, service.instance_name) > 0
        assert await all_left(mongo_server, service.instance_name)


async def test_a_cancelled_connect_leaves_nothing_behind(service: MongoConfig, mongo_server: MongoServer) -> None:
    """Cancelled at every step, its client is closed; the next connect succeeds."""
    provider = AsyncMongoProvider(service)
    for turn in range(0, 60, 3):
        task = asyncio.create_task(provider.connect())
        for _ in range(turn):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await provider.disconnect()
    assert await all_left(mongo_server, service.instance_name)
    await provider.connect()
    assert await provider.ping()
    await provider.disconnect()


async def test_many_who_connect_at_once_share_one_client(service: MongoConfig) -> None:
    """And the blocking kind is safe in threads."""
    provider = AsyncMongoProvider(service)
    await asyncio.gather(*(provider.connect() for _ in range(20)))
    found = await asyncio.gather(*(provider.ping() for _ in range(20)))
    assert all(found)
    await provider.disconnect()
    blocking = KINDS["sync"](service)
    await asyncio.gather(*(asyncio.to_thread(blocking.connect) for _ in range(8)))
    assert all(await asyncio.gather(*(asyncio.to_thread(blocking.ping) for _ in range(8))))
    blocking.disconnect()


def test_the_driver_still_lets_us_choose_its_pool_and_its_credentials() -> None:
    """What we rely on that pymongo does not document: a release that changes it must be looked at."""
    from pymongo.pool_options import PoolOptions

    client: pymongo.MongoClient[Any] = pymongo.MongoClient(connect=False, _pool_class=object)
    assert client._topology_settings.pool_class is object
    assert isinstance(vars(PoolOptions)["_credentials"], property)
    with pymongo.timeout(5):
        left = pymongo._csot.remaining()
    assert left is not None
    assert 0 < left <= 5
    assert pymongo._csot.remaining() is None
    client.close()
