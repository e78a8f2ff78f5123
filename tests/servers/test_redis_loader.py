"""The Redis loader, both kinds, on an emulated AWS: three environments, every source of every value."""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_hex
from typing import Any

import pytest
from tests.servers.aws_kit import ACCOUNT, REGION, CountingAws, settle

from soa_db import Dial, IamAuth, RedisConfig, SecretAuth, TlsConfig
from soa_db.aws import AsyncAwsClients, AwsClients
from soa_db.config import AwsTarget
from soa_db.errors import ConfigurationError, ParameterNotFound, SecretMalformed, SecretNotFound
from soa_db.redis import aload_redis_config_from_aws, load_redis_config_from_aws

PAYLOAD: dict[str, object] = {"username": "u", "password": "p", "endpoint": "redis.example", "port": "6380"}
MASTER = "master.chat.ab12cd.usw2.cache.amazonaws.com"
Load = Callable[..., Any]


@pytest.fixture(params=["async", "sync"])
def load(request: pytest.FixtureRequest) -> Load:
    """Each kind of loader in turn."""
    return aload_redis_config_from_aws if request.param == "async" else load_redis_config_from_aws


@pytest.fixture
def service(unique_name: str) -> str:
    """A service of the test's own."""
    return f"a-{unique_name}"


@pytest.mark.parametrize("env", ["dev", "mirror", "prod"])
async def test_the_secret_says_it_all(aws: CountingAws, load: Load, service: str, env: str) -> None:
    """One read, a password known by its secret's name only; TLS by the environment."""
    secret_id = f"{env}/redis/{service}"
    aws.put_secret(ACCOUNT, secret_id, PAYLOAD)
    config = await settle(load(env=env, service=service))
    assert config == RedisConfig(
        instance_name=service,
        host="redis.example",
        port=6380,
        user="u",
        auth=SecretAuth(secret_id=secret_id),
        tls=None if env == "dev" else TlsConfig(),
    )
    assert aws.seen == {"GetSecretValue": 1}


@pytest.mark.parametrize(
    ("parameter", "field", "expected"),
    [
        ("redis.example", None, ("redis.example", 6379)),
        ("redis.example:7000", None, ("redis.example", 7000)),
        ("redis.example:7000", 6390, ("redis.example", 6390)),
        ("redis.example", "6390", ("redis.example", 6390)),
        ("fd00::1", None, ("fd00::1", 6379)),
        ("[fd00::1]:7000", None, ("fd00::1", 7000)),
    ],
)
async def test_a_missing_endpoint_is_read_from_ssm(
    aws: CountingAws, load: Load, parameter: str, field: object, expected: tuple[str, int]
) -> None:
    """`host` or `host:port`; the secret's port wins; the user is derived."""
    service = f"a-{token_hex(5)}"
    aws.put_parameters(ACCOUNT, {"/shared/infra/mirror/redis-endpoint": parameter})
    aws.put_secret(ACCOUNT, f"mirror/redis/{service}", {"password": "p", "port": field})
    config = await settle(load(env="mirror", service=service))
    assert (config.host, config.port) == expected
    assert config.user == f"{service}-mirror"
    assert aws.seen == {"GetSecretValue": 1, "GetParameters": 1}


async def test_tls_is_what_is_given_then_what_the_secret_says(
    aws: CountingAws, load: Load, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And SOA_DB_CA_FILE names the roots wherever it is on by default."""
    aws.put_secret(ACCOUNT, f"dev/redis/{service}", {**PAYLOAD, "tls": True})
    aws.put_secret(ACCOUNT, f"prod/redis/{service}", {**PAYLOAD, "tls": "false"})
    monkeypatch.setenv("SOA_DB_CA_FILE", "/ca.pem")
    assert (await settle(load(env="dev", service=service))).tls == TlsConfig(ca_file="/ca.pem")
    assert (await settle(load(env="dev", service=service, tls=False))).tls is None
    assert (await settle(load(env="prod", service=service))).tls is None
    assert (await settle(load(env="prod", service=service, tls=TlsConfig(verify="ca")))).tls == TlsConfig(verify="ca")


async def test_what_is_given_wins(aws: CountingAws, load: Load, service: str) -> None:
    """Over the secret and over SSM, which is then not asked."""
    aws.put_secret(ACCOUNT, f"prod/redis/{service}", {"username": "u", "password": "p"})
    config = await settle(
        load(
            env="prod",
            service=service,
            instance_name="mine",
            username="v",
            host="other.example",
            port="7000",
            dial="localhost:16379",
            db=2,
            connect_timeout=1.5,
            command_timeout=2.5,
            max_connections=3,
        )
    )
    assert config == RedisConfig(
        instance_name="mine",
        host="other.example",
        port=7000,
        user="v",
        auth=SecretAuth(secret_id=f"prod/redis/{service}"),
        dial=Dial(host="localhost", port=16379),
        db=2,
        connect_timeout=1.5,
        command_timeout=2.5,
        max_connections=3,
    )
    assert aws.seen == {"GetSecretValue": 1}


@pytest.mark.parametrize(
    ("host", "arguments", "cluster"),
    [
        (MASTER, {}, False),
        ("clustercfg.chat.ab12cd.usw2.cache.amazonaws.com", {}, True),
        ("clustercfg.chat.ab12cd.usw2.cache.amazonaws.com", {"cluster": False}, False),
        ("chat-ab12cd.serverless.usw2.cache.amazonaws.com", {}, True),
        ("redis.example", {}, False),
        ("redis.example", {"cluster": True}, True),
    ],
)
async def test_an_endpoint_says_whether_it_is_a_cluster(
    aws: CountingAws, load: Load, host: str, arguments: dict[str, Any], cluster: bool
) -> None:
    """A configuration endpoint and a serverless cache are; what is given wins."""
    service = f"a-{token_hex(5)}"
    aws.put_secret(ACCOUNT, f"prod/redis/{service}", {"password": "p", "endpoint": host})
    assert (await settle(load(env="prod", service=service, **arguments))).cluster is cluster


async def test_iam_reads_no_secret(aws: CountingAws, load: Load, service: str) -> None:
    """The user by the contract, the endpoint from SSM, TLS on; the cache's name may be given."""
    aws.put_parameters(ACCOUNT, {"/shared/infra/prod/redis-endpoint": MASTER})
    config = await settle(load(env="prod", service=service, auth="iam"))
    assert config == RedisConfig(
        instance_name=service, host=MASTER, user=f"{service}-prod", auth=IamAuth(region=REGION), tls=TlsConfig()
    )
    assert aws.seen == {"GetParameters": 1}
    config = await settle(
        load(env="prod", service=service, auth="iam", host="h", cache_name="c", serverless=True, region="eu-west-1")
    )
    target = AwsTarget(region="eu-west-1")
    assert config.auth == IamAuth(region="eu-west-1", cache_name="c", serverless=True, aws=target)
    assert config.cluster
    with pytest.raises(ConfigurationError, match="needs TLS"):
        await settle(load(env="prod", service=service, auth="iam", tls=False))


async def test_iam_in_dev_is_the_parity_secret(aws: CountingAws, load: Load, service: str) -> None:
    """There is no ElastiCache on a laptop; the same call works there."""
    aws.put_secret(ACCOUNT, f"dev/redis/{service}", PAYLOAD)
    config = await settle(load(env="dev", service=service, auth="iam", cache_name="chat"))
    assert config.auth == SecretAuth(secret_id=f"dev/redis/{service}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"env": "staging"}, "unknown environment"),
        ({"service": "Chat"}, "service id"),
        ({"user": "a", "username": "b"}, "differ"),
        ({"user": ""}, "user"),
        ({"port": "abc"}, "port"),
        ({"port": 70000}, "port"),
        ({"host": "a b"}, "host"),
        ({"host": ""}, "host"),
        ({"auth": "password"}, "unknown auth"),
        ({"cache_name": "c"}, "auth='iam'"),
        ({"dial": "nowhere"}, "host:port"),
        ({"db": -1}, "db"),
        ({"cluster": True, "db": 1}, "cluster"),
        ({"command_timeout": 0.0}, "command_timeout"),
    ],
)
async def test_an_argument_that_cannot_be_used(
    aws: CountingAws, load: Load, service: str, arguments: dict[str, Any], words: str
) -> None:
    """A typed error that names it."""
    aws.put_secret(ACCOUNT, f"prod/redis/{service}", PAYLOAD)
    with pytest.raises(ConfigurationError, match=words):
        await settle(load(**{"env": "prod", "service": service, **arguments}))


@pytest.mark.parametrize("parameter", ["a b", "a,b", "a:b", "a:0", ":6379", "[::1", "a:"])
async def test_a_parameter_that_cannot_be_used(aws: CountingAws, load: Load, service: str, parameter: str) -> None:
    """The parameter is named, and the command that mends it."""
    aws.put_parameters(ACCOUNT, {"/shared/infra/prod/redis-endpoint": parameter})
    aws.put_secret(ACCOUNT, f"prod/redis/{service}", {"password": "p"})
    with pytest.raises(ConfigurationError, match="/shared/infra/prod/redis-endpoint") as caught:
        await settle(load(env="prod", service=service))
    assert "aws ssm put-parameter" in caught.value.hint


async def test_what_is_missing_or_malformed_is_named(aws: CountingAws, load: Load, service: str) -> None:
    """A secret by its name, a field of it, a parameter by its path."""
    with pytest.raises(SecretNotFound, match=f"dev/redis/{service}"):
        await settle(load(env="dev", service=service))
    aws.put_secret(ACCOUNT, f"dev/redis/{service}", {"password": "canary", "tls": "canary"})
    with pytest.raises(SecretMalformed, match="'tls'") as caught:
        await settle(load(env="dev", service=service))
    assert "canary" not in str(caught.value)
    with pytest.raises(ParameterNotFound, match="/shared/infra/mirror/redis-endpoint"):
        await settle(load(env="mirror", service=service, auth="iam", region="eu-west-1"))


@pytest.mark.parametrize("kind", [AwsClients, AsyncAwsClients])
async def test_clients_that_are_given_are_used_and_left_open(
    aws: CountingAws, service: str, kind: type[AwsClients | AsyncAwsClients]
) -> None:
    """Their cache then serves the first connect: no second read."""
    aws.put_secret(ACCOUNT, f"dev/redis/{service}", PAYLOAD)
    load: Load = aload_redis_config_from_aws if kind is AsyncAwsClients else load_redis_config_from_aws
    clients = kind(region=REGION)
    config = await settle(load(env="dev", service=service, aws=clients))
    assert config.auth.aws == clients.target
    assert await settle(clients.secret(config.auth.secret_id)) == PAYLOAD
    assert aws.seen == {"GetSecretValue": 1}
    await settle(clients.close())
