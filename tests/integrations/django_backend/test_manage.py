"""`manage.py` of a real project, in processes of its own."""

from __future__ import annotations

import subprocess
from traceback import TracebackException
from typing import TYPE_CHECKING

import pytest
from django.core.management import CommandError, call_command
from tests.integrations.django_backend.conftest import PROJECT

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


def test_dbshell_is_psql_as_the_role_with_a_fresh_token(manage: Manage, psql: None, service: str) -> None:
    """Over verified TLS; nothing inherited leads elsewhere."""
    query = "select current_user, current_database(), current_setting('application_name')"
    shell = manage("dbshell", "--", "-X", "-A", "-t", "-c", query, env={"DJANGO_ENV": "mirror", "PGDATABASE": "other"})
    snake = service.replace("-", "_")
    assert shell.stdout.strip() == f"{snake}_app|{snake}|{service}"


def test_dbshell_shows_no_secret_in_its_arguments_and_passes_psqls_failure_on(
    psql: None, wrapper: Wrapper, capfd: pytest.CaptureFixture[str]
) -> None:
    """What `ps` shows is what the user wrote. What AWS refuses is a CommandError with the next step."""
    connection = wrapper(OPTIONS={"env": "mirror"})
    arguments, variables = connection.client.settings_to_cmd_args_env(connection.settings_dict, ["-X"])
    assert arguments == ["psql", "-X"]
    assert variables is not None
    assert variables["PGSSLMODE"] == "verify-full"
    assert "X-Amz-Signature" in variables["PGPASSWORD"]
    with pytest.raises(subprocess.CalledProcessError):
        wrapper(OPTIONS={"role": "owner"}).client.runshell(["-X", "-c", "select current_user, nonsense"])
    assert "nonsense" in capfd.readouterr().err
    with pytest.raises(CommandError, match="hint"):
        wrapper("lost", OPTIONS={"service": "never-provisioned"}).client.runshell([])


@pytest.mark.parametrize("found", [True, False], ids=["psql fails", "no psql"])
def test_when_dbshell_fails_no_frame_holds_the_credentials(
    psql: None, wrapper: Wrapper, monkeypatch: pytest.MonkeyPatch, found: bool
) -> None:
    """Tools that report errors print the locals of frames, and psql's environment has the token in it."""
    client = wrapper(OPTIONS={"env": "mirror"}).client
    if not found:
        monkeypatch.setattr(client, "executable_name", "no-such-program")
    with pytest.raises((subprocess.CalledProcessError, FileNotFoundError)) as info:
        client.runshell(["-X", "-c", "nonsense"])
    report = TracebackException.from_exception(info.value, capture_locals=True)
    text = "".join(report.format())
    assert "runshell" in text
    assert "X-Amz-Signature" not in text


def test_the_checks_of_a_project_pass_and_its_migrations_are_seen_by_the_app(wrapper: Wrapper) -> None:
    """`check` looks at the database; `migrate --check` reads what the owner wrote."""
    wrapper()
    call_command("check", databases=["default"])
    call_command("migrate", check_unapplied=True, verbosity=0)


def test_djangos_test_runner_makes_and_removes_a_test_database(manage: Manage, local_aws: LocalEnvironment) -> None:
    """As a user who may make databases, from a URL."""
    with AwsClients() as aws:
        arn = aws.parameters(["/dev/postgres-shared/master-secret-arn"])["/dev/postgres-shared/master-secret-arn"]
        master = aws.secret(arn)
    server = local_aws.server("dev")
    url = f"postgresql://{master['username']}:{master['password']}@{server.host}:{server.port}/postgres?sslmode=disable"
    settings = {"DJANGO_SETTINGS_MODULE": f"{PROJECT}.settings_of_tests", "TEST_DATABASE_URL": url}
    run = manage("test", "--noinput", f"{PROJECT}.notes.tests", env=settings)
    assert "Ran 1 test" in run.stderr
    assert "OK" in run.stderr
    assert str(master["password"]) not in run.stdout + run.stderr


def test_a_test_database_is_named_after_the_database_and_shared_by_its_roles(
    wrapper: Wrapper, service: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """NAME is empty in the settings. The app role may make none, and Django says so."""
    app, owner = wrapper(), wrapper("owner", OPTIONS={"role": "owner"})
    assert app.creation.test_db_signature()[-1] == f"test_{service.replace('-', '_')}"
    assert app.creation.test_db_signature() == owner.creation.test_db_signature()
    assert app.creation.test_db_signature() != wrapper("mirror", OPTIONS={"env": "mirror"}).creation.test_db_signature()
    with pytest.raises(SystemExit):
        app.creation.create_test_db(verbosity=0)
    assert "permission denied to create database" in capsys.readouterr().err
