"""``doctor`` on the whole local environment: three engines, dev and mirror, and what only mirror has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import redis
from psycopg import sql
from pymongo import MongoClient
from tests.integrations.doctor.kit import CANARY, blamed, specs_of, statuses
from tests.servers.aws_kit import allow, trust
from tests.support.postgres import eventually

from soa_db import names
from soa_db.access import apply
from soa_db.access.settings import load_settings
from soa_db.aws import AwsClients
from soa_db.cli import main
from soa_db.doctor import Report, Status, diagnose

if TYPE_CHECKING:
    from soa_db.access.spec import SpecSet
    from soa_db.local.environment import LocalEnvironment

SERVICE = "doctors-patient"
USER = names.postgres_user(SERVICE)


@pytest.fixture(scope="module")
def provisioned(local_env: LocalEnvironment) -> SpecSet:
    """One service on all engines, in dev and mirror."""
    specs = specs_of(SERVICE, postgres={}, redis={}, mongo={})
    with pytest.MonkeyPatch.context() as variables:
        for name, value in local_env.exports().items():
            variables.setenv(name, value)
        for env in ("dev", "mirror"):
            apply(specs, env=env)
    return specs


@pytest.fixture
def patient(provisioned: SpecSet, local_aws: LocalEnvironment) -> LocalEnvironment:
    """The environment, as this process's AWS, with the service in it."""
    return local_aws


def examine(specs: SpecSet, engine: str, env: str = "mirror") -> Report:
    """The chain of the service's app user."""
    return diagnose(specs, env=env, engines=(engine,), roles=("app",))


def superuser(environment: LocalEnvironment, statement: str) -> None:
    """Do something to mirror's PostgreSQL behind everybody's back."""
    conninfo = environment.server("mirror").superuser_conninfo
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(user=sql.Identifier(USER)))


@pytest.mark.parametrize("env", ["dev", "mirror"])
def test_a_provisioned_service_works_from_end_to_end(patient: LocalEnvironment, provisioned: SpecSet, env: str) -> None:
    """Every role on every engine; in mirror with IAM tokens, TLS and a replica set."""
    told: list[tuple[int, int, str]] = []
    report = diagnose(provisioned, env=env, progress=lambda *now: told.append(now))
    assert report.ok, json.dumps(report.to_dict(), indent=1)
    assert [(one.target.engine, one.target.role) for one in report.targets] == [
        ("postgres", "owner"),
        ("postgres", "app"),
        ("postgres", "ro"),
        ("redis", "app"),
        ("mongo", "app"),
    ]
    assert [(done, whole) for done, whole, _ in told] == [(number, 5) for number in range(1, 6)]
    if env == "mirror":
        for one in report.targets:
            tls = next(finding for finding in one.findings if finding.step == "tls")
            assert tls.status is Status.OK
            assert "verified as localhost" in tls.summary
    assert report.summary() == f"{env}: 5 targets work"
    assert report.next_steps() == ()


def test_a_user_that_is_no_member_of_rds_iam(patient: LocalEnvironment, provisioned: SpecSet) -> None:
    """The server then checks a password: the token is none."""
    superuser(patient, "REVOKE rds_iam FROM {user}")
    try:
        found = blamed(examine(provisioned, "postgres"))
    finally:
        superuser(patient, "GRANT rds_iam TO {user}")
    assert found.step == "authentication"
    assert "no member of rds_iam: `soa-db provision --env mirror --engine postgres`" in found.hint


def test_a_caller_whose_policy_lacks_rds_db_connect(
    patient: LocalEnvironment, provisioned: SpecSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parameters may be read, the token is refused: the right and the user are named."""
    with AwsClients() as clients:
        clients.call("iam", "create_user", UserName="doctors-poor")
        document = json.dumps(allow(("sts:GetCallerIdentity", "*"), ("ssm:GetParameter*", "*")))
        clients.call("iam", "put_user_policy", UserName="doctors-poor", PolicyName="p", PolicyDocument=document)
        key = clients.call("iam", "create_access_key", UserName="doctors-poor")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    found = blamed(examine(provisioned, "postgres"))
    assert found.step == "authentication"
    assert f"rds-db:connect on dbuser:…/{USER}" in found.hint
    assert "`soa-db policy --apply`" in found.hint


ROLES = "arn:aws:iam::{account}:role/doctor-{service}-{role}"


def test_the_services_own_aws_rights_are_what_counts(patient: LocalEnvironment, provisioned: SpecSet) -> None:
    """Its role may read and sign: the chain holds; a role that is not there is a failure of its own, named."""
    with AwsClients() as clients:
        account = clients.caller_identity().account
        clients.call(
            "iam",
            "create_role",
            RoleName=f"doctor-{SERVICE}-app",
            AssumeRolePolicyDocument=json.dumps(trust(account)),
        )
        own = allow(("ssm:GetParameter*", "*"), ("rds-db:connect", f"arn:aws:rds-db:*:*:dbuser:*/{USER}"))
        clients.call(
            "iam",
            "put_role_policy",
            RoleName=f"doctor-{SERVICE}-app",
            PolicyName="own",
            PolicyDocument=json.dumps(own),
        )
    report = diagnose(provisioned, env="mirror", roles=("app",), engines=("postgres", "redis"), assume_role=ROLES)
    of_postgres, of_redis = report.targets
    assert of_postgres.findings[0].step == "role"
    assert f"assumed-role/doctor-{SERVICE}-app/" in of_postgres.findings[0].summary
    assert of_postgres.status is Status.OK, of_postgres
    # The caller may read every secret; the role may not, and that is what is told.
    (denied,) = [finding for finding in of_redis.findings if finding.status is Status.FAILED]
    assert denied.step == "secret"
    assert "AWS denies secretsmanager:GetSecretValue" in denied.summary
    absent = diagnose(provisioned, env="mirror", roles=("ro",), engines=("postgres",), assume_role=ROLES)
    found = blamed(absent)
    assert found.step == "role"
    assert {one.reason for one in absent.targets[0].findings[1:]} == {"role"}


def test_a_service_that_logs_in_to_redis_with_tokens(
    patient: LocalEnvironment, tmp_path: Path, provisioned: SpecSet
) -> None:
    """As soa-db.toml names it: no secret is looked for, the endpoint comes from SSM; the hint is about IAM."""
    given = Path(patient.exports()["SOA_DB_SETTINGS"]).read_text("utf-8")
    named = given.replace('redis = "elasticache"', 'redis = "elasticache"\nredis_iam = ["doctors-token", "nobody"]')
    (tmp_path / "tokens.toml").write_text(named, "utf-8")
    settings = load_settings(tmp_path / "tokens.toml")
    specs = specs_of("doctors-token", redis={})
    apply(specs, env="mirror", engines=("redis",), settings=settings)
    report = diagnose(specs, env="mirror", settings=settings)
    assert report.ok, report
    said = {finding.step: finding for finding in report.targets[0].findings}
    assert said["secret"].status is Status.NOT_APPLICABLE
    assert said["parameters"].subject == names.redis_endpoint_ssm_path("mirror")
    assert "with an IAM token, TLS" in said["configuration"].summary
    found = blamed(diagnose(specs_of("nobody", redis={}), env="mirror", settings=settings))
    assert found.step == "authentication"
    assert "elasticache:Connect" in found.hint
    absent = blamed(diagnose(specs_of("nobody-else", redis={}), env="mirror", settings=settings))
    assert absent.step == "secret"
    assert "name it in redis_iam of [environments.mirror]" in absent.hint


@pytest.fixture
def dev_redis(patient: LocalEnvironment) -> Iterator[Any]:
    """Dev's Redis, as its administrator."""
    with redis.Redis.from_url(patient.server("dev", "redis").admin_url, decode_responses=True) as client:
        yield client


@pytest.mark.parametrize(
    ("rule", "step", "says"),
    [
        ("off", "authentication", "it is off"),
        ("resetpass", "authentication", "holds no password the server knows"),
        ("resetkeys", "authorisation", f"may not read keys {SERVICE}:*"),
    ],
)
def test_a_redis_user_that_is_not_as_provisioned(
    dev_redis: Any, provisioned: SpecSet, rule: str, step: str, says: str
) -> None:
    """Locked out, another password, no keys; provision mends each of them."""
    user = names.redis_user(SERVICE, "dev")
    dev_redis.acl_setuser(
        user, enabled=rule != "off", reset_passwords=rule == "resetpass", reset_keys=rule == "resetkeys"
    )
    try:
        found = blamed(examine(provisioned, "redis", "dev"))
    finally:
        apply(provisioned, env="dev", engines=("redis",))
    assert found.step == step
    assert says in f"{found.summary} {found.hint}"
    assert "`soa-db provision --env dev --engine redis`" in found.hint
    assert examine(provisioned, "redis", "dev").ok


@pytest.fixture
def dev_mongo(patient: LocalEnvironment) -> Iterator[MongoClient[dict[str, Any]]]:
    """Dev's MongoDB, as its administrator."""
    with MongoClient[dict[str, Any]](patient.server("dev", "mongo").admin_url) as client:
        yield client


def test_a_mongo_user_with_another_password(dev_mongo: MongoClient[dict[str, Any]], provisioned: SpecSet) -> None:
    """The secret is named."""
    database, user = names.mongo_database(SERVICE), names.mongo_user(SERVICE)
    secret = names.mongo_secret_name("dev", SERVICE)
    with AwsClients() as clients:
        password = clients.secret(secret)["password"]
    dev_mongo[database].command("updateUser", user, pwd=CANARY)
    try:
        found = blamed(examine(provisioned, "mongo", "dev"))
    finally:
        dev_mongo[database].command("updateUser", user, pwd=password)
    assert found.step == "authentication"
    assert secret in found.hint
    assert examine(provisioned, "mongo", "dev").ok


def test_a_mongo_user_without_its_role(dev_mongo: MongoClient[dict[str, Any]], provisioned: SpecSet) -> None:
    """It logs in, and has not what the spec says."""
    database, user = names.mongo_database(SERVICE), names.mongo_user(SERVICE)
    # `read`, for the provider wants a user that may do something.
    dev_mongo[database].command("updateUser", user, roles=["read"])
    try:
        report = examine(provisioned, "mongo", "dev")
    finally:
        dev_mongo[database].command("updateUser", user, roles=["readWrite"])
    found = blamed(report)
    assert found.step == "authorisation"
    assert f"{user} lacks readWrite on {database}" in found.summary
    assert found.hint == "`soa-db provision --env dev --engine mongo`"
    assert statuses(report)["authentication"] is Status.OK


SPEC = f"version: 1\nservice: {SERVICE}\npostgres: {{}}\nredis: {{}}\nmongo: {{}}\n"


@pytest.fixture
def folder(patient: LocalEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the spec in it."""
    (tmp_path / "db-access.yaml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_tells_in_order_and_exits_0(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each step on a line of its own, in the order of the chain; no colour into a pipe."""
    assert main(["doctor", "--env", "mirror", "--role", "app"]) == 0
    out, err = capsys.readouterr()
    places = [
        out.index(word) for word in ("credentials", "identity", "parameters", "configuration", "dns", "tcp", "tls")
    ]
    assert places == sorted(places)
    assert "\x1b" not in out + err
    assert "mirror: 3 targets work" in out
    assert "secret:mirror" in out  # part of an ARN, and no emoji
    assert main(["doctor", "--env", "mirror", "--role", "app", "-v", "--engine", "postgres"]) == 0
    everything = capsys.readouterr().out
    assert "issued to" in everything
    assert " ms]" in everything


def test_the_command_exits_1_and_says_what_to_do(
    folder: Path, patient: LocalEnvironment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a narrow terminal, where nothing is cut off; prod has nothing of this service."""
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["doctor", "--env", "prod", "--timeout", "20"]) == 1
    out = capsys.readouterr().out
    assert "What to do" in out
    assert "FAIL" in out
    assert "prod: 5 of 5 targets do not work" in out
    assert "not tried, since" in out
    # A name or a command is never cut, so that it can be copied; it then stands alone.
    assert [line for line in out.splitlines() if len(line) > 40 and " " in line.strip()] == []


def test_json_is_one_document_with_stable_names(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a program reads; the passwords that were used are not in it."""
    assert main(["doctor", "--env", "dev", "--json"]) == 0
    out = capsys.readouterr().out
    document = json.loads(out)
    assert set(document) == {"env", "ok", "summary", "counts", "aws", "targets"}
    assert set(document["targets"][0]) == {"service", "engine", "database", "role", "user", "status", "findings"}
    fields = {"step", "subject", "status", "summary", "hint", "details", "reason", "seconds"}
    assert {frozenset(one) for one in document["aws"]} == {frozenset(fields)}
    with AwsClients() as clients:
        for name in (names.dev_secret_name(SERVICE), names.redis_secret_name("dev", SERVICE)):
            assert str(clients.secret(name)["password"]) not in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--service", "nobody"), "no spec is given for nobody"),
        (("--engine", "redis", "--role", "owner"), "nothing to examine"),
        (("--timeout", "0"), "timeout"),
        (("--assume-role", "chat-api-app"), "no ARN of a role"),
        (("--role", "admin"), "admin"),
    ],
)
def test_wrong_usage_exits_2(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    """Before anything is asked."""
    assert main(["doctor", "--env", "dev", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_it_leaves_nothing_and_holds_nothing(patient: LocalEnvironment, provisioned: SpecSet) -> None:
    """No session of its is there afterwards; nothing is written: the catalog's transaction ids stand still."""
    conninfo = patient.server("dev").superuser_conninfo
    with psycopg.connect(conninfo, autocommit=True) as connection:
        count = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s"
        before = connection.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text").fetchone()
        assert examine(provisioned, "postgres", "dev").ok
        after = connection.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text").fetchone()
        assert before == after
        eventually(lambda: connection.execute(count, (USER,)).fetchone() == (0,))
