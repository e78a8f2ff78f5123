"""One run at a time at a self-run Redis: a key with an owner and an expiry."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tests.servers.redis_access.conftest import admin_session
from tests.servers.redis_access.world import World, spec

from soa_db.access.lease import LockLost
from soa_db.access.redis.lock import LOCK_KEY, server_lock
from soa_db.errors import ProvisionError

if TYPE_CHECKING:
    from soa_db.access.plan import ProgressEvent
    from soa_db.access.redis.session import Session
    from soa_db.local.redis import RedisServer


@pytest.fixture
def connect(any_server: RedisServer) -> Callable[[], Session]:
    """Opens an administrator's session."""
    return lambda: admin_session(any_server)


def test_a_second_run_waits_and_is_told_for_whom(connect: Callable[[], Session]) -> None:
    """Then it has the lock, and says how long it waited."""
    told: list[ProgressEvent] = []
    started = threading.Event()
    waited: list[float] = []

    def second() -> None:
        def tell(event: ProgressEvent) -> None:
            told.append(event)
            if event.step == "wait":
                started.set()

        with server_lock(connect, timeout=60, progress=tell) as lock:
            waited.append(lock.waited)
            lock.check()

    with server_lock(connect, timeout=None, progress=lambda _: None):
        thread = threading.Thread(target=second)
        thread.start()
        assert started.wait(30)
        assert waited == []
    thread.join()
    assert waited[0] > 0
    assert [event.step for event in told] == ["lock", "wait"]
    assert "process" in told[1].message
    with connect() as session:
        assert session.call("GET", LOCK_KEY) is None


def test_waiting_ends_with_an_error_that_names_the_holder(connect: Callable[[], Session]) -> None:
    """Nothing is taken from the other run."""
    with server_lock(connect, timeout=None, progress=lambda _: None) as lock:
        with (
            pytest.raises(ProvisionError, match=r"held the lock for 0 s \(process \d+ of "),
            server_lock(connect, timeout=0, progress=lambda _: None),
        ):
            pass
        lock.check()


def test_it_is_renewed_for_as_long_as_the_run_lives(connect: Callable[[], Session]) -> None:
    """Beyond its expiry."""
    with server_lock(connect, timeout=None, progress=lambda _: None, ttl=1.5) as lock:
        time.sleep(3.0)
        lock.check()
        with connect() as session:
            assert session.call("PTTL", LOCK_KEY) > 0


def test_one_that_could_not_be_renewed_in_time_counts_as_lost(redis_server_factory: Callable[..., RedisServer]) -> None:
    """The server is frozen, and would let another run in as soon as it goes on: told before the renewal fails."""
    server = redis_server_factory()
    with server_lock(lambda: admin_session(server), timeout=None, progress=lambda _: None, ttl=0.9) as lock:
        lock.check()
        server.pause()
        try:
            time.sleep(1.3)
            with pytest.raises(LockLost, match="it was not renewed within"):
                lock.check()
        finally:
            server.resume()


def test_one_that_was_taken_by_another_is_noticed_and_not_let_go(connect: Callable[[], Session]) -> None:
    """Nothing more is changed, and the other's lock stays."""
    with connect() as session:
        with (
            pytest.raises(ProvisionError, match="another run took it"),
            server_lock(connect, timeout=None, progress=lambda _: None, ttl=0.6) as lock,
        ):
            session.call("SET", LOCK_KEY, "somebody else", "PX", "60000")
            until = time.monotonic() + 30
            while time.monotonic() < until:
                lock.check()
                time.sleep(0.05)
        assert session.call("GET", LOCK_KEY) == "somebody else"
        session.call("DEL", LOCK_KEY)


def test_a_run_whose_lock_is_gone_changes_nothing_more(world: World) -> None:
    """Looked at before every change."""
    provisioner = world.provisioner(spec("chat-api"))
    provisioner.server.lock_ttl = 0.6  # type: ignore[attr-defined]
    with provisioner.locked(60) as locked:
        plan = locked.plan()
        with world.admin() as client:
            client.set(LOCK_KEY, "somebody else", px=60_000)
        time.sleep(1.5)
        with pytest.raises(ProvisionError, match="the lock was lost"):
            locked.carry_out(plan)
    assert "chat-api" not in world.users()
    assert world.payload("chat-api") is None


def test_two_runs_at_once_are_one_after_the_other(world: World) -> None:
    """The second finds nothing to do."""
    plans: list[int] = []

    def run() -> None:
        plan, after = world.apply(spec("chat-api"), spec("jobs-api"))
        assert after.is_empty
        plans.append(len(plan.changes))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(plans) == [0, 0, 4]


def test_a_replica_is_refused_with_the_remedy(redis_server_factory: Callable[..., RedisServer]) -> None:
    """Users are made on the primary; a replica takes no lock."""
    primary = redis_server_factory()
    replica = redis_server_factory(
        settings={
            "replicaof": f"{primary.host} {primary.port}",
            "masteruser": primary.admin_user,
            "masterauth": primary.admin_password,
        }
    )
    with (
        pytest.raises(ProvisionError, match="READONLY") as caught,
        server_lock(lambda: admin_session(replica), timeout=None, progress=lambda _: None),
    ):
        pass
    assert "name its primary" in caught.value.hint
