"""An environment of the command line tests' own: they plant faults and kill servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.environment import only

from soa_db.local.environment import LocalEnvironment

SPEC = """\
version: 1
service: {service}
postgres: {{}}
"""


@pytest.fixture(scope="session")
def cli_environment(server_folder: Path) -> Iterator[LocalEnvironment]:
    """A whole local environment, for the tests in this folder only."""
    with LocalEnvironment(server_folder / "cli-environment") as environment:
        yield environment


@pytest.fixture
def cli_env(cli_environment: LocalEnvironment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LocalEnvironment:
    """That environment as this process's AWS, in a working directory of the test's own."""
    only(monkeypatch, cli_environment.exports())
    monkeypatch.chdir(tmp_path)
    return cli_environment


@pytest.fixture
def service(cli_env: LocalEnvironment, unique_name: str) -> str:
    """A new service whose spec is the working directory's db-access.yaml."""
    Path("db-access.yaml").write_text(SPEC.format(service=unique_name))
    return unique_name
