"""What a PostgreSQL provider tells OpenTelemetry: pool use, waits, connects and how they end, on a real server."""

from __future__ import annotations

import _thread
import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from opentelemetry.trace import SpanKind, StatusCode
from psycopg import sql
from tests.servers.aws_kit import settle
from tests.support.credentials import Vault, served_by
from tests.support.postgres import (
    PASSWORD,
    config,
    end_sessions,
    eventually,
    login_role,
    superuser,
)
from tests.support.processes import in_child, succeeded
from tests.support.telemetry import Collected, collecting

from soa_db._runtime import telemetry
from soa_db.config import PasswordAuth, PoolConfig
from soa_db.credentials import Credentials
from soa_db.errors import AuthenticationFailed, PoolTimeout, ServerUnavailable
from soa_db.postgres import AsyncPostgresProvider, PostgresProvider, aconnect, connect

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment
    from soa_db.local.postgres import PostgresServer

KINDS: dict[str, type[Any]] = {"async": AsyncPostgresProvider, "sync": PostgresProvider}
# Python 3.12 warns of every fork while threads run; a forked child is one of the things tested here.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def collected() -> Iterator[Collected]:
    """The real SDK, in memory."""
    with collecting() as found:
        yield found


@pytest.fixture(params=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of provider in turn."""
    return str(request.param)


async def enter(context: Any) -> Any:
    """Enter a context of either kind."""
    return await context.__aenter__() if hasattr(context, "__aenter__") else context.__enter__()


async def leave_context(context: Any, *error: Any) -> None:
    """Leave it."""
    arguments = error or (None, None, None)
    await context.__aexit__(*arguments) if hasattr(context, "__aexit__") else context.__exit__(*arguments)


async def test_pool_use_is_told_by_the_conventions(
    server: PostgresServer, user: str, kind: str, collected: Collected
) -> None:
    """Idle, used, allowed; nothing before connect and nothing after disconnect."""
    shown = config(server, user, instance_name=user, pool=PoolConfig(min_size=2, max_size=5))
    provider = KINDS[kind](shown)
    assert collected.use(user) == (0, 0)
    await settle(provider.connect())
    await settle(provider.pool.wait())
    lent = provider.connection()
    await enter(lent)
    assert collected.use(user) == (1, 1)
    ((attributes, most),) = collected.points("db.client.connection.max", db_client_connection_pool_name=user)
    assert most == 5
    assert attributes == {
        "db.client.connection.pool.name": user,
        "db.system.name": "postgresql",
        "db.namespace": "postgres",
        "server.address": server.host,
        "server.port": server.port,
    }
    assert collected.total("db.client.connection.idle.min", db_client_connection_pool_name=user) == 2
    assert collected.total("db.client.connection.pending_requests", db_client_connection_pool_name=user) == 0
    await leave_context(lent)
    assert collected.use(user) == (2, 0)
    await settle(provider.disconnect())
    assert not collected.points("db.client.connection.count", db_client_connection_pool_name=user)
    units = {name: metric.unit for name, metric in collected.metrics().items()}
    assert units["db.client.connection.create_time"] == "s"


async def test_providers_of_one_name_are_told_together(server: PostgresServer, user: str, collected: Collected) -> None:
    """One point per pool name and state: two would be what the API leaves undefined."""
    shown = config(server, user, instance_name=user, pool=PoolConfig(min_size=1, max_size=2))
    async with AsyncPostgresProvider(shown) as one, AsyncPostgresProvider(shown) as other:
        await one.pool.wait()
        await other.pool.wait()
        assert collected.use(user) == (2, 0)
        assert collected.total("db.client.connection.max", db_client_connection_pool_name=user) == 4
        assert len(collected.points("db.client.connection.max", db_client_connection_pool_name=user)) == 1


def test_a_provider_is_not_kept_alive(server: PostgresServer, user: str, collected: Collected) -> None:
    """Neither by the callbacks nor by what they are given."""
    shown = config(server, user, instance_name=user)
    provider: PostgresProvider | None = PostgresProvider(shown)
    assert provider is not None
    provider.connect()
    assert collected.use(user) == (1, 0)
    provider.disconnect()
    gone = weakref.ref(provider)
    provider = None
    # The threads in which it connected may still be ending.
    eventually(lambda: gc.collect() >= 0 and gone() is None)
    assert not collected.points("db.client.connection.count", db_client_connection_pool_name=user)


async def test_only_a_caller_who_waited_is_recorded(
    server: PostgresServer, user: str, kind: str, collected: Collected
) -> None:
    """A free connection costs no record; one that must be waited for gives one; in vain, a timeout."""
    shown = config(server, user, instance_name=user, pool=PoolConfig(min_size=1, max_size=1))
    provider = KINDS[kind](shown)
    await settle(provider.connect())
    await settle(provider.pool.wait())
    before = collected.total("db.client.connection.wait_time", db_client_connection_pool_name=user)
    for _ in range(3):
        lent = provider.connection()
        await enter(lent)
        await leave_context(lent)
    assert collected.total("db.client.connection.wait_time", db_client_connection_pool_name=user) == before
    await enter(lent := provider.connection())
    with pytest.raises(PoolTimeout):
        await enter(provider.connection(timeout=0.05))
    assert collected.total("db.client.connection.timeouts", db_client_connection_pool_name=user) == 1
    if kind == "async":
        task = asyncio.create_task(enter(second := provider.connection()))
        await asyncio.sleep(0.02)
        assert collected.total("db.client.connection.pending_requests", db_client_connection_pool_name=user) == 1
        await leave_context(lent)
        await task
        await leave_context(second)
    else:
        release = threading.Timer(0.05, lent.__exit__, (None, None, None))
        release.start()
        with provider.connection():
            pass
        release.join()
    assert collected.total("db.client.connection.wait_time", db_client_connection_pool_name=user) == before + 1
    await settle(provider.disconnect())


def test_ctrl_c_while_a_wait_is_told_loses_no_connection(
    server: PostgresServer, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exporter may take its time, and the connection is not the caller's yet: the pool gets it back."""
    told: list[str] = []

    def interrupted(*_: object) -> None:
        told.append(threading.current_thread().name)
        _thread.interrupt_main()
        time.sleep(0.05)

    with PostgresProvider(config(server, user, pool=PoolConfig(min_size=1, max_size=1))) as provider:
        lent = provider.connection()
        lent.__enter__()
        monkeypatch.setattr(telemetry, "waited", interrupted)
        release = threading.Timer(0.02, lent.__exit__, (None, None, None))
        release.start()
        with pytest.raises(KeyboardInterrupt), provider.connection():
            pass
        release.join()
        monkeypatch.undo()
        assert provider.ping(2)
    assert len(told) == 1


async def test_connects_are_timed_and_traced(
    server: PostgresServer, user: str, kind: str, collected: Collected
) -> None:
    """A span of the caller's own for what the caller waits for, a root span for what the pool makes on its own."""
    shown = config(server, user, instance_name=user, pool=PoolConfig(min_size=2, max_size=2))
    provider = KINDS[kind](shown)
    tracer = collected.tracer_provider.get_tracer("the service")
    with tracer.start_as_current_span("start-up") as outer:
        await settle(provider.connect())
        await settle(provider.pool.wait())
    spans = [span for span in collected.spans() if span.name == "connect postgres"]
    assert len(spans) == 2
    mine, pools = sorted(spans, key=lambda span: span.parent is None)
    assert mine.parent is not None
    assert mine.parent.span_id == outer.get_span_context().span_id
    assert pools.parent is None
    assert mine.kind is SpanKind.CLIENT
    assert mine.status.status_code is StatusCode.UNSET
    assert mine.attributes is not None
    assert dict(mine.attributes) == {
        "db.client.connection.pool.name": user,
        "db.system.name": "postgresql",
        "db.namespace": "postgres",
        "server.address": server.host,
        "server.port": server.port,
        "soa_db.credential.source": "config",
    }
    assert mine.start_time is not None
    assert mine.end_time is not None
    assert 0 < mine.end_time - mine.start_time < 10e9
    assert collected.total("db.client.connection.create_time", db_client_connection_pool_name=user) == 2
    await settle(provider.disconnect())


async def test_a_refused_password_is_an_error_by_class_and_shows_no_secret(
    server: PostgresServer, user: str, kind: str, collected: Collected
) -> None:
    """In no attribute, status or event; there is no event at all, since a driver's error may quote anything."""
    shown = config(server, user, instance_name=user, auth=PasswordAuth(password="not-the-password"))
    with pytest.raises(AuthenticationFailed):
        await settle(KINDS[kind](shown).connect())
    ((attributes, count),) = collected.points("soa_db.connection.errors", db_client_connection_pool_name=user)
    assert (attributes["error.type"], count) == ("AuthenticationFailed", 1)
    assert not collected.points("db.client.connection.create_time", db_client_connection_pool_name=user)
    (span,) = collected.spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == "AuthenticationFailed"
    assert span.events == ()
    assert "not-the-password" not in collected.everything()


async def test_a_login_tried_again_is_counted_by_the_source_of_its_credentials(
    server: PostgresServer, user: str, kind: str, collected: Collected
) -> None:
    """The password is another since; the secret is named, its value never."""
    vault = Vault(user, PASSWORD)
    vault.served = "the stale password"
    provider = served_by(vault, KINDS[kind](config(server, user, instance_name=user, pool=PoolConfig(max_size=1))))
    await settle(provider.connect())
    ((attributes, count),) = collected.points("soa_db.authentication.retries", db_client_connection_pool_name=user)
    assert (attributes["soa_db.credential.source"], count) == ("dev/postgres-shared/chat/app", 1)
    (span,) = collected.spans()
    assert span.attributes is not None
    assert span.attributes["soa_db.authentication.retries"] == 1
    assert span.status.status_code is StatusCode.UNSET
    for secret in ("the stale password", PASSWORD):
        assert secret not in collected.everything()
    await settle(provider.disconnect())


async def test_tokens_are_told_by_their_kind_and_never_shown(
    local_aws: LocalEnvironment, unique_name: str, collected: Collected
) -> None:
    """Minted once for two connections; the AWS credentials that sign are another kind."""
    server = local_aws.server("mirror")
    with login_role(server, unique_name) as user:
        superuser(server, sql.SQL("GRANT rds_iam TO {}").format(sql.Identifier(user)))
        provider = AsyncPostgresProvider.from_aws(
            env="mirror", service=unique_name, user=user, database="postgres", pool=PoolConfig(min_size=2, max_size=2)
        )
        async with provider:
            await provider.pool.wait()
            _, credentials = await provider._principal.resolve()
            token = (await credentials.get()).secret
            await credentials.refresh(Credentials(user, token))
        refreshes = {
            (point["soa_db.credential.kind"], point["soa_db.credential.refresh.reason"])
            for point, _ in collected.points("soa_db.credential.refreshes")
        }
        assert ("token", "initial") in refreshes
        assert ("aws", "initial") in refreshes
        assert collected.total("soa_db.credential.refreshes", soa_db_credential_source="rds-iam") == 1
        assert {dict(span.attributes or {})["soa_db.credential.source"] for span in collected.spans()} == {"rds-iam"}
        assert token[-40:] not in collected.everything()


async def test_a_connection_lost_in_use_is_an_error(
    server: PostgresServer, user: str, kind: str, collected: Collected
) -> None:
    """Of the class that is raised; what replaces it is a connect like any other."""
    provider = KINDS[kind](config(server, user, instance_name=user, pool=PoolConfig(max_size=1)))
    await settle(provider.connect())
    lent = provider.connection()
    conn = await enter(lent)
    end_sessions(server, user)
    try:
        await settle(conn.execute("SELECT 1"))
    except psycopg.OperationalError as error:
        with pytest.raises(ServerUnavailable):
            await leave_context(lent, type(error), error, error.__traceback__)
    ((attributes, count),) = collected.points("soa_db.connection.errors", db_client_connection_pool_name=user)
    assert (attributes["error.type"], count) == ("ServerUnavailable", 1)
    assert await settle(provider.ping())
    assert collected.total("db.client.connection.create_time", db_client_connection_pool_name=user) == 2
    await settle(provider.disconnect())


def test_looking_for_a_server_that_is_away_gives_no_flood_of_spans(
    pg_server_factory: Callable[..., PostgresServer], collected: Collected
) -> None:
    """Each attempt counts as an error; the first failure and the one that succeeds have spans."""
    server = pg_server_factory()
    with login_role(server, "chat_app") as user:
        shown = config(server, user, instance_name="away", pool=PoolConfig(min_size=1, max_size=1, timeout=20))
        with PostgresProvider(shown) as provider:
            provider.pool.wait()
            collected.forget_spans()
            server.kill()
            waiting = threading.Thread(target=provider.ping, args=(20.0,))
            waiting.start()
            eventually(lambda: collected.total("soa_db.connection.errors", error_type="ServerUnavailable") > 9)
            server.start()
            waiting.join()
            assert provider.ping()
            failed, succeeded_at_last = (
                [span for span in collected.spans() if span.status.status_code is code]
                for code in (StatusCode.ERROR, StatusCode.UNSET)
            )
            # Two connects may have been under way when it died.
            assert 1 <= len(failed) <= 2
            assert len(succeeded_at_last) >= 1


async def test_a_single_connection_is_traced_and_belongs_to_no_pool(
    server: PostgresServer, user: str, collected: Collected
) -> None:
    """It has a span and no create_time, which is a pool's."""
    shown = config(server, user)
    await (await aconnect(shown)).close()
    connect(shown).close()
    assert len(collected.spans()) == 2
    for span in collected.spans():
        assert span.attributes is not None
        assert "db.client.connection.pool.name" not in span.attributes
    assert not collected.points("db.client.connection.create_time")


async def test_a_cancelled_connect_leaves_a_span_and_is_no_error(
    server: PostgresServer, user: str, collected: Collected
) -> None:
    """Nobody failed: whoever wanted the connection does not want it any more."""
    begun = asyncio.Event()

    class Hanging:
        async def get(self) -> Any:
            begun.set()
            await asyncio.Event().wait()

        async def refresh(self, rejected: Credentials) -> None: ...

    provider = AsyncPostgresProvider(config(server, user, instance_name=user))
    provider._principal.use(Hanging())
    task = asyncio.create_task(provider.connect())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (span,) = collected.spans()
    assert span.attributes is not None
    assert span.attributes["error.type"] == "CancelledError"
    assert not collected.points("soa_db.connection.errors")
    await provider.disconnect()


def test_a_forked_child_tells_of_its_own_pool_only(server: PostgresServer, user: str, collected: Collected) -> None:
    """The parent's connections are the parent's to tell of."""
    with PostgresProvider(
        config(server, user, instance_name=user, pool=PoolConfig(min_size=2, max_size=2))
    ) as provider:
        provider.pool.wait()
        assert collected.use(user) == (2, 0)

        def child() -> None:
            assert collected.use(user) == (0, 0)
            with provider.connection():
                assert collected.use(user)[1] == 1

        assert succeeded(in_child(child))
        assert collected.use(user) == (2, 0)
