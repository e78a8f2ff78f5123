"""Development passwords: made, proved by a login, kept in parity secrets, repaired, never in a log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tests.servers.access.provisioning import specs

from soa_db.access import ApplyResult, apply, plan, rotate, save_plan
from soa_db.aws import AwsClients
from soa_db.postgres import connect, load_postgres_config_from_aws

if TYPE_CHECKING:
    from soa_db.access.spec import SpecSet
    from soa_db.local.environment import LocalEnvironment


def secret_of(service: str, role: str = "app") -> str:
    """The parity secret's name."""
    return f"dev/postgres-shared/{service}/{role}"


def logs_in(service: str) -> bool:
    """Whether the service's own code gets in."""
    with AwsClients() as aws:
        config = load_postgres_config_from_aws(env="dev", service=service, aws=aws)
        with connect(config, aws=aws) as connection:
            return connection.execute("SELECT current_user").fetchone() == (f"{service}_app",)


def reasons(result: ApplyResult) -> list[str]:
    """Why passwords were set."""
    return [change.sentence for change in result.applied if change.group == "passwords"]


@pytest.fixture
def service(local_aws: LocalEnvironment, tmp_path: Path, unique_name: str) -> tuple[str, SpecSet]:
    """A service provisioned in dev."""
    wanted = specs(tmp_path, f"service: {unique_name}\npostgres: {{}}")
    result = apply(wanted, env="dev")
    assert len(reasons(result)) == 3
    assert f"new secret {secret_of(unique_name)}" in reasons(result)[1]
    return unique_name, wanted


def test_a_service_logs_in_with_its_parity_secret(service: tuple[str, SpecSet]) -> None:
    """By the public loader and connect; a second run has nothing to do."""
    name, wanted = service
    assert logs_in(name)
    assert plan(wanted, env="dev").is_empty


SPOILED: dict[str, dict[str, Any] | str | None] = {
    "another port": {"port": 1},
    "another user": {"username": "somebody"},
    "a stale password": {"password": "stale"},
    "no password": {"password": None},
    "not JSON": "{",
}


@pytest.mark.parametrize("spoiled", SPOILED.values(), ids=SPOILED.keys())
def test_a_spoiled_secret_is_repaired(service: tuple[str, SpecSet], spoiled: dict[str, Any] | str) -> None:
    """Whatever is wrong with it is said, and put right; the service gets in again."""
    name, wanted = service
    with AwsClients() as aws:
        payload = {**aws.secret(secret_of(name)), **spoiled} if isinstance(spoiled, dict) else spoiled
        text = payload if isinstance(payload, str) else json.dumps(payload)
        aws.call("secretsmanager", "put_secret_value", SecretId=secret_of(name), SecretString=text)

    result = apply(wanted, env="dev")

    assert len(reasons(result)) == 1
    assert logs_in(name)


def test_a_password_changed_on_the_server_is_put_back(
    service: tuple[str, SpecSet], local_env: LocalEnvironment
) -> None:
    """Found by logging in."""
    name, wanted = service
    with psycopg.connect(local_env.server("dev").superuser_conninfo, autocommit=True) as connection:
        connection.execute(f"ALTER ROLE {name}_app PASSWORD 'other'".encode())

    assert "the server refuses the secret's password" in reasons(apply(wanted, env="dev"))[0]
    assert logs_in(name)


def test_a_role_that_cannot_log_in_is_mended_before_its_password_is_judged(
    service: tuple[str, SpecSet], local_env: LocalEnvironment
) -> None:
    """The password was changed too: found in the same run, once the role can log in again."""
    name, wanted = service
    with psycopg.connect(local_env.server("dev").superuser_conninfo, autocommit=True) as connection:
        connection.execute(f"ALTER ROLE {name}_app NOLOGIN PASSWORD 'other'".encode())

    result = apply(wanted, env="dev")

    assert not any(change.group == "passwords" for change in result.plan.changes)
    assert [change.sentence for change in result.applied if change not in result.plan.changes] == reasons(result)
    assert len(reasons(result)) == 1
    assert logs_in(name)
    assert plan(wanted, env="dev").is_empty


def test_fixed_passwords_for_development(service: tuple[str, SpecSet], local_env: LocalEnvironment) -> None:
    """``insecure_dev``: what the documentation says, in the secret and on the server."""
    name, wanted = service
    server = local_env.server("dev")

    assert len(reasons(apply(wanted, env="dev", insecure_dev=True))) == 3

    psycopg.connect(
        host=server.host, port=server.port, dbname=name, user=f"{name}_app", password=f"{name}_app-insecure-dev"
    ).close()
    assert logs_in(name)
    assert plan(wanted, env="dev", insecure_dev=True).is_empty

    back = apply(wanted, env="dev")
    assert all("it is the fixed development password" in reason for reason in reasons(back))
    assert len(reasons(back)) == 3
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(
            host=server.host, port=server.port, dbname=name, user=f"{name}_app", password=f"{name}_app-insecure-dev"
        )
    assert logs_in(name)
    assert plan(wanted, env="dev").is_empty


def test_no_password_reaches_the_servers_log_or_the_plan(
    service: tuple[str, SpecSet], local_env: LocalEnvironment, tmp_path: Path
) -> None:
    """Neither password nor verifier: with every statement logged, and in the saved plan."""
    name, wanted = service
    server = local_env.server("dev")
    with psycopg.connect(server.superuser_conninfo, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET log_statement = 'all'")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(f"ALTER ROLE {name}_app PASSWORD NULL".encode())
    try:
        found = plan(wanted, env="dev")
        save_plan(found, tmp_path / "plan.json")
        apply(wanted, env="dev")
    finally:
        with psycopg.connect(server.superuser_conninfo, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM RESET log_statement")
            connection.execute("SELECT pg_reload_conf()")
    with AwsClients() as aws:
        password = str(aws.secret(secret_of(name))["password"])
    log = Path(server.log_file).read_text("utf-8", "replace")
    assert f"{name}_app" in log
    assert password not in log
    assert password not in (tmp_path / "plan.json").read_text("utf-8")


def test_through_a_tunnel_the_secrets_keep_the_servers_own_coordinates(
    local_aws: LocalEnvironment, service: tuple[str, SpecSet]
) -> None:
    """An administrator's URL may lead through a tunnel that no service has: SSM says where the server is."""
    name, wanted = service
    endpoint, port = "/dev/postgres-shared/endpoint", "/dev/postgres-shared/port"
    with AwsClients() as aws:
        before, where = aws.secret(secret_of(name)), aws.parameters([endpoint, port])
        master = aws.secret("dev/postgres-master")
        # 127.0.0.1 instead of localhost: another way to the same server, as a tunnel is.
        url = f"postgresql://master:{master['password']}@127.0.0.1:{local_aws.server('dev').port}/postgres"
        assert plan(wanted, env="dev", admin_url=url).is_empty
        rotate(wanted, env="dev", admin_url=url, all_consumers_reread=True)
        after = aws.secret(secret_of(name), force=True)
        assert after["password"] != before["password"]
        assert (after["host"], str(after["port"])) == (where[endpoint], where[port])
        aws.call("ssm", "delete_parameters", Names=[endpoint, port])
        try:
            found = plan(wanted, env="dev", admin_url=url).changes
        finally:
            for parameter, value in where.items():
                aws.call("ssm", "put_parameter", Name=parameter, Value=value, Type="String")
    assert [change.sentence.rpartition(" (")[2] for change in found] == [
        f"secret {secret_of(name, role)} has another host)" for role in ("owner", "app", "ro")
    ]
