"""What `make suites` does when a suite does not come to its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tools.suites import __main__ as suites
from tools.suites import children, django_suite
from tools.suites import sqlalchemy_suite as suite
from tools.suites.children import DidNotEnd, run_to_end

WHOLE = suite.Outcome(frozenset({"a"}), frozenset(), frozenset())


@pytest.mark.parametrize(("timeout", "said"), [(0.01, "was stopped after"), (60.0, "pytest ended with")])
def test_a_form_that_does_not_end_well_has_no_outcome(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], timeout: float, said: str
) -> None:
    """Stopped at its time, or refused by pytest, which has no `--dburi` here; the report of a form before is gone."""
    (tmp_path / "report.xml").write_text("<testsuites/>", "utf-8")
    assert suite._outcome(tmp_path, "soa_db+bare://nowhere", timeout) is None
    assert said in capsys.readouterr().out
    assert not (tmp_path / "report.xml").exists()


@pytest.mark.parametrize("missing", ["bare psycopg", "by URL"])
def test_a_run_without_an_outcome_has_failed(capsys: pytest.CaptureFixture[str], missing: str) -> None:
    """It is not taken for one in which nothing fails."""
    outcomes: dict[str, suite.Outcome | None] = {"bare psycopg": WHOLE, "by URL": WHOLE}
    assert suite._report(outcomes)
    assert not suite._report({**outcomes, missing: None})
    assert "came to no end" in capsys.readouterr().out


ROOT = Path(__file__).resolve().parents[2]
# It has a child that has no ear for SIGTERM, and tells its number.
PARENT = """
import subprocess, sys, time
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
started = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE)
started.stdout.readline()
print("child", started.pid, flush=True)
def hang_here():
    time.sleep(60)
if len(sys.argv) == 1:
    hang_here()
"""


def _child(log: Path) -> int:
    (number,) = (int(line.split()[1]) for line in log.read_text("utf-8").splitlines() if line.startswith("child "))
    return number


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # One that nobody has asked after is not gone yet.
    return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] == "Z"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is given long to end."""
    monkeypatch.setattr(children, "GRACE", 0.3)


@pytest.mark.usefixtures("impatient")
def test_what_takes_too_long_is_stopped_with_all_that_it_has_started(tmp_path: Path) -> None:
    """The message has the time and the line at which it hung."""
    log = tmp_path / "log"
    with pytest.raises(DidNotEnd, match="stopped after 3 s") as info:
        run_to_end([sys.executable, "-c", PARENT], timeout=3, cwd=tmp_path, log=log)
    assert "in hang_here" in str(info.value)
    _until(lambda: _is_gone(_child(log)))


@pytest.mark.usefixtures("impatient")
def test_what_a_program_that_ends_leaves_behind_is_stopped_too(tmp_path: Path) -> None:
    """Its exit code is returned."""
    log = tmp_path / "log"
    assert run_to_end([sys.executable, "-c", PARENT, "end"], timeout=30, cwd=tmp_path, log=log) == 0
    _until(lambda: _is_gone(_child(log)))
    assert run_to_end([sys.executable, "-c", "raise SystemExit(3)"], timeout=30, cwd=tmp_path, log=log) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_stops_the_suites_stops_their_programs_and_servers(tmp_path: Path, number: signal.Signals) -> None:
    """The way out is taken: what stands in `finally` is done."""
    log = tmp_path / "log"
    program = f"""
import sys
from pathlib import Path
from tools.suites import children
children.GRACE = 0.3
children.stop_in_order()
try:
    command = [sys.executable, "-c", {PARENT!r}]
    children.run_to_end(command, timeout=60, cwd=Path({str(tmp_path)!r}), log=Path({str(log)!r}))
finally:
    print("servers stopped", flush=True)
"""
    runner = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _until(lambda: log.exists() and "child " in log.read_text("utf-8"))
    runner.send_signal(number)
    output, _ = runner.communicate(timeout=20)
    assert b"servers stopped" in output
    assert runner.returncode != 0
    _until(lambda: _is_gone(_child(log)))


def test_a_suite_that_does_not_end_has_failed_and_the_next_one_is_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says so."""

    def hang() -> bool:
        raise DidNotEnd("it was stopped after 1 s")

    monkeypatch.setattr(django_suite, "run", hang)
    monkeypatch.setattr(suite, "run", lambda: True)
    monkeypatch.setattr(suites, "stop_in_order", lambda: None)
    assert suites.main([]) == 1
    said = capsys.readouterr().out
    assert "stopped after 1 s" in said
    assert "== sqlalchemy" in said
    assert suites.main(["sqlalchemy"]) == 0
    assert suites.main(["nothing"]) == 2


def test_djangos_tests_are_given_their_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here by a program that hangs in their place."""
    monkeypatch.setattr(children, "GRACE", 0.3)
    (tmp_path / "runtests.py").write_text("import time; time.sleep(60)", "utf-8")
    with pytest.raises(DidNotEnd, match=r"runtests.py .* was stopped after 0.3 s"):
        django_suite.run_tests(tmp_path, "", {}, [], tmp_path / "log", within=0.3)
