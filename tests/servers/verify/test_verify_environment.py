"""``verify`` in the local environment: real provisioning, tokens, TLS and the services' own AWS rights."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from soa_db.access import apply
from soa_db.access.aws.roles import apply_policies, policies
from soa_db.access.report import Outcome
from soa_db.access.settings import load_settings
from soa_db.access.spec import SpecSet, load_specs
from soa_db.access.verify import verify
from soa_db.aws import AwsClients
from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    from soa_db.access.report import VerifyReport
    from soa_db.local.environment import LocalEnvironment
    from soa_db.names import Env

ROLES = "arn:aws:iam::{account}:role/{service}-{role}"
_ONE = """
version: 1
service: {tag}-one
postgres:
  databases:
    - {{id: main}}
    - {{id: pii, isolated: true, identities: {{owner: {tag}_pii_owner, app: {tag}_pii_app, ro: null}}}}
  shared_with: [{{service: {tag}-two, tables: [public.rooms], columns: [id]}}]
"""
_TWO = """
version: 1
service: {tag}-two
postgres:
  reads: [{{service: {tag}-one, tables: [public.rooms]}}]
"""


@dataclass(frozen=True)
class Stage:
    """Two services, provisioned with their policies in one environment."""

    local: LocalEnvironment
    env: Env
    specs: SpecSet
    tag: str
    aws: AwsClients

    def verify(self) -> VerifyReport:
        """With the services' own AWS rights."""
        return verify(self.specs, env=self.env, assume_role=ROLES)

    def run(self, text: str, database: str = "postgres") -> None:
        """SQL of the superuser's, ``{tag}`` filled in."""
        conninfo = make_conninfo(self.local.server(self.env).superuser_conninfo, dbname=database)
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute(text.replace("{tag}", self.tag).encode())

    def violations(self, report: VerifyReport) -> list[str]:
        """The violations as text, the tag taken out."""
        return sorted({str(check).replace(self.tag, "T") for check in report.violations})

    @contextmanager
    def allowed(self, role: str, action: str, resource: str) -> Iterator[None]:
        """Give an AWS role a right besides its own."""
        statement = {"Effect": "Allow", "Action": action, "Resource": resource}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.aws.call("iam", "put_role_policy", RoleName=role, PolicyName="besides", PolicyDocument=document)
        try:
            yield
        finally:
            self.aws.call("iam", "delete_role_policy", RoleName=role, PolicyName="besides")

    def provision(self) -> None:
        """Put everything right, as an operator would."""
        apply(self.specs, env=self.env)
        rendered = policies(self.specs, env=self.env, aws=self.aws)
        apply_policies(self.specs, rendered, env=self.env, aws=self.aws, create_roles=True)


@pytest.fixture(scope="session")
def stages(local_env: LocalEnvironment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Env], Stage]]:
    """A function ``env -> stage``, each made when first asked for; leave it as it was."""
    made: dict[Env, Stage] = {}
    with ExitStack() as stack:

        def get(env: Env) -> Stage:
            if env not in made:
                tag = f"e{secrets.token_hex(3)}"
                paths = []
                for name, text in (("one", _ONE), ("two", _TWO)):
                    paths.append(tmp_path_factory.mktemp(tag) / f"{name}.yaml")
                    paths[-1].write_text(text.format(tag=tag), "utf-8")
                aws = stack.enter_context(AwsClients.from_target(load_settings().environment(env).target))
                made[env] = Stage(local_env, env, load_specs(paths), tag, aws)
                stack.callback(_clear, made[env])
                made[env].provision()
                made[env].run(
                    "SET ROLE {tag}_one_owner; CREATE TABLE public.rooms (id integer, secret text)", f"{tag}_one"
                )
                made[env].provision()
            return made[env]

        yield get


@pytest.fixture
def stage(stages: Callable[[Env], Stage], local_aws: LocalEnvironment) -> Callable[[Env], Stage]:
    """``stages``, with the local environment as this process's AWS."""
    del local_aws
    return stages


def _clear(stage: Stage) -> None:
    for name in ("one", "one_pii_db", "two"):
        stage.run(f"DROP DATABASE IF EXISTS {stage.tag}_{name} WITH (FORCE)")
    for identity in stage.specs.postgres_identities():
        stage.run(f"DROP ROLE IF EXISTS {identity.user}")


@pytest.mark.parametrize("env", ["dev", "mirror", "prod"])
def test_what_provision_and_policy_made_is_proved_with_the_services_own_aws_rights(
    env: Env, stage: Callable[[Env], Stage]
) -> None:
    """Nothing violated, nothing open: tokens, TLS, passwords, secrets of others, in each environment."""
    report = stage(env).verify()
    assert [str(check) for check in (*report.violations, *report.inconclusive)] == []
    asked = {(check.probe.aspect, re.sub(r"e[0-9a-f]{6}", "T", check.probe.what)) for check in report.checks}
    assert ("aws", "learn where the administrator's secret is") in asked
    if env == "dev":
        assert ("auth", "log in with a wrong password") in asked
    else:
        assert asked >= {
            ("auth", "log in with a password"),
            ("auth", "a member of rds_iam: it logs in by IAM token"),
            ("tls", "connect in plain text"),
            ("tls", "be fooled by a certificate of an unknown authority"),
            ("tls", "be fooled by another host's certificate"),
            ("aws", "log in as T_two_owner with its own AWS rights"),
        }


def test_a_role_that_may_read_another_tiers_secret_is_named(stage: Callable[[Env], Stage]) -> None:
    """The app's AWS role can read the owner's password: that is said, with the secret's name and never its value."""
    made = stage("dev")
    secret = f"dev/postgres-shared/{made.tag}-two/owner"
    password = str(made.aws.secret(secret)["password"])
    with made.allowed(
        f"{made.tag}-two-app", "secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:*:*:secret:{secret}-*"
    ):
        report = made.verify()
    assert made.violations(report) == [
        "T_two_app: cannot read 7 secrets of other identities: it can read dev/postgres-shared/T-two/owner"
    ]
    for text in (report.to_text(), report.to_json(), report.to_junit(), repr(report)):
        assert password not in text


def test_a_role_that_may_mint_tokens_for_another_user_is_named(stage: Callable[[Env], Stage]) -> None:
    """``rds-db:connect`` on one user too many: the token works, and that is said."""
    made = stage("mirror")
    resource = f"arn:aws:rds-db:*:*:dbuser:*/{made.tag}_pii_app"
    with made.allowed(f"{made.tag}-two-ro", "rds-db:connect", resource):
        report = made.verify()
    assert made.violations(report) == [
        "T_two_ro: cannot log in as T_pii_app with its own AWS rights: the login succeeded"
    ]


def test_a_user_that_is_asked_for_a_password_in_mirror_is_named(stage: Callable[[Env], Stage]) -> None:
    """Out of rds_iam, a user logs in with whatever password it has, prod's after a restore for instance."""
    made = stage("mirror")
    made.run("REVOKE rds_iam FROM {tag}_two_ro; ALTER ROLE {tag}_two_ro PASSWORD 'of-old'")
    try:
        report = made.verify()
    finally:
        made.run("ALTER ROLE {tag}_two_ro PASSWORD NULL")
        made.provision()
    said = made.violations(report)
    assert "T_two_ro: a member of rds_iam: it logs in by IAM token: it is not" in said
    assert "T_two_ro in T_two: cannot log in with a password: 28P01: wrong password" in said
    assert any(text.startswith("T_two_ro in T_two: can connect: ") for text in said)
    assert all("T_two_ro" in text for text in said)


def test_missing_policies_are_violations_of_the_services_own_login(stage: Callable[[Env], Stage]) -> None:
    """A service whose AWS role may not read its secret cannot log in, and the missing right is named."""
    made = stage("dev")
    made.aws.call("iam", "delete_role_policy", RoleName=f"{made.tag}-two-ro", PolicyName="soa-db-dev")
    try:
        report = made.verify()
    finally:
        made.provision()
    said = made.violations(report)
    assert any("T_two_ro in T_two: can connect: AccessDenied: " in text for text in said)
    assert any("secretsmanager:GetSecretValue" in text for text in said)


def test_an_aws_role_that_cannot_be_assumed_decides_nothing_about_the_service(stage: Callable[[Env], Stage]) -> None:
    """Nobody can log in, and that is no violation: whoever verifies lacks a right, or the role is not there."""
    made = stage("dev")
    report = verify(made.specs, env="dev", assume_role="arn:aws:iam::{account}:role/none-{service}-{role}")
    assert report.violations == ()
    assert report.exit_code == 5
    assert all("sts:AssumeRole" in check.detail for check in report.inconclusive if check.probe.aspect == "connect")
    assert not [check for check in report.checks if check.outcome is Outcome.OK]


@pytest.mark.parametrize("template", ["arn:{nobody}", "arn:{}", "arn:{service", "arn:{service.__class__}"])
def test_a_template_with_other_fields_is_refused(template: str, local_aws: LocalEnvironment) -> None:
    """Before anybody logs in, naming the fields there are."""
    with pytest.raises(ConfigurationError, match="is not a template of a role"):
        verify(SpecSet(()), env="dev", assume_role=template)
    del local_aws


def test_the_wrong_account_is_refused(
    local_aws: LocalEnvironment, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As for every command: the settings name the account of each environment."""
    del local_aws
    settings = tmp_path_factory.mktemp("settings") / "soa-db.toml"
    settings.write_text('[environments.dev]\naccount = "999999999999"\n', "utf-8")
    monkeypatch.setenv("SOA_DB_SETTINGS", str(settings))
    with pytest.raises(ConfigurationError, match="999999999999"):
        verify(SpecSet(()), env="dev")


def test_without_a_role_to_assume_the_callers_rights_are_used_and_no_aws_probe_runs(
    stage: Callable[[Env], Stage],
) -> None:
    """What the caller may do says nothing about the services."""
    made = stage("dev")
    report: Any = verify(made.specs, env="dev")
    assert report.exit_code == 0
    assert "aws" not in {check.probe.aspect for check in report.checks}
