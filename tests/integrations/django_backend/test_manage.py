"""`manage.py` of a real project, in processes of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.core.management.base import CommandError

from soa_db.aws import AwsClients
from soa_db.local.binaries import find_binaries

if TYPE_CHECKING:
    from tests.integrations.django_backend.conftest import Manage, Wrapper

    from soa_db.local.environment import LocalEnvironment


@pytest.fixture
def psql(local_env: LocalEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    """psql on PATH, and variables that would lead it elsewhere."""
    del local_env
    monkeypatch.setenv("PATH", str(find_binaries(17).directory), prepend=":")
    for name, value in {"PGHOST": "elsewhere", "PGSERVICE": "none-such", "PGPASSWORD": "wrong"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(("env", "alias", "role"), [("mirror", "default", "app"), ("dev", "owner", "owner")])
def test_dbshell_is_psql_as_the_role_with_a_fresh_token(
    manage: Manage, psql: None, service: str, env: str, alias: str, role: str
) -> None:
    """Over verified TLS in mirror; nothing secret in its arguments, nothing inherited that leads elsewhere."""
    query = "select current_user, (select count(*) from notes_note) >= 0, current_setting('application_name')"
    command = ["dbshell", "--database", alias, "--", "-X", "-A", "-t", "-c", query]
    shell = manage(*command, env={"DJANGO_ENV": env, "PGDATABASE": "elsewhere"})
    assert shell.stdout.strip() == f"{service.replace('-', '_')}_{role}|t|{service}"


def test_dbshell_passes_arguments_without_secrets_and_psqls_failure_on(
    manage: Manage, psql: None, wrapper: Wrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `ps` shows is what the user wrote. What AWS refuses is a CommandError with the next step."""
    connection = wrapper(OPTIONS={"env": "mirror"})
    arguments, variables = connection.client.settings_to_cmd_args_env(connection.settings_dict, ["-X"])
    assert arguments == ["psql", "-X"]
    assert variables["PGSSLMODE"] == "verify-full"
    assert "X-Amz-Signature" in variables["PGPASSWORD"]
    with pytest.raises(subprocess.CalledProcessError) as info:
        manage("dbshell", "--", "-X", "-c", "select nonsense")
    assert "nonsense" in info.value.stderr
    lost = wrapper("lost", OPTIONS={"service": "never-provisioned"})
    with pytest.raises(CommandError, match="hint"):
        lost.client.runshell([])


def test_the_checks_of_a_project_pass_and_its_migrations_are_seen_by_the_app(manage: Manage) -> None:
    """`check` looks at the database; `migrate --check` reads what the owner wrote."""
    assert "no issues" in manage("check", "--database", "default").stdout
    manage("migrate", "--check")


def test_djangos_test_runner_makes_and_removes_a_test_database(
    manage: Manage, local_aws: LocalEnvironment, tmp_path: Path
) -> None:
    """As a user who may make databases, from a URL; the app role may not, and is told so."""
    with AwsClients() as aws:
        arn = aws.parameters(["/dev/postgres-shared/master-secret-arn"])["/dev/postgres-shared/master-secret-arn"]
        master = aws.secret(arn)
    server = local_aws.server("dev")
    url = f"postgresql://{master['username']}:{master['password']}@{server.host}:{server.port}/postgres?sslmode=disable"
    settings = {"DJANGO_SETTINGS_MODULE": f"{__package__}.project.settings_of_tests", "TEST_DATABASE_URL": url}
    run = manage("test", "--noinput", f"{__package__}.project.notes", env=settings)
    assert "Ran 1 test" in run.stderr
    assert "OK" in run.stderr
    with pytest.raises(subprocess.CalledProcessError) as info:
        manage("test", "--noinput", f"{__package__}.project.notes")
    assert "permission denied to create database" in info.value.stderr
    assert str(master["password"]) not in json.dumps([run.stdout, run.stderr, info.value.stderr])
