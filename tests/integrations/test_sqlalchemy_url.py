"""``soa_db+psycopg://…`` in SQLAlchemy's own ``create_engine``: for tools that take nothing but a URL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.ext.asyncio import create_async_engine
from tests.support.postgres import end_sessions, login_role, set_password, superuser

from soa_db._aws.backend import Backend
from soa_db.aws import AwsClients
from soa_db.errors import AuthenticationFailed, ConfigurationError, SecretNotFound

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment

PASSWORD = "the password at first"
SELECT = sa.text("SELECT 1")


@pytest.fixture
def service(local_aws: LocalEnvironment, unique_name: str) -> Iterator[str]:
    """A service whose parity secret is there, and whose user is on dev's server."""
    server = local_aws.server("dev")
    with login_role(server, f"{unique_name}_app") as user, AwsClients() as aws:
        set_password(server, user, PASSWORD)
        payload = {"password": PASSWORD, "host": "localhost", "port": server.port, "database": "postgres"}
        name = f"dev/postgres-shared/{unique_name}/app"
        aws.call("secretsmanager", "create_secret", Name=name, SecretString=json.dumps(payload))
        yield unique_name


@pytest.fixture
def iam_user(local_aws: LocalEnvironment, unique_name: str) -> Iterator[str]:
    """A user of mirror's server who logs in with IAM tokens."""
    server = local_aws.server("mirror")
    with login_role(server, unique_name) as name:
        superuser(server, sql.SQL("GRANT rds_iam TO {}").format(sql.Identifier(name)))
        yield name


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the parameters AWS is asked for."""
    seen: list[str] = []
    parameters = Backend.parameters

    def spied(self: Backend, names: tuple[str, ...]) -> dict[str, str]:
        seen.extend(names)
        return parameters(self, names)

    monkeypatch.setattr(Backend, "parameters", spied)
    return seen


@pytest.mark.parametrize("scheme", ["soa_db+psycopg", "soa-db+psycopg"])
def test_a_url_is_all_it_takes(service: str, scheme: str) -> None:
    """SQLAlchemy finds the dialect by its entry point; its parser takes the underscore only."""
    url: Any = sa.URL.create(scheme, host=service, query={"env": "dev", "role": "app"})
    if scheme == "soa_db+psycopg":
        url = f"{scheme}://{service}/?env=dev&role=app"
    engine = sa.create_engine(url)
    assert engine.dialect.name == "postgresql"
    with engine.begin() as conn:
        assert conn.scalar(sa.text("SELECT current_user")) == f"{service}_app"
        conn.execute(sa.text("CREATE TABLE t (n int)"))
    with engine.connect() as conn:
        conn.execute(sa.text("INSERT INTO t VALUES (1)"))
    with engine.connect() as conn:
        assert conn.scalar(sa.text("SELECT count(*) FROM t")) == 0
        assert conn.scalar(sa.text("SHOW application_name")) == service
    engine.dispose()
    assert PASSWORD not in repr(engine) + repr(engine.url) + repr(engine.dialect)


@pytest.mark.parametrize("scheme", ["soa_db+psycopg", "soa_db+psycopg_async"])
async def test_an_asynchronous_engine_takes_the_same_url(service: str, scheme: str) -> None:
    """Several connections at once, a rollback, and parameters of the session."""
    engine = create_async_engine(
        f"{scheme}://{service}/?env=dev&application_name=reports&statement_timeout=0.2&connect_timeout=5"
    )

    async def work(number: int) -> object:
        async with engine.connect() as conn:
            return await conn.scalar(sa.text("SELECT :n"), {"n": number})

    assert await asyncio.gather(*(work(number) for number in range(4))) == [0, 1, 2, 3]
    async with engine.connect() as conn:
        await conn.execute(sa.text("CREATE TABLE t (n int)"))
        await conn.rollback()
        assert await conn.scalar(sa.text("SELECT to_regclass('t')")) is None
        assert await conn.scalar(sa.text("SHOW application_name")) == "reports"
        await conn.rollback()
        with pytest.raises(sa.exc.OperationalError, match="statement timeout"):
            await conn.execute(sa.text("SELECT pg_sleep(5)"))
    await engine.dispose()


def test_every_connection_has_a_fresh_token_and_aws_is_asked_once(iam_user: str, asked: list[str]) -> None:
    """In mirror: over verified TLS, the coordinates read once for all connections."""
    engine = sa.create_engine(
        f"soa_db+psycopg://chat-api/?env=mirror&user={iam_user}&database=postgres&region=us-west-2",
    )
    for _ in range(2):
        with engine.connect() as first, engine.connect() as second:
            for conn in (first, second):
                assert conn.connection.driver_connection is not None
                assert conn.connection.driver_connection.pgconn.ssl_in_use
        engine.dispose()
    assert len(asked) == 2  # host and port


def test_a_rotated_password_is_read_anew(service: str, local_aws: LocalEnvironment) -> None:
    """The one cached is refused, and the secret read once more: the next connection is as good as the first."""
    engine = sa.create_engine(f"soa_db+psycopg://{service}/?env=dev")
    with engine.connect() as conn:
        assert conn.scalar(SELECT) == 1
    server, name = local_aws.server("dev"), f"dev/postgres-shared/{service}/app"
    with AwsClients() as aws:
        payload = {**aws.secret(name), "password": "another"}
        aws.call("secretsmanager", "put_secret_value", SecretId=name, SecretString=json.dumps(payload))
    set_password(server, f"{service}_app", "another")
    end_sessions(server, f"{service}_app")
    with engine.connect() as conn:
        with pytest.raises(sa.exc.OperationalError) as caught:
            conn.execute(SELECT)
        assert caught.value.connection_invalidated
    with engine.connect() as conn:
        assert conn.scalar(SELECT) == 1
    engine.dispose()
    set_password(server, f"{service}_app", "a third")
    with pytest.raises(AuthenticationFailed) as refused:
        engine.connect()
    assert name in str(refused.value)
    assert "another" not in str(refused.value)


def test_an_event_may_say_as_whom_to_connect(service: str) -> None:
    """``do_connect`` sees the parameters; each other set of them is loaded by itself."""
    engine = sa.create_engine(f"soa_db+psycopg://{service}/?env=dev", connect_args={"application_name": "tool"})
    with engine.connect() as conn:
        assert conn.scalar(sa.text("SHOW application_name")) == "tool"

    @sa.event.listens_for(engine, "do_connect")
    def as_reader(dialect: Any, record: Any, cargs: Any, cparams: dict[str, Any]) -> None:
        cparams["role"] = "ro"

    engine.dispose()
    with pytest.raises(SecretNotFound, match=f"{service}/ro"):
        engine.connect()


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("chat-api/?role=app", "no env"),
        ("chat-api/?env=production", "production"),
        ("chat-api/?env=dev&role=boss", "boss"),
        ("chat-api/?env=dev&rolle=app", "unknown parameter 'rolle'"),
        ("chat-api/?env=dev&env=prod", "'env' twice"),
        ("chat-api/chat?env=dev", "a path"),
        ("chat-api:5432/?env=dev", "a port"),
        ("someone:hunter2@chat-api/?env=dev", "user name or a password"),
        ("/?env=dev", "no service"),
        ("Chat_API/?env=dev", "service"),
        ("chat-api/?env=dev&db_id=a/b", "db_id|database id"),
        ("chat-api/?env=dev&statement_timeout=soon", "statement_timeout"),
        ("chat-api/?env=dev&proxy=maybe", "proxy"),
        ("chat-api/?env=dev&connect_timeout=0", "connect_timeout"),
    ],
)
@pytest.mark.parametrize("kind", ["blocking", "asynchronous"])
def test_a_url_that_cannot_be_used_is_refused_before_it_is(rest: str, message: str, kind: str) -> None:
    """At once and typed; the URL, which may hold a password, is not quoted."""
    create: Any = sa.create_engine if kind == "blocking" else create_async_engine
    with pytest.raises(ConfigurationError, match=message) as caught:
        create(f"soa_db+psycopg://{rest}")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["soa_db+psycopg", "postgresql+psycopg"])
def test_a_creator_that_cannot_connect_is_no_disconnect(scheme: str) -> None:
    """Told as with SQLAlchemy's own dialect: there was no connection that could be invalid."""
    url = sa.URL.create(scheme, host="chat-api", query={"env": "dev"} if scheme.startswith("soa") else {})
    engine = sa.create_engine(url, creator=lambda: psycopg.connect("host=127.0.0.1 port=1 connect_timeout=1"))
    with pytest.raises(sa.exc.OperationalError) as caught:
        engine.connect()
    assert not caught.value.connection_invalidated


def test_an_encoding_is_refused() -> None:
    """It would silently not be set."""
    with pytest.raises(ConfigurationError, match="client_encoding"):
        sa.create_engine("soa_db+psycopg://chat-api/?env=dev", client_encoding="latin1")
