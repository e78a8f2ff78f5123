"""The rendered policies where they are enforced: each tier can do what is its own, and nothing that is another's."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from soa_db.access.aws.roles import apply_policies, find_place, policies
from soa_db.access.aws.secrets import read_passwords
from soa_db.access.settings import load_settings
from soa_db.access.spec import PostgresSpec, Spec, SpecSet
from soa_db.aws import AwsClients
from soa_db.config import AwsTarget, IamAuth, PostgresConfig, TlsConfig
from soa_db.errors import AccessDenied, AuthenticationFailed
from soa_db.names import (
    ROLES,
    Env,
    Role,
    dev_secret_name,
    iam_host_ssm_path,
    iam_port_ssm_path,
    password_secret_name,
    postgres_admin_secret_ssm_path,
    postgres_user,
)
from soa_db.postgres import connect

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment

DEVELOPER = "arn:aws:iam::111111111111:root"


@pytest.fixture
def services(unique_name: str) -> tuple[str, str]:
    """Two services nobody else uses."""
    return f"{unique_name}-a", f"{unique_name}-b"


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    """Closes clients at the end."""
    with ExitStack() as stack:
        yield stack


def grant(env: Env, services: tuple[str, str], closing: ExitStack) -> AwsClients:
    """Write the policies as the platform engineer, who may be in another account than the developer."""
    aws = closing.enter_context(load_settings().aws_for(env))
    specs = SpecSet(tuple(Spec(version=1, service=name, postgres=PostgresSpec()) for name in services))
    rendered = policies(specs, env=env, aws=aws, password_services=[services[0]] if env != "dev" else [])
    result = apply_policies(specs, rendered, env=env, aws=aws, create_roles=True, trust=DEVELOPER)
    assert len(result.changes) == 12
    assert apply_policies(specs, rendered, env=env, aws=aws).changes == ()
    return aws


def target(aws: AwsClients, service: str, role: Role) -> AwsTarget:
    """As whom a service's tier asks."""
    account = aws.caller_identity().account
    return AwsTarget(
        region=aws.region(),
        endpoint_url=os.environ["AWS_ENDPOINT_URL"],
        role_arn=f"arn:aws:iam::{account}:role/{service}-{role}",
    )


def test_in_dev_each_tier_reads_its_own_secret_only(
    local_aws: LocalEnvironment, services: tuple[str, str], closing: ExitStack
) -> None:
    """Neither another tier's nor another service's, nor the administrator's."""
    aws = grant("dev", services, closing)
    tiers = list(itertools.product(services, ROLES))
    for service, role in tiers:
        payload = json.dumps({"password": f"{service} {role}"})
        aws.call("secretsmanager", "create_secret", Name=dev_secret_name(service, role), SecretString=payload)
    for service, role in tiers:
        clients = closing.enter_context(AwsClients.from_target(target(aws, service, role)))
        assert clients.secret(dev_secret_name(service, role)) == {"password": f"{service} {role}"}
        for other in tiers:
            if other != (service, role):
                with pytest.raises(AccessDenied, match="secretsmanager:GetSecretValue"):
                    clients.secret(dev_secret_name(*other))
        with pytest.raises(AccessDenied):
            clients.parameters([postgres_admin_secret_ssm_path("dev")])


@pytest.mark.parametrize("env", ["mirror", "prod"])
def test_on_iam_each_tier_connects_as_its_own_user_only(
    local_aws: LocalEnvironment, env: Env, services: tuple[str, str], closing: ExitStack
) -> None:
    """It reads the coordinates, no other parameter, and no password but its service's own."""
    aws = grant(env, services, closing)
    server = local_aws.server(env)
    users = {(service, role): postgres_user(service, role) for service, role in itertools.product(services, ROLES)}
    name = password_secret_name(env, services[0])
    aws.call("secretsmanager", "create_secret", Name=name, SecretString='{"password": "made up"}')
    with psycopg.connect(server.superuser_conninfo, autocommit=True) as superuser:
        for user in users.values():
            superuser.execute(sql.SQL("CREATE ROLE {} LOGIN IN ROLE rds_iam").format(sql.Identifier(user)))
        try:
            for tier, own in users.items():
                clients = closing.enter_context(AwsClients.from_target(target(aws, *tier)))
                coordinates = clients.parameters([iam_host_ssm_path(env), iam_port_ssm_path(env)])
                assert coordinates[iam_port_ssm_path(env)] == str(server.port)
                with pytest.raises(AccessDenied):
                    clients.parameters([postgres_admin_secret_ssm_path(env)])
                if tier == (services[0], "app"):
                    assert clients.secret(name) == {"password": "made up"}
                else:
                    with pytest.raises(AccessDenied):
                        clients.secret(name)
                strangers = [user for other, user in users.items() if (other[0] == tier[0]) != (other[1] == tier[1])]
                check_logins((server.host, server.port), clients, own, [own, *strangers])
        finally:
            for user in users.values():
                superuser.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(user)))


def check_logins(address: tuple[str, int], aws: AwsClients, own: str, users: Iterable[str]) -> None:
    """One of the users opens the server, the others are refused."""
    for user in users:
        config = PostgresConfig(
            instance_name="policy",
            host=address[0],
            port=address[1],
            database="postgres",
            user=user,
            auth=IamAuth(region=aws.region(), aws=aws.target),
            tls=TlsConfig(ca_file=os.environ["SOA_DB_CA_FILE"]),
        )
        if user == own:
            with connect(config, aws=aws) as connection:
                row = connection.execute("SELECT current_user").fetchone()
            assert row == (own,)
        else:
            with pytest.raises(AuthenticationFailed):
                connect(config, aws=aws)


def test_whoever_lacks_the_rights_to_administer_is_told_which(
    local_aws: LocalEnvironment, services: tuple[str, str], closing: ExitStack
) -> None:
    """A service's own role may neither look for the database nor write policies."""
    aws = grant("prod", services, closing)
    narrow = closing.enter_context(AwsClients.from_target(target(aws, services[0], "app")))
    with pytest.raises(AccessDenied, match="rds:Describe") as caught:
        find_place(narrow, "prod")
    assert "--resource-id" in caught.value.hint
    specs = SpecSet(tuple(Spec(version=1, service=name, postgres=PostgresSpec()) for name in services))
    rendered = policies(specs, env="prod", aws=narrow, resource_id="db-GIVEN")
    with pytest.raises(AccessDenied, match="iam:GetRolePolicy"):
        apply_policies(specs, rendered, env="prod", aws=narrow)
    with pytest.raises(AccessDenied):
        read_passwords(narrow, [password_secret_name("prod", services[1])])
