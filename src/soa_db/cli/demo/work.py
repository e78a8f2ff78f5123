"""The demo's work in one environment, done in a worker process; what comes back is counts and reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from soa_db.access import apply, plan
from soa_db.access.aws.roles import apply_policies, policies
from soa_db.access.settings import load_settings
from soa_db.access.verify import verify
from soa_db.aws import AwsClients
from soa_db.cli.demo.examples import load_examples, migrations

if TYPE_CHECKING:
    from soa_db.access.report import VerifyReport
    from soa_db.access.spec import PostgresIdentity
    from soa_db.config import PostgresConfig
    from soa_db.names import Env, Role

__all__ = ["connect_as_each", "migrate", "pending", "prove", "provision", "role_arn", "write_policies"]

# Threads in each of three processes; the machine may have two cores.
_AT_ONCE = 3
_ROLE = "arn:aws:iam::{account}:role/{service}-{role}"


def role_arn(account: str, service: str, role: Role) -> str:
    """The AWS role of a service's tier."""
    return _ROLE.format(account=account, service=service, role=role)


def provision(env: Env) -> int:
    """Provision; the number of changes made."""
    with _developer(env) as aws:
        return len(apply(load_examples()[0], env=env, aws=aws).applied)


def pending(env: Env) -> int:
    """The number of changes that a plan has."""
    with _developer(env) as aws:
        return len(plan(load_examples()[0], env=env, aws=aws).changes)


def write_policies(env: Env, accounts: Mapping[Env, str]) -> int:
    """Make the AWS roles and write their policies; the number of roles and policies written.

    The roles may be assumed from their own account and from the one the demo's user is in, as services would be
    allowed that run there.
    """
    principals = sorted({f"arn:aws:iam::{account}:root" for account in (accounts["dev"], accounts[env])})
    statement = {"Effect": "Allow", "Principal": {"AWS": principals}, "Action": "sts:AssumeRole"}
    trust = {"Version": "2012-10-17", "Statement": [statement]}
    with _developer(env) as aws:
        specs = load_examples()[0]
        rendered = policies(specs, env=env, aws=aws)
        return len(apply_policies(specs, rendered, env=env, aws=aws, create_roles=True, trust=trust).changes)


def migrate(env: Env, accounts: Mapping[Env, str]) -> int:
    """Apply each service's migrations as its owner, with its own AWS rights; their number."""
    from soa_db.postgres import connect

    specs, folders = load_examples()
    account = accounts[env]
    count = 0
    for spec in specs.specs:
        for database in spec.postgres_databases():
            config = _config(env, account, spec.service, "owner", database.id)
            with connect(config, aws=_rights(account, spec.service, "owner")) as connection:
                for migration in migrations(folders[spec.service], database.id):
                    with connection.transaction():
                        connection.execute(migration.encode())
                    count += 1
    return count


def prove(env: Env) -> VerifyReport:
    """Verify with each service's own AWS rights."""
    with _developer(env) as aws:
        return verify(load_examples()[0], env=env, aws=aws, assume_role=_ROLE, jobs=_AT_ONCE)


def connect_as_each(env: Env, accounts: Mapping[Env, str]) -> tuple[int, int]:
    """Log in as every PostgreSQL identity in every database of its own; how many were right, and how many there are."""
    wanted = [
        (identity, database, db_id)
        for identity in load_examples()[0].postgres_identities()
        for database, db_id in zip(identity.databases, identity.db_ids, strict=True)
    ]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        good = sum(pool.map(lambda case: _is_right(env, accounts[env], *case), wanted))
    return good, len(wanted)


def _is_right(env: Env, account: str, identity: PostgresIdentity, database: str, db_id: str) -> bool:
    from soa_db.postgres import PostgresProvider

    config = _config(env, account, identity.service, identity.role, db_id)
    aws = _rights(account, identity.service, identity.role)
    with PostgresProvider(config, aws=aws) as provider, provider.connection() as connection:
        row = connection.execute("select current_user::text, current_database()::text").fetchone()
        encrypted = connection.pgconn.ssl_in_use
    return row == (identity.user, database) and encrypted is (env != "dev")


def _config(env: Env, account: str, service: str, role: Role, db_id: str) -> PostgresConfig:
    """Load a config as a service does: with its own AWS rights."""
    from soa_db.postgres import load_postgres_config_from_aws

    spec = load_examples()[0].by_service[service]
    aws = _rights(account, service, role)
    return load_postgres_config_from_aws(env=env, service=service, role=role, db_id=db_id, spec=spec, aws=aws)


@contextmanager
def _developer(env: Env) -> Iterator[AwsClients]:
    """AWS as the person who runs the commands."""
    with load_settings().aws_for(env) as aws:
        yield aws


@cache
def _rights(account: str, service: str, role: Role) -> AwsClients:
    """AWS with a service's own rights; lives as long as the worker."""
    return AwsClients(role_arn=role_arn(account, service, role))
