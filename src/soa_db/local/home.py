"""The folder a server lives in: who owns what in it, and how it is made and deleted.

When we are root, PostgreSQL runs as ``nobody``, as which others may run on this machine too, and into which an
administrator of the server can turn (``COPY … TO PROGRAM``). So root never writes into a folder that user can change:
a link planted there would lead the write to any file. The home, with the configuration and the log, is ours; only the
data and the socket inside it are the server user's.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

from soa_db.local import processes
from soa_db.local.binaries import Account, reachable

__all__ = ["DATA", "SOCKET", "end_leftover", "give", "make_home", "remove_server", "write"]

DATA, SOCKET = "data", "socket"
_NEAR, _POINTER = "server", "home"  # where the home is, or the file that says where else
# sockaddr_un holds 108 bytes on Linux and 104 on macOS; to the home come "/socket/.s.PGSQL.<port>".
_LIMIT = 70


def make_home(directory: Path, account: Account) -> Path:
    """Make the home of a server, or find the one it has.

    It stands in ``directory``, or, where ``account`` cannot reach that or the socket's path would be too long, in a new
    folder under the system's temporary one, which a file in ``directory`` names.
    """
    directory.mkdir(parents=True, exist_ok=True)
    pointer = directory / _POINTER
    home = _named(pointer)
    if home is None and reachable(directory, account) and len(os.fsencode(directory)) <= _LIMIT:
        home = directory / _NEAR
        home.mkdir(exist_ok=True)
    elif home is None:
        home = Path(tempfile.mkdtemp(prefix="soa-db-"))
        # Written before anything else happens there, so that whoever comes next can delete it.
        pointer.write_text(str(home), "utf-8")
    # The server's user passes through and sees nothing.
    home.chmod(0o711 if account.uid != os.geteuid() else 0o700)
    for name in (DATA, SOCKET):
        folder = home / name
        folder.mkdir(mode=0o700, exist_ok=True)
        # 0700: the superuser needs no password on the socket in here.
        folder.chmod(0o700)
        give(folder, account)
    return home


def give(path: Path, account: Account) -> None:
    """Make the server's user the owner of something in a folder that is ours."""
    if os.geteuid() == 0:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def write(path: Path, content: str | bytes, account: Account) -> None:
    """Write a file in a folder that is ours, for the server's user alone to read."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    give(path, account)


def remove_server(directory: Path) -> None:
    """Delete the folder of a server, and its home elsewhere, killing the server if it was left running in it."""
    for home in (_named(directory / _POINTER), directory / _NEAR):
        if home is not None:
            end_leftover(home / DATA)
            shutil.rmtree(home, ignore_errors=True)
    shutil.rmtree(directory, ignore_errors=True)


def end_leftover(data_directory: Path) -> None:
    """Kill a postmaster that still runs in a data folder because whoever started it was killed."""
    try:
        pid = int((data_directory / "postmaster.pid").read_text("utf-8").split("\n", 1)[0])
    except (OSError, ValueError):
        return
    # The pid may be another's by now: a postmaster of ours names its data folder.
    if pid > 0 and str(data_directory) in processes.command_line(pid):
        processes.kill_tree(pid)


def _named(pointer: Path) -> Path | None:
    """The home a pointer names, None when it names none that is ours.

    The temporary folder is everybody's: once ours is gone from it (a reboot), its name may be taken by anybody.
    """
    try:
        home = Path(pointer.read_text("utf-8"))
        status = home.lstat()
    except (OSError, ValueError):
        return None
    ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and home.name.startswith("soa-db-")
    return home if ours else None
