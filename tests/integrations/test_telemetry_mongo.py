"""What a MongoDB provider tells OpenTelemetry, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.trace import StatusCode
from pymongo.errors import AutoReconnect, WaitQueueTimeoutError
from tests.servers.aws_kit import settle
from tests.servers.mongo_kit import KINDS, config_of, connected
from tests.support.credentials import Vault, served_by
from tests.support.postgres import eventually
from tests.support.processes import in_child, succeeded
from tests.support.telemetry import Collected, collecting

from soa_db import PasswordAuth
from soa_db.config import MongoOptions, TlsConfig
from soa_db.errors import AuthenticationFailed, TlsVerificationFailed
from soa_db.mongo import MongoProvider

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from tests.conftest import MongoServerFactory

    from soa_db.local.mongo import MongoServer

# Python 3.12 warns of every fork while threads run; pymongo warns of every fork of a client too.
pytestmark = [
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:MongoClient opened before fork:UserWarning"),
]


@pytest.fixture
def collected() -> Iterator[Collected]:
    """The real SDK, in memory."""
    with collecting() as found:
        yield found


@pytest.fixture(params=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of provider in turn."""
    return str(request.param)


async def test_pool_use_and_connects_are_told(mongo_server: MongoServer, kind: str, collected: Collected) -> None:
    """Of the pool of each server; the monitors' connections, which nobody is lent, are not among them."""
    options = MongoOptions(max_pool_size=7, min_pool_size=1)
    config = config_of(mongo_server, instance_name="told", options=options)
    tracer = collected.tracer_provider.get_tracer("the service")
    with tracer.start_as_current_span("start-up") as outer:
        async with connected(kind, config) as provider:
            await settle(provider.database["rooms"].find_one())
            ((attributes, most),) = collected.points("db.client.connection.max", db_client_connection_pool_name="told")
            assert most == 7
            (server,) = mongo_server.hosts
            assert attributes == {
                "db.client.connection.pool.name": "told",
                "db.system.name": "mongodb",
                "db.namespace": "chat_api_db",
                "server.address": server[0],
                "server.port": server[1],
            }
            assert collected.total("db.client.connection.idle.min", db_client_connection_pool_name="told") == 1
            idle, used = collected.use("told")
            made = collected.total("db.client.connection.create_time", db_client_connection_pool_name="told")
            assert 1 <= idle + used <= made <= 2
    assert not collected.points("db.client.connection.count", db_client_connection_pool_name="told")

    def told() -> list[ReadableSpan]:
        return [span for span in collected.spans() if span.name == "connect chat_api_db" and span.status.is_ok]

    # Counted again: the one that pymongo makes in a thread, to keep its minimum, may have come since.
    made_for = {"db_client_connection_pool_name": "told"}
    eventually(lambda: len(told()) == collected.total("db.client.connection.create_time", **made_for) >= made)
    spans = told()
    parents = {span.parent.span_id for span in spans if span.parent}
    # What pymongo makes to keep its minimum has none.
    assert parents <= {outer.get_span_context().span_id}


async def test_waits_and_timeouts_are_told(mongo_server: MongoServer, kind: str, collected: Collected) -> None:
    """A cursor that is not read to its end keeps nothing; a slow call keeps the one connection there may be."""
    options = MongoOptions(max_pool_size=1, pool_timeout=0.1)
    slow = {"$where": "sleep(300) || true"}
    async with connected(kind, config_of(mongo_server, instance_name="full", options=options)) as provider:
        rooms = provider.database["waits"]
        await settle(rooms.delete_many({}))
        await settle(rooms.insert_one({"_id": 1}))
        collected_before = collected.total("db.client.connection.wait_time", db_client_connection_pool_name="full")
        await settle(rooms.find_one())
        assert (
            collected.total("db.client.connection.wait_time", db_client_connection_pool_name="full") == collected_before
        )

        async def busy() -> None:
            await asyncio.to_thread(rooms.find_one, slow) if kind == "sync" else await rooms.find_one(slow)

        async def until_used() -> None:
            while collected.use("full")[1] != 1:
                await asyncio.sleep(0.005)

        task = asyncio.create_task(busy())
        await until_used()
        with pytest.raises(WaitQueueTimeoutError):
            await settle(rooms.find_one())
        # pymongo tries a read a second time.
        assert 1 <= collected.total("db.client.connection.timeouts", db_client_connection_pool_name="full") <= 2
        assert (
            collected.total("db.client.connection.wait_time", db_client_connection_pool_name="full") == collected_before
        )
        await task
    options = MongoOptions(max_pool_size=1, pool_timeout=5)
    async with connected(kind, config_of(mongo_server, instance_name="full", options=options)) as provider:
        rooms = provider.database["waits"]
        task = asyncio.create_task(busy())
        await until_used()
        other: Any = asyncio.create_task(asyncio.to_thread(rooms.find_one) if kind == "sync" else rooms.find_one())
        while collected.total("db.client.connection.pending_requests", db_client_connection_pool_name="full") != 1:
            await asyncio.sleep(0.005)
        await other
        await task
        assert (
            collected.total("db.client.connection.wait_time", db_client_connection_pool_name="full") > collected_before
        )
        assert collected.total("db.client.connection.pending_requests", db_client_connection_pool_name="full") == 0


async def test_a_refused_password_shows_no_secret(mongo_server: MongoServer, kind: str, collected: Collected) -> None:
    """The class is ours, and nothing says what was sent."""
    config = config_of(mongo_server, instance_name="refused", auth=PasswordAuth(password="not-the-password"))
    with pytest.raises(AuthenticationFailed):
        await settle(KINDS[kind](config).connect())
    assert collected.total("soa_db.connection.errors", error_type="AuthenticationFailed") >= 1
    span = collected.spans()[0]
    assert span.status.status_code is StatusCode.ERROR
    assert span.events == ()
    assert "not-the-password" not in collected.everything()


async def test_a_login_tried_again_is_counted(mongo_server: MongoServer, kind: str, collected: Collected) -> None:
    """By the secret it was of."""
    vault = Vault(mongo_server.admin_user, mongo_server.admin_password)
    vault.served = "a stale password"
    provider = served_by(vault, KINDS[kind](config_of(mongo_server, instance_name="again")))
    await settle(provider.connect())
    ((attributes, count),) = collected.points("soa_db.authentication.retries", db_client_connection_pool_name="again")
    assert (attributes["soa_db.credential.source"], count) == ("dev/postgres-shared/chat/app", 1)
    assert "a stale password" not in collected.everything()
    await settle(provider.disconnect())


async def test_a_server_that_takes_no_connection_is_an_error(
    mongo_server_factory: MongoServerFactory, collected: Collected
) -> None:
    """Of our class, whichever of pymongo's it is; what pymongo raises of calls is the user's to count."""
    server = mongo_server_factory()
    async with (
        connected("async", config_of(server, instance_name="async")) as one,
        connected("sync", config_of(server, instance_name="sync")) as other,
    ):
        server.kill()
        for provider in (one, other):
            (pool,) = provider._login.pools()
            collected.forget_spans()
            with pytest.raises(AutoReconnect):
                await settle(pool.connect())
            name = provider.config.instance_name
            ((attributes, count),) = collected.points("soa_db.connection.errors", db_client_connection_pool_name=name)
            assert (attributes["error.type"], count) == ("ServerUnavailable", 1)
            (span,) = collected.spans()
            assert span.attributes is not None
            assert span.attributes["error.type"] == "ServerUnavailable"


async def test_servers_that_cannot_be_used_at_all_are_errors_too(
    mongo_tls_server: MongoServer, kind: str, collected: Collected
) -> None:
    """Found out by pymongo's monitors: no connection of the pool is even tried."""
    config = config_of(mongo_tls_server, instance_name="untrusted", tls=TlsConfig())
    with pytest.raises(TlsVerificationFailed):
        await settle(KINDS[kind](config).connect())
    ((attributes, count),) = collected.points("soa_db.connection.errors")
    assert (attributes["error.type"], count) == ("TlsVerificationFailed", 1)
    assert attributes["db.client.connection.pool.name"] == "untrusted"


def test_a_forked_child_tells_of_its_own_pools_only(mongo_server: MongoServer, collected: Collected) -> None:
    """The parent's are not its, and it has none until it asks for the client."""
    with MongoProvider(config_of(mongo_server, instance_name="forked")) as provider:
        assert sum(collected.use("forked")) == 1

        def child() -> None:
            assert not collected.points("db.client.connection.max", db_client_connection_pool_name="forked")
            provider.database["rooms"].find_one()
            assert sum(collected.use("forked")) == 1

        assert succeeded(in_child(child))
