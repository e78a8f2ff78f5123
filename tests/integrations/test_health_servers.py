"""Health checks over providers on real servers: healthy, hung, killed, refused, used up. Both kinds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import urlsplit

import pytest
from psycopg import sql
from tests.servers.aws_kit import settle
from tests.support.credentials import Vault, served_by
from tests.support.postgres import (
    PASSWORD,
    config,
    end_sessions,
    login_role,
    set_password,
    superuser,
)

from soa_db import MongoConfig, PoolConfig, RedisConfig
from soa_db.errors import ConfigurationError
from soa_db.health import AsyncHealthChecks, HealthCheck, HealthChecks
from soa_db.mongo import AsyncMongoProvider, MongoProvider
from soa_db.postgres import AsyncPostgresProvider, PostgresProvider
from soa_db.redis import AsyncRedisConnectionManager, RedisConnectionManager

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment

DEADLINE = 0.8


class Kind(NamedTuple):
    """The classes of one kind."""

    checks: type[Any]
    postgres: type[Any]
    redis: type[Any]
    mongo: type[Any]


KINDS = {
    "async": Kind(AsyncHealthChecks, AsyncPostgresProvider, AsyncRedisConnectionManager, AsyncMongoProvider),
    "sync": Kind(HealthChecks, PostgresProvider, RedisConnectionManager, MongoProvider),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind in turn."""
    return KINDS[request.param]


@pytest.fixture
def user(local_env: LocalEnvironment, unique_name: str) -> Iterator[str]:
    """A login role of the test's own on dev's PostgreSQL."""
    with login_role(local_env.server("dev"), unique_name) as name:
        yield name


@pytest.fixture
def mend(local_env: LocalEnvironment) -> Iterator[ExitStack]:
    """What puts the shared servers right at the end."""
    with ExitStack() as stack:
        yield stack


def postgres(kind: Kind, env: LocalEnvironment, user: str, **changes: Any) -> Any:
    """A provider of dev's PostgreSQL."""
    return kind.postgres(config(env.server("dev"), user, **changes))  # type: ignore[arg-type]  # it has what is needed


def redis(kind: Kind, env: LocalEnvironment) -> Any:
    """A manager of dev's Redis."""
    return kind.redis(RedisConfig.from_url(env.server("dev", "redis").admin_url, instance_name="cache"))


def mongo(kind: Kind, env: LocalEnvironment) -> Any:
    """A provider of dev's MongoDB."""
    url = urlsplit(env.server("dev", "mongo").admin_url)
    url = url._replace(path="/chat_api_db", query="authSource=admin")
    return kind.mongo(MongoConfig.from_url(url.geturl(), instance_name="documents"))


class Service:
    """Connected providers, and their checks.

    Args:
        kind: the classes.
        steady: the check whose server is well all the time: it has what time a loaded machine needs.
        providers: by the names of their checks.
    """

    def __init__(self, kind: Kind, *, steady: str = "", **providers: Any) -> None:
        self.providers = providers
        named = [
            HealthCheck(name, provider, deadline=10 if name == steady else DEADLINE)
            for name, provider in providers.items()
        ]
        self.checks = kind.checks(service="chat-api", checks=named, max_age=0)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for provider in self.providers.values():
            self._stack.push_async_callback(self._disconnect, provider)
            await settle(provider.connect())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @staticmethod
    async def _disconnect(provider: Any) -> None:
        await settle(provider.disconnect())

    async def answer(self, page: str) -> Any:
        """What a page says; the deadline is kept, with two seconds to spare for a loaded machine."""
        call = self.checks.answer
        async with asyncio.timeout(DEADLINE + 2):
            return await (call(page) if isinstance(self.checks, AsyncHealthChecks) else asyncio.to_thread(call, page))

    async def words(self) -> dict[str, str]:
        """The word of each check."""
        _, body = await self.answer("ready")
        return {name: check["detail"] for name, check in body["checks"].items()}

    async def until_ready(self) -> None:
        """Wait for the end of an outage."""
        async with asyncio.timeout(20):
            while (await self.answer("ready"))[0] != 200:
                await asyncio.sleep(0.05)


async def test_details_tell_of_every_engine_and_hold_no_password(
    kind: Kind, local_env: LocalEnvironment, user: str
) -> None:
    """Latency, the credential's source and age, the pool's counts."""
    providers = {
        "db": postgres(kind, local_env, user),
        "cache": redis(kind, local_env),
        "documents": mongo(kind, local_env),
    }
    async with Service(kind, **providers) as service:
        status, ready = await service.answer("ready")
        assert status == 200
        assert ready["checks"]["db"] == {"ready": True, "status": "healthy", "detail": "connected"}
        _, details = await service.answer("details")
    found = details["dependencies"]
    assert list(found) == ["db", "cache", "documents"]
    for name, counted in (("db", "pool_size"), ("cache", "idle"), ("documents", "servers")):
        assert found[name]["status"] == "healthy"
        assert found[name]["latencyMs"] > 0
        assert found[name]["credential"].keys() == {"source", "ageSeconds"}
        assert found[name]["credential"]["source"] == "config"
        assert found[name]["stats"][counted] >= 1
    for secret in (PASSWORD, urlsplit(local_env.server("dev", "redis").admin_url).password):
        assert secret
        assert secret not in str(details)
        assert secret not in str(ready)


async def test_a_token_says_when_it_ends(kind: Kind, local_aws: LocalEnvironment, unique_name: str) -> None:
    """On mirror, by IAM: its age is counted from when it was minted."""
    server = local_aws.server("mirror")
    with login_role(server, unique_name) as name:
        superuser(server, sql.SQL("GRANT rds_iam TO {}").format(sql.Identifier(name)))
        provider = kind.postgres.from_aws(env="mirror", service="chat-api", user=name, database="postgres")
        assert provider.credential is None
        async with Service(kind, db=provider) as service:
            await asyncio.sleep(0.12)
            _, details = await service.answer("details")
    told = details["dependencies"]["db"]["credential"]
    assert told["source"] == "rds-iam"
    assert 0.1 <= told["ageSeconds"] < 60
    assert 700 < told["expiresInSeconds"] + told["ageSeconds"] <= 840.1


async def test_a_rotated_password_is_a_new_credential(kind: Kind, local_env: LocalEnvironment, user: str) -> None:
    """Its age begins anew when it is first handed out."""
    vault = Vault(user, PASSWORD)
    provider = served_by(vault, postgres(kind, local_env, user))
    async with Service(kind, db=provider) as service:
        await asyncio.sleep(0.3)
        before = provider.credential.age
        vault.password = "the next one"
        set_password(local_env.server("dev"), user, vault.password)
        end_sessions(local_env.server("dev"), user)
        await service.until_ready()
        assert before >= 0.3
        assert provider.credential.age < before
        assert provider.credential.source == "dev/postgres-shared/chat/app"


@asynccontextmanager
async def both(env: LocalEnvironment, user: str, *names: str, steady: str = "") -> AsyncIterator[list[Service]]:
    """A service of each kind over these: what is done to the servers takes longer than asking."""
    make: dict[str, Callable[[Kind], Any]] = {
        "db": lambda kind: postgres(kind, env, user),
        "cache": lambda kind: redis(kind, env),
        "documents": lambda kind: mongo(kind, env),
    }
    async with AsyncExitStack() as stack:
        services = [
            Service(kind, steady=steady, **{name: make[name](kind) for name in names}) for kind in KINDS.values()
        ]
        for service in services:
            await stack.enter_async_context(service)
        yield services


async def test_a_stopped_postgres_hangs_and_holds_nobody_up(
    local_env: LocalEnvironment, user: str, mend: ExitStack
) -> None:
    """SIGSTOP: its connections stay open, and nothing answers. The others are asked all the same."""
    async with both(local_env, user, "db", "cache", steady="cache") as services:
        for service in services:
            await service.until_ready()
        local_env.pause_server("dev")
        mend.callback(local_env.resume_server, "dev")
        for found in await asyncio.gather(*(service.words() for service in services)):
            assert found["db"] in {"unavailable", "timeout"}
            assert found["cache"] == "connected"
        # The connection that gave no answer is gone, and the one to replace it hangs while it is made.
        for _, details in await asyncio.gather(*(service.answer("details") for service in services)):
            db, cache = details["dependencies"]["db"], details["dependencies"]["cache"]
            assert (db["detail"], cache["detail"]) == ("no connection", "connected")
            assert "0 of 4 are open, and the next is still being made" in db["error"]["message"]
            assert "max_size" not in str(db["error"])
        mend.close()
        for service in services:
            await service.until_ready()


async def test_stopped_redis_and_mongodb_hang_and_hold_nobody_up(
    local_env: LocalEnvironment, user: str, mend: ExitStack
) -> None:
    """The blocking manager's command hangs on for its own timeout: meanwhile the answer is there at once."""
    async with both(local_env, user, "cache", "documents", "db", steady="db") as services:
        for engine in ("redis", "mongo"):
            local_env.pause_server("dev", engine)
            mend.callback(local_env.resume_server, "dev", engine)
        for _ in range(2):
            for found in await asyncio.gather(*(service.words() for service in services)):
                assert found["cache"] == "timeout"
                assert found["documents"] in {"timeout", "unavailable"}
                assert found["db"] == "connected"
        mend.close()
        for service in services:
            await service.until_ready()


async def test_killed_servers_are_unavailable_until_they_are_back(
    local_env: LocalEnvironment, user: str, mend: ExitStack
) -> None:
    """Without a host in what anybody may read, and with it in the details."""
    async with both(local_env, user, "db", "cache", "documents") as services:
        for engine in ("postgres", "redis", "mongo"):
            local_env.kill_server("dev", engine)
            mend.callback(local_env.start_server, "dev", engine)
        for status, ready in await asyncio.gather(*(service.answer("ready") for service in services)):
            assert status == 503
            assert ready["checks"]["db"]["detail"] in {"no connection", "unavailable"}
            assert ready["checks"]["cache"]["detail"] in {"unavailable", "timeout"}
            assert ready["checks"]["documents"]["detail"] in {"unavailable", "timeout"}
            assert "127.0.0.1" not in str(ready)
            assert "localhost" not in str(ready)
        for _, details in await asyncio.gather(*(service.answer("details") for service in services)):
            assert str(local_env.server("dev").port) in details["dependencies"]["db"]["error"]["context"]["host"]
        await asyncio.to_thread(mend.close)
        for service in services:
            await service.until_ready()


async def test_a_refused_password_is_told_as_such(kind: Kind, local_env: LocalEnvironment, user: str) -> None:
    """At the next connection: the one that was open has ended."""
    async with Service(kind, db=postgres(kind, local_env, user)) as service:
        set_password(local_env.server("dev"), user, "another")
        end_sessions(local_env.server("dev"), user)
        async with asyncio.timeout(10):
            while (await service.words())["db"] != "authentication failed":
                await asyncio.sleep(0.05)
        _, details = await service.answer("details")
    error = details["dependencies"]["db"]["error"]
    assert error["class"] == "AuthenticationFailed"
    assert error["hint"]
    assert PASSWORD not in str(details)


async def test_a_used_up_pool_and_a_provider_that_is_not_connected_say_so(
    kind: Kind, local_env: LocalEnvironment, user: str
) -> None:
    """Neither is an outage of the server."""
    provider = postgres(kind, local_env, user, pool=PoolConfig(max_size=1, timeout=10))
    idle = postgres(kind, local_env, user)
    checks = kind.checks(
        service="x", checks=[HealthCheck("db", provider, deadline=DEADLINE), HealthCheck("idle", idle)], max_age=0
    )
    async with Service(kind, db=provider) as service:
        service.checks = checks
        if kind is KINDS["async"]:
            async with provider.connection():
                found = await service.words()
        else:
            with provider.connection():
                found = await service.words()
        assert found == {"db": "no connection", "idle": "not connected"}
        assert (await service.answer("details"))[1]["dependencies"]["idle"].keys().isdisjoint({"stats", "credential"})
        assert (await service.words())["db"] == "connected"


@pytest.mark.parametrize("make", [redis, mongo])
async def test_blocking_providers_can_be_checked_in_an_event_loop(make: Any, local_env: LocalEnvironment) -> None:
    """In a thread; and asynchronous ones are refused by the blocking class."""
    with make(KINDS["sync"], local_env) as connected:
        checks = AsyncHealthChecks(service="x", checks=[HealthCheck("one", connected)])
        assert (await checks.run()).status == "healthy"
    with pytest.raises(ConfigurationError, match="coroutine function"):
        HealthChecks(service="x", checks=[HealthCheck("one", make(KINDS["async"], local_env))])
