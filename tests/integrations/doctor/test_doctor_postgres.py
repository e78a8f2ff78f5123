"""``doctor`` on a real PostgreSQL in dev, with one thing wrong at a time: which step is blamed, and what is advised."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql
from tests.integrations.doctor.kit import CANARY, Doctor, SkewedAws, blamed, only, specs_of, statuses, warned
from tests.servers.aws_kit import ACCOUNT, REGION, allow
from tests.support.postgres import superuser
from tests.support.tcp import FaultyProxy

from soa_db.aws import AwsClients
from soa_db.doctor import Finding, Status
from soa_db.doctor.postgres import PostgresExamination

if TYPE_CHECKING:
    from tests.conftest import ServerFactory

    from soa_db.access.spec import SpecSet
    from soa_db.local.postgres import PostgresServer

CHAIN = (
    ["parameters", "secret", "configuration", "dns", "tcp", "tls", "authentication", "authorisation", "clock", "pool"]
)  # fmt: skip
AFTER_TCP = ("tls", "authentication", "authorisation", "clock", "pool")


def make_world(server: PostgresServer, service: str) -> None:
    """A database and its app user, as provisioned."""
    user = sql.Identifier(f"{service}_app")
    superuser(server, sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(user, CANARY))
    superuser(server, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(service)))
    inside(server, service, sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(user))


def inside(server: PostgresServer, database: str, statement: sql.Composed | sql.SQL) -> None:
    """Run something as the superuser in a database."""
    with psycopg.connect(server.superuser_conninfo, dbname=database, autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture
def server(pg_servers: Callable[[int], PostgresServer], service: str) -> Iterator[PostgresServer]:
    """The shared server, with the service's database and user."""
    shared = pg_servers(17)
    make_world(shared, service)
    yield shared
    superuser(shared, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(service)))
    superuser(shared, sql.SQL("DROP ROLE {}").format(sql.Identifier(f"{service}_app")))


@pytest.fixture
def secret(aws: SkewedAws, server: PostgresServer, service: str) -> Callable[..., str]:
    """Write the service's secret, with something changed; returns its name."""

    def write(**changes: object) -> str:
        name = f"dev/postgres-shared/{service}/app"
        right = {
            "username": f"{service}_app",
            "password": CANARY,
            "host": server.host,
            "port": server.port,
            "database": service,
        }
        payload = {key: value for key, value in {**right, **changes}.items() if value is not None}
        aws.put_secret(ACCOUNT, name, payload)
        return name

    return write


@pytest.fixture
def specs(service: str) -> SpecSet:
    """The service's spec."""
    return specs_of(service, postgres={})


def test_where_all_is_well_every_step_says_so_in_order(
    doctor: Doctor, specs: SpecSet, secret: Callable[..., str], service: str
) -> None:
    """The whole chain, in its order; what dev has not is not applicable; nothing shows the password."""
    secret()
    report = doctor(specs)
    assert report.ok, report
    assert report.exit_code == 0
    assert [finding.step for finding in report.aws] == ["credentials", "identity", "clock"]
    assert {finding.status for finding in report.aws} == {Status.OK}
    assert list(statuses(report)) == CHAIN
    not_there = {step for step, status in statuses(report).items() if status is Status.NOT_APPLICABLE}
    assert not_there == {"parameters", "tls"}
    assert {status for step, status in statuses(report).items() if step not in not_there} == {Status.OK}
    text = json.dumps(report.to_dict())
    assert CANARY not in text
    said = {finding.step: finding.summary for finding in only(report).findings}
    assert f"{service}_app at {service} on" in said["configuration"]
    assert "pools of 10" in said["pool"]
    assert only(report).target.user == f"{service}_app"


def test_an_unknown_secret_holds_up_what_needs_it(doctor: Doctor, specs: SpecSet, service: str) -> None:
    """The secret is blamed by name, the rest is not tried, and provision is advised."""
    report = doctor(specs)
    found = blamed(report)
    assert found.step == "secret"
    assert f"dev/postgres-shared/{service}/app" in found.summary
    assert "`soa-db provision --env dev --engine postgres` makes what is missing" in found.hint
    rest = [finding for finding in only(report).findings if finding.step in {"dns", "tcp", *AFTER_TCP}]
    assert {finding.status for finding in rest} == {Status.SKIPPED}
    assert {finding.reason for finding in rest} == {"secret"}
    assert report.exit_code == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"host": None}, "'host' is missing"),
        ({"port": None}, "'port' is missing"),
        ({"port": f"{CANARY}"}, "'port' is not a port number"),
        ({"password": None, "pw": CANARY}, "'password' is missing"),
        ({"password": {"is": CANARY}}, "'password' is not text"),
    ],
)
def test_a_secret_of_the_wrong_shape_is_named_with_its_field(
    doctor: Doctor, specs: SpecSet, secret: Callable[..., str], changes: dict[str, object], says: str
) -> None:
    """The field is named, no value is shown, and what the secret says of the host is looked at all the same."""
    name = secret(**changes)
    report = doctor(specs)
    found = blamed(report)
    assert (found.step, found.subject) == ("secret", name)
    assert says in found.summary
    assert "provision" in found.hint
    known = "host" not in changes and "port" not in changes
    assert statuses(report)["tcp"] is (Status.OK if known else Status.SKIPPED)


def test_a_secret_that_is_no_json_is_blamed_and_not_quoted(
    doctor: Doctor, specs: SpecSet, aws: SkewedAws, service: str
) -> None:
    """A bare password where an object should be."""
    with AwsClients() as clients:
        clients.call("secretsmanager", "create_secret", Name=f"dev/postgres-shared/{service}/app", SecretString=CANARY)
    found = blamed(doctor(specs))
    assert found.step == "secret"
    assert "is not JSON" in found.summary


def test_another_username_than_the_contracts_is_a_warning(
    doctor: Doctor, specs: SpecSet, secret: Callable[..., str], service: str
) -> None:
    """It works, since the user is known from the spec; what stands there is not shown: it may be anything."""
    secret(username=CANARY)
    found = warned(doctor(specs))
    assert found.step == "secret"
    assert f"'username' is not '{service}_app'" in found.summary
    assert "provision" in found.hint
    assert CANARY not in str(found)


def test_an_unfinished_rotation_is_a_warning(
    doctor: Doctor, specs: SpecSet, secret: Callable[..., str], service: str
) -> None:
    """A version that waits in AWSPENDING; one that is also the current one is no rotation under way."""
    name = secret()
    with AwsClients() as clients:
        put = clients.call(
            "secretsmanager",
            "put_secret_value",
            SecretId=name,
            SecretString=json.dumps({"password": "another"}),
            VersionStages=["AWSPENDING"],
        )
        found = warned(doctor(specs))
        assert "AWSPENDING" in found.summary
        assert f"`soa-db rotate --env dev --engine postgres --service {service}`" in found.hint
        current = clients.call("secretsmanager", "get_secret_value", SecretId=name)["VersionId"]
        clients.call(
            "secretsmanager",
            "update_secret_version_stage",
            SecretId=name,
            VersionStage="AWSPENDING",
            MoveToVersionId=current,
            RemoveFromVersionId=put["VersionId"],
        )
    report = doctor(specs)
    assert not [finding for finding in only(report).findings if finding.status is Status.WARNING]


def test_a_denied_secret_names_the_right_that_is_missing(
    *,
    doctor: Doctor,
    specs: SpecSet,
    secret: Callable[..., str],
    aws: SkewedAws,
    service: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who may only say who it is."""
    name = secret()
    keys = aws.create_user(ACCOUNT, f"{service}-poor", allow(("sts:GetCallerIdentity", "*")))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key)
    found = blamed(doctor(specs))
    assert (found.step, found.subject) == ("secret", name)
    assert "AWS denies secretsmanager:GetSecretValue" in found.summary
    assert "`soa-db policy --apply`" in found.hint
    assert f"region: {REGION}" in found.details


def test_a_wrong_port_is_a_refused_connection(doctor: Doctor, specs: SpecSet, secret: Callable[..., str]) -> None:
    """The name resolves; nothing listens; what comes after is not tried."""
    with FaultyProxy("127.0.0.1", 1) as proxy:
        port = proxy.port
    secret(port=port)
    report = doctor(specs)
    found = blamed(report)
    assert found.step == "tcp"
    assert "nothing listens" in found.summary
    assert "port" in found.hint
    assert statuses(report)["dns"] is Status.OK
    assert {statuses(report)[step] for step in AFTER_TCP} == {Status.SKIPPED}


def test_a_server_of_another_kind_is_told_at_login(doctor: Doctor, specs: SpecSet, secret: Callable[..., str]) -> None:
    """The port answers, but not as PostgreSQL."""
    with FaultyProxy("127.0.0.1", 1) as proxy:
        proxy.mode = "garbage"
        secret(host="127.0.0.1", port=proxy.port)
        found = blamed(doctor(specs))
    assert found.step == "authentication"
    assert "something else than PostgreSQL answers there" in found.hint


def test_a_step_that_hangs_ends_at_its_deadline(
    doctor: Doctor, specs: SpecSet, secret: Callable[..., str], server: PostgresServer
) -> None:
    """A server that takes connections and says nothing: the run goes on after ``timeout`` seconds."""
    with FaultyProxy(server.host, server.port) as proxy:
        proxy.mode = "blackhole"
        secret(host="127.0.0.1", port=proxy.port)
        found = blamed(doctor(specs, timeout=1.0))
    assert found.step == "authentication"
    assert "within 1 s" in found.summary or "timeout" in found.summary
    # Not to look at host and port: the step before has found them good.
    assert found.hint.startswith("the server is there and does not answer")


@pytest.mark.parametrize(("hung", "not_looked_at"), [("authorisation", ["clock", "pool"]), ("clock", ["pool"])])
def test_a_server_that_falls_silent_costs_one_deadline(
    *,
    doctor: Doctor,
    specs: SpecSet,
    secret: Callable[..., str],
    server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
    hung: str,
    not_looked_at: list[str],
) -> None:
    """The session is still waited on: what would use it is not looked at, and says why."""
    with FaultyProxy(server.host, server.port) as proxy:
        look = getattr(PostgresExamination, hung)

        def fall_silent(self: PostgresExamination, session: psycopg.Connection[Any]) -> Iterable[Finding]:
            proxy.blackhole()
            return look(self, session)  # type: ignore[no-any-return]  # a method got by its name

        monkeypatch.setattr(PostgresExamination, hung, fall_silent)
        secret(host="127.0.0.1", port=proxy.port)
        report = doctor(specs, timeout=1.0)
    found = blamed(report)
    assert (found.step, found.summary) == (hung, "no answer within 1 s")
    skipped = [one for one in only(report).findings if one.status is Status.SKIPPED]
    assert [one.step for one in skipped] == not_looked_at
    assert {one.reason for one in skipped} == {hung}
    assert {one.summary for one in skipped} == {f"not looked at, since {hung} hung"}


def test_a_connection_that_breaks_is_told_and_not_used_again(
    doctor: Doctor,
    specs: SpecSet,
    secret: Callable[..., str],
    server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not as an error without a code: what comes after would only say that the connection is closed."""
    with FaultyProxy(server.host, server.port) as proxy:
        look = PostgresExamination.authorisation

        def cut(self: PostgresExamination, session: psycopg.Connection[Any]) -> Iterable[Finding]:
            proxy.cut()
            return look(self, session)

        monkeypatch.setattr(PostgresExamination, "authorisation", cut)
        secret(host="127.0.0.1", port=proxy.port)
        report = doctor(specs)
    found = blamed(report)
    assert (found.step, found.summary) == ("authorisation", "the connection broke while the server was asked")
    assert "log" in found.hint
    skipped = [one for one in only(report).findings if one.status is Status.SKIPPED]
    assert [(one.step, one.summary) for one in skipped] == [
        ("clock", "not looked at, since authorisation lost the connection"),
        ("pool", "not looked at, since authorisation lost the connection"),
    ]


def test_a_wrong_password_blames_the_secret(
    doctor: Doctor, specs: SpecSet, secret: Callable[..., str], server: PostgresServer, service: str
) -> None:
    """The secret is named, its value is not."""
    name = secret()
    superuser(server, sql.SQL("ALTER ROLE {} PASSWORD 'another'").format(sql.Identifier(f"{service}_app")))
    found = blamed(doctor(specs))
    assert found.step == "authentication"
    assert name in found.hint
    assert "provision or rotate it" in found.hint


def test_a_user_that_is_locked_out_is_told_apart(
    doctor: Doctor, specs: SpecSet, secret: Callable[..., str], server: PostgresServer, service: str
) -> None:
    """NOLOGIN is no wrong password."""
    secret()
    superuser(server, sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(f"{service}_app")))
    found = blamed(doctor(specs))
    assert found.step == "authentication"
    assert f"the role {service}_app is NOLOGIN" in found.hint


def test_a_database_that_is_missing_is_told_apart(doctor: Doctor, secret: Callable[..., str], service: str) -> None:
    """The spec names another than there is."""
    secret()
    report = doctor(specs_of(service, postgres={"databases": [{"id": "main", "database": f"{service}_gone"}]}))
    found = blamed(report)
    assert found.step == "authentication"
    assert "does not exist" in found.summary
    assert "provision" in found.hint


def test_missing_rights_on_schemas_are_named(
    doctor: Doctor, secret: Callable[..., str], server: PostgresServer, service: str
) -> None:
    """A schema that is not there, and one without USAGE; the pool is looked at all the same."""
    secret()
    inside(server, service, sql.SQL("CREATE SCHEMA closed"))
    schemas = ["public", "closed", "absent"]
    report = doctor(
        specs_of(service, postgres={"databases": [{"id": "main", "database": service, "schemas": schemas}]})
    )
    failed = {one.subject: one for one in only(report).findings if one.status is Status.FAILED}
    assert set(failed) == {"closed", "absent"}
    assert f"{service}_app has no USAGE on the schema closed" in failed["closed"].summary
    assert "there is no schema absent" in failed["absent"].summary
    assert {one.hint for one in failed.values()} == {"`soa-db provision --env dev --engine postgres`"}
    assert statuses(report)["pool"] is Status.OK


def test_a_pool_that_does_not_fit_is_a_warning(
    doctor: Doctor, specs: SpecSet, secret: Callable[..., str], server: PostgresServer, service: str
) -> None:
    """The role's own CONNECTION LIMIT is less than one pool."""
    secret()
    superuser(server, sql.SQL("ALTER ROLE {} CONNECTION LIMIT 4").format(sql.Identifier(f"{service}_app")))
    found = warned(doctor(specs))
    assert found.step == "pool"
    assert "4 for this user: 0 pools of 10" in found.summary
    assert "CONNECTION LIMIT" in found.hint


def test_a_standby_is_a_warning_for_who_writes(
    aws: SkewedAws, doctor: Doctor, specs: SpecSet, service: str, pg_server_factory: ServerFactory
) -> None:
    """``app`` cannot work on a standby; ``ro`` can."""
    own = pg_server_factory()
    make_world(own, service)
    superuser(own, sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(f"{service}_ro"), CANARY))
    inside(own, service, sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(sql.Identifier(f"{service}_ro")))
    own.stop()
    (own.data_directory / "standby.signal").touch()
    own.start()
    for role in ("app", "ro"):
        payload: dict[str, Any] = {"password": CANARY, "host": own.host, "port": own.port}
        aws.put_secret(ACCOUNT, f"dev/postgres-shared/{service}/{role}", payload)
    found = warned(doctor(specs))
    assert found.step == "pool"
    assert "the server is a standby" in found.summary
    assert "writer endpoint" in found.hint
    reader = doctor(specs, roles=("ro",))
    assert statuses(reader)["pool"] is Status.OK
    assert "standby" in only(reader).findings[-1].summary


def test_what_several_share_is_asked_once(
    doctor: Doctor, specs: SpecSet, aws: SkewedAws, secret: Callable[..., str], service: str
) -> None:
    """Three roles at one address: one identity, and each role's findings on its own."""
    secret()
    report = doctor(specs, roles=None)
    assert [one.target.role for one in report.targets] == ["owner", "app", "ro"]
    assert [one.status is Status.OK for one in report.targets] == [False, True, False]
    steps = report.next_steps()
    assert {step.finding.step for step in steps} == {"secret"}
    assert "2 of 3 targets do not work" in report.summary()


def test_a_query_that_ends_in_an_error_is_told_in_the_servers_words(
    doctor: Doctor, specs: SpecSet, secret: Callable[..., str], server: PostgresServer, service: str
) -> None:
    """A catalog view that somebody has closed: the code and the words, and no unexpected error of ours."""
    secret()
    inside(server, service, sql.SQL("REVOKE SELECT ON pg_catalog.pg_roles FROM PUBLIC"))
    found = blamed(doctor(specs))
    assert found.step == "pool"
    assert "42501: permission denied for view pg_roles" in found.summary
    assert "log" in found.hint
