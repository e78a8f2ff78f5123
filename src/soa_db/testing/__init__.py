"""A pytest plugin: throw-away servers with your ``db-access.yaml`` provisioned, for a service's own tests.

Installed with ``pip install 'soa-db[testing]'``; pytest finds it by itself. Importing it loads no server and no driver:
that happens when a test asks for one of the fixtures.

``soa_db_spec``
    the specs, from the option ``--soa-db-specs`` or the ini setting ``soa_db_specs``, else ``db-access.yaml`` in
    pytest's root directory.
``soa_db_migrate``
    override it: a function that applies your migrations, called once per database with the owner's config.
``soa_db_environment``
    the local environment the servers belong to, started when one of them is first asked for. AWS is emulated and the
    process's environment says where, so that your service's own code connects with ``env="dev"``.
``soa_db_postgres``
    PostgreSQL, for the whole run: provisioned and migrated.
``soa_db_config``
    a function ``(role="app", *, service=None, db_id=None) -> PostgresConfig``. A test that asks for it (or for one of
    the next two) begins with the databases as the migrations left them.
``soa_db_provider``
    a function with the same arguments that gives a connected ``PostgresProvider``, closed after the test.
``soa_db_async_provider``
    likewise an ``AsyncPostgresProvider``, to be entered with ``async with``.
``soa_db_redis``
    Redis, for the whole run: provisioned, so that each service has its user with its rights and no more.
``soa_db_redis_config``
    a function ``(*, service=None) -> RedisConfig``. A test that asks for it (or for one of the next two) begins with
    an empty Redis.
``soa_db_redis_manager``
    a function with the same arguments that gives a connected ``RedisConnectionManager``, disconnected after the test.
``soa_db_async_redis_manager``
    likewise an ``AsyncRedisConnectionManager``, to be entered with ``async with``.
``soa_db_mongo``
    MongoDB, for the whole run: provisioned, so that each service has its user with its roles and no more.
``soa_db_mongo_config``
    a function ``(*, service=None) -> MongoConfig``. A test that asks for it (or for one of the next two) begins with
    empty databases.
``soa_db_mongo_provider``
    a function with the same arguments that gives a connected ``MongoProvider``, disconnected after the test.
``soa_db_async_mongo_provider``
    likewise an ``AsyncMongoProvider``, to be entered with ``async with``.
``soa_db_local_mongo``
    a connected ``LocalMongoProvider``: a MongoDB of the test's own, for which no spec is needed.

``LocalMongoProvider`` and ``AsyncLocalMongoProvider`` can be had from here too, without pytest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from soa_db.access.spec import SpecSet
    from soa_db.config import MongoConfig, PostgresConfig, RedisConfig
    from soa_db.local.environment import LocalEnvironment
    from soa_db.mongo import AsyncMongoProvider, MongoProvider
    from soa_db.names import Role
    from soa_db.postgres import AsyncPostgresProvider, PostgresProvider
    from soa_db.redis import AsyncRedisConnectionManager, RedisConnectionManager
    from soa_db.testing.local_mongo import AsyncLocalMongoProvider, LocalMongoProvider
    from soa_db.testing.mongo import TestMongo
    from soa_db.testing.redis import TestRedis
    from soa_db.testing.server import TestServer

__all__ = ["AsyncLocalMongoProvider", "LocalMongoProvider", "Migrate"]

Migrate = Callable[["PostgresConfig", str], None]


class _ConfigFactory(Protocol):
    def __call__(
        self, role: Role = "app", *, service: str | None = None, db_id: str | None = None
    ) -> PostgresConfig: ...


class _ProviderFactory(Protocol):
    def __call__(
        self, role: Role = "app", *, service: str | None = None, db_id: str | None = None
    ) -> PostgresProvider: ...


class _AsyncProviderFactory(Protocol):
    def __call__(
        self, role: Role = "app", *, service: str | None = None, db_id: str | None = None
    ) -> AsyncPostgresProvider: ...


class _RedisConfigFactory(Protocol):
    def __call__(self, *, service: str | None = None) -> RedisConfig: ...


class _RedisManagerFactory(Protocol):
    def __call__(self, *, service: str | None = None) -> RedisConnectionManager: ...


class _AsyncRedisManagerFactory(Protocol):
    def __call__(self, *, service: str | None = None) -> AsyncRedisConnectionManager: ...


class _MongoConfigFactory(Protocol):
    def __call__(self, *, service: str | None = None) -> MongoConfig: ...


class _MongoProviderFactory(Protocol):
    def __call__(self, *, service: str | None = None) -> MongoProvider: ...


class _AsyncMongoProviderFactory(Protocol):
    def __call__(self, *, service: str | None = None) -> AsyncMongoProvider: ...


def __getattr__(name: str) -> object:
    """Import a provider when it is first used: pytest imports this module in every run."""
    if name not in __all__:
        raise AttributeError(f"module 'soa_db.testing' has no attribute {name!r}")
    from soa_db.testing import local_mongo

    value: object = getattr(local_mongo, name)
    return value


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add where the specs are."""
    parser.getgroup("soa-db").addoption(
        "--soa-db-specs",
        action="append",
        metavar="PATH",
        help="db-access.yaml, or a folder of them; may be repeated (ini: soa_db_specs)",
    )
    parser.addini("soa_db_specs", "db-access.yaml files or folders, relative to this file", type="paths", default=[])


@pytest.fixture(scope="session")
def soa_db_spec(pytestconfig: pytest.Config) -> SpecSet:
    """The specs under test."""
    from soa_db.access.spec import load_specs
    from soa_db.errors import ConfigurationError

    named = pytestconfig.getoption("--soa-db-specs") or pytestconfig.getini("soa_db_specs")
    default = pytestconfig.rootpath / "db-access.yaml"
    if not named and not default.exists():
        raise ConfigurationError(
            f"no specs: there is no {default}",
            hint="name them with --soa-db-specs, or in pytest's settings with soa_db_specs",
        )
    return load_specs(named or [default])


@pytest.fixture(scope="session")
def soa_db_migrate() -> Migrate:
    """What applies the service's migrations; does nothing unless you override it.

    It is called as ``migrate(config, db_id)``, once per database, with the config of the database's owner.
    """
    return lambda _config, _db_id: None


@pytest.fixture(scope="session")
def soa_db_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEnvironment]:
    """The local environment, as this process's AWS."""
    from soa_db.local.environment import LocalEnvironment

    with (
        pytest.MonkeyPatch.context() as variables,
        LocalEnvironment(tmp_path_factory.mktemp("soa-db")) as environment,
    ):
        for name, value in environment.exports().items():
            variables.setenv(name, value)
        yield environment


@pytest.fixture(scope="session")
def soa_db_postgres(soa_db_spec: SpecSet, soa_db_migrate: Migrate, soa_db_environment: LocalEnvironment) -> TestServer:
    """PostgreSQL with the specs provisioned and the migrations applied."""
    from soa_db.testing.server import TestServer

    server = TestServer(soa_db_environment, soa_db_spec)
    server.prepare(soa_db_migrate)
    return server


@pytest.fixture
def soa_db_config(soa_db_postgres: TestServer) -> Iterator[_ConfigFactory]:
    """Give configs of databases that are as the migrations left them."""
    yield soa_db_postgres.config
    soa_db_postgres.reset()


@pytest.fixture
def soa_db_provider(soa_db_config: _ConfigFactory) -> Iterator[_ProviderFactory]:
    """Give connected providers, closed after the test."""
    from soa_db.postgres import PostgresProvider

    with ExitStack() as stack:

        def provider(role: Role = "app", *, service: str | None = None, db_id: str | None = None) -> PostgresProvider:
            return stack.enter_context(PostgresProvider(soa_db_config(role, service=service, db_id=db_id)))

        yield provider


@pytest.fixture
def soa_db_async_provider(soa_db_config: _ConfigFactory) -> _AsyncProviderFactory:
    """Give asynchronous providers, to be entered with ``async with``."""
    from soa_db.postgres import AsyncPostgresProvider

    def provider(role: Role = "app", *, service: str | None = None, db_id: str | None = None) -> AsyncPostgresProvider:
        return AsyncPostgresProvider(soa_db_config(role, service=service, db_id=db_id))

    return provider


@pytest.fixture(scope="session")
def soa_db_redis(soa_db_spec: SpecSet, soa_db_environment: LocalEnvironment) -> TestRedis:
    """Redis with the specs provisioned."""
    from soa_db.testing.redis import TestRedis

    server = TestRedis(soa_db_environment, soa_db_spec)
    server.prepare()
    return server


@pytest.fixture
def soa_db_redis_config(soa_db_redis: TestRedis) -> Iterator[_RedisConfigFactory]:
    """Give configs of an empty Redis."""
    yield soa_db_redis.config
    soa_db_redis.reset()


@pytest.fixture
def soa_db_redis_manager(soa_db_redis_config: _RedisConfigFactory) -> Iterator[_RedisManagerFactory]:
    """Give connected managers, disconnected after the test."""
    from soa_db.redis import RedisConnectionManager

    with ExitStack() as stack:

        def manager(*, service: str | None = None) -> RedisConnectionManager:
            return stack.enter_context(RedisConnectionManager(soa_db_redis_config(service=service)))

        yield manager


@pytest.fixture
def soa_db_async_redis_manager(soa_db_redis_config: _RedisConfigFactory) -> _AsyncRedisManagerFactory:
    """Give asynchronous managers, to be entered with ``async with``."""
    from soa_db.redis import AsyncRedisConnectionManager

    def manager(*, service: str | None = None) -> AsyncRedisConnectionManager:
        return AsyncRedisConnectionManager(soa_db_redis_config(service=service))

    return manager


@pytest.fixture(scope="session")
def soa_db_mongo(soa_db_spec: SpecSet, soa_db_environment: LocalEnvironment) -> TestMongo:
    """MongoDB with the specs provisioned."""
    from soa_db.testing.mongo import TestMongo

    server = TestMongo(soa_db_environment, soa_db_spec)
    server.prepare()
    return server


@pytest.fixture
def soa_db_mongo_config(soa_db_mongo: TestMongo) -> Iterator[_MongoConfigFactory]:
    """Give configs of empty databases."""
    yield soa_db_mongo.config
    soa_db_mongo.reset()


@pytest.fixture
def soa_db_mongo_provider(soa_db_mongo_config: _MongoConfigFactory) -> Iterator[_MongoProviderFactory]:
    """Give connected providers, disconnected after the test."""
    from soa_db.mongo import MongoProvider

    with ExitStack() as stack:

        def provider(*, service: str | None = None) -> MongoProvider:
            return stack.enter_context(MongoProvider(soa_db_mongo_config(service=service)))

        yield provider


@pytest.fixture
def soa_db_async_mongo_provider(soa_db_mongo_config: _MongoConfigFactory) -> _AsyncMongoProviderFactory:
    """Give asynchronous providers, to be entered with ``async with``."""
    from soa_db.mongo import AsyncMongoProvider

    def provider(*, service: str | None = None) -> AsyncMongoProvider:
        return AsyncMongoProvider(soa_db_mongo_config(service=service))

    return provider


@pytest.fixture
def soa_db_local_mongo() -> Iterator[LocalMongoProvider]:
    """A MongoDB of the test's own."""
    from soa_db.testing.local_mongo import LocalMongoProvider

    with LocalMongoProvider() as provider:
        yield provider
