"""Node's `redis` client beside ours on one server: what either writes, the other reads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.servers.redis_kit import config_of

from soa_db.redis import RedisConnectionManager

if TYPE_CHECKING:
    from soa_db.local.redis import RedisServer

SOURCE = Path(__file__).parents[1] / "node"
VALUES: list[Any] = [None, False, 0, 1.5, 'é \n" \u2028 😀', [], {"b": [1, {"a": None}], "a": "x"}]


@pytest.fixture(scope="session")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client, installed as the lock file says; a missing node or npm is a failure."""
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json", "cache.mjs"):
        shutil.copy(SOURCE / name, folder / name)
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder, check=True)
    return folder


@pytest.fixture
def node(node_folder: Path, redis_server: RedisServer) -> Iterator[Callable[..., Any]]:
    """A function that has Node run one command."""
    environment = {**os.environ, "REDIS_URL": redis_server.admin_url}
    process = subprocess.Popen(
        ["node", "cache.mjs"],
        cwd=node_folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def run(*command: object) -> Any:
        stdin.write(json.dumps(command) + "\n")
        stdin.flush()
        return json.loads(stdout.readline())

    yield run
    stdin.close()
    process.wait(10)
    stdout.close()


def test_values_of_either_are_read_by_the_other(
    redis_server: RedisServer, node: Callable[..., Any], unique_name: str
) -> None:
    """And are the same text on the server, byte by byte."""
    with RedisConnectionManager(config_of(redis_server)) as cache:
        for value in VALUES:
            node("set", unique_name, value)
            theirs = cache.client.get(unique_name)
            assert cache.get(unique_name, default="none") == value
            cache.set(unique_name, value)
            assert cache.client.get(unique_name) == theirs
            assert node("get", unique_name) == value


def test_sets_of_either_are_read_by_the_other(
    redis_server: RedisServer, node: Callable[..., Any], unique_name: str
) -> None:
    """Each removes what the other added."""
    with RedisConnectionManager(config_of(redis_server)) as cache:
        node("sadd", unique_name, *VALUES)
        assert cache.sadd(unique_name, *VALUES) == 0
        assert len(cache.smembers(unique_name)) == len(VALUES)
        cache.srem(unique_name, VALUES[-1])
        members = node("smembers", unique_name)
        assert len(members) == len(VALUES) - 1
        assert all(value in members for value in VALUES[:-1])
        assert node("srem", unique_name, None) == 1
        assert None not in cache.smembers(unique_name)


def test_a_cache_of_either_is_a_hit_for_the_other(
    redis_server: RedisServer, node: Callable[..., Any], unique_name: str
) -> None:
    """The sibling key too: who has claimed a refresh keeps the other from it."""
    with RedisConnectionManager(config_of(redis_server)) as cache:
        node("set", unique_name, {"from": "node"})
        assert cache.cached_call(unique_name, lambda: {"from": "python"}) == {"from": "node"}
        assert cache.cached_call(f"{unique_name}:2", lambda: {"from": "python"}) == {"from": "python"}
        assert node("get", f"{unique_name}:2") == {"from": "python"}
        assert node("claim", unique_name) == "OK"
        assert cache.refresh_cache(unique_name, lambda: 1) is False
        assert cache.refresh_cache(f"{unique_name}:2", lambda: 1) is True
        assert node("claim", f"{unique_name}:2") is None
