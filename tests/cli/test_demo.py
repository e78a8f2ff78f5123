"""`soa-db demo`: it keeps its promises on real servers, tells a broken one, and leaves nothing behind."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from soa_db.cli import main
from soa_db.cli.demo import examples
from soa_db.cli.demo.mongo_load import MongoLoad
from soa_db.cli.demo.postgres_load import PostgresLoad
from soa_db.cli.demo.redis_load import CacheLoad, RedisLoad
from soa_db.cli.demo.story import Story
from soa_db.cli.terminal import Terminal
from soa_db.errors import ConfigurationError
from soa_db.local import processes

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from soa_db.local.redis import RedisServer

ROOT = Path(__file__).resolve().parents[2]


def start(directory: Path) -> subprocess.Popen[str]:
    """Start the demo as a person does, away from a terminal, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "soa_db", "demo", "--state-dir", str(directory)],
        # A foreign profile and a proxy must not matter.
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "src"),
            "AWS_PROFILE": "nobody",
            "HTTP_PROXY": "http://127.0.0.1:9",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def left_behind(directory: Path) -> list[str]:
    """Processes that name the demo's folder, and files other than its locks."""
    commands = [" ".join(processes.command_line(pid)) for pid in processes.table()]
    files = [path.name for path in directory.iterdir() if not path.name.endswith(".lock")]
    return [command for command in commands if str(directory) in command] + files


def test_every_promise_is_kept_and_nothing_is_left(server_folder: Path) -> None:
    """The whole account, with its counts; then no process and no file."""
    directory = server_folder / "demo"
    process = start(directory)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    assert "every promise kept" in out
    assert "BROKEN" not in out
    assert "\x1b" not in out + err
    for text in (
        "0 changes in dev, 0 in mirror, 0 in prod",
        "PostgreSQL: 0 calls failed",
        "Redis: 0 calls failed",
        "MongoDB: 0 calls failed",
        "PostgreSQL: 75 of 75",
        "Redis: 18 of 18",
        "MongoDB: 9 of 9",
        "1500 callers of 15 keys at once, 15 calls of the origin",
        "Redis took the old password beside the new one until `rotate --finish`",
        "0 values read from Redis other than they were written, 0 were gone",
    ):
        assert text in out
    assert re.search(
        r"^    ✓ cached calls: 0 of \d+ failed; \d+ calls of the origin while Redis was down, 1 line in the log",
        out,
        re.MULTILINE,
    )
    assert len(re.findall(r"^    ✓ \d+ calls? in flight failed, typed", out, re.MULTILINE)) == 3
    assert len(re.findall(r"^    ✓ 0 calls begun while it was down failed, 0 after", out, re.MULTILINE)) == 3
    assert len(re.findall(r"^    ✓ \w+: 0 of \d+ acknowledged writes lost", out, re.MULTILINE)) == 4
    assert len(re.findall(r"^ ?\d  ", out, re.MULTILINE)) == 9
    assert left_behind(directory) == []


def test_ctrl_c_in_the_middle_cleans_up(server_folder: Path) -> None:
    """An interrupt while three environments are provisioned ends everything that was started."""
    directory = server_folder / "interrupted"
    process = start(directory)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("provision:"):
            break
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, out + err
    assert "interrupted" in err
    assert "Traceback" not in err
    assert left_behind(directory) == []


def test_broken_promise_exits_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The account marks it, counts it at the end, and the exit code says so."""
    from contextlib import nullcontext

    def staged(*_: object, **__: object) -> AbstractContextManager[None]:
        return nullcontext()

    def play(_stage: object, story: Story) -> None:
        with story.step("a step") as lines:
            lines.append("a detail")
        story.promise(True, "kept")
        story.promise(False, "not kept")

    monkeypatch.setattr("soa_db.cli.demo.stage.staged", staged)
    monkeypatch.setattr("soa_db.cli.demo.acts.play", play)
    assert main(["demo"]) == 1
    out = capsys.readouterr().out
    assert "    a detail\n    ✓ kept\n    ✗ BROKEN: not kept\n" in out
    assert "1 broken of the promises above" in out


def test_examples_come_from_the_wheel_or_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside an installed wheel they are package data; without either the error says where to get them."""
    assert examples.examples_folder() == ROOT / "examples"
    package = tmp_path / "soa_db"
    (package / "data" / "examples" / "saga-dash").mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.setattr("soa_db.__file__", str(package / "__init__.py"))
    with pytest.raises(ConfigurationError, match="not installed"):
        examples.examples_folder()
    (package / "data" / "examples" / "saga-dash" / "db-access.yaml").touch()
    assert examples.examples_folder() == package / "data" / "examples"


def test_two_demos_do_not_play_in_one_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second takes down nothing of the first's and says what to do."""
    held = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    (tmp_path / "supervisor.lock").touch()
    (tmp_path / "state.json").write_text("{}")
    assert main(["demo", "--state-dir", str(tmp_path)]) == 1
    assert "another demo plays in" in capsys.readouterr().err
    assert (tmp_path / "state.json").exists()
    os.close(held)


def test_load_that_cannot_connect_says_so() -> None:
    """A load whose provider or manager fails raises that in the thread that waits for it."""
    from soa_db.aws import AsyncAwsClients
    from soa_db.config import MongoConfig, PostgresConfig, RedisConfig
    from soa_db.errors import ServerUnavailable
    from soa_db.local.ports import free_port

    at: dict[str, Any] = {"instance_name": "nobody", "host": "127.0.0.1", "port": free_port(), "user": "u", "tls": None}
    postgres, redis = PostgresConfig(**at, database="d"), RedisConfig(**at)
    url = f"mongodb://u:p@127.0.0.1:{at['port']}/d?serverSelectionTimeoutMS=100"
    mongo = MongoConfig.from_url(url, instance_name="nobody")
    for load in (
        PostgresLoad("x", postgres, AsyncAwsClients(region="us-west-2")),
        RedisLoad("x:", redis, AsyncAwsClients(region="us-west-2")),
        CacheLoad("x:", redis, AsyncAwsClients(region="us-west-2")),
        MongoLoad("x", mongo, AsyncAwsClients(region="us-west-2")),
    ):
        with pytest.raises(ServerUnavailable), load:
            pass


def test_loads_on_redis_count_calls_and_leave_no_key(redis_server: RedisServer, unique_name: str) -> None:
    """Values that come back, origin calls fewer than calls; what goes on the server from another hand is seen."""
    from soa_db.aws import AsyncAwsClients
    from soa_db.config import RedisConfig

    config = RedisConfig.from_url(redis_server.admin_url, instance_name="load")
    values = RedisLoad(f"{unique_name}:v:", config, AsyncAwsClients(region="us-west-2"), tasks=4, reconnect=True)
    cached = CacheLoad(f"{unique_name}:c:", config, AsyncAwsClients(region="us-west-2"), tasks=4)
    with values, cached:
        while min(values.calls, cached.calls) < 100:
            time.sleep(0.01)
    assert (values.failures, values.wrong, values.gone) == ([], 0, 0)
    assert (cached.failures, cached.wrong) == ([], 0)
    assert CacheLoad.KEYS <= cached.origin_calls < cached.calls
    with redis_server.admin() as admin:
        assert list(admin.scan_iter(f"{unique_name}:*")) == []


def test_story_tells_titles_with_seconds(capsys: pytest.CaptureFixture[str], no_terminal: None) -> None:
    """Each step has a number, a title and its time; what happens meanwhile is told on stderr."""
    story = Story(Terminal())
    with story.step("one"):
        pass
    story.say("more")
    captured = capsys.readouterr()
    assert re.fullmatch(r" 1  one +0\.\d s\n    more\n", captured.out)
    assert captured.err == "one ...\n"


def test_story_keeps_titles_and_seconds_on_one_line_of_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], no_terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the title leaves room for it."""
    monkeypatch.setenv("COLUMNS", "60")
    with Story(Terminal()).step("one"):
        pass
    assert len(capsys.readouterr().out) <= 61


@pytest.fixture
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing pretends to be a terminal."""
    monkeypatch.delenv("FORCE_COLOR", raising=False)
