"""The state file and the locks."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from soa_db.local.state import ServerState, State, held, lock, read_state, write_private, write_state

SERVER = ServerState("localhost", 1, 2, 3, 17, "/log", None, "111111111111", "PostgreSQL 17", "host=/s")
REDIS = ServerState("localhost", 1, 2, 3, 7, "/log", None, "111111111111", "Redis 7.0", admin_url="redis://a:hidden@b")
STATE = State(
    7,
    "start",
    9,
    "control-token",
    {"AWS_SECRET_ACCESS_KEY": "hidden"},
    {"postgres": {"dev": SERVER}, "redis": {"dev": REDIS}},
)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """Readable by its owner alone, and without secrets in its repr."""
    write_state(tmp_path, STATE)
    assert read_state(tmp_path) == STATE
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == 0o600
    assert "hidden" not in repr(STATE)
    assert "control-token" not in repr(STATE)
    assert "hidden" not in repr(REDIS)
    changed = STATE.with_server("redis", "dev", replace(REDIS, pid=None)).servers
    assert changed["redis"]["dev"].pid is None
    assert changed["postgres"] == STATE.servers["postgres"]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"servers": 3}', '{"servers": {"redis": {"dev": {"port": 1}}}}', "\0"]
)
def test_a_broken_state_file_counts_as_none(tmp_path: Path, content: str) -> None:
    """Half-written, of another version, or missing."""
    assert read_state(tmp_path) is None
    (tmp_path / "state.json").write_text(content)
    assert read_state(tmp_path) is None


def test_a_private_file_is_replaced_whole(tmp_path: Path) -> None:
    """Also when an earlier attempt was killed half-way."""
    path = tmp_path / "secret"
    write_private(path, "one")
    write_private(path, "two")
    assert path.read_text() == "two"
    assert list(tmp_path.iterdir()) == [path]


def test_a_lock_is_held_once(tmp_path: Path) -> None:
    """Whoever does not wait is told."""
    path = tmp_path / "deep" / "lock"
    assert not held(path)
    before = os.umask(0)
    try:
        with lock(path, wait=True):
            pass
    finally:
        os.umask(before)
    # Whoever may read it can hold it, and keep everybody else waiting.
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    with lock(path, wait=True) as ours:
        assert ours
        assert held(path)
        with lock(path, wait=False) as second:
            assert not second
    assert not held(path)


def test_looking_at_a_lock_does_not_keep_it_from_anybody(tmp_path: Path) -> None:
    """Whoever asks for the status while a supervisor starts must not make it think that another runs."""
    path = tmp_path / "lock"
    with path.open("a") as looker:
        fcntl.flock(looker, fcntl.LOCK_SH)
        assert not held(path)
        timer = threading.Timer(0.1, fcntl.flock, (looker, fcntl.LOCK_UN))
        timer.start()
        with lock(path, wait=False) as ours:
            assert ours
        timer.join()
