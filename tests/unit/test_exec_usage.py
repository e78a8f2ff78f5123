"""What ``soa-db exec`` refuses before it asks AWS for anything, and the folder it keeps files in."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import pytest

from soa_db._psycopg.addresses import dialled_addresses
from soa_db.cli import main
from soa_db.cli.exec.clients import _roots
from soa_db.cli.exec.folder import PrivateFolder
from soa_db.config import Dial, PostgresConfig, TlsConfig
from soa_db.errors import ServerUnavailable

SERVICE = ["exec", "--env", "mirror", "--service", "chat-api"]


@pytest.fixture(autouse=True)
def no_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the machine's own; who asked AWS would end with 1, not 2."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "SOA_DB_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def never_become_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test whose refusal fails must fail, and not have pytest replaced by a program that ends with 0."""

    def become(file: str, arguments: list[str], environment: dict[str, str]) -> NoReturn:
        del environment
        raise AssertionError(f"{file} would have been run with {arguments}")

    monkeypatch.setattr(os, "execve", become)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "no program to run"),
        (["--json"], "say it with --engine"),
        (["--", "python3", "script.py"], "what python3 connects to is not known: say it with --engine"),
        (["--role", "ro", "--", "redis-cli"], "--role is for PostgreSQL: on redis a service has one user"),
        (["--role", "ro", "--engine", "postgres", "--engine", "mongo", "--", "env"], "could write to mongo"),
        (["--db-id", "pii", "--", "mongosh"], "--db-id is for PostgreSQL"),
        (["--auth", "password", "--", "redis-cli"], "--auth is for PostgreSQL"),
        (["--auth", "password", "--role", "ro", "--", "psql"], "no --role with it"),
        (["--dial", "nonsense", "--", "psql"], "is not host:port"),
        (["--dial", "h:1", "--engine", "redis", "--engine", "mongo", "--", "env"], "--dial leads to one server"),
        (["--role", "superuser", "--", "psql"], "'superuser' is not one of"),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Above all what would be left out silently: somebody who asks for `ro` must not get a user that writes."""
    assert main([*SERVICE, *arguments]) == 2
    assert told in " ".join(capsys.readouterr().err.split())


def test_what_follows_the_programs_name_is_the_programs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With `--` or without: `-h` and `--env` there are psql's own."""
    psql = tmp_path / "psql"
    for dashes in ([], ["--"]):
        assert main([*SERVICE, *dashes, str(psql), "-h", "--env", "prod", "--json"]) == 127
        assert capsys.readouterr().err == f"soa-db: {psql}: no such program\n"


def test_a_program_that_is_not_there_is_127_and_one_that_cannot_be_run_126(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """As shells, env and timeout have it; found out before AWS is asked."""
    assert main([*SERVICE, "--engine", "redis", "--", "no-such-program-anywhere"]) == 127
    file = tmp_path / "psql"
    file.write_text("")
    assert main([*SERVICE, "--", str(file)]) == 126
    assert capsys.readouterr().err.endswith("psql: cannot be run\n")


def gone(folder: Path) -> bool:
    """Whether a folder disappears, by somebody else's hand."""
    deadline = time.monotonic() + 20
    while folder.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_a_private_folder_is_the_users_alone_and_goes_at_the_end() -> None:
    """Nothing is made before the first file; a second use is a new folder."""
    with PrivateFolder() as folder:
        file = Path(folder.write("secret", "hunter2"))
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
        with pytest.raises(FileExistsError):
            folder.write("secret", "another")
    assert not file.parent.exists()
    with PrivateFolder() as unused:
        unused.hand_over()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_private_folder_goes_with_its_maker_however_that_ends(number: signal.Signals) -> None:
    """Before the client runs too: a janitor waits from the first moment on."""
    code = (
        "import os, sys; from soa_db.cli.exec.folder import PrivateFolder\n"
        "folder = PrivateFolder(); folder.write('secret', 'hunter2')\n"
        f"print(folder.path, flush=True); os.kill(0, {int(number)})"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, start_new_session=True, check=False
    )
    assert done.returncode == -number
    folder = Path(done.stdout.decode().strip())
    assert folder.name.startswith("soa-db-exec-")
    assert gone(folder)


def test_a_folder_whose_janitor_cannot_be_started_is_not_left_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Half-way: the folder is made, the janitor fails."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with PrivateFolder() as folder, pytest.raises(FileNotFoundError):
        folder.write("secret", "hunter2")
    assert list(tmp_path.iterdir()) == []


def test_a_client_that_verifies_no_names_gets_few_roots() -> None:
    """redis-cli would take a certificate of anybody's: for ElastiCache only Amazon's authorities are trusted."""
    with PrivateFolder() as folder:
        file = _roots(TlsConfig(), "roots.pem", folder, amazon=True)
        assert file is not None
        assert 1 <= Path(file).read_text().count("BEGIN CERTIFICATE") <= 6
        given = _roots(TlsConfig(ca_pem="PEM"), "own.pem", folder, amazon=True)
        assert given is not None
        assert Path(given).read_text() == "PEM"
        assert _roots(TlsConfig(verify="none"), "none.pem", folder) is None


def test_a_tunnel_whose_name_is_not_known_is_told() -> None:
    """libpq resolves no PGHOSTADDR: it is done here, and fails here."""
    config = PostgresConfig(instance_name="chat", host="db", database="d", dial=Dial(host="no.such.invalid", port=1))
    with pytest.raises(ServerUnavailable, match=r"no\.such\.invalid cannot be resolved"):
        dialled_addresses(config)
    assert dialled_addresses(config.model_copy(update={"dial": Dial(host="127.0.0.1", port=1)})) == ["127.0.0.1"]
    assert dialled_addresses(config.model_copy(update={"dial": None})) == []
