"""The MongoDB loader, both kinds, on an emulated AWS: every environment, every source of every value."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
import warnings
from collections.abc import Callable, Iterable
from io import BytesIO
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from pymongo import MongoClient
from tests.servers.aws_kit import ACCOUNT, REGION, CountingAws, allow, settle

from soa_db import Dial, MongoConfig, MongoHost, MongoOptions, NoAuth, SecretAuth, TlsConfig, names
from soa_db.aws import AsyncAwsClients, AwsClients
from soa_db.errors import AccessDenied, ConfigurationError, ParameterNotFound, SecretMalformed, SecretNotFound
from soa_db.mongo import (
    AsyncMongoProvider,
    MongoProvider,
    aload_mongo_config_from_aws,
    connection_uri,
    load_mongo_config_from_aws,
)

if TYPE_CHECKING:
    from soa_db.local.mongo import MongoServer

CA = trustme.CA().cert_pem.bytes().decode()
MIRROR = "/mirror/current/mongodb-shared"
PROD = "/shared/infra/prod/mongodb"
LOGIN: dict[str, object] = {"username": "u", "password": "p"}
MEMBER = MongoHost(host="m.example", port=27018)
Load = Callable[..., Any]


@pytest.fixture(params=["async", "sync"])
def load(request: pytest.FixtureRequest) -> Load:
    """Each kind of loader in turn."""
    return aload_mongo_config_from_aws if request.param == "async" else load_mongo_config_from_aws


@pytest.fixture
def service() -> str:
    """A service of the test's own."""
    return f"a-{token_hex(5)}"


@pytest.fixture
def cloud(aws: CountingAws, unique_name: str) -> CountingAws:
    """What the infrastructure and `provision` publish."""
    ca_arn = aws.put_secret(ACCOUNT, f"mongodb-ca-{unique_name}", {"ca_cert": CA})
    admin_arn = aws.put_secret(ACCOUNT, f"mongodb-admin-{unique_name}", {"username": "root", "password": "p"})
    aws.put_parameters(
        ACCOUNT,
        {
            f"{MIRROR}/endpoint": "m.example",
            f"{MIRROR}/port": "27018",
            f"{MIRROR}/replica-set-name": "saga-rs",
            f"{MIRROR}/ca-secret-arn": ca_arn,
            f"{MIRROR}/master-secret-arn": admin_arn,
            f"{PROD}-hosts": " a.example:27017 ,, [fd00::1]:27018,",
            f"{PROD}-replica-set-name": " saga-rs ",
            f"{PROD}-ca-secret-arn": ca_arn,
            "/shared/infra/staging/mongodb-hosts": "old.example:27017",
            "/shared/infra/staging/mongodb-replica-set-name": "old-rs",
            "/shared/infra/staging/mongodb-ca-secret-arn": ca_arn,
        },
    )
    return aws


def shared(service: str, secret_id: str, **fields: Any) -> MongoConfig:
    """A config of a service's own user, with TLS."""
    database = f"{names.snake(service)}_db"
    return MongoConfig(
        **{
            "instance_name": service,
            "database": database,
            "user": "u",
            "auth": SecretAuth(secret_id=secret_id),
            "auth_source": database,
            "replica_set": "saga-rs",
            "tls": TlsConfig(ca_pem=CA),
            **fields,
        }
    )


async def test_mirror(cloud: CountingAws, load: Load, service: str) -> None:
    """Endpoint and port, one batch of parameters, the service's secret and the CA's."""
    secret_id = f"/mirror/current/{service}-mongo-password"
    cloud.put_secret(ACCOUNT, secret_id, LOGIN)
    assert await settle(load(env="mirror", service=service)) == shared(service, secret_id, hosts=[MEMBER])
    assert cloud.seen == {"GetParameters": 1, "GetSecretValue": 2}


async def test_prod(cloud: CountingAws, load: Load, service: str) -> None:
    """The members in their order; blanks around and between them are ignored."""
    secret_id = f"prod/mongodb-shared/{service}-password"
    cloud.put_secret(ACCOUNT, secret_id, LOGIN)
    members = [MongoHost(host="a.example"), MongoHost(host="fd00::1", port=27018)]
    assert await settle(load(env="prod", service=service)) == shared(service, secret_id, hosts=members)
    assert cloud.seen == {"GetParameters": 1, "GetSecretValue": 2}


async def test_the_mirrors_administrator(cloud: CountingAws, load: Load, service: str) -> None:
    """By the ARN in SSM, kept in `admin`; the service names the database only, and has no secret."""
    config = await settle(load(service=service, scope="mirror-current"))
    assert config.auth.secret_id.startswith("arn:aws:secretsmanager:")
    assert ":secret:mongodb-admin-t" in config.auth.secret_id
    expected = shared(service, config.auth.secret_id, hosts=[MEMBER], user="root", auth_source="admin")
    assert config == expected
    assert cloud.seen == {"GetParameters": 1, "GetSecretValue": 2}
    assert await settle(load(env="mirror", service=service, scope="mirror-current")) == expected


async def test_where_shared_servers_are_is_said_by_ssm_alone(cloud: CountingAws, load: Load, service: str) -> None:
    """What else stands in a secret does not count, nor stand in the way; the administrator's may name a host."""
    secret_id = f"prod/mongodb-shared/{service}-password"
    cloud.put_secret(ACCOUNT, secret_id, {**LOGIN, "hosts": ["x"], "host": 5, "database": "x", "replica_set": "x"})
    members = [MongoHost(host="a.example"), MongoHost(host="fd00::1", port=27018)]
    assert await settle(load(env="prod", service=service)) == shared(service, secret_id, hosts=members)
    admin = {"username": "root", "password": "p", "host": "x", "database": "x"}
    arn = cloud.put_secret(ACCOUNT, f"admin-of-{service}", admin)
    cloud.put_parameters(ACCOUNT, {f"{MIRROR}/master-secret-arn": arn})
    config = await settle(load(service=service, scope="mirror-current"))
    assert config == shared(service, arn, hosts=[MEMBER], user="root", auth_source="admin")


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"hosts": "m.example:27018"}, {"user": None, "auth": NoAuth(), "auth_source": None}),
        ({"host": "m.example", "port": "27018", "password": "p"}, {"user": "{snake}_app"}),
        ({"host": "m.example", "port": 27018, **LOGIN, "database": "d", "replica_set": "rs"},
         {"database": "d", "auth_source": "d", "replica_set": "rs"}),
    ],
)  # fmt: skip
async def test_dev_is_the_parity_secret(
    aws: CountingAws, load: Load, service: str, payload: dict[str, object], expected: dict[str, Any]
) -> None:
    """One read, no TLS; a server without users needs no password; a user is derived where the secret names none."""
    secret_id = f"dev/mongodb-shared/{service}-password"
    aws.put_secret(ACCOUNT, secret_id, payload)
    fields = {name: value.format(snake=names.snake(service)) if isinstance(value, str) else value
              for name, value in expected.items()}  # fmt: skip
    base: dict[str, Any] = {"hosts": [MEMBER], "tls": None, "replica_set": None}
    assert await settle(load(env="dev", service=service)) == shared(service, secret_id, **{**base, **fields})
    assert aws.seen == {"GetSecretValue": 1}


async def test_staging_warns_once_with_the_callers_line(cloud: CountingAws, service: str) -> None:
    """The asynchronous loader too, also when it runs as a task, far from that line; a provider's caller is its own."""
    secret_id = f"staging/mongodb-shared/{service}-password"
    cloud.put_secret(ACCOUNT, secret_id, LOGIN)
    lines = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frame = inspect.currentframe()
        assert frame is not None
        lines.append(frame.f_lineno + 1)
        first = load_mongo_config_from_aws(env="staging", service=service)
        lines.append(frame.f_lineno + 1)
        second = await aload_mongo_config_from_aws(env="staging", service=service)
        lines.append(frame.f_lineno + 1)
        (third,) = await asyncio.gather(aload_mongo_config_from_aws(env="staging", service=service))
        with pytest.raises(SecretNotFound):
            lines.append(frame.f_lineno + 1)
            MongoProvider.from_aws(env="staging", service=f"{service}-none").connect()
        with pytest.raises(SecretNotFound):
            lines.append(frame.f_lineno + 1)
            await AsyncMongoProvider.from_aws(env="staging", service=f"{service}-none").connect()
    told = [(one.category, one.filename, one.lineno) for one in caught]
    assert told == [(DeprecationWarning, __file__, line) for line in lines]
    assert "env='mirror'" in str(caught[0].message)
    expected = shared(service, secret_id, hosts=[MongoHost(host="old.example")], replica_set="old-rs")
    assert first == second == third == expected


async def test_what_is_given_wins(cloud: CountingAws, load: Load, service: str) -> None:
    """Over secret and SSM, which is then not asked for it."""
    secret_id = f"prod/mongodb-shared/{service}-password"
    cloud.put_secret(ACCOUNT, secret_id, {"password": "p"})
    config = await settle(
        load(
            env="prod",
            service=service,
            instance_name="mine",
            username="v",
            database="d",
            auth_source="s",
            hosts=[MEMBER, "b.example:1"],
            replica_set="rs",
            dial="localhost:27117",
            tls=False,
            options=MongoOptions(max_pool_size=3),
        )
    )
    assert config == shared(
        service,
        secret_id,
        instance_name="mine",
        user="v",
        database="d",
        auth_source="s",
        hosts=[MEMBER, MongoHost(host="b.example", port=1)],
        replica_set="rs",
        dial=Dial(host="localhost", port=27117),
        tls=None,
        options=MongoOptions(max_pool_size=3),
    )
    assert cloud.seen == {"GetSecretValue": 1}


async def test_tls_settings_without_roots_get_the_cas(cloud: CountingAws, load: Load, service: str) -> None:
    """A client certificate does not cost the verification; roots that are given need no secret."""
    cloud.put_secret(ACCOUNT, f"prod/mongodb-shared/{service}-password", LOGIN)
    client = TlsConfig(cert="c", key="c")
    found = await settle(load(env="prod", service=service, tls=client))
    assert found.tls == TlsConfig(cert="c", key="c", ca_pem=CA)
    cloud.seen.clear()
    own = TlsConfig(ca_file="/ca.pem")
    assert (await settle(load(env="prod", service=service, tls=own))).tls == own
    assert cloud.seen == {"GetParameters": 1, "GetSecretValue": 1}
    cloud.put_secret(ACCOUNT, f"dev/mongodb-shared/{service}-password", {"hosts": "a:1"})
    assert (await settle(load(env="dev", service=service, tls=TlsConfig()))).tls == TlsConfig()


async def test_both_secrets_are_read_at_once(
    cloud: CountingAws, load: Load, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer waits for the other question."""
    cloud.put_secret(ACCOUNT, f"prod/mongodb-shared/{service}-password", LOGIN)
    asked: list[object] = []
    both = threading.Event()
    met: list[bool] = []
    answer = CountingAws.answer

    def meet(self: CountingAws, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if str(environ.get("HTTP_X_AMZ_TARGET", "")).endswith("GetSecretValue"):
            body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            environ["wsgi.input"] = BytesIO(body)
            asked.append(json.loads(body)["SecretId"])
            if len(set(asked)) == 2:
                both.set()
            met.append(both.wait(5))
        return answer(self, environ, start_response)

    monkeypatch.setattr(CountingAws, "answer", meet)
    assert (await settle(load(env="prod", service=service))).user == "u"
    assert met == [True, True]


async def test_rights_to_the_exact_names_suffice(
    cloud: CountingAws, load: Load, service: str, unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three parameters and two secrets; another service's secret stays shut."""
    here = {"region": REGION, "account": ACCOUNT}
    other = f"{service}-other"
    for one in (service, other):
        cloud.put_secret(ACCOUNT, f"prod/mongodb-shared/{one}-password", LOGIN)
    paths = [f"{PROD}-{name}" for name in ("hosts", "replica-set-name", "ca-secret-arn")]
    secrets = [f"prod/mongodb-shared/{service}-password", f"mongodb-ca-{unique_name}"]
    keys = cloud.create_user(
        ACCOUNT,
        service,
        allow(
            *(("ssm:GetParameters", names.ssm_parameter_arn(path, **here)) for path in paths),
            *(("secretsmanager:GetSecretValue", names.secret_arn_pattern(name, **here)) for name in secrets),
        ),
    )
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key)
    assert (await settle(load(env="prod", service=service))).user == "u"
    with pytest.raises(AccessDenied, match=f"prod/mongodb-shared/{other}-password"):
        await settle(load(env="prod", service=other))
    with pytest.raises(AccessDenied):
        await settle(load(service=service, scope="mirror-current"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"env": "preprod"}, "unknown environment"),
        ({"env": None}, "env is missing"),
        ({"scope": "mirror-current"}, "mirror alone"),
        ({"scope": "other"}, "unknown scope"),
        ({"service": "Chat"}, "service id"),
        ({"user": "a", "username": "b"}, "differ"),
        ({"user": ""}, "user"),
        ({"database": "a.b"}, "database"),
        ({"hosts": ""}, "argument hosts names no host"),
        ({"hosts": []}, "argument hosts names no host"),
        ({"hosts": "h"}, "without a port"),
        ({"hosts": ["fd00::1"]}, "without a port"),
        ({"hosts": [f"h{number}:1" for number in range(100)]}, "100 hosts"),
        ({"replica_set": ""}, "replica_set"),
        ({"dial": "nowhere"}, "host:port"),
    ],
)
async def test_an_argument_that_cannot_be_used(
    cloud: CountingAws, load: Load, service: str, arguments: dict[str, Any], words: str
) -> None:
    """A typed error that names it."""
    cloud.put_secret(ACCOUNT, f"prod/mongodb-shared/{service}-password", LOGIN)
    with pytest.raises(ConfigurationError, match=words):
        await settle(load(**{"env": "prod", "service": service, **arguments}))


@pytest.mark.parametrize(
    ("env", "parameter", "value", "words"),
    [
        ("prod", f"{PROD}-hosts", " , ", "names no host"),
        ("prod", f"{PROD}-hosts", "a.example", "without a port"),
        ("prod", f"{PROD}-hosts", "a.example:27017,fd00::1:27017", "number 2"),
        ("prod", f"{PROD}-hosts", ",".join(f"h{number}:1" for number in range(100)), "100 hosts"),
        ("prod", f"{PROD}-replica-set-name", "  ", "is blank"),
        ("mirror", f"{MIRROR}/endpoint", "m.example:27017", "without a port"),
        ("mirror", f"{MIRROR}/endpoint", "a.example,b.example", "one host"),
        ("mirror", f"{MIRROR}/port", "mongo", "port"),
        ("mirror", f"{MIRROR}/ca-secret-arn", " ", "is blank"),
    ],
)
async def test_a_parameter_that_cannot_be_used(
    cloud: CountingAws, load: Load, service: str, *, env: str, parameter: str, value: str, words: str
) -> None:
    """It is named, with the command that mends it."""
    cloud.put_parameters(ACCOUNT, {parameter: value})
    with pytest.raises(ConfigurationError, match=words) as caught:
        await settle(load(env=env, service=service))
    assert parameter in str(caught.value)
    assert "aws ssm put-parameter" in caught.value.hint


@pytest.mark.parametrize("env", ["mirror", "prod"])
@pytest.mark.parametrize("field", ["username", "password"])
async def test_a_field_that_is_missing_is_named(
    cloud: CountingAws, load: Load, service: str, env: str, field: str
) -> None:
    """Outside dev both must be there: a derived user could be another than the one the password is of."""
    secret_id = names.mongo_secret_name(env, service)  # type: ignore[arg-type]  # one of the two
    cloud.put_secret(ACCOUNT, secret_id, {name: value for name, value in LOGIN.items() if name != field})
    with pytest.raises(SecretMalformed, match=f"{secret_id} the field '{field}' is missing"):
        await settle(load(env=env, service=service))


@pytest.mark.parametrize(
    ("payload", "arguments", "field"),
    [
        ({**LOGIN}, {}, "hosts"),
        ({"hosts": "canary"}, {}, "hosts"),
        ({"username": "u", "hosts": "a:1"}, {}, "password"),
        ({"hosts": "a:1"}, {"user": "u"}, "password"),
    ],
)
async def test_a_parity_secret_that_cannot_be_used(
    aws: CountingAws, load: Load, service: str, *, payload: dict[str, object], arguments: dict[str, Any], field: str
) -> None:
    """Field and secret are named, never the value."""
    aws.put_secret(ACCOUNT, f"dev/mongodb-shared/{service}-password", payload)
    with pytest.raises(SecretMalformed, match=f"dev/mongodb-shared/{service}-password the field '{field}'") as caught:
        await settle(load(env="dev", service=service, **arguments))
    assert "canary" not in str(caught.value)


async def test_a_ca_that_cannot_be_used(cloud: CountingAws, load: Load, service: str) -> None:
    """Its secret and field are named; the certificate is not quoted."""
    cloud.put_secret(ACCOUNT, f"prod/mongodb-shared/{service}-password", LOGIN)
    ca_arn = cloud.put_secret(ACCOUNT, f"ca-of-{service}", {"ca_cert": "canary"})
    cloud.put_parameters(ACCOUNT, {f"{PROD}-ca-secret-arn": ca_arn})
    with pytest.raises(SecretMalformed, match="'ca_cert' is not a certificate in PEM") as caught:
        await settle(load(env="prod", service=service))
    assert ca_arn in str(caught.value)
    assert "canary" not in str(caught.value)
    cloud.put_parameters(ACCOUNT, {f"{PROD}-ca-secret-arn": f"no-ca-of-{service}"})
    with pytest.raises(SecretNotFound, match=f"no-ca-of-{service}"):
        await settle(load(env="prod", service=service))


async def test_what_is_missing_is_named(cloud: CountingAws, load: Load, service: str) -> None:
    """A secret by its name, parameters by their paths, all at once."""
    with pytest.raises(SecretNotFound, match=f"prod/mongodb-shared/{service}-password"):
        await settle(load(env="prod", service=service))
    with pytest.raises(ParameterNotFound, match=f"{PROD}-hosts, {PROD}-replica-set-name, {PROD}-ca-secret-arn"):
        await settle(load(env="prod", service=service, region="eu-west-1"))


@pytest.mark.parametrize("kind", [AwsClients, AsyncAwsClients])
async def test_clients_that_are_given_are_used_and_left_open(
    cloud: CountingAws, service: str, kind: type[AwsClients | AsyncAwsClients]
) -> None:
    """Their cache then serves the first connect: no second read."""
    cloud.put_secret(ACCOUNT, f"prod/mongodb-shared/{service}-password", LOGIN)
    load: Load = aload_mongo_config_from_aws if kind is AsyncAwsClients else load_mongo_config_from_aws
    clients = kind(region=REGION)
    config = await settle(load(env="prod", service=service, aws=clients))
    assert config.auth.aws == clients.target
    assert await settle(clients.secret(config.auth.secret_id)) == LOGIN
    assert cloud.seen == {"GetParameters": 1, "GetSecretValue": 2}
    await settle(clients.close())


async def test_what_is_loaded_connects_and_so_does_its_uri(
    aws: CountingAws, load: Load, service: str, mongo_tls_server: MongoServer
) -> None:
    """To a replica set with TLS, as a user of the service's own whose password wants encoding."""
    database, user, password = names.mongo_database(service), names.mongo_user(service), f"p@s/s:+%? {service}"
    mongo_tls_server.create_user(user, password, database=database)
    assert mongo_tls_server.tls is not None
    assert mongo_tls_server.tls.ca_pem is not None
    ca_arn = aws.put_secret(ACCOUNT, f"ca-of-{service}", {"ca_cert": mongo_tls_server.tls.ca_pem.decode()})
    host, port = mongo_tls_server.hosts[0]
    parameters = {"endpoint": host, "port": str(port), "replica-set-name": "saga-rs", "ca-secret-arn": ca_arn}
    aws.put_parameters(ACCOUNT, {f"{MIRROR}/{name}": value for name, value in parameters.items()})
    aws.put_secret(ACCOUNT, f"/mirror/current/{service}-mongo-password", {"username": user, "password": password})
    config = await settle(load(env="mirror", service=service))
    with MongoProvider(config) as provider:
        provider.database["x"].insert_one({"_id": 1})
    uri = connection_uri(config, str(mongo_tls_server.ca_file), show_password=True, password=password)
    with MongoClient[dict[str, Any]](uri) as client:
        assert client.get_default_database()["x"].find_one({}) == {"_id": 1}
    with MongoProvider(MongoConfig.from_url(uri, instance_name="again")) as provider:
        assert provider.database["x"].find_one_and_delete({}) == {"_id": 1}
