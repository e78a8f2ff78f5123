"""Rotation on real servers: no library client loses a call, and a run killed anywhere is finished by the next."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from soa_db.access import ProgressEvent, Rotated, RotateResult, apply, rotate
from soa_db.access.settings import load_settings
from soa_db.access.spec import PostgresDatabase, PostgresSpec, Spec, SpecSet
from soa_db.aws import AwsClients
from soa_db.errors import ConfigurationError, ProvisionError
from soa_db.names import dev_secret_name, password_secret_name
from soa_db.postgres import PostgresProvider, connect, load_postgres_config_from_aws

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment
    from soa_db.local.postgres import PostgresServer

MASTER_PASSWORD = "master-password-of-the-tests"


class Killed(BaseException):
    """A kill -9, as far as the code can tell."""


@pytest.fixture
def aws(local_aws: LocalEnvironment) -> Iterator[AwsClients]:
    """The developer's AWS in dev."""
    with load_settings().aws_for("dev") as clients:
        yield clients


@pytest.fixture
def specs(unique_name: str) -> SpecSet:
    """A service with two databases that share their users, and no reading role."""
    databases = (
        PostgresDatabase(identities={"ro": None}),
        PostgresDatabase(id="more", identities={"ro": None}),
    )
    return SpecSet((Spec(version=1, service=unique_name, postgres=PostgresSpec(databases=databases)),))


def names(service: str, role: str = "app") -> list[str]:
    """The secrets of one user."""
    assert role in {"app", "owner"}
    return [dev_secret_name(service, "app" if role == "app" else "owner", db_id) for db_id in (None, "more")]


def stored(aws: AwsClients, name: str, stage: str = "AWSCURRENT") -> str | None:
    """The password in a stage, past every cache."""
    try:
        answer = aws.call("secretsmanager", "get_secret_value", SecretId=name, VersionStage=stage)
    except Exception:
        return None
    return str(json.loads(answer["SecretString"])["password"])


def opens(local: LocalEnvironment, database: str, user: str, password: str | None) -> bool:
    """Whether a password opens the dev server."""
    server = local.server("dev")
    try:
        psycopg.connect(
            host=server.host, port=server.port, dbname=database, user=user, password=password, sslmode="disable"
        ).close()
    except psycopg.OperationalError as error:
        if "authentication failed" in str(error):
            return False
        raise
    return True


def turn(specs: SpecSet, aws: AwsClients, **keywords: Any) -> RotateResult:
    """Rotate in dev."""
    return rotate(specs, env="dev", aws=aws, all_consumers_reread=True, **keywords)


def test_every_secret_and_the_server_get_the_new_password(
    local_aws: LocalEnvironment, aws: AwsClients, specs: SpecSet, unique_name: str
) -> None:
    """The old one is dead, nothing is pending, and what services load opens the server."""
    apply(specs, env="dev", aws=aws)
    old = stored(aws, names(unique_name)[0])
    told: list[str] = []
    result = turn(specs, aws, progress=lambda event: told.append(event.message))
    assert result.rotated == (
        Rotated(unique_name, f"{unique_name}_owner", tuple(names(unique_name, "owner")), False),
        Rotated(unique_name, f"{unique_name}_app", tuple(names(unique_name)), False),
    )
    new = {stored(aws, name) for name in names(unique_name)}
    assert len(new) == 1
    assert old not in new
    assert [stored(aws, name, "AWSPENDING") for name in names(unique_name)] == [None, None]
    assert not opens(local_aws, unique_name, f"{unique_name}_app", old)
    for db_id in (None, "more"):
        config = load_postgres_config_from_aws(env="dev", service=unique_name, db_id=db_id, aws=aws)
        with connect(config, aws=aws) as connection:
            row = connection.execute("SELECT current_user").fetchone()
        assert row == (f"{unique_name}_app",)
    assert any("AWSPENDING" in line for line in told)
    assert apply(specs, env="dev", aws=aws).applied == (), "provisioning finds nothing to do"


def test_some_users_only(aws: AwsClients, specs: SpecSet, unique_name: str) -> None:
    """By service and role; a service that is not among the specs is refused."""
    apply(specs, env="dev", aws=aws)
    before = stored(aws, names(unique_name, "owner")[0])
    result = turn(specs, aws, services=[unique_name], roles=["app"])
    assert [item.user for item in result.rotated] == [f"{unique_name}_app"]
    assert stored(aws, names(unique_name, "owner")[0]) == before
    with pytest.raises(ConfigurationError, match="no service 'other'"):
        turn(specs, aws, services=["other"])
    with pytest.raises(ConfigurationError, match="unknown role 'admin'"):
        turn(specs, aws, roles=["admin"])
    with pytest.raises(ConfigurationError, match="a role cannot be chosen"):
        rotate(specs, env="mirror", all_consumers_reread=True, aws=aws, roles=["app"])


def test_one_that_fails_stops_no_other_and_is_named(
    local_aws: LocalEnvironment, aws: AwsClients, specs: SpecSet, unique_name: str
) -> None:
    """The first user cannot log in whatever its password; the second gets a new one all the same."""
    apply(specs, env="dev", aws=aws)
    before = stored(aws, names(unique_name)[0])
    with psycopg.connect(local_aws.server("dev").superuser_conninfo, autocommit=True) as connection:
        connection.execute(f"ALTER ROLE {unique_name}_owner NOLOGIN".encode())

    with pytest.raises(ProvisionError, match="1 of 2 passwords could not be rotated; 1 were") as caught:
        turn(specs, aws)

    assert f"{unique_name}_owner" in str(caught.value)
    assert stored(aws, names(unique_name)[0]) not in {None, before}


def test_it_must_be_said_that_all_consumers_reread(aws: AwsClients, specs: SpecSet) -> None:
    """Others are cut off; the error says so and how to go on."""
    with pytest.raises(ConfigurationError, match="one live password") as caught:
        rotate(specs, env="dev", aws=aws)
    assert "--all-consumers-reread" in caught.value.hint


def test_a_role_that_is_missing_is_found_before_any_secret_is_written(
    aws: AwsClients, specs: SpecSet, unique_name: str
) -> None:
    """Rotation makes no identities."""
    with pytest.raises(ProvisionError, match=f"no role {unique_name}_app, {unique_name}_owner"):
        turn(specs, aws)
    assert [stored(aws, name) for name in names(unique_name)] == [None, None]


@contextmanager
def killing(monkeypatch: pytest.MonkeyPatch, at: int, *, after: bool) -> Iterator[None]:
    """Be killed at the n-th write to Secrets Manager or the server, before it or with its answer lost."""
    count = 0
    aws_call, execute = AwsClients.call, psycopg.Connection.execute

    def counted(take: Callable[[], Any], writes: bool) -> Any:
        nonlocal count
        count += writes
        if writes and count == at and not after:
            raise Killed
        answer = take()
        if writes and count == at:
            raise Killed
        return answer

    def call(self: AwsClients, service: str, operation: str, /, **parameters: object) -> Any:
        writes = operation.startswith(("create", "put", "update"))
        return counted(lambda: aws_call(self, service, operation, **parameters), writes)

    def run(self: Any, query: Any, *arguments: Any, **keywords: Any) -> Any:
        writes = isinstance(query, sql.Composed) and "ALTER ROLE" in query.as_string(None)
        return counted(lambda: execute(self, query, *arguments, **keywords), writes)

    with monkeypatch.context() as patch:
        patch.setattr(AwsClients, "call", call)
        patch.setattr(psycopg.Connection, "execute", run)
        yield


@pytest.fixture
def killer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AbstractContextManager[None]]:
    """Kills at a write."""
    return lambda at, after: killing(monkeypatch, at, after=after)


@pytest.mark.parametrize("after", [False, True], ids=["before the write", "after it, its answer lost"])
def test_a_run_killed_at_any_write_is_finished_by_the_next(
    local_aws: LocalEnvironment,
    aws: AwsClients,
    specs: SpecSet,
    killer: Callable[..., AbstractContextManager[None]],
    after: bool,
) -> None:
    """At every moment each secret holds the live password in a stage that clients read."""
    apply(specs, env="dev", aws=aws)
    unique_name = specs.specs[0].service
    user, at = f"{unique_name}_app", 0
    killed = True
    while killed:
        at += 1
        with killer(at, after):
            try:
                turn(specs, aws, roles=["app"])
                killed = False
            except Killed:
                pass
        for name in names(unique_name):
            live = [opens(local_aws, unique_name, user, stored(aws, name, stage)) for stage in
                    ("AWSCURRENT", "AWSPENDING") if stored(aws, name, stage)]  # fmt: skip
            assert any(live)
        (finished,) = turn(specs, aws, roles=["app"]).rotated
        something_was_left = killed and (at < 7 if after else at > 1)
        assert finished.finished == something_was_left
        current = {stored(aws, name) for name in names(unique_name)}
        assert len(current) == 1
        assert opens(local_aws, unique_name, user, current.pop())
    assert at == 8, "two pending, the server, two promoted, two labels dropped; then it was not killed any more"


def until(true: Callable[[], object]) -> None:
    """Wait for something that happens in another thread."""
    while not true():
        time.sleep(0.01)


def test_library_clients_lose_no_call(aws: AwsClients, specs: SpecSet, unique_name: str) -> None:
    """A pool that is made to log in again and again, and single connections, before, during and after it."""
    apply(specs, env="dev", aws=aws)
    failures: list[BaseException] = []
    calls = [0, 0]
    stop = threading.Event()

    def pooled() -> None:
        with PostgresProvider.from_aws(env="dev", service=unique_name) as provider:
            while not stop.is_set():
                try:
                    with provider.connection() as connection:
                        connection.execute("SELECT 1")
                        calls[0] += 1
                        if calls[0] % 5 == 0:
                            provider.drain()
                except BaseException as error:
                    failures.append(error)

    def single() -> None:
        with load_settings().aws_for("dev") as own:
            config = load_postgres_config_from_aws(env="dev", service=unique_name, db_id="more", aws=own)
            while not stop.is_set():
                try:
                    with connect(config, aws=own) as connection:
                        connection.execute("SELECT 1")
                        calls[1] += 1
                except BaseException as error:
                    failures.append(error)

    threads = [threading.Thread(target=pooled), threading.Thread(target=single)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: failures or min(calls) > 3)
        turn(specs, aws, roles=["app"])
        seen = list(calls)
        until(lambda: failures or all(now > before + 10 for now, before in zip(calls, seen, strict=True)))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []


def test_two_rotations_at_once_go_one_after_the_other(aws: AwsClients, specs: SpecSet, unique_name: str) -> None:
    """The server's lock; whoever will not wait is told."""
    apply(specs, env="dev", aws=aws)
    results: list[RotateResult] = []
    threads = [threading.Thread(target=lambda: results.append(turn(specs, aws))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert all(not item.finished for result in results for item in result.rotated)
    assert apply(specs, env="dev", aws=aws).applied == ()


def test_whoever_will_not_wait_for_another_run_is_told(aws: AwsClients, specs: SpecSet) -> None:
    """Typed, and with what to do."""
    apply(specs, env="dev", aws=aws)
    refused: list[bool] = []

    def impatient(event: ProgressEvent) -> None:
        if event.step == "password" and not refused:
            with pytest.raises(ProvisionError, match="another run"):
                turn(specs, aws, lock_timeout=0)
            refused.append(True)

    turn(specs, aws, roles=["app"], progress=impatient)
    assert refused


def test_on_every_version_a_createrole_administrator_may_rotate(
    pg: PostgresServer, aws: AwsClients, specs: SpecSet, unique_name: str
) -> None:
    """Since 16 it needs ADMIN on the role, which its creator has."""
    url = f"postgresql://master:{MASTER_PASSWORD}@127.0.0.1:{pg.port}/postgres?sslmode=disable"
    apply(specs, env="dev", aws=aws, admin_url=url)
    old = stored(aws, names(unique_name)[0])
    turn(specs, aws, admin_url=url)
    assert stored(aws, names(unique_name)[0]) != old
    assert apply(specs, env="dev", aws=aws, admin_url=url).applied == ()


@pytest.fixture
def legacy(local_aws: LocalEnvironment, unique_name: str) -> Iterator[tuple[AwsClients, SpecSet, str]]:
    """A service in mirror that is not on IAM yet: its user, and the secret a person wrote, odd characters and all."""
    user = f"{unique_name}_legacy"
    password = "".join(map(chr, range(32, 127)))
    specs = SpecSet((Spec(version=1, service=unique_name, postgres=PostgresSpec()),))
    server = local_aws.server("mirror")
    with (
        load_settings().aws_for("mirror") as aws,
        psycopg.connect(server.superuser_conninfo, autocommit=True) as superuser,
    ):
        superuser.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(user), sql.Literal(password))
        )
        if superuser.info.server_version >= 160000:
            superuser.execute(sql.SQL("GRANT {} TO master WITH ADMIN TRUE").format(sql.Identifier(user)))
        payload = {"username": user, "password": password, "host": server.host, "port": str(server.port), "note": "x"}
        aws.call(
            "secretsmanager",
            "create_secret",
            Name=password_secret_name("mirror", unique_name),
            SecretString=json.dumps(payload),
        )
        yield aws, specs, user
        superuser.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(user)))


def test_a_password_of_mirror_is_rotated_for_the_user_its_secret_names(
    legacy: tuple[AwsClients, SpecSet, str], unique_name: str
) -> None:
    """Whatever else the payload holds stays."""
    aws, specs, user = legacy
    name = password_secret_name("mirror", unique_name)
    result = rotate(specs, env="mirror", aws=aws, all_consumers_reread=True)
    assert result.rotated == (Rotated(unique_name, user, (name,), False),)
    payload = json.loads(aws.call("secretsmanager", "get_secret_value", SecretId=name)["SecretString"])
    assert (payload["username"], payload["note"], len(payload["password"])) == (user, "x", 40)
    config = load_postgres_config_from_aws(
        env="mirror", service=unique_name, auth="password", database="postgres", aws=aws
    )
    with connect(config, aws=aws) as connection:
        assert connection.execute("SELECT current_user").fetchone() == (user,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"password": "not the live one"}, "no password stored for .* opens this server"),
        ({"username": None}, "does not say whose password"),
        ({"username": "master"}, "password of the administrator"),
    ],
)
def test_a_secret_that_does_not_fit_the_server_is_left_alone(
    legacy: tuple[AwsClients, SpecSet, str], unique_name: str, change: dict[str, str | None], message: str
) -> None:
    """It may be for another server, or somebody else's."""
    aws, specs, user = legacy
    payload = {"username": user, "password": "x", **change}
    aws.call(
        "secretsmanager",
        "put_secret_value",
        SecretId=password_secret_name("mirror", unique_name),
        SecretString=json.dumps(payload),
    )
    with pytest.raises(ConfigurationError, match=message):
        rotate(specs, env="mirror", aws=aws, all_consumers_reread=True)


def test_a_user_of_several_services_is_rotated_for_all_of_them_or_none(
    legacy: tuple[AwsClients, SpecSet, str], unique_name: str
) -> None:
    """It has one live password: one service alone would cut the other off. Whoever only names it gets nothing."""
    aws, specs, user = legacy
    mine = password_secret_name("mirror", unique_name)
    other = Spec(version=1, service=f"{unique_name}-b", postgres=PostgresSpec())
    both = SpecSet((*specs.specs, other))
    theirs = password_secret_name("mirror", other.service)
    bogus = json.dumps({"username": user, "password": "guessed"})
    aws.call("secretsmanager", "create_secret", Name=theirs, SecretString=bogus)
    try:
        with pytest.raises(ConfigurationError, match="no password stored for") as caught:
            rotate(both, env="mirror", aws=aws, all_consumers_reread=True)
        assert caught.value.context["secret"] == theirs
        assert (stored(aws, theirs), stored(aws, theirs, "AWSPENDING")) == ("guessed", None)

        shared = aws.call("secretsmanager", "get_secret_value", SecretId=mine)["SecretString"]
        aws.call("secretsmanager", "put_secret_value", SecretId=theirs, SecretString=shared)
        with pytest.raises(ConfigurationError, match=f"logs in for {other.service} too"):
            rotate(both, env="mirror", aws=aws, all_consumers_reread=True, services=[unique_name])
        (done,) = rotate(both, env="mirror", aws=aws, all_consumers_reread=True).rotated
        assert done == Rotated(unique_name, user, (mine, theirs), False)
        assert stored(aws, mine) == stored(aws, theirs)
        config = load_postgres_config_from_aws(
            env="mirror", service=other.service, auth="password", database="postgres", aws=aws
        )
        connect(config, aws=aws).close()
    finally:
        aws.call("secretsmanager", "delete_secret", SecretId=theirs, ForceDeleteWithoutRecovery=True)


def test_a_role_of_another_service_is_not_given_a_password(
    local_aws: LocalEnvironment, aws: AwsClients, specs: SpecSet, unique_name: str
) -> None:
    """A spec that claims another's user does not get its password by rotating; provision refuses it too."""
    apply(specs, env="dev", aws=aws)
    before = stored(aws, names(unique_name)[0])
    claims = (PostgresDatabase(identities={"app": f"{unique_name}_app", "ro": None}),)
    thief = SpecSet((Spec(version=1, service=f"{unique_name}-thief", postgres=PostgresSpec(databases=claims)),))

    with pytest.raises(ProvisionError, match=f"belongs to service {unique_name}, but {unique_name}-thief claims it"):
        turn(thief, aws, roles=["app"])

    assert stored(aws, names(unique_name)[0]) == before
    assert opens(local_aws, unique_name, f"{unique_name}_app", before)
    assert stored(aws, dev_secret_name(f"{unique_name}-thief", "app")) is None


def test_services_on_iam_have_no_password_to_rotate(local_aws: LocalEnvironment, specs: SpecSet) -> None:
    """It is said, and nothing is done."""
    result = rotate(specs, env="mirror", all_consumers_reread=True)
    assert result.rotated == ()
    assert len(result.skipped) == 2
    assert "logs in by IAM token" in result.skipped[0]
