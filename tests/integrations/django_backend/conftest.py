"""A provisioned service, Django set up in this process, and `manage.py` of a real project in processes of its own.

- ``service`` (session): its id; provisioned in dev and mirror, with PostgreSQL and Redis. Shared: names of your own.
- ``wrapper``: a function taking parts of an entry of DATABASES that gives a back end's connection object, closed in
  the end. It stands in ``django.db.connections`` under its alias, so that the ORM finds it with ``using(alias)``.
- ``manage``: a function taking the arguments of ``manage.py`` (and ``env``, further variables) that runs it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
import pytest
from django.conf import settings
from django.db import connections
from django.db.utils import ConnectionHandler

from soa_db.access import apply, load_specs
from soa_db.aws import AwsClients
from soa_db.django.postgresql.base import DatabaseWrapper
from soa_db.django.redis import _commands
from soa_db.django.target import _targets

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment

ROOT = Path(__file__).resolve().parents[3]
PROJECT = "tests.integrations.django_backend.project"
SERVICE = "notes-of-django"
SPEC = f"""\
version: 1
service: {SERVICE}
postgres: {{}}
redis: {{scan: true}}
"""
NO_SCAN = "notes-without-scan"

Wrapper = Callable[..., DatabaseWrapper]
Manage = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def django_set_up() -> None:
    """Django in this process, with the project's apps."""
    if not settings.configured:
        settings.configure(
            INSTALLED_APPS=["django.contrib.contenttypes", f"{PROJECT}.notes"],
            DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
            SECRET_KEY="of the tests",
            USE_TZ=True,
        )
        django.setup()


@pytest.fixture(scope="session")
def service(local_env: LocalEnvironment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The service, and a second one that may not list keys."""
    folder = tmp_path_factory.mktemp("specs")
    (folder / "one.yaml").write_text(SPEC, "utf-8")
    (folder / "two.yaml").write_text(f"version: 1\nservice: {NO_SCAN}\nredis: {{}}\n", "utf-8")
    specs = load_specs([folder / "one.yaml", folder / "two.yaml"])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in local_env.exports().items():
            patch.setenv(name, value)
        for env in ("dev", "mirror"):
            with AwsClients() as aws:
                apply(specs, env=env, aws=aws)
        manage_py("migrate", "--database", "owner", "--verbosity", "0", env={**os.environ, "DJANGO_SERVICE": SERVICE})
    yield SERVICE
    for commands in _commands.values():
        commands.disconnect()
    _commands.clear()
    _targets.clear()


@pytest.fixture
def wrapper(local_aws: LocalEnvironment, service: str, django_set_up: None) -> Iterator[Wrapper]:
    """Make connection objects."""
    made: list[DatabaseWrapper] = []
    before = dict(connections.settings)

    def make(alias: str = "default", **entry: Any) -> DatabaseWrapper:
        entry["OPTIONS"] = {"env": "dev", "service": service, **entry.get("OPTIONS", {})}
        entry.setdefault("ENGINE", "soa_db.django.postgresql")
        complete: dict[str, Any] = ConnectionHandler({"default": entry}).settings["default"]
        connections.settings[alias] = complete
        found = DatabaseWrapper(complete, alias)
        connections[alias] = found
        made.append(found)
        return found

    yield make
    for one in made:
        # Some were made in threads that are gone.
        one.inc_thread_sharing()
        one.close()
        pool = one._connection_pools.pop(one.alias, None)
        if pool is not None:
            pool.close()
        with suppress(AttributeError):
            # It was made in another thread.
            del connections[one.alias]
    # Django itself has put an entry "default" there, and misses it.
    connections.settings = before


def manage_py(*arguments: str, env: dict[str, str], **keywords: Any) -> subprocess.CompletedProcess[str]:
    """Run `manage.py` of the project."""
    variables = {
        "DJANGO_SETTINGS_MODULE": f"{PROJECT}.settings",
        **env,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
    }
    command = [sys.executable, "-W", "error", "-m", "django", *arguments]
    run = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False, **keywords)
    assert run.returncode == 0, run.stdout + run.stderr
    return run


@pytest.fixture
def manage(local_aws: LocalEnvironment, service: str) -> Manage:
    """Run `manage.py` for the service."""

    def run(*arguments: str, env: dict[str, str] | None = None, **keywords: Any) -> subprocess.CompletedProcess[str]:
        return manage_py(*arguments, env={**os.environ, "DJANGO_SERVICE": service, **(env or {})}, **keywords)

    return run
