"""Where lines go in real processes: pipes, terminals, files that are rotated, forks, and outputs that fail."""

from __future__ import annotations

import gzip
import io
import json
import logging
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.support.logs import Lines, run, untouched

from soa_db.logging import LineHandler, configure_logging, get_logger

CANARY = "c4nary"


def records(text: str) -> list[dict[str, Any]]:
    """Each line as JSON."""
    return [json.loads(line) for line in text.splitlines()]


def test_a_container_gets_json_lines_on_stdout_between_what_is_printed() -> None:
    """In the order in which it happened, without a thread, in an encoding that lacks most characters too."""
    ran = run(
        """
        import logging, threading
        from soa_db.logging import configure_logging, get_logger
        configure_logging()
        print("first", end="")
        print()
        get_logger("x").info("grüße", password="c4nary")
        print("second")
        logging.getLogger("lib").warning("a")
        assert [t.name for t in threading.enumerate()] == ["MainThread"]
        """,
        variables={"PYTHONIOENCODING": "ascii", "SOA_ENV": "prod"},
    )
    first, line, second, lib = ran.stdout.splitlines()
    assert (first, second) == ("first", "second")
    assert json.loads(line)["event"] == "grüße"
    assert json.loads(line)["password"] == "[redacted]"
    assert json.loads(lib)["logger"] == "lib"
    assert ran.stderr == ""


@pytest.mark.parametrize(("env", "expected"), [("dev", b"\x1b["), ("prod", b'{"timestamp"')])
def test_a_terminal_gets_colours_unless_the_service_is_deployed(env: str, expected: bytes) -> None:
    """A real pseudo-terminal; ECS and Docker can give one to a container too."""
    master, slave = pty.openpty()
    try:
        code = "from soa_db.logging import *; configure_logging(); get_logger('x').info('hello')"
        run(code, variables={"SOA_ENV": env, "TERM": "xterm", "NO_COLOR": ""}, capture_output=False, stdout=slave)
        assert os.read(master, 4096).startswith(expected)
    finally:
        os.close(slave)
        os.close(master)


def test_a_reader_that_went_away_ends_nothing_and_shows_nothing() -> None:
    """The service goes on, says once on stderr that records are lost, and exits with its own code."""
    reading, writing = os.pipe()
    os.close(reading)
    ran = run(
        """
        from soa_db.logging import configure_logging, get_logger
        configure_logging()
        for n in range(3):
            get_logger("x").info("a %s", "c4nary", password="c4nary")
        raise SystemExit(7)
        """,
        check=False,
        capture_output=False,
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    assert ran.returncode == 7
    assert ran.stderr == "soa_db.logging: records are lost: BrokenPipeError Broken pipe\n"


def test_a_process_without_stdout_goes_on() -> None:
    """Closed by its parent, or by itself; its descriptor may be another file by then."""
    ran = run(
        """
        import sys
        from soa_db.logging import configure_logging, get_logger
        configure_logging()
        sys.stdout.close()
        other = open("/dev/null", "w")
        get_logger("x").info("a")
        sys.stdout = None
        get_logger("x").info("b")
        configure_logging()
        get_logger("x").info("c")
        sys.exit(3)
        """,
        check=False,
    )
    assert ran.returncode == 3
    assert ran.stderr == "soa_db.logging: records are lost: ValueError\n"


def test_a_full_disk_is_told_once_and_counted() -> None:
    """/dev/full takes nothing; when there is room again, the log says what is missing."""
    with untouched():
        stderr, sys.stderr = sys.stderr, io.StringIO()
        try:
            with Path("/dev/full").open("w") as full:
                handler = LineHandler(stream=full)
                handler.setFormatter(logging.Formatter("%(message)s"))
                for _ in range(3):
                    handler.handle(logging.makeLogRecord({"msg": "lost %s", "args": (CANARY,)}))
                handler._stream = lines = Lines()
                handler.handle(logging.makeLogRecord({"msg": "kept"}))
                handler.handle(logging.makeLogRecord({"msg": "more"}))
            told = sys.stderr.getvalue()
        finally:
            sys.stderr = stderr
    assert told == "soa_db.logging: records are lost: OSError No space left on device\n"
    assert lines.getvalue() == "kept\nlog records were lost before this one: 3\nmore\n"


def test_a_slow_reader_of_a_non_blocking_pipe_gets_whole_lines() -> None:
    """asyncio makes a pipe non-blocking that it is given; one that stays full loses lines, and nothing hangs."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    found: list[bytes] = []

    def read() -> None:
        while data := os.read(reading, 65536):
            found.append(data)

    reader = threading.Thread(target=read)
    big = "x" * 500_000
    reader.start()
    with io.TextIOWrapper(io.FileIO(writing, "w"), encoding="utf-8") as stream:
        handler = LineHandler(stream=stream)
        for _ in range(3):
            handler.handle(logging.makeLogRecord({"msg": big}))
    reader.join()
    os.close(reading)
    assert b"".join(found) == (big + "\n").encode() * 3


def test_a_reader_that_stands_still_loses_lines_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time a line may take."""
    monkeypatch.setattr("soa_db.logging.handler._PATIENCE_SECONDS", 0.01)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    stderr, sys.stderr = sys.stderr, io.StringIO()
    try:
        with io.TextIOWrapper(io.FileIO(writing, "w"), encoding="utf-8") as stream:
            LineHandler(stream=stream).handle(logging.makeLogRecord({"msg": "x" * 500_000}))
        assert "BlockingIOError" in sys.stderr.getvalue()
    finally:
        sys.stderr = stderr
        os.close(reading)


def test_after_a_line_that_was_torn_the_next_begins_on_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader of lines loses the one and not its neighbour; and one who stands still is waited for once only."""
    monkeypatch.setattr("soa_db.logging.handler._PATIENCE_SECONDS", 0.01)
    waits: list[float] = []

    class Poll:
        def __init__(self) -> None:
            self.real = real()

        def register(self, *what: int) -> None:
            self.real.register(*what)

        def poll(self, timeout: float) -> Any:
            waits.append(timeout)
            return self.real.poll(timeout)

    real = select.poll
    monkeypatch.setattr(select, "poll", Poll)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with io.TextIOWrapper(io.FileIO(writing, "w"), encoding="utf-8") as stream:
        handler = LineHandler(stream=stream)
        for _ in range(3):
            handler.handle(logging.makeLogRecord({"msg": "x" * 500_000}))
        assert len(os.read(reading, 500_000)) < 500_000
        handler.handle(logging.makeLogRecord({"msg": "next"}))
        handler.handle(logging.makeLogRecord({"msg": "more"}))
    assert os.read(reading, 65536) == b"\nnext\nlog records were lost before this one: 3\nmore\n"
    assert waits == [10, 0, 0]
    os.close(reading)


def test_streams_that_encode_further_get_text(tmp_path: Path) -> None:
    """Their descriptor is not where lines go: past it, they would be unpacked or not encrypted."""
    path = tmp_path / "a.gz"
    with untouched(), gzip.open(path, "wt", encoding="utf-8") as stream:
        configure_logging(stream=stream, format="json", attributes={})
        get_logger("x").info("a")
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        assert [record["event"] for record in records(stream.read())] == ["a"]


def test_a_rotated_file_is_opened_anew(tmp_path: Path) -> None:
    """Renamed, removed, its folder gone and back, closed by `logging.shutdown`: none is lost that has a place."""
    path = tmp_path / "logs" / "a.log"
    path.parent.mkdir()
    with untouched():
        configure_logging(log_file=path, attributes={})
        log = get_logger("x")
        log.info("1")
        path.rename(tmp_path / "a.log.1")
        path.touch()  # as `create` in logrotate's settings does
        log.info("2")
        assert [r["event"] for r in records(path.read_text())] == ["2"]
        path.rename(tmp_path / "a.log.2")
        log.info("2b")
        assert [r["event"] for r in records(path.read_text())] == ["2b"]
        path.unlink()
        log.info("3")
        path.parent.rename(tmp_path / "gone")
        log.info("4")
        (tmp_path / "gone").rename(path.parent)
        log.info("5")
        os.truncate(path, 0)
        log.info("6")
        logging.getLogger().handlers[0].close()
        log.info("7")
        handler = logging.getLogger().handlers[0]
        handler.close()
        path.parent.rename(tmp_path / "gone")
        stderr, sys.stderr = sys.stderr, io.StringIO()
        try:
            log.info("8")
            assert "FileNotFoundError" in sys.stderr.getvalue()
        finally:
            sys.stderr = stderr
    assert [r["event"] for r in records((tmp_path / "a.log.1").read_text())] == ["1"]
    assert [r["event"] for r in records((tmp_path / "gone" / "a.log").read_text())] == ["6", "7"]
    assert (tmp_path / "gone" / "a.log").stat().st_mode & 0o007 == 0


def test_processes_append_whole_lines_to_one_file(tmp_path: Path) -> None:
    """Forked and started ones, with lines longer than any buffer, while the file is rotated."""
    path = tmp_path / "a.log"
    code = f"""
        import os
        from soa_db.logging import configure_logging, get_logger
        configure_logging(log_file={str(path)!r})
        log = get_logger("x")
        log.info("before")
        child = os.fork()
        for n in range(15):
            log.info("x" * 15000, n=n, more="y" * 15000)
        if child:
            os.waitpid(child, 0)
        """
    writers = [threading.Thread(target=run, args=(code,)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for number in range(5):
        if path.exists():
            path.rename(tmp_path / f"a.log.{number}")
        threading.Event().wait(0.1)
    for writer in writers:
        writer.join()
    found = records("".join(file.read_text() for file in tmp_path.iterdir()))
    assert sum(record["event"] == "before" for record in found) == 2
    assert len(found) == 2 + 2 * 2 * 15


def test_a_forked_child_writes_what_it_logs_and_nothing_twice() -> None:
    """Also when another thread was logging at that moment: its lock is not left held."""
    ran = run(
        """
        import os, threading
        from soa_db.logging import configure_logging, get_logger
        configure_logging()
        log, stop = get_logger("x"), threading.Event()
        def busy():
            while not stop.is_set():
                log.info("busy")
        thread = threading.Thread(target=busy)
        thread.start()
        for n in range(20):
            child = os.fork()
            if not child:
                log.info("child", n=n)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        thread.join()
        """,
        variables={"PYTHONWARNINGS": "ignore"},
    )
    children = [record["n"] for record in records(ran.stdout) if record["event"] == "child"]
    assert children == list(range(20))


def test_logging_in_a_signal_handler_loses_no_line() -> None:
    """Whatever it interrupts, a print too."""
    ran = run(
        """
        import os, signal, sys
        from soa_db.logging import configure_logging, get_logger
        configure_logging()
        log, seen = get_logger("x"), []
        def on(number, frame):
            seen.append(number)
            log.info("signal")
        signal.signal(signal.SIGALRM, on)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        n = 0
        while len(seen) < 100:
            n += 1
            log.info("loop")
            sys.stdout.write("{}\\n")
        signal.setitimer(signal.ITIMER_REAL, 0)
        print('{"event": "end", "signals": %d}' % len(seen))
        """
    )
    found = records(ran.stdout)
    assert sum(record.get("event") == "signal" for record in found) == found[-1]["signals"]
    assert ran.stderr == ""


_BY_CALL = "configure_logging(log_file={path!r})"
_BY_HAND = "logging.basicConfig(level=20, handlers=[LineHandler(log_file={path!r})])"


@pytest.mark.parametrize("place", ["stdout", "stderr"])
@pytest.mark.parametrize("how", [_BY_CALL, _BY_HAND])
def test_dev_stdout_as_a_file_means_stdout_itself(how: str, place: str) -> None:
    """It cannot be opened anew where it is a socket, as under some container runtimes; nor can its other names."""
    number = ("stdin", "stdout", "stderr").index(place)
    for path in (f"/dev/{place}", f"/dev/fd/{number}", f"/proc/self/fd/{number}"):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            code = f"import logging; from soa_db.logging import *; {how.format(path=path)}; logging.warning('heard')"
            out, err = [theirs.fileno() if name == place else subprocess.DEVNULL for name in ("stdout", "stderr")]
            ran = subprocess.run([sys.executable, "-c", code], stdout=out, stderr=err, timeout=60, check=False)
            theirs.close()
            assert (ran.returncode, b"heard" in ours.recv(65536)) == (0, True)


def test_without_structlog_the_error_names_the_extra() -> None:
    """And only this module needs it."""
    ran = run(
        """
        import sys
        sys.modules["structlog"] = None
        import soa_db, soa_db.redis
        try:
            import soa_db.logging
        except soa_db.MissingExtra as error:
            print(error.hint)
        """
    )
    assert ran.stdout == "pip install 'soa-db[logging]'\n"


def test_an_interrupt_is_not_swallowed() -> None:
    """Ctrl-C while a line is made ends the process as it would anywhere."""
    ran = run(
        """
        import os, signal
        from soa_db.logging import configure_logging, get_logger
        configure_logging()
        class Slow:
            def __repr__(self):
                os.kill(os.getpid(), signal.SIGINT)
                return "slow"
        get_logger("x").info("a", value=Slow())
        """,
        check=False,
    )
    assert ran.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in ran.stderr
