"""Where lines go: the process's own stdout, a stream, or a file that may be rotated under it.

A line is one ``write`` to the descriptor, so that lines of several threads and processes come out whole (POSIX
promises it for files opened with O_APPEND, and for pipes up to PIPE_BUF bytes) and nothing is left in a buffer that a
fork would double or a broken pipe would make fail again at exit.
"""

from __future__ import annotations

import io
import logging
import os
import select
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from soa_db.errors import ConfigurationError

__all__ = ["LineHandler", "own_stream"]

# A reader that takes nothing for so long loses lines; the service goes on.
_PATIENCE_SECONDS = 1.0

# The process's own streams by names of files. Where they are sockets, as under some container runtimes, these cannot be
# opened; where they are files, what is opened anew has a position of its own.
_OWN_STREAMS = {"-": "stdout"} | {
    path: name
    for number, name in ((1, "stdout"), (2, "stderr"))
    for path in (f"/dev/{name}", f"/dev/fd/{number}", f"/proc/self/fd/{number}")
}


def own_stream(log_file: str | os.PathLike[str] | None) -> str | None:
    """Return ``stdout`` or ``stderr`` if ``log_file`` is another name of the one this process has."""
    return None if log_file is None else _OWN_STREAMS.get(os.fspath(log_file))


class LineHandler(logging.Handler):
    """Writes each record as a whole, at once, by the process and thread that logs it.

    What cannot be written is lost, counted, and told: on stderr when it begins, in the log when it is over. Neither
    tells what the records were.

    Args:
        stream: a text stream; whatever ``sys.stdout`` is at the time when left out.
        log_file: a file to append to instead; made, with mode 0640, when missing. When it is renamed or removed, the
            next record opens it anew, as ``logging.handlers.WatchedFileHandler`` does. ``/dev/stdout`` and
            ``/dev/stderr`` are never opened: they mean the process's own streams.
        level: of the handler.

    Raises:
        ConfigurationError: both are given, or the file cannot be opened.
    """

    def __init__(
        self,
        *,
        stream: TextIO | None = None,
        log_file: str | os.PathLike[str] | None = None,
        level: int | str = logging.NOTSET,
    ) -> None:
        super().__init__(level)
        self._stream = stream
        self._path: Path | None = None
        self._file: int | None = None
        self._identity: tuple[int, int] = (0, 0)
        self._lost = 0
        self._torn = False  # the last line there has no end
        self._known: TextIO | None = None  # the stream last found to be a plain file
        if log_file is None:
            return
        if stream is not None:
            raise ConfigurationError("stream and log_file exclude each other", hint="give one of them")
        if own := own_stream(log_file):
            self._stream = sys.stderr if own == "stderr" else None
            return
        self._path = Path(log_file).absolute()  # a later chdir does not move the log
        try:
            self._open(self._path)
        except (OSError, ValueError) as error:  # ValueError: a NUL in it
            raise ConfigurationError(
                f"the log file cannot be opened: {getattr(error, 'strerror', error)}",
                hint="make its folder, or give a path this process may write to",
                log_file=self._path,
            ) from error

    def handle(self, record: logging.LogRecord) -> bool:
        """Write ``record``, unless a filter says no; where there is none, by a shorter way than logging's own."""
        lock = self.lock
        if self.filters or lock is None:
            return super().handle(record)
        with lock:
            self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Write ``record``; what goes wrong is told once and never raised."""
        try:
            self._write(self.format(record))
        except Exception:  # noqa: BLE001  # a service does not fail because its log does
            self.handleError(record)
            return
        if self._lost:
            lost, self._lost = self._lost, 0
            text = "log records were lost before this one: %d"
            self.emit(logging.LogRecord("soa_db.logging", logging.WARNING, __file__, 0, text, (lost,), None))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802  # logging's name
        """Tell on stderr why records are lost, once until it is over; logging's own would print their arguments."""
        self._lost += 1
        error = sys.exc_info()[1]
        if self._lost > 1 or not logging.raiseExceptions or sys.stderr is None:
            return
        reason = error.strerror if isinstance(error, OSError) and error.strerror else ""
        with suppress(OSError, ValueError):
            sys.stderr.write(f"soa_db.logging: records are lost: {type(error).__name__} {reason}".rstrip() + "\n")
            sys.stderr.flush()

    def close(self) -> None:
        """Close the file; a record that comes later opens it again."""
        self.acquire()
        try:
            if self._file is not None:
                os.close(self._file)
                self._file = None
        finally:
            self.release()
        super().close()

    def _write(self, line: str) -> None:
        if self._path is not None:
            self._write_all(self._opened(self._path), line.encode("utf-8", "backslashreplace") + b"\n")
            return
        stream: TextIO | None = self._stream or sys.stdout
        if stream is None:  # a process without one, as under pythonw
            return
        known = stream is self._known
        if not known:
            if not _is_file(stream):
                self._write_text(stream, line)
                return
            self._known = stream
        try:  # noqa: SIM105  # a third of what `suppress` costs
            stream.flush()  # what was printed before comes first
        except RuntimeError:  # in a signal handler that interrupted a print
            pass
        self._write_all(stream.fileno(), f"{line}\n".encode(stream.encoding, "backslashreplace"))

    def _write_all(self, descriptor: int, data: bytes) -> None:
        """Write ``data``, on a line of its own even where the line before was written in part."""
        if self._torn:
            data = b"\n" + data
        written = 0
        try:
            while written < len(data):
                try:
                    written += os.write(descriptor, data[written:] if written else data)
                except BlockingIOError:
                    # Somebody made it non-blocking (asyncio does so to a pipe it is given): wait for its reader, but
                    # only once for one that stands still.
                    waiting = select.poll()
                    waiting.register(descriptor, select.POLLOUT)
                    if not waiting.poll(0 if self._lost else _PATIENCE_SECONDS * 1000):
                        raise
        finally:
            if written:
                self._torn = written < len(data)

    @staticmethod
    def _write_text(stream: TextIO, line: str) -> None:
        stream.write(f"{line}\n")
        stream.flush()

    def _opened(self, path: Path) -> int:
        """The file that is at ``path`` now."""
        try:
            there = os.stat(path)  # noqa: PTH116  # half the time of Path.stat
            if self._file is not None and (there.st_dev, there.st_ino) == self._identity:
                return self._file
        except OSError:
            pass
        try:
            return self._open(path)
        except OSError:
            # Its folder is gone, or is no longer ours: the old file still takes lines, wherever it is now.
            if self._file is None:
                raise
            return self._file

    def _open(self, path: Path) -> int:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        if self._file is not None:
            os.close(self._file)
        self._file = descriptor
        self._torn = False
        opened = os.fstat(descriptor)
        self._identity = (opened.st_dev, opened.st_ino)
        return descriptor


def _is_file(stream: TextIO) -> bool:
    """Whether what is written to ``stream`` goes to its descriptor as it is.

    That of others may be one they do not write to (ipykernel's), or not so (gzip's, a TLS socket's).
    """
    if not isinstance(stream, io.TextIOWrapper):
        return False
    buffer = stream.buffer
    return isinstance(getattr(buffer, "raw", buffer), io.FileIO)
