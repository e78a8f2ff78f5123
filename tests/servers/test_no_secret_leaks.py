"""No secret in any message, repr, log, plan, process list or server's log: every path, driven with canaries.

A new path is one more step of a test below; ``Leaks`` does the looking.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.servers.aws_kit import settle
from tests.servers.leaks import Leaks, every_command_seen, every_statement_logged
from tests.servers.redis_kit import KINDS

from soa_db.access import apply, plan, rotate, save_plan
from soa_db.access.aws.roles import apply_policies, policies
from soa_db.access.settings import load_settings
from soa_db.access.spec import SpecSet, load_specs
from soa_db.access.verify import verify
from soa_db.aws import AwsClients
from soa_db.cli import main
from soa_db.errors import SoaDbError
from soa_db.names import (
    dev_secret_name,
    iam_host_ssm_path,
    password_secret_name,
    postgres_admin_secret_ssm_path,
    redis_secret_name,
)
from soa_db.postgres import PostgresProvider, connect, load_postgres_config_from_aws
from soa_db.redis import load_redis_config_from_aws

if TYPE_CHECKING:
    from soa_db import RedisConfig
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
            cache = local_aws.server(env, "redis")
            stack.enter_context(every_command_seen(cache.admin_url, cache.log_file, found))
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
    found.check(at_least=7)


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


@pytest.fixture
def redis_specs(tmp_path: Path, unique_name: str) -> SpecSet:
    """A service that has Redis only."""
    path = tmp_path / "redis.yaml"
    path.write_text(f"version: 1\nservice: {unique_name}\nredis: {{}}\n", "utf-8")
    return load_specs([path])


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


@pytest.mark.parametrize("env", ["dev", "mirror"])
def test_redis_from_plan_to_the_end_of_a_rotation_shows_no_password(
    leaks: Leaks, redis_specs: SpecSet, unique_name: str, tmp_path: Path, env: Env
) -> None:
    """On the server itself in dev, by ElastiCache's API in mirror; every event told on the way."""
    told: list[object] = []
    secret = redis_secret_name(env, unique_name)
    with load_settings().aws_for(env) as aws:
        planned = plan(redis_specs, env=env, aws=aws, progress=told.append)
        save_plan(planned, tmp_path / "plan.json")
        leaks.saw_file(tmp_path / "plan.json")
        leaks.saw("provision", planned, apply(redis_specs, env=env, aws=aws, progress=told.append))
        leaks.saw("rotate", rotate(redis_specs, env=env, aws=aws, progress=told.append))
        leaks.secrets_of(aws, secret)
        leaks.saw("again", caught(lambda: rotate(redis_specs, env=env, aws=aws, progress=told.append)))
        leaks.saw("plan in between", plan(redis_specs, env=env, aws=aws, progress=told.append))
        leaks.saw("verify", report := verify(redis_specs, env=env, aws=aws))
        leaks.saw("verify as text", report.to_text(), *report.checks)
        leaks.saw("finish", rotate(redis_specs, env=env, aws=aws, finish=True, progress=told.append))
        rendered = policies(redis_specs, env=env, aws=aws)
        leaks.saw("policies", *(item.as_json() for item in rendered))
        leaks.saw("progress", *told)
        leaks.secrets_of(aws, secret)


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize("env", ["dev", "mirror"])
async def test_a_redis_manager_shows_no_password_and_no_token(
    leaks: Leaks, redis_specs: SpecSet, unique_name: str, env: Env, kind: str
) -> None:
    """Config, manager, client, pool, connections, subscriptions; logins refused, servers that are not there."""
    with load_settings().aws_for(env) as aws:
        apply(redis_specs, env=env, aws=aws)
        leaks.secrets_of(aws, redis_secret_name(env, unique_name))
        config = load_redis_config_from_aws(env=env, service=unique_name, aws=aws)
        leaks.saw("config", config, config.model_dump(), config.model_dump_json())
        manager = KINDS[kind](config)
        await settle(manager.connect())
        try:
            client = manager.client
            await settle(manager.set(f"{unique_name}:1", 1))
            leaks.saw("refused", await failing(lambda: manager.get("other:1")))
            await settle(client.rpush(f"{unique_name}:2", "no JSON"))
            leaks.saw("malformed", await failing(lambda: manager.get(f"{unique_name}:2")))
            subscription = client.pubsub()
            await settle(subscription.subscribe(f"{unique_name}:news"))
            leaks.saw("manager", manager, manager.stats(), vars(manager), client, subscription)
            leaks.saw("pool", client.connection_pool, vars(client.connection_pool), subscription.connection)
            await settle(subscription.aclose() if kind == "async" else subscription.close())
        finally:
            await settle(manager.disconnect())
        wrong: list[dict[str, Any]] = [{"user": "nobody"}, {"port": 1}]
        if env == "mirror":
            wrong += [{"tls": None}, {"auth": load_iam(unique_name, aws).auth}]
        for change in wrong:
            other = KINDS[kind](config.model_copy(update=change))
            leaks.saw("not connected", await failing(other.connect), other, vars(other))


def load_iam(service: str, aws: AwsClients) -> RedisConfig:
    """A config whose manager logs in by token."""
    return load_redis_config_from_aws(env="mirror", service=service, auth="iam", cache_name="cache-mirror", aws=aws)


async def failing(call: Callable[[], Any]) -> SoaDbError:
    """The error a call of either kind must end in."""
    with pytest.raises(SoaDbError) as info:
        await settle(call())
    return info.value


@pytest.mark.parametrize(
    "text",
    [
        HOSTILE,
        json.dumps([HOSTILE]),
        json.dumps({"username": "u", "pass": HOSTILE}),
        json.dumps({"username": "u", "password": HOSTILE, "endpoint": "h", "port": HOSTILE}),
        json.dumps({"username": "u", "password": HOSTILE, "endpoint": "h", "tls": HOSTILE}),
    ],
)
def test_a_malformed_secret_of_redis_is_described_without_its_content(
    leaks: Leaks, unique_name: str, text: str
) -> None:
    """By field, never by value."""
    leaks.secret(HOSTILE)
    with load_settings().aws_for("dev") as aws:
        aws.call("secretsmanager", "create_secret", Name=redis_secret_name("dev", unique_name), SecretString=text)
        leaks.saw("loader", caught(lambda: load_redis_config_from_aws(env="dev", service=unique_name, aws=aws)))


def test_the_commands_print_no_secret_of_redis(
    leaks: Leaks, redis_specs: SpecSet, tmp_path: Path, unique_name: str
) -> None:
    """For people and as JSON, chatty and with tracebacks; an administrator's URL that leads nowhere."""
    assert unique_name in redis_specs.by_service
    specs = ["--specs", str(tmp_path / "redis.yaml")]
    assert main(["plan", "--env", "dev", "--json", *specs]) == 0
    assert main(["provision", "--env", "dev", "-v", *specs]) == 0
    assert main(["rotate", "--env", "dev", "-v", "--yes", *specs]) == 0
    assert main(["rotate", "--env", "dev", "-v", "--finish", "--yes", *specs]) == 0
    main(["verify", "--env", "dev", "--json", *specs])
    assert main(["policy", "--env", "dev", *specs]) == 0
    url = f"redis://nobody:{unique_name}-canary@localhost:1/0"
    leaks.secret(f"{unique_name}-canary")
    main(["plan", "--env", "dev", "--debug", "--admin-url", url, *specs])
    main(["plan", "--env", "dev", "--admin-url", f"{url}?%zz", *specs])
    with load_settings().aws_for("dev") as aws:
        leaks.secrets_of(aws, redis_secret_name("dev", unique_name))


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
