"""`cached_call` with a lock, in processes that share nothing but the server."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

import pytest
from tests.servers.aws_kit import settle
from tests.servers.redis_kit import config_of, connected, origin_of
from tests.support.postgres import eventually

from soa_db.redis import RedisConnectionManager

if TYPE_CHECKING:
    from redis import Redis

    from soa_db import RedisConfig
    from soa_db.local.redis import RedisServer

# Spawned: a fresh interpreter, as another instance of a service is.
_SPAWN = multiprocessing.get_context("spawn")
_PROCESSES = 5


def _caller(kind: str, config: RedisConfig, key: str, lock: float, *, hold: bool) -> None:
    """One process: calls through the cache, and tells in lists beside the key what it saw.

    Its origin waits until every process has missed: nobody is late by chance and finds the value there. With ``hold``
    it never returns.
    """

    def tell(what: str, value: object) -> None:
        with RedisConnectionManager(config) as teller:
            teller.client.rpush(f"{key}:{what}", str(value))

    def origin() -> int:
        with RedisConnectionManager(config) as teller:
            token = teller.client.get(f"{key}_lock") or b""
            teller.client.rpush(f"{key}:tokens", token)
            teller.client.rpush(f"{key}:calls", os.getpid())
            while hold or teller.client.llen(f"{key}:missed") < _PROCESSES:
                time.sleep(0.01)
        return os.getpid()

    async def work() -> None:
        async with connected(kind, config) as cache:

            def watch() -> None:
                while not cache.stats()["misses"]:
                    time.sleep(0.005)
                tell("missed", os.getpid())

            watcher = threading.Thread(target=watch, daemon=True)
            watcher.start()
            tell("results", await settle(cache.cached_call(key, origin_of(kind, origin), lock=lock)))
            await asyncio.to_thread(watcher.join, 10)

    asyncio.run(work())


@contextmanager
def callers(
    number: int, kind: str, config: RedisConfig, key: str, lock: float, *, hold: bool = False
) -> Iterator[list[BaseProcess]]:
    """Processes that call; none is left."""
    processes: list[BaseProcess] = [
        _SPAWN.Process(target=_caller, args=(kind, config, key, lock), kwargs={"hold": hold}) for _ in range(number)
    ]
    for process in processes:
        process.start()
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.join()


def entries(client: Redis, key: str, what: str) -> list[str]:
    """What processes told."""
    found: Any = client.lrange(f"{key}:{what}", 0, -1)
    return list(found)


@pytest.fixture(params=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of manager in turn."""
    return str(request.param)


def test_processes_that_miss_at_once_make_one_origin_call(
    redis_server: RedisServer, kind: str, unique_name: str
) -> None:
    """All of them get what the one fetched, and the lock is given back."""
    with redis_server.admin() as client, callers(_PROCESSES, kind, config_of(redis_server), unique_name, 60) as started:
        for process in started:
            process.join(60)
        assert [process.exitcode for process in started] == [0] * _PROCESSES
        (winner,) = entries(client, unique_name, "calls")
        assert entries(client, unique_name, "results") == [winner] * _PROCESSES
        assert len(entries(client, unique_name, "missed")) == _PROCESSES
        assert not client.exists(f"{unique_name}_lock")


def test_when_the_holder_is_killed_another_takes_over_once_the_lock_expires(
    redis_server: RedisServer, kind: str, unique_name: str
) -> None:
    """SIGKILL in the middle of the origin: one of those who wait calls it, with a lock of its own, for all of them."""
    config = config_of(redis_server)
    with redis_server.admin() as client, callers(1, kind, config, unique_name, 60, hold=True) as (holder,):
        eventually(lambda: bool(entries(client, unique_name, "calls")), within=60)
        eventually(lambda: bool(entries(client, unique_name, "missed")), within=60)
        with callers(_PROCESSES - 1, kind, config, unique_name, 60) as waiting:
            eventually(lambda: len(entries(client, unique_name, "missed")) == _PROCESSES, within=60)
            assert holder.pid is not None
            os.kill(holder.pid, signal.SIGKILL)
            holder.join()
            # The dead one's lock stands, and nobody goes past it.
            assert client.exists(f"{unique_name}_lock")
            assert len(entries(client, unique_name, "calls")) == 1
            # Its end, brought near: what a test waits for is the expiry, not sixty seconds.
            assert client.pexpire(f"{unique_name}_lock", 500)
            for process in waiting:
                process.join(60)
            assert [process.exitcode for process in waiting] == [0] * (_PROCESSES - 1)
        dead, successor = entries(client, unique_name, "calls")
        assert dead == str(holder.pid)
        assert entries(client, unique_name, "results") == [successor] * (_PROCESSES - 1)
        first, second = entries(client, unique_name, "tokens")
        assert first
        assert second
        assert first != second
        assert not client.exists(f"{unique_name}_lock")
