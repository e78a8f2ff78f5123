"""Becoming the server: user first, then the parent's death signal, then the program."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Any

import pytest

from soa_db.local import _launch


@pytest.mark.parametrize(("root", "parent"), [(True, "real"), (False, "real"), (False, "none"), (False, "gone")])
def test_the_order_is_user_then_signal_then_program(monkeypatch: pytest.MonkeyPatch, root: bool, parent: str) -> None:
    """The signal comes after setuid, which clears it; a parent that is gone already starts nothing."""
    done: list[tuple[Any, ...]] = []

    class Library:
        def prctl(self, *arguments: int) -> None:
            done.append(("prctl", *arguments))

    def record(name: str) -> Any:
        return lambda *arguments: done.append((name, *arguments))

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Library())
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    for name in ("setgroups", "setgid", "setuid", "execv"):
        monkeypatch.setattr(os, name, record(name))
    pid = {"real": os.getppid(), "none": 0, "gone": os.getppid() + 1}[parent]
    arguments = ["65534", "65533", str(pid), str(int(signal.SIGQUIT)), "/bin/postgres", "-D", "/data"]
    if parent == "gone":
        with pytest.raises(SystemExit):
            _launch.main(arguments)
    else:
        _launch.main(arguments)
    user = [("setgroups", []), ("setgid", 65533), ("setuid", 65534)] if root else []
    armed = [] if parent == "none" else [("prctl", 1, int(signal.SIGQUIT))]
    start = [] if parent == "gone" else [("execv", "/bin/postgres", ["/bin/postgres", "-D", "/data"])]
    assert done == [*user, *armed, *start]
