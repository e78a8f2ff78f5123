"""Processes by pid and start time, from /proc or, where there is none, from ps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from soa_db.local import processes

PS = """#!/bin/sh
case "$*" in
  *args=*) echo "postgres -D /data" ;;
  *) echo "    1     0 Ss   Mon Nov 23 10:00:00 2026"
     echo "   10     1 S    Mon Nov 23 10:00:01 2026"
     echo "   11    10 S    Mon Nov 23 10:00:02 2026"
     echo "   12    11 S    Mon Nov 23 10:00:03 2026"
     echo "   13    10 Z    Mon Nov 23 10:00:04 2026" ;;
esac
"""


@pytest.fixture
def without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A system that has only ps."""
    program = tmp_path / "ps"
    program.write_text(PS)
    program.chmod(0o755)
    monkeypatch.setattr(processes, "PROC", tmp_path / "proc")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")


@pytest.mark.usefixtures("without_proc")
def test_ps_is_read_where_there_is_no_proc() -> None:
    """The same answers: tree, start time, arguments, zombies left out."""
    assert processes.tree(10) == (11, 12)
    assert processes.find(13) is None
    assert processes.find(99) is None
    assert processes.alive(10, "Mon Nov 23 10:00:01 2026")
    assert not processes.alive(10, "Mon Nov 23 10:00:02 2026")
    assert processes.command_line(10) == ("postgres", "-D", "/data")


def test_this_process_and_its_child_are_found() -> None:
    """A child is in the tree while it lives; a recycled pid is recognised by its start."""
    own = processes.find(os.getpid())
    assert own is not None
    assert processes.alive(own.pid, own.started)
    assert not processes.alive(own.pid, own.started + "0")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in processes.tree(os.getpid())
        assert "input()" in processes.command_line(child.pid)
        child.kill()
        child.wait()
    assert processes.find(child.pid) is None
    assert child.pid not in processes.tree(os.getpid())


def test_signals_to_what_is_gone_are_no_error() -> None:
    """It may end between being seen and being signalled."""
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    processes.pause_tree(child.pid)
    processes.resume_tree(child.pid)
    processes.kill_tree(child.pid)
