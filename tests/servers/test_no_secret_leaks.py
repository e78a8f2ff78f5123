"""No secret in any message, repr, log, plan, process list or SQL log: every path, driven with canaries.

A new path is one more step of a test below; ``Leaks`` does the looking.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.servers.leaks import Leaks, every_statement_logged

from soa_db.access import apply, plan, rotate, save_plan
from soa_db.access.aws.roles import apply_policies, policies
from soa_db.access.settings import load_settings
from soa_db.access.spec import SpecSet, load_specs
from soa_db.access.verify import verify
from soa_db.aws import AwsClients
from soa_db.cli import main
from soa_db.errors import SoaDbError
from soa_db.names import dev_secret_name, iam_host_ssm_path, password_secret_name, postgres_admin_secret_ssm_path
from soa_db.postgres import PostgresProvider, connect, load_postgres_config_from_aws

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment
    from soa_db.names import Env

HOSTILE = "".join(map(chr, range(32, 127))) + "äß€"


@pytest.fixture
def leaks(
    local_aws: LocalEnvironment, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> Iterator[Leaks]:
    """Everything printed and logged in the test, and what every server logs meanwhile.

    The AWS library's own debug log is left out: it holds whole requests, and nobody turns it on but its user.
    """
    found = Leaks()
    caplog.set_level(logging.DEBUG)
    for library in ("botocore", "urllib3"):
        caplog.set_level(logging.INFO, logger=library)
    with ExitStack() as stack:
        environments: tuple[Env, ...] = ("dev", "mirror", "prod")
        for env in environments:
            server = local_aws.server(env)
            stack.enter_context(every_statement_logged(server.superuser_conninfo, server.log_file, found))
            aws = stack.enter_context(load_settings().aws_for(env))
            name = postgres_admin_secret_ssm_path(env)
            found.secrets_of(aws, aws.parameters([name])[name])
        found.secret(local_aws.exports()["AWS_SECRET_ACCESS_KEY"])
        yield found
        found.saw("output", *capfd.readouterr())
        found.saw_log(caplog.get_records("call"))
        found.saw_processes()
        found.saw_file(local_aws.directory / "supervisor.log")
    # The servers' logs are read when the stack has ended.
    found.check(at_least=4)


@pytest.fixture
def spec_file(tmp_path: Path, unique_name: str) -> Path:
    """A service of the test's own."""
    path = tmp_path / "db-access.yaml"
    path.write_text(f"version: 1\nservice: {unique_name}\npostgres: {{}}\n", "utf-8")
    return path


@pytest.fixture
def specs(spec_file: Path) -> SpecSet:
    """The same, loaded."""
    return load_specs([spec_file])


def caught(call: Callable[[], object]) -> SoaDbError:
    """The error a call must end in."""
    with pytest.raises(SoaDbError) as info:
        call()
    return info.value


def test_provisioning_and_rotation_in_dev_show_no_password(
    leaks: Leaks, specs: SpecSet, unique_name: str, tmp_path: Path
) -> None:
    """Plans, results, progress, saved plans; passwords made up, fixed and rotated."""
    told: list[object] = []
    with load_settings().aws_for("dev") as aws:
        planned = plan(specs, env="dev", aws=aws, progress=told.append)
        save_plan(planned, tmp_path / "plan.json")
        leaks.saw_file(tmp_path / "plan.json")
        leaks.saw("provision", planned, apply(specs, env="dev", aws=aws, progress=told.append))
        for _ in range(2):
            leaks.saw("rotate", rotate(specs, env="dev", aws=aws, all_consumers_reread=True, progress=told.append))
        leaks.saw("progress", *told)
        leaks.saw("clients", aws, aws.target)
        names = [
            dev_secret_name(unique_name, "owner"),
            dev_secret_name(unique_name),
            dev_secret_name(unique_name, "ro"),
        ]
        leaks.secrets_of(aws, *names)


def test_a_persons_odd_password_is_shown_nowhere_on_its_way(leaks: Leaks, specs: SpecSet, unique_name: str) -> None:
    """Every printable character: whatever quotes, escapes or formats it must not print it."""
    leaks.secret(HOSTILE)
    name = dev_secret_name(unique_name)
    with load_settings().aws_for("dev") as aws:
        aws.call("secretsmanager", "create_secret", Name=name, SecretString=json.dumps({"password": HOSTILE}))
        leaks.saw("provision", apply(specs, env="dev", aws=aws))
        config = load_postgres_config_from_aws(env="dev", service=unique_name, aws=aws)
        leaks.saw("config", config, config.model_dump(), config.model_dump_json())
        with PostgresProvider(config, aws=aws) as provider:
            leaks.saw("provider", provider, provider.stats(), provider.pool, vars(provider))
            with provider.connection() as connection:
                leaks.saw("connection", connection.execute("SELECT current_user").fetchone())
        leaks.saw("another user", caught(lambda: connect(config.model_copy(update={"user": "nobody"}), aws=aws)))
        leaks.saw("another port", caught(lambda: connect(config.model_copy(update={"port": 1}), aws=aws)))
        leaks.saw("rotate", rotate(specs, env="dev", aws=aws, all_consumers_reread=True))
        leaks.secrets_of(aws, name)


@pytest.mark.parametrize(
    "text",
    [
        HOSTILE,
        json.dumps([HOSTILE]),
        json.dumps({"pass": HOSTILE}),
        json.dumps({"password": HOSTILE, "host": "h", "port": HOSTILE, "database": "d"}),
    ],
)
def test_a_malformed_secret_is_described_without_its_content(leaks: Leaks, unique_name: str, text: str) -> None:
    """By field, never by value."""
    leaks.secret(HOSTILE)
    with load_settings().aws_for("dev") as aws:
        aws.call("secretsmanager", "create_secret", Name=dev_secret_name(unique_name), SecretString=text)
        leaks.saw("loader", caught(lambda: load_postgres_config_from_aws(env="dev", service=unique_name, aws=aws)))


def test_tokens_and_keys_of_iam_are_shown_nowhere(leaks: Leaks, specs: SpecSet, unique_name: str) -> None:
    """In mirror: provision, policies, a login, refusals, verify; also a service that logs in by password."""
    with load_settings().aws_for("mirror") as aws:
        leaks.saw("provision", apply(specs, env="mirror", aws=aws))
        rendered = policies(specs, env="mirror", aws=aws)
        leaks.saw("policies", *(item.as_json() for item in rendered))
        leaks.saw("apply", apply_policies(specs, rendered, env="mirror", aws=aws, create_roles=True))
        credentials = aws.credentials()
        leaks.secret(credentials.secret_key)
        leaks.saw("credentials", credentials)
        config = load_postgres_config_from_aws(env="mirror", service=unique_name, aws=aws)
        leaks.saw("config", config, config.model_dump())
        with PostgresProvider(config, aws=aws) as provider:
            leaks.saw("provider", provider, provider.stats())
        leaks.saw("another user", caught(lambda: connect(config.model_copy(update={"user": "nobody"}), aws=aws)))
        leaks.saw("verify", verify(specs, env="mirror", aws=aws))
        role = f"arn:aws:iam::{aws.caller_identity().account}:role/{unique_name}-ro"
        with AwsClients(region=aws.region(), endpoint_url=aws.target.endpoint_url, role_arn=role) as narrow:
            assumed = narrow.credentials()
            leaks.secret(assumed.secret_key, *([assumed.token] if assumed.token else []))
            leaks.saw("assumed", narrow, assumed)
            leaks.saw("denied", caught(lambda: narrow.parameters([postgres_admin_secret_ssm_path("mirror")])))
            assert narrow.parameters([iam_host_ssm_path("mirror")])
            leaks.saw("denied", caught(lambda: narrow.secret(password_secret_name("mirror", unique_name))))


def test_the_commands_print_no_secret(leaks: Leaks, spec_file: Path, unique_name: str) -> None:
    """For people and as JSON, chatty and with tracebacks."""
    specs = ["--specs", str(spec_file)]
    assert main(["plan", "--env", "dev", "--json", *specs]) == 0
    assert main(["provision", "--env", "dev", "-v", *specs]) == 0
    assert main(["provision", "--env", "dev", "--insecure-dev", *specs]) == 0
    main(["verify", "--env", "dev", "--json", *specs])
    assert main(["policy", "--env", "dev", *specs]) == 0
    url = f"postgresql://nobody:{unique_name}-canary@localhost:1/postgres"
    leaks.secret(f"{unique_name}-canary")
    main(["plan", "--env", "dev", "--debug", "--admin-url", url, *specs])
    main(["plan", "--env", "dev", "--admin-url", f"{url}?%zz", *specs])
    with load_settings().aws_for("dev") as aws:
        password = json.loads(
            aws.call("secretsmanager", "get_secret_value", SecretId=dev_secret_name(unique_name))["SecretString"]
        )["password"]
        assert password.endswith("-insecure-dev")
        leaks.secrets_of(aws, dev_secret_name(unique_name, "owner"))


def test_the_search_finds_what_it_looks_for() -> None:
    """In every spelling; a checker that finds nothing proves nothing."""
    for text in (HOSTILE, repr(HOSTILE), json.dumps(HOSTILE), HOSTILE.encode().hex(), {"a": [HOSTILE]}):
        found = Leaks()
        found.secret(HOSTILE)
        found.saw("here", text)
        with pytest.raises(AssertionError, match="in here"):
            found.check(at_least=1)
    chained = ValueError("outer")
    chained.__cause__ = ValueError(HOSTILE)
    found = Leaks()
    found.secret(HOSTILE)
    found.saw("error", chained)
    with pytest.raises(AssertionError, match="in error"):
        found.check(at_least=1)
