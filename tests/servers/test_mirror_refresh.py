"""The daily refresh of mirror: what comes with prod's snapshot, and how mirror's own identities come back."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure
from tests.servers.test_local_environment import client

from soa_db import names
from soa_db.cli import main
from soa_db.config import IamAuth, PostgresConfig
from soa_db.errors import AuthenticationFailed, ServerUnavailable
from soa_db.local.environment import LocalEnvironment
from soa_db.mongo import MongoProvider
from soa_db.names import DEFAULT_REGION
from soa_db.postgres import PostgresProvider, connect

if TYPE_CHECKING:
    from soa_db.local.engines import Engine
    from soa_db.names import Env

CHAT = """\
version: 1
service: chat-api
postgres: {databases: [{id: main}]}
mongo: {shared_with: [{service: ledger-api, collections: [logins]}]}
"""
# What mirror has and prod has not yet.
LEDGER = """\
version: 1
service: ledger-api
postgres: {databases: [{id: main}]}
mongo: {reads: [{service: chat-api, collections: [logins]}]}
"""
PROBED = ("--assume-role", "arn:aws:iam::{account}:role/{service}-{role}")


@pytest.fixture(scope="module")
def environment(server_folder: Path) -> Iterator[LocalEnvironment]:
    """One of this module's own: others rely on what they have in mirror."""
    with LocalEnvironment(server_folder / "refreshed") as running:
        yield running


@pytest.fixture(autouse=True)
def _as_this_process_s_aws(environment: LocalEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.exports().items():
        monkeypatch.setenv(name, value)


def secret(environment: LocalEnvironment, env: Env, name: str) -> dict[str, Any]:
    """A secret's current payload."""
    found = client(environment, "secretsmanager", env).get_secret_value(SecretId=name)
    payload: dict[str, Any] = json.loads(found["SecretString"])
    return payload


def masters(environment: LocalEnvironment, env: Env) -> dict[Engine, dict[str, Any]]:
    """What the parameters published lead to: the administrators' secrets, with their ARNs."""
    paths: dict[Engine, str] = {
        "postgres": names.postgres_admin_secret_ssm_path(env),
        "mongo": names.mongo_admin_secret_ssm_path(env),
    }
    ssm = client(environment, "ssm", env)
    arns = {engine: ssm.get_parameter(Name=path)["Parameter"]["Value"] for engine, path in paths.items()}
    return {engine: {**secret(environment, env, arn), "arn": arn} for engine, arn in arns.items()}


def opens(environment: LocalEnvironment, engine: Engine, password: str, user: str = "master") -> bool:
    """Whether a user gets into mirror with a password, over verified TLS."""
    ca = environment.exports()["SOA_DB_CA_FILE"]
    server = environment.server("mirror", engine)
    if engine == "postgres":
        place: dict[str, Any] = {"host": server.host, "port": server.port, "dbname": "postgres"}
        try:
            psycopg.connect(**place, user=user, password=password, sslmode="verify-full", sslrootcert=ca).close()
        except psycopg.OperationalError as error:
            return _unless("password authentication failed" in str(error), error)
        return True
    source = "admin" if user == "master" else "chat_api_db"
    login: dict[str, Any] = {"username": user, "password": password, "authSource": source}
    with MongoClient[dict[str, Any]](server.host, server.port, tls=True, tlsCAFile=ca, **login) as mongo:
        try:
            mongo.admin.command("ping")
        except OperationFailure as error:
            return _unless(error.code == 18, error)
        return True


def _unless(refused: bool, error: Exception) -> bool:
    """No, if that is what the error says."""
    if not refused:
        raise error
    return False


def resource_id(environment: LocalEnvironment) -> str:
    """The DbiResourceId of mirror's instance, as AWS tells it."""
    found = client(environment, "rds").describe_db_instances(DBInstanceIdentifier="mirror-postgres")
    (instance,) = found["DBInstances"]
    return str(instance["DbiResourceId"])


def fill(environment: LocalEnvironment, mark: int) -> None:
    """Rows and documents in prod."""
    conninfo = environment.server("prod").superuser_conninfo.replace("dbname=postgres", "dbname=chat_api")
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("set role chat_api_owner")
        connection.execute("create table if not exists rooms (id int primary key)")
        connection.execute("insert into rooms values (%s)", (mark,))
    with MongoClient[dict[str, Any]](environment.server("prod", "mongo").admin_url) as mongo:
        mongo.chat_api_db.logins.insert_one({"_id": mark})


def marks(environment: LocalEnvironment, env: Env) -> tuple[list[int], list[int]]:
    """What rows and documents there are, as the server's own administrators see them."""
    conninfo = environment.server(env).superuser_conninfo.replace("dbname=postgres", "dbname=chat_api")
    with psycopg.connect(conninfo) as connection:
        rows = [row[0] for row in connection.execute("select id from rooms order by id")]
    with MongoClient[dict[str, Any]](environment.server(env, "mongo").admin_url) as mongo:
        return rows, [document["_id"] for document in mongo.chat_api_db.logins.find().sort("_id")]


def test_after_a_refresh_provision_and_policy_bring_every_identity_back(
    environment: LocalEnvironment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Red before, green after; prod's data are there, its passwords no longer open anything; nothing is left to do."""
    prod_specs, mirror_specs = tmp_path / "prod", tmp_path / "mirror"
    for folder, texts in ((prod_specs, {"chat": CHAT}), (mirror_specs, {"chat": CHAT, "ledger": LEDGER})):
        for service, text in texts.items():
            (folder / service).mkdir(parents=True)
            (folder / service / "db-access.yaml").write_text(text)

    def run(*arguments: str, env: Env = "mirror", specs: Path = mirror_specs) -> int:
        return main([arguments[0], "--env", env, *arguments[1:], "--specs", str(specs)])

    assert run("provision", "--yes", env="prod", specs=prod_specs) == 0
    fill(environment, 1)
    with MongoClient[dict[str, Any]](environment.server("prod", "mongo").admin_url) as mongo:
        mongo.chat_api_db.command("createUser", "nobody_declared", pwd="prod's", roles=["read"])
    assert run("provision") == 0
    assert run("policy", "--apply", "--create-roles", "--service", "chat-api") == 0
    before, old = environment.server("mirror"), masters(environment, "mirror")
    of_prod = secret(environment, "prod", names.mongo_secret_name("prod", "chat-api"))["password"]
    of_mirror = secret(environment, "mirror", names.mongo_secret_name("mirror", "chat-api"))["password"]

    environment.refresh_mirror()

    assert marks(environment, "mirror") == marks(environment, "prod") == ([1], [1])
    after, new = environment.server("mirror"), masters(environment, "mirror")
    assert (after.host, after.port) == (before.host, before.port)
    assert resource_id(environment) == after.resource_id != before.resource_id
    for engine, master in new.items():
        assert master["arn"] == old[engine]["arn"]
        assert opens(environment, engine, master["password"])
        assert not opens(environment, engine, old[engine]["password"])
        assert not opens(environment, engine, masters(environment, "prod")[engine]["password"])
    # The harm that is to be mended.
    assert opens(environment, "mongo", of_prod, "chat_api_app")
    assert not opens(environment, "mongo", of_mirror, "chat_api_app")
    assert run("verify", *PROBED) == 4
    capsys.readouterr()

    assert run("provision") == 0
    assert "nobody_declared" in capsys.readouterr().out
    assert run("policy", "--apply", "--create-roles") == 0
    assert not opens(environment, "mongo", of_prod, "chat_api_app")
    # What came with prod's data and no spec declares is nothing for `provision` to take away; `verify` names it.
    assert run("verify", *PROBED) == 4
    assert "nobody_declared in chat_api_db has" in capsys.readouterr().out
    with MongoClient[dict[str, Any]](environment.server("mirror", "mongo").admin_url) as mongo:
        mongo.chat_api_db.command("dropUser", "nobody_declared")
    assert run("verify", *PROBED) == 0, capsys.readouterr().out
    assert run("plan", "--check") == 0
    assert run("policy", "--apply", "--check") == 0
    with MongoProvider.from_aws(env="mirror", service="ledger-api") as ledger:
        assert ledger.client.chat_api_db.logins.find_one() == {"_id": 1}
    with PostgresProvider.from_aws(env="mirror", service="chat-api") as chat, chat.connection() as connection:
        assert connection.execute("select id from rooms").fetchall() == [(1,)]


def test_a_policy_that_names_the_old_instance_lets_nobody_in(
    environment: LocalEnvironment, monkeypatch: pytest.MonkeyPatch, unique_name: str
) -> None:
    """As on RDS; one for any instance still does."""
    server = environment.server("mirror")
    with psycopg.connect(environment.server("prod").superuser_conninfo, autocommit=True) as connection:
        connection.execute(f"create role {unique_name} login in role rds_iam")
    environment.refresh_mirror()
    iam = client(environment, "iam")
    iam.create_user(UserName=unique_name)
    key = iam.create_access_key(UserName=unique_name)["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    config = PostgresConfig(
        instance_name="mirror",
        host=server.host,
        port=server.port,
        database="postgres",
        user=unique_name,
        auth=IamAuth(region=DEFAULT_REGION),
    )
    for instance, lets_in in ((server.resource_id, False), (resource_id(environment), True), ("*", True)):
        resource = names.rds_db_user_arn(
            region=DEFAULT_REGION, account=server.account, user=unique_name, resource_id=str(instance)
        )
        statement = {"Effect": "Allow", "Action": "rds-db:connect", "Resource": resource}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName=unique_name, PolicyName="connect", PolicyDocument=document)
        if lets_in:
            connect(config).close()
        else:
            with pytest.raises(AuthenticationFailed, match="PAM authentication failed"):
                connect(config)


def test_prod_goes_on_serving_while_it_is_copied(environment: LocalEnvironment) -> None:
    """No write of a client that is connected fails; what is written before it began is in mirror."""
    with (
        psycopg.connect(environment.server("prod").superuser_conninfo, autocommit=True) as connection,
        MongoClient[dict[str, Any]](environment.server("prod", "mongo").admin_url) as mongo,
    ):
        connection.execute("create table if not exists written (id int)")
        things, done, failed = mongo.serving.things, threading.Event(), []

        def write() -> None:
            number = 0
            try:
                while not done.is_set():
                    connection.execute("insert into written values (%s)", (number,))
                    things.insert_one({"_id": number})
                    number += 1
            except Exception as error:
                failed.append(error)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            while not things.count_documents({}):
                time.sleep(0.01)
            environment.refresh_mirror()
        finally:
            done.set()
            writer.join()
        assert not failed
        connection.execute("drop table written")
    with MongoClient[dict[str, Any]](environment.server("mirror", "mongo").admin_url) as mirror:
        assert mirror.serving.things.find_one({"_id": 0})


def test_one_that_fails_or_is_killed_half_way_is_mended_by_the_next(
    environment: LocalEnvironment, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prod's MongoDB down after PostgreSQL was restored; then the command killed in the midst of it."""
    fill_mongo = int(time.time())
    environment.kill_server("prod", "mongo")
    told: list[str] = []
    with pytest.raises(ServerUnavailable, match=r"could not restore the server: the data of MongoDB .* does not run"):
        environment.refresh_mirror(progress=told.append)
    assert [line.split()[1] for line in told] == ["PostgreSQL"]
    assert environment.status().up["mongo"] == {"dev": True, "mirror": True, "prod": False}
    environment.start_server("prod", "mongo")
    with MongoClient[dict[str, Any]](environment.server("prod", "mongo").admin_url) as mongo:
        mongo.later.things.insert_one({"_id": fill_mongo})
    command = [sys.executable, "-m", "soa_db", "local", "refresh-mirror", "--state-dir", str(environment.directory)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if "PostgreSQL" in line)
        process.send_signal(signal.SIGKILL)
    environment.kill_server("mirror", "mongo")
    assert main(["local", "refresh-mirror", "--state-dir", str(environment.directory)]) == 0
    assert "soa-db provision --env mirror" in capsys.readouterr().err
    for engine, master in masters(environment, "mirror").items():
        assert opens(environment, engine, master["password"])
    with MongoClient[dict[str, Any]](environment.server("mirror", "mongo").admin_url) as mongo:
        assert mongo.later.things.find_one() == {"_id": fill_mongo}
    assert environment.status().up["mongo"]["mirror"]
