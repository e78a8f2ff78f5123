"""AWS throttles beyond what botocore retries, at every point of a run in turn: typed, and the next run converges."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from tests.servers.access.provisioning import PASSWORD, specs

from soa_db.access import ProgressEvent, apply, plan
from soa_db.access.settings import Settings
from soa_db.aws import AwsClients
from soa_db.errors import CredentialError, ProvisionError
from soa_db.names import (
    postgres_admin_endpoint_ssm_path,
    postgres_admin_port_ssm_path,
    postgres_admin_secret_ssm_path,
)
from soa_db.postgres import connect, load_postgres_config_from_aws

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.aws_kit import CountingAws

    from soa_db.local.postgres import PostgresServer

FOREVER = 1000


@pytest.fixture
def clients(aws: CountingAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsClients]:
    """Clients that try each call twice, so that the test need not wait through more."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    with AwsClients() as made:
        yield made


def logs_in(service: str, aws: AwsClients) -> bool:
    """Whether each role of a service gets in with its parity secret."""
    for role in ("owner", "app", "ro"):
        config = load_postgres_config_from_aws(env="dev", service=service, role=role, aws=aws)
        connect(config, aws=aws).close()
    return True


def test_secrets_manager_throttling_from_any_step_on(
    pg_servers: Callable[[int], PostgresServer], aws: CountingAws, clients: AwsClients, tmp_path: Path, unique_name: str
) -> None:
    """From the n-th progress event on, every call is throttled; then no more, and the next run finishes all of it."""
    url = f"postgresql://master:{PASSWORD}@127.0.0.1:{pg_servers(17).port}/postgres?sslmode=disable"
    failures: list[CredentialError | ProvisionError] = []
    for step in itertools.count(1):
        name = f"{unique_name}{step}"
        wanted = specs(tmp_path / name, f"service: {name}\npostgres: {{databases: [{{}}, {{id: more}}]}}")
        told = itertools.count(1)

        def throttle(event: ProgressEvent, told: Iterator[int] = told, step: int = step) -> None:
            if next(told) == step:
                aws.fail("ThrottlingException", times=FOREVER)

        keywords = {"env": "dev", "aws": clients, "admin_url": url, "settings": Settings()}
        try:
            apply(wanted, progress=throttle, **keywords)  # type: ignore[arg-type]
        except (CredentialError, ProvisionError) as error:
            failures.append(error)
        else:
            assert not aws.faults, "throttled, and yet it went through"
            break
        finally:
            aws.faults.clear()
        apply(wanted, **keywords)  # type: ignore[arg-type]
        assert plan(wanted, **keywords).is_empty  # type: ignore[arg-type]
        assert logs_in(name, clients)
    assert len(failures) > 10
    assert all("AWS throttles secretsmanager:" in str(error) for error in failures)
    assert {type(error).__name__ for error in failures} == {"CredentialError", "ProvisionError"}, (
        "one call that fails, and several side by side"
    )


def test_parameter_store_throttling(
    pg_servers: Callable[[int], PostgresServer], aws: CountingAws, clients: AwsClients, tmp_path: Path, unique_name: str
) -> None:
    """The administrator's coordinates are not had: typed, nothing is changed, and the next run goes on."""
    server = pg_servers(17)
    secret = {"username": "master", "password": PASSWORD}
    clients.call("secretsmanager", "create_secret", Name=unique_name, SecretString=str(secret).replace("'", '"'))
    values = {
        postgres_admin_endpoint_ssm_path("dev"): "127.0.0.1",
        postgres_admin_port_ssm_path("dev"): str(server.port),
        postgres_admin_secret_ssm_path("dev"): unique_name,
    }
    for name, value in values.items():
        clients.call("ssm", "put_parameter", Name=name, Value=value, Type="String", Overwrite=True)
    wanted = specs(tmp_path, f"service: {unique_name}\npostgres: {{}}")
    try:
        aws.fail("ThrottlingException", times=2)
        with pytest.raises(CredentialError, match="AWS throttles ssm:GetParameters"):
            apply(wanted, env="dev", aws=clients, settings=Settings())
        apply(wanted, env="dev", aws=clients, settings=Settings())
        assert logs_in(unique_name, clients)
    finally:
        clients.call("ssm", "delete_parameters", Names=list(values))
