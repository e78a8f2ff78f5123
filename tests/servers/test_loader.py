"""The loader, both kinds, on an emulated AWS: three environments, three roles, every source of every value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.servers.aws_kit import ACCOUNT, REGION, CountingAws, settle

from soa_db import Dial, IamAuth, PoolConfig, PostgresConfig, SecretAuth, SessionConfig, TlsConfig
from soa_db.aws import AsyncAwsClients, AwsClients
from soa_db.config import AwsTarget
from soa_db.errors import (
    ConfigurationError,
    CredentialError,
    ParameterNotFound,
    SecretMalformed,
    SecretNotFound,
    SoaDbError,
)
from soa_db.postgres import aload_postgres_config_from_aws, load_postgres_config_from_aws

HOST = "db.example"
PAYLOAD: dict[str, object] = {"username": "u", "password": "p", "host": HOST, "port": "6432", "database": "d"}
Load = Callable[..., Any]


@pytest.fixture(params=["async", "sync"])
def load(request: pytest.FixtureRequest) -> Load:
    """Each kind of loader in turn."""
    return aload_postgres_config_from_aws if request.param == "async" else load_postgres_config_from_aws


@pytest.fixture
def service(unique_name: str, aws: CountingAws) -> str:
    """A service of the test's own; the coordinates of mirror and prod are there."""
    aws.put_parameters(
        ACCOUNT,
        {
            "/mirror/current/postgres-rds/endpoint": "mirror.example",
            "/mirror/current/postgres-rds/port": "5433",
            "/prod/postgres-rds/endpoint": "prod.example",
            "/prod/postgres-rds/port": "5434",
        },
    )
    return f"a-{unique_name}"


async def test_dev_reads_the_parity_secret(aws: CountingAws, load: Load, service: str) -> None:
    """One read, a password known by its secret's name only, no TLS."""
    aws.put_secret(ACCOUNT, f"dev/postgres-shared/{service}/app", PAYLOAD)
    config = await settle(load(env="dev", service=service))
    auth = SecretAuth(secret_id=f"dev/postgres-shared/{service}/app")
    assert config == PostgresConfig(
        instance_name=service, host=HOST, port=6432, database="d", user="u", auth=auth, tls=None
    )
    assert aws.seen == {"GetSecretValue": 1}


@pytest.mark.parametrize("role", ["owner", "app", "ro"])
@pytest.mark.parametrize("db_id", [None, "main", "pii"])
async def test_what_a_secret_leaves_out_is_derived(
    aws: CountingAws, load: Load, service: str, role: str, db_id: str | None
) -> None:
    """User and database, in every role, of one database or another."""
    middle = f"{service}/pii" if db_id == "pii" else service
    aws.put_secret(ACCOUNT, f"dev/postgres-shared/{middle}/{role}", {"password": "p", "host": HOST, "port": 5432})
    config = await settle(load(env="dev", service=service, role=role, db_id=db_id))
    snake = service.replace("-", "_")
    assert config.user == f"{snake}_{role}"
    assert config.database == (f"{snake}_pii_db" if db_id == "pii" else snake)


@pytest.mark.parametrize("where", [("mirror", "mirror.example", 5433), ("prod", "prod.example", 5434)])
async def test_mirror_and_prod_use_iam_at_the_published_coordinates(
    aws: CountingAws, load: Load, service: str, where: tuple[str, str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call, verified TLS; no secret is read."""
    env, host, port = where
    config = await settle(load(env=env, service=service, role="ro"))
    assert (config.host, config.port) == (host, port)
    assert config.user == f"{service.replace('-', '_')}_ro"
    assert config.auth == IamAuth(region=REGION)
    assert config.tls == TlsConfig()
    assert aws.seen == {"GetParameters": 1}
    monkeypatch.setenv("SOA_DB_CA_FILE", "/ca.pem")
    assert (await settle(load(env=env, service=service))).tls == TlsConfig(ca_file="/ca.pem")
    with pytest.raises(ConfigurationError, match="needs TLS"):
        await settle(load(env=env, service=service, tls=False))


async def test_what_is_given_wins(aws: CountingAws, load: Load, service: str) -> None:
    """Over the secret and over SSM, which is then not asked."""
    aws.put_secret(ACCOUNT, f"dev/postgres-shared/{service}/app", PAYLOAD)
    given = {
        "instance_name": "mine",
        "username": "v",
        "database": "e",
        "host": "other.example",
        "port": "7000",
        "dial": "localhost:15432",
        "tls": TlsConfig(verify="ca"),
        "pool": PoolConfig(max_size=3),
        "session": SessionConfig(proxy=True),
    }
    secret = SecretAuth(secret_id=f"dev/postgres-shared/{service}/app")
    for env, auth in (("dev", secret), ("prod", IamAuth(region=REGION))):
        config = await settle(load(env=env, service=service, **given))
        assert config == PostgresConfig(
            instance_name="mine",
            host="other.example",
            port=7000,
            database="e",
            user="v",
            auth=auth,
            tls=TlsConfig(verify="ca"),
            pool=PoolConfig(max_size=3),
            session=SessionConfig(proxy=True),
            dial=Dial(host="localhost", port=15432),
        )
    assert aws.seen == {"GetSecretValue": 1}
    config = await settle(load(env="prod", service=service, host="h", port=1, region="eu-west-1"))
    assert config.auth == IamAuth(region="eu-west-1", aws=AwsTarget(region="eu-west-1"))


async def test_a_service_not_on_iam_reads_its_one_secret(aws: CountingAws, load: Load, service: str) -> None:
    """TLS stays on; in dev, where everybody has a password, it is the parity secret."""
    aws.put_secret(ACCOUNT, f"/mirror/current/{service}-postgres-password", {**PAYLOAD, "host": "m"})
    aws.put_secret(ACCOUNT, f"/mirror/current/{service}-pii-postgres-password", {**PAYLOAD, "host": "m2"})
    aws.put_secret(ACCOUNT, f"prod/postgres-shared/{service}", {**PAYLOAD, "host": "p"})
    aws.put_secret(ACCOUNT, f"dev/postgres-shared/{service}/app", {**PAYLOAD, "host": "d"})
    for env, db_id, host in (("mirror", None, "m"), ("mirror", "pii", "m2"), ("prod", None, "p"), ("dev", None, "d")):
        config = await settle(load(env=env, service=service, db_id=db_id, auth="password"))
        assert (config.host, config.user, config.database) == (host, "u", "d")
        assert isinstance(config.auth, SecretAuth)
        assert config.tls == (None if env == "dev" else TlsConfig())
    with pytest.raises(ConfigurationError, match="takes no role"):
        await settle(load(env="mirror", service=service, auth="password", role="app"))


class Spec:
    """A spec with identities of its own."""

    service = "iam-api"

    def postgres_user(self, db_id: str | None, role: str) -> str:
        """The user."""
        return f"iam_{db_id}_{role}"

    def postgres_database(self, db_id: str | None) -> str:
        """The database."""
        return f"iam_{db_id}_db"


@pytest.mark.usefixtures("service")
async def test_a_spec_names_user_and_database(load: Load) -> None:
    """`rds-db:connect` is per user, so an isolated database has users of its own."""
    config = await settle(load(env="prod", service="iam-api", db_id="pii", role="owner", spec=Spec()))
    assert (config.user, config.database) == ("iam_pii_owner", "iam_pii_db")
    config = await settle(load(env="prod", service="iam-api", db_id="pii", spec=Spec(), user="u", database="d"))
    assert (config.user, config.database) == ("u", "d")


async def test_a_secret_of_one_user_decides_the_user_beside_a_spec(
    aws: CountingAws, load: Load, unique_name: str
) -> None:
    """The spec's user would log in with another's password; the database is the spec's all the same."""
    aws.put_secret(ACCOUNT, f"prod/postgres-shared/iam-api-{unique_name}", {**PAYLOAD, "host": "p"})
    config = await settle(load(env="prod", service="iam-api", db_id=unique_name, auth="password", spec=Spec()))
    assert (config.user, config.database) == ("u", f"iam_{unique_name}_db")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"env": "staging"}, "unknown environment"),
        ({"service": "Chat"}, "service id"),
        ({"role": "admin"}, "unknown role"),
        ({"db_id": "P"}, "database id"),
        ({"user": "a", "username": "b"}, "differ"),
        ({"user": ""}, "empty"),
        ({"database": "x" * 64}, "63"),
        ({"port": "abc"}, "port"),
        ({"port": 70000}, "port"),
        ({"host": "a b"}, "host"),
        ({"host": ""}, "host"),
        ({"auth": "iam"}, "unknown auth"),
        ({"dial": "nowhere"}, "host:port"),
        ({"spec": "db-access.yaml"}, "load_spec"),
        ({"spec": Spec()}, "the spec is of iam-api"),
    ],
)
async def test_an_argument_that_cannot_be_used(load: Load, service: str, arguments: dict[str, Any], words: str) -> None:
    """A typed error that names it."""
    with pytest.raises(ConfigurationError, match=words):
        await settle(load(**{"env": "prod", "service": service, **arguments}))


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"password": "p", "port": 5432}, "'host'"),
        ({"password": "p", "host": HOST}, "'port'"),
        ({"host": HOST, "port": 5432}, "'password'"),
        ({**PAYLOAD, "port": "abc"}, "'port'"),
        ({**PAYLOAD, "port": 70000}, "'port'"),
        ({**PAYLOAD, "host": "a b"}, "'host'"),
    ],
)
async def test_a_secret_that_cannot_be_used(
    aws: CountingAws, load: Load, service: str, payload: dict[str, object], words: str
) -> None:
    """The field and the secret are named."""
    aws.put_secret(ACCOUNT, f"dev/postgres-shared/{service}/app", payload)
    with pytest.raises(SecretMalformed, match=words) as caught:
        await settle(load(env="dev", service=service))
    assert f"dev/postgres-shared/{service}/app" in str(caught.value)


@pytest.mark.parametrize(
    ("host", "port", "wrong"),
    [
        ("a b", "5432", "endpoint"),
        ("a,b", "5432", "endpoint"),
        (" a", "5432", "endpoint"),
        ("a", "abc", "port"),
        ("a", "70000", "port"),
        ("a", " ", "port"),
    ],
)
async def test_parameters_that_cannot_be_used(aws: CountingAws, service: str, host: str, port: str, wrong: str) -> None:
    """The parameter is named, and the command that mends it."""
    aws.put_parameters(ACCOUNT, {"/prod/postgres-rds/endpoint": host, "/prod/postgres-rds/port": port})
    with pytest.raises(ConfigurationError, match=f"/prod/postgres-rds/{wrong}") as caught:
        await aload_postgres_config_from_aws(env="prod", service=service)
    assert "aws ssm put-parameter" in caught.value.hint


@pytest.mark.parametrize("kind", [AwsClients, AsyncAwsClients])
async def test_clients_that_are_given_are_used_and_left_open(
    aws: CountingAws, service: str, kind: type[AwsClients | AsyncAwsClients]
) -> None:
    """Their cache then serves the first connect: no second read."""
    aws.put_secret(ACCOUNT, f"dev/postgres-shared/{service}/app", PAYLOAD)
    load: Load = aload_postgres_config_from_aws if kind is AsyncAwsClients else load_postgres_config_from_aws
    clients = kind(region=REGION)
    config = await settle(load(env="dev", service=service, aws=clients))
    assert isinstance(config.auth, SecretAuth)
    assert config.auth.aws == clients.target
    assert await settle(clients.secret(config.auth.secret_id)) == PAYLOAD
    assert aws.seen == {"GetSecretValue": 1}
    await settle(clients.close())


async def test_what_is_missing_in_aws_is_named(aws: CountingAws, load: Load, unique_name: str) -> None:
    """A secret by its name, parameters by theirs."""
    with pytest.raises(SecretNotFound, match=f"dev/postgres-shared/a-{unique_name}/ro"):
        await settle(load(env="dev", service=f"a-{unique_name}", role="ro"))
    with pytest.raises(ParameterNotFound, match="/mirror/current/postgres-rds/endpoint") as caught:
        await settle(load(env="mirror", service=f"a-{unique_name}", region="eu-west-1"))
    assert isinstance(caught.value, SoaDbError)
    assert caught.value.hint


@pytest.mark.parametrize("when", [(nth, times) for nth in (1, 2, 3) for times in (1, 2, 3)])
async def test_a_load_that_is_throttled_half_way_goes_on_or_names_the_call(
    aws: CountingAws, load: Load, service: str, monkeypatch: pytest.MonkeyPatch, when: tuple[int, int]
) -> None:
    """Parameters in two batches, then a secret: what was read already is not asked for again."""
    nth, times = when
    waits: list[float] = []
    monkeypatch.setattr("soa_db._aws.http.time.sleep", waits.append)
    secret_id = f"dev/postgres-shared/{service}/app"
    aws.put_secret(ACCOUNT, secret_id, PAYLOAD)
    names = [f"/{service}/{number}" for number in range(12)]
    aws.put_parameters(ACCOUNT, dict.fromkeys(names, "v"))
    blocking = load is load_postgres_config_from_aws
    clients = AwsClients() if blocking else AsyncAwsClients()
    calls = 0

    def throttle(environ: dict[str, Any], start_response: Any) -> Any:
        nonlocal calls
        calls += 1
        if nth <= calls < nth + times:
            aws.fail("ThrottlingException", message="Rate exceeded")
        return plain_call(environ, start_response)

    plain_call = aws.answer
    monkeypatch.setattr(aws, "answer", throttle)

    async def work() -> PostgresConfig:
        assert await settle(clients.parameters(names)) == dict.fromkeys(names, "v")
        config: PostgresConfig = await settle(load(env="dev", service=service, aws=clients))
        return config

    aws.seen.clear()
    if times < 3:
        assert (await work()).host == HOST
        assert len(waits) == times
        assert aws.seen.total() == 3 + times
    else:
        with pytest.raises(CredentialError, match="throttles") as caught:
            await work()
        action = "secretsmanager:GetSecretValue" if nth == 3 else "ssm:GetParameters"
        resource = {1: ", ".join(names[:10]), 2: ", ".join(names[10:]), 3: secret_id}[nth]
        assert (caught.value.context["action"], caught.value.context["resource"]) == (action, resource)
        assert aws.seen.total() == nth + 2
        assert (await work()).host == HOST  # the same clients, once AWS lets them
    await settle(clients.close())
