"""What a Redis manager tells OpenTelemetry, on a real server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.trace import StatusCode
from tests.servers.aws_kit import settle
from tests.servers.redis_kit import KINDS, config_of, connected
from tests.support.processes import in_child, succeeded
from tests.support.telemetry import Collected, collecting

from soa_db import PasswordAuth, SecretAuth
from soa_db._async.redis.calls import call_server as call_async
from soa_db._sync.redis.calls import call_server as call_sync
from soa_db.aws import AwsClients
from soa_db.config import TlsConfig
from soa_db.errors import AuthenticationFailed, PoolTimeout, ServerUnavailable
from soa_db.redis import RedisConnectionManager

if TYPE_CHECKING:
    from tests.conftest import RedisServerFactory

    from soa_db.local.environment import LocalEnvironment
    from soa_db.local.redis import RedisServer
    from soa_db.local.redis_cluster import RedisCluster

# Python 3.12 warns of every fork while threads run.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def collected() -> Iterator[Collected]:
    """The real SDK, in memory."""
    with collecting() as found:
        yield found


@pytest.fixture(params=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of manager in turn."""
    return str(request.param)


async def test_pool_use_and_connects_are_told(redis_server: RedisServer, kind: str, collected: Collected) -> None:
    """By the conventions: the number of the database is its namespace; the span is the caller's child."""
    config = config_of(redis_server, instance_name="told", max_connections=3)
    tracer = collected.tracer_provider.get_tracer("the service")
    with tracer.start_as_current_span("request") as outer:
        async with connected(kind, config) as manager:
            assert collected.use("told") == (1, 0)
            ((attributes, most),) = collected.points("db.client.connection.max", db_client_connection_pool_name="told")
            assert most == 3
            assert attributes == {
                "db.client.connection.pool.name": "told",
                "db.system.name": "redis",
                "db.namespace": "0",
                "server.address": redis_server.host,
                "server.port": redis_server.port,
            }
            assert not collected.points("db.client.connection.idle.min", db_client_connection_pool_name="told")
            await settle(manager.set("told:a", 1))
            assert collected.total("db.client.connection.create_time", db_client_connection_pool_name="told") == 1
    assert not collected.points("db.client.connection.count", db_client_connection_pool_name="told")
    mine = [span for span in collected.spans() if span.name == "connect 0"]
    assert [span.parent.span_id for span in mine if span.parent] == [outer.get_span_context().span_id]


async def test_waits_and_timeouts_are_told(redis_server: RedisServer, kind: str, collected: Collected) -> None:
    """Only of a caller who found no connection free."""
    config = config_of(redis_server, instance_name="full", max_connections=1, command_timeout=0.3)
    async with connected(kind, config) as manager:
        pool = manager.client.connection_pool
        for _ in range(3):
            await settle(manager.get("full:none"))
        assert not collected.points("db.client.connection.wait_time")
        taken = await settle(pool.get_connection())
        assert collected.use("full") == (0, 1)
        with pytest.raises(PoolTimeout):
            await settle(manager.get("full:none"))
        timeouts = collected.total("db.client.connection.timeouts", db_client_connection_pool_name="full")
        assert timeouts >= 1
        assert not collected.points("db.client.connection.wait_time")
        if kind == "async":
            waiting = asyncio.create_task(manager.get("full:none"))
            await asyncio.sleep(0.02)
            assert collected.total("db.client.connection.pending_requests", db_client_connection_pool_name="full") == 1
            await pool.release(taken)
            await waiting
        else:
            later = threading.Timer(0.05, pool.release, (taken,))
            later.start()
            manager.get("full:none")
            later.join()
        assert collected.total("db.client.connection.wait_time", db_client_connection_pool_name="full") == 1
        assert collected.total("db.client.connection.pending_requests", db_client_connection_pool_name="full") == 0


async def test_a_refused_password_shows_no_secret(redis_server: RedisServer, kind: str, collected: Collected) -> None:
    """The error's public class, whatever driver's error it is too."""
    config = config_of(redis_server, instance_name="refused", auth=PasswordAuth(password="not-the-password"))
    with pytest.raises(AuthenticationFailed):
        await settle(KINDS[kind](config).connect())
    assert collected.total("soa_db.connection.errors", error_type="AuthenticationFailed") == 1
    (span,) = collected.spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.events == ()
    assert "not-the-password" not in collected.everything()


async def test_retries_and_refreshes_are_told_by_their_secret(
    redis_server: RedisServer, kind: str, collected: Collected, local_aws: LocalEnvironment, unique_name: str
) -> None:
    """A secret read, refused, read again by force: one retry, and two refreshes with their reasons."""
    with AwsClients() as clients:
        value = json.dumps({"username": redis_server.admin_user, "password": "a stale password"})
        clients.call("secretsmanager", "create_secret", Name=unique_name, SecretString=value)
    manager = KINDS[kind](config_of(redis_server, instance_name=unique_name, auth=SecretAuth(secret_id=unique_name)))
    with pytest.raises(AuthenticationFailed):
        await settle(manager.connect())
    with AwsClients() as clients:
        value = json.dumps({"username": redis_server.admin_user, "password": redis_server.admin_password})
        clients.call("secretsmanager", "put_secret_value", SecretId=unique_name, SecretString=value)
    await settle(manager.connect())
    assert collected.total("soa_db.authentication.retries", soa_db_credential_source=unique_name) == 1
    reasons = {
        attributes["soa_db.credential.refresh.reason"]: attributes["soa_db.credential.kind"]
        for attributes, _ in collected.points("soa_db.credential.refreshes", soa_db_credential_source=unique_name)
    }
    assert reasons == {"initial": "secret", "forced": "secret"}
    # A version in the stage AWSPENDING is looked for, and there is none.
    assert collected.total("soa_db.credential.refreshes", error_type="SecretNotFound") >= 1
    for secret in ("a stale password", redis_server.admin_password):
        assert secret not in collected.everything()
    await settle(manager.disconnect())


async def test_a_connection_lost_in_use_is_an_error(
    redis_server_factory: RedisServerFactory, kind: str, collected: Collected
) -> None:
    """What a call fails with when its server ends; the next one, which cannot even connect, is told once too."""
    server = redis_server_factory()
    config = config_of(server, instance_name="lost", command_timeout=0.3, connect_timeout=0.3)
    call: Any = call_async if kind == "async" else call_sync
    async with connected(kind, config) as manager:
        with pytest.raises(ServerUnavailable):
            await settle(
                call(manager.client, config, lambda client: client.execute_command("SHUTDOWN", "NOSAVE"), again=False)
            )
        assert collected.total("soa_db.connection.errors", error_type="ServerUnavailable") == 1
        before = len(collected.spans())
        assert not await settle(manager.ping())
        spans = collected.spans()[before:]
        assert spans
        assert collected.total("soa_db.connection.errors", error_type="ServerUnavailable") == 1 + len(spans)


async def test_the_nodes_of_a_cluster_are_told_apart_in_spans(
    redis_cluster: RedisCluster, kind: str, collected: Collected, ca_file: Path
) -> None:
    """Its pools count together; a connect is to one node."""
    config = config_of(redis_cluster, instance_name="nodes", tls=TlsConfig(ca_file=str(ca_file)))
    async with connected(kind, config) as manager:
        for number in range(20):
            await settle(manager.set(f"nodes:{number}", number))
        idle, used = collected.use("nodes")
        assert idle >= 3
        assert used == 0
        most = collected.total("db.client.connection.max", db_client_connection_pool_name="nodes")
        assert most > config.max_connections
        ports = {span.attributes["server.port"] for span in collected.spans() if span.attributes}
        assert len(ports) >= 3


def test_a_forked_child_tells_of_its_own_connections_only(redis_server: RedisServer, collected: Collected) -> None:
    """The parent's are not its."""
    with RedisConnectionManager(config_of(redis_server, instance_name="forked")) as manager:
        assert collected.use("forked") == (1, 0)

        def child() -> None:
            assert collected.use("forked") == (0, 0)
            manager.get("forked:none")
            assert collected.use("forked") == (1, 0)

        assert succeeded(in_child(child))
