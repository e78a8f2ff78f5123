"""The MongoDB of each environment: what is published, who gets in, and how it lives and dies."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, OperationFailure
from tests.servers.test_local_environment import client
from tests.support.postgres import eventually

from soa_db import names
from soa_db.aws import AwsClients
from soa_db.local import processes
from soa_db.mongo import MongoProvider, load_mongo_config_from_aws
from soa_db.names import ENVS, Env

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment

PROD = {"role_arn": "arn:aws:iam::222222222222:role/soa-db-admin", "external_id": "soa-db-local"}
QUICK: dict[str, Any] = {"serverSelectionTimeoutMS": 1000, "timeoutMS": 1000}


def published(environment: LocalEnvironment, env: Env) -> dict[str, str]:
    """The parameters of an environment's MongoDB, by what comes after their common beginning."""
    prefix = {"dev": "/dev/mongodb-shared/", "mirror": "/mirror/current/mongodb-shared/", "prod": "/shared/infra/prod/"}
    pages = client(environment, "ssm", env).get_parameters_by_path(Path=prefix[env])
    found = {item["Name"].removeprefix(prefix[env]): item["Value"] for item in pages["Parameters"]}
    return {name: value for name, value in found.items() if env != "prod" or name.startswith("mongodb-")}


def secret(environment: LocalEnvironment, env: Env, arn: str) -> dict[str, Any]:
    """A secret's payload."""
    found = client(environment, "secretsmanager", env).get_secret_value(SecretId=arn)
    payload: dict[str, Any] = json.loads(found["SecretString"])
    return payload


def test_what_is_published_stands_where_the_contract_says(local_env: LocalEnvironment) -> None:
    """Hosts, the set's name, the CA's secret and the administrator's: each environment its own, in its account."""
    dev, mirror, prod = (published(local_env, env) for env in ENVS)
    at = {env: local_env.server(env, "mongo") for env in ENVS}
    assert set(dev) == {"hosts", "master-secret-arn"}
    assert dev["hosts"] == f"localhost:{at['dev'].port}"
    assert set(mirror) == {"endpoint", "port", "replica-set-name", "ca-secret-arn", "master-secret-arn"}
    assert (mirror["endpoint"], mirror["port"]) == ("localhost", str(at["mirror"].port))
    of_prod = ("hosts", "replica-set-name", "ca-secret-arn", "master-secret-arn")
    assert set(prod) == {f"mongodb-{name}" for name in of_prod}
    assert prod["mongodb-hosts"] == f"localhost:{at['prod'].port}"
    assert mirror["replica-set-name"] == prod["mongodb-replica-set-name"] == "saga-rs"
    assert set(secret(local_env, "mirror", mirror["ca-secret-arn"])) == {"ca_cert"}
    assert set(secret(local_env, "prod", prod["mongodb-ca-secret-arn"])) == {"ca_cert"}
    assert "222222222222" in prod["mongodb-master-secret-arn"]


@pytest.mark.parametrize("env", ENVS)
def test_the_master_gets_in_with_what_is_published_and_nobody_else(local_env: LocalEnvironment, env: Env) -> None:
    """By its secret; with TLS where there is any, and not without."""
    arn = next(value for name, value in published(local_env, env).items() if name.endswith("master-secret-arn"))
    payload = secret(local_env, env, arn)
    tls: dict[str, Any] = {} if env == "dev" else {"tls": True, "tlsCAFile": local_env.exports()["SOA_DB_CA_FILE"]}
    place = {"host": payload["host"], "port": payload["port"], **QUICK}
    login = {"username": payload["username"], "password": payload["password"]}
    with MongoClient[dict[str, Any]](**place, **login, **tls) as master:
        assert master.admin.command("connectionStatus")["authInfo"]["authenticatedUsers"] == [
            {"user": "master", "db": "admin"}
        ]
        assert master.admin.command("hello").get("setName") == (None if env == "dev" else "saga-rs")
    for wrong in ({}, {**login, "password": "guess"}):
        with MongoClient[dict[str, Any]](**place, **wrong, **tls) as nobody, pytest.raises(OperationFailure):
            nobody.admin.command("listDatabases")
    if env != "dev":
        with MongoClient[dict[str, Any]](**place, **login) as plain, pytest.raises(ConnectionFailure):
            plain.admin.command("ping")


@pytest.mark.parametrize("env", ["mirror", "prod"])
def test_a_service_connects_with_what_its_loader_finds(local_aws: LocalEnvironment, env: Env, unique_name: str) -> None:
    """Host, set and CA from SSM, its user from its secret."""
    user, database = names.mongo_user(unique_name), names.mongo_database(unique_name)
    with MongoClient[dict[str, Any]](local_aws.server(env, "mongo").admin_url) as master:
        master[database].command("createUser", user, pwd="a-password", roles=["readWrite"])
    client(local_aws, "secretsmanager", env).create_secret(
        Name=names.mongo_secret_name(env, unique_name),
        SecretString=json.dumps({"username": user, "password": "a-password"}),
    )
    role: dict[str, Any] = {} if env == "mirror" else PROD
    with (
        AwsClients(**role) as aws,
        MongoProvider.from_aws(env=env, service=unique_name, aws=aws) as provider,
    ):
        assert provider.config.replica_set == "saga-rs"
        provider.database.things.insert_one({"_id": 1})
        assert provider.database.things.find_one() == {"_id": 1}


def test_the_mirror_is_reached_as_its_admin(local_aws: LocalEnvironment) -> None:
    """``scope="mirror-current"``: the user of the master's secret, kept in `admin`."""
    with MongoProvider(load_mongo_config_from_aws(service="any", scope="mirror-current")) as provider:
        users = provider.client.admin.command("connectionStatus")["authInfo"]["authenticatedUsers"]
    assert users == [{"user": "master", "db": "admin"}]


def test_one_that_is_killed_comes_back_with_its_data(local_env: LocalEnvironment, unique_name: str) -> None:
    """On its port and with what was acknowledged; the other engines are left alone."""
    before = local_env.server("mirror", "mongo")
    with MongoClient[dict[str, Any]](before.admin_url, **QUICK) as master:
        master[unique_name].things.insert_one({"_id": 1})
        local_env.kill_server("mirror", "mongo")
        assert local_env.status().up["mongo"] == {"dev": True, "mirror": False, "prod": True}
        assert local_env.status().up["redis"]["mirror"]
        with pytest.raises(ConnectionFailure):
            master[unique_name].things.find_one()
        local_env.start_server("mirror", "mongo")
        after = local_env.server("mirror", "mongo")
        assert (after.port, after.pid != before.pid) == (before.port, True)
        eventually(lambda: _finds(master, unique_name))


def _finds(master: MongoClient[dict[str, Any]], database: str) -> bool:
    try:
        return master[database].things.find_one() == {"_id": 1}
    except ConnectionFailure:
        return False


def test_it_is_paused_stopped_and_restarted_on_request(local_env: LocalEnvironment) -> None:
    """As the other engines are."""
    first = local_env.server("dev", "mongo")
    with MongoClient[dict[str, Any]](first.admin_url, **QUICK) as master:
        master.admin.command("ping")
        local_env.pause_server("dev", "mongo")
        with pytest.raises(ConnectionFailure):
            master.admin.command("ping")
        local_env.resume_server("dev", "mongo")
        eventually(lambda: bool(master.admin.command("ping")["ok"]))
    local_env.stop_server("dev", "mongo")
    assert first.pid is not None
    assert processes.find(first.pid) is None
    local_env.start_server("dev", "mongo")
    local_env.restart_server("dev", "mongo")
    assert local_env.server("dev", "mongo").port == first.port
    assert local_env.status().up["mongo"]["dev"]


def test_its_certificate_and_key_are_their_owners_alone(local_env: LocalEnvironment) -> None:
    """Nobody else on the machine may read the key by which members know each other."""
    for env in ENVS:
        folder = local_env.directory / f"{env}-mongo"
        assert folder.stat().st_mode & 0o077 == 0
        for path in folder.iterdir():
            assert path.stat().st_mode & 0o077 == 0, path
