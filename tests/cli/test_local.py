"""`soa-db local`: up, status, env, down."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from soa_db.cli import main

if TYPE_CHECKING:
    import pytest


def test_up_status_env_down(
    server_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What up starts, status and env tell, and down ends; a second up finds it running."""
    monkeypatch.chdir(tmp_path)
    state = str(server_folder / "it's local")
    at = ["--state-dir", state]
    try:
        assert main(["local", "up", *at]) == 0
        told = capsys.readouterr()
        assert "PostgreSQL" in told.out
        assert "mirror" in told.out
        assert "ElastiCache users" in told.out
        assert "TLS and SCRAM" in told.out
        assert 'eval "$(soa-db local env --state-dir' in told.err
        assert main(["local", "up", *at, "--json"]) == 0
        first = json.loads(capsys.readouterr().out)
        assert main(["local", "status", *at, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == first
        assert first["running"]
        assert all(server["up"] for servers in first["servers"].values() for server in servers.values())
        assert {engine: sorted(servers) for engine, servers in first["servers"].items()} == {
            "postgres": ["dev", "mirror", "prod"],
            "redis": ["dev", "mirror", "prod"],
            "mongo": ["dev", "mirror", "prod"],
        }
        assert main(["local", "env", *at, "--json"]) == 0
        exports = json.loads(capsys.readouterr().out)
        assert main(["local", "env", *at]) == 0
        script = capsys.readouterr().out + 'printf %s "$SOA_DB_SETTINGS"'
        shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        assert shell.stdout == exports["SOA_DB_SETTINGS"]
        assert Path(shell.stdout).is_file()
    finally:
        assert main(["local", "down", *at]) == 0
    assert "stopped" in capsys.readouterr().err
    assert shlex.quote(state) != state  # the name was worth quoting
    assert main(["local", "status", *at]) == 1
    assert "nothing runs" in capsys.readouterr().out
    assert main(["local", "env", *at]) == 1
    assert "soa-db local up" in capsys.readouterr().err
    assert main(["local", "refresh-mirror", *at]) == 1
    assert "soa-db local up" in capsys.readouterr().err
    assert main(["local", "down", *at]) == 0
    assert "nothing ran" in capsys.readouterr().err


def test_down_of_a_folder_that_is_not_there_makes_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`local down` where nothing ever ran leaves no folder behind."""
    assert main(["local", "down", "--state-dir", str(tmp_path / "none")]) == 0
    assert "nothing ran" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
