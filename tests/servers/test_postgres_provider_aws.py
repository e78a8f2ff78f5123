"""The provider as a service uses it: configuration and credentials from AWS, IAM tokens, a rotation under load."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql
from tests.servers.aws_kit import ACCOUNT, CountingAws
from tests.support.postgres import config, login_role, set_password, superuser

from soa_db.aws import AsyncAwsClients, AwsClients
from soa_db.config import PoolConfig, PostgresConfig, SecretAuth
from soa_db.errors import AuthenticationFailed, NotConnectedError, SecretNotFound
from soa_db.postgres import AsyncPostgresProvider, PostgresProvider

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment
    from soa_db.local.postgres import PostgresServer

PASSWORD = "the password at first"


@pytest.fixture
def iam_user(local_aws: LocalEnvironment, unique_name: str) -> Iterator[str]:
    """A user of mirror's server who logs in with IAM tokens."""
    server = local_aws.server("mirror")
    with login_role(server, unique_name) as name:
        superuser(server, sql.SQL("GRANT rds_iam TO {}").format(sql.Identifier(name)))
        yield name


@pytest.fixture
def dev_service(local_aws: LocalEnvironment, unique_name: str) -> Iterator[str]:
    """A service whose parity secret is there, and whose user is on dev's server."""
    service = unique_name
    server = local_aws.server("dev")
    with login_role(server, f"{service}_app") as user, AwsClients() as aws:
        set_password(server, user, PASSWORD)
        payload = {"password": PASSWORD, "host": "localhost", "port": server.port, "database": "postgres"}
        aws.call(
            "secretsmanager",
            "create_secret",
            Name=f"dev/postgres-shared/{service}/app",
            SecretString=json.dumps(payload),
        )
        yield service


def test_an_iam_user_connects_by_token_over_verified_tls(local_aws: LocalEnvironment, iam_user: str) -> None:
    """A new token for every physical connection that needs one; the roots come from SOA_DB_CA_FILE."""
    provider = PostgresProvider.from_aws(env="mirror", service="chat-api", user=iam_user, database="postgres")
    with provider:
        assert provider.config.auth.kind == "iam"
        assert provider.config.host == "localhost"
        with provider.connection() as conn:
            assert conn.pgconn.ssl_in_use
            assert conn.execute("SELECT current_user").fetchone() == (iam_user,)
        provider.drain()
        assert provider.ping()


async def test_a_refused_token_names_the_way_it_logged_in(local_aws: LocalEnvironment, iam_user: str) -> None:
    """The user is there but not a member of rds_iam, say."""
    superuser(local_aws.server("mirror"), sql.SQL("REVOKE rds_iam FROM {}").format(sql.Identifier(iam_user)))
    provider = AsyncPostgresProvider.from_aws(env="mirror", service="chat-api", user=iam_user, database="postgres")
    with pytest.raises(AuthenticationFailed) as caught:
        await provider.connect()
    assert caught.value.context["credentials"] == "rds-iam"
    assert "rds-db:connect" in caught.value.hint
    await provider.disconnect()


async def test_a_dev_service_connects_by_its_parity_secret(local_aws: LocalEnvironment, dev_service: str) -> None:
    """The secret is named when there is none."""
    async with AsyncPostgresProvider.from_aws(env="dev", service=dev_service) as provider:
        assert await provider.ping()
        assert provider.stats()["connected"] == 1
    with pytest.raises(SecretNotFound, match=f"{dev_service}/ro"):
        await AsyncPostgresProvider.from_aws(env="dev", service=dev_service, role="ro").connect()


def test_a_blocking_service_gives_the_secret_and_is_not_told_whose_clients(
    local_aws: LocalEnvironment, dev_service: str
) -> None:
    """The provider makes clients for the config's target, and closes them; before that it knows its name only."""
    named = PostgresProvider.from_aws(env="dev", service=dev_service)
    assert dev_service in repr(named)
    with pytest.raises(NotConnectedError, match="loaded"):
        _ = named.config
    secret = SecretAuth(secret_id=f"dev/postgres-shared/{dev_service}/app")
    server = local_aws.server("dev")
    user = f"{dev_service}_app"
    shown = PostgresConfig(
        instance_name="dash", host="localhost", port=server.port, database="postgres", user=user, auth=secret, tls=None
    )
    with PostgresProvider(shown) as provider:
        assert provider.ping()


async def test_a_rotation_under_load_fails_no_call(local_aws: LocalEnvironment, dev_service: str) -> None:
    """AWSPENDING, the server, AWSCURRENT; connections are made all the while."""
    server, secret_id = local_aws.server("dev"), f"dev/postgres-shared/{dev_service}/app"
    stop = asyncio.Event()
    errors: list[Exception] = []
    made: set[int] = set()
    pool = PoolConfig(max_size=4, timeout=20, max_lifetime=0.1)

    async with AsyncPostgresProvider.from_aws(env="dev", service=dev_service, pool=pool) as provider:

        async def work() -> None:
            while not stop.is_set():
                try:
                    async with provider.connection() as conn:
                        await conn.execute("SELECT 1")
                        made.add(conn.info.backend_pid)
                except Exception as error:
                    errors.append(error)

        tasks = [asyncio.create_task(work()) for _ in range(8)]
        await asyncio.to_thread(rotate, server.superuser_conninfo, secret_id, f"{dev_service}_app")
        await asyncio.sleep(0.3)
        stop.set()
        await asyncio.gather(*tasks)
    assert errors == []
    assert len(made) > 4


async def test_a_crowd_of_refused_connects_causes_two_reads(
    aws: CountingAws, pg_servers: Callable[[int], PostgresServer], unique_name: str
) -> None:
    """One of each stage, while a rotation is between the server and the promotion."""
    server = pg_servers(17)
    with login_role(server, unique_name) as user:
        set_password(server, user, PASSWORD)
        aws.put_secret(ACCOUNT, user, {"password": PASSWORD})
        shown = config(server, user, auth=SecretAuth(secret_id=user), pool=PoolConfig(min_size=8, max_size=8))
        async with AsyncAwsClients() as clients, AsyncPostgresProvider(shown, aws=clients) as provider:
            await provider.pool.wait()
            await clients.call(
                "secretsmanager",
                "put_secret_value",
                SecretId=user,
                SecretString=json.dumps({"password": "the next"}),
                VersionStages=["AWSPENDING"],
            )
            set_password(server, user, "the next")
            aws.seen.clear()
            await provider.drain()

            async def call() -> None:
                async with provider.connection() as conn:
                    await conn.execute("SELECT 1")

            await asyncio.gather(*(call() for _ in range(40)))
            assert aws.seen == {"GetSecretValue": 2}


def rotate(superuser_conninfo: str, secret_id: str, user: str) -> None:
    """In the order that never leaves the only copy in memory."""
    with AwsClients() as aws, psycopg.connect(superuser_conninfo, autocommit=True) as conn:
        before = aws.call("secretsmanager", "get_secret_value", SecretId=secret_id)
        payload = {**json.loads(before["SecretString"]), "password": "the password afterwards"}
        new = aws.call(
            "secretsmanager",
            "put_secret_value",
            SecretId=secret_id,
            SecretString=json.dumps(payload),
            VersionStages=["AWSPENDING"],
        )
        conn.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(user), "the password afterwards"))
        conn.execute("SELECT pg_sleep(0.4)")
        aws.call(
            "secretsmanager",
            "update_secret_version_stage",
            SecretId=secret_id,
            VersionStage="AWSCURRENT",
            MoveToVersionId=new["VersionId"],
            RemoveFromVersionId=before["VersionId"],
        )
