"""A private directory that lasts as long as the client it is for, and no longer."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["PrivateFolder"]

# Above what scripts open by number (`exec 3< file`), which would close ours.
_LOWEST_DESCRIPTOR = 100


class PrivateFolder:
    """A directory of mode 0700 for files of mode 0600, made with the first of them.

    A janitor, a process of its own, deletes it when the last holder of a pipe is gone: this process, or the client it
    becomes and the children of that. So the files go whichever way it ends, also by SIGKILL.
    """

    def __init__(self) -> None:
        self._path: Path | None = None
        self._pipe = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)
            os.close(self._pipe)
            self._path = None

    @property
    def path(self) -> Path:
        """The directory."""
        if self._path is None:
            made = Path(tempfile.mkdtemp(prefix="soa-db-exec-"))
            self._pipe = _leave_to_janitor(made)
            self._path = made
        return self._path

    def write(self, name: str, text: str) -> str:
        """Write a file and return its path."""
        file = self.path / name
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        return str(file)

    def hand_over(self) -> None:
        """Have the program that this process becomes hold the pipe."""
        if self._path is not None:
            os.set_inheritable(self._pipe, True)


def _leave_to_janitor(directory: Path) -> int:
    """Start the janitor; return the end of the pipe that keeps the directory."""
    from soa_db.cli.exec import _janitor

    end, pipe = os.pipe()
    held = -1
    try:
        held = fcntl.fcntl(pipe, fcntl.F_DUPFD_CLOEXEC, _LOWEST_DESCRIPTOR)
        subprocess.run(  # noqa: S603 (our own module)
            [sys.executable, "-I", "-S", _janitor.__file__, str(directory)],
            stdin=end,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            check=True,
        )
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        if held >= 0:
            os.close(held)
        raise
    finally:
        os.close(end)
        os.close(pipe)
    return held
