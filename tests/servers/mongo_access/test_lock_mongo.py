"""One run at a time at a MongoDB: a document with an owner and an expiry, by the server's clock."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.servers.knife import Knife
from tests.servers.mongo_access.world import World, knife_at_work, spec

from soa_db.access.lease import LockLost
from soa_db.access.mongo.lock import LOCK_COLLECTION, LOCK_ID, server_lock
from soa_db.errors import ProvisionError
from soa_db.names import MONGO_LOCK_DATABASE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from soa_db.access.mongo.session import Session


@pytest.fixture
def session(dev_world: World) -> Iterator[Session]:
    """An administrator's session."""
    with dev_world.provisioner(spec("chat-api")).server.connect() as session:
        yield session


def lock_document(world: World) -> dict[str, Any] | None:
    """What is there of the lock."""
    with world.server.admin() as client:
        found: dict[str, Any] | None = client[MONGO_LOCK_DATABASE][LOCK_COLLECTION].find_one({"_id": LOCK_ID})
        return found


def steal(world: World) -> None:
    """As if it had expired and another run had taken it."""
    with world.server.admin() as client:
        client[MONGO_LOCK_DATABASE][LOCK_COLLECTION].update_one({"_id": LOCK_ID}, {"$set": {"token": "another's"}})


def test_one_run_has_it_at_a_time(dev_world: World, session: Session) -> None:
    """The other is told whose it is; nothing is left of it."""
    with server_lock(session, timeout=None, progress=lambda _: None) as lease:
        with (
            pytest.raises(ProvisionError, match=r"held the lock for 0 s \(process \d+ of "),
            server_lock(session, timeout=0, progress=lambda _: None),
        ):
            pass
        lease.check()
    assert lock_document(dev_world) is None


def test_it_is_renewed_for_as_long_as_the_run_lives(dev_world: World, session: Session) -> None:
    """Its expiry is put off, by the server's clock."""
    with server_lock(session, timeout=None, progress=lambda _: None, seconds=3.0) as lease:
        first = lock_document(dev_world)
        assert first is not None
        while (now := lock_document(dev_world)) == first:
            time.sleep(0.05)
        assert now is not None
        assert now["until"] > first["until"]
        assert now["token"] == first["token"]
        lease.check()


def test_one_of_a_run_that_died_is_free_once_it_expires(dev_world: World, session: Session) -> None:
    """However little is in it."""
    with dev_world.server.admin() as client:
        client[MONGO_LOCK_DATABASE][LOCK_COLLECTION].insert_one({"_id": LOCK_ID, "token": "of the dead"})
    with server_lock(session, timeout=0, progress=lambda _: None) as lease:
        lease.check()


def test_one_that_was_taken_by_another_is_noticed_and_not_let_go(dev_world: World, session: Session) -> None:
    """Nothing more is changed, and the other's lock stays."""
    with (
        pytest.raises(LockLost, match="another run took it"),
        server_lock(session, timeout=None, progress=lambda _: None, seconds=0.6) as lease,
    ):
        steal(dev_world)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            lease.check()
            time.sleep(0.05)
    found = lock_document(dev_world)
    assert found is not None
    assert found["token"] == "another's"


def test_a_run_whose_lock_is_gone_changes_nothing_more(dev_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at before every change."""
    provisioner = dev_world.provisioner(spec("chat-api"))
    provisioner.lock_seconds = 0.6
    with provisioner.locked(60) as locked, knife_at_work(monkeypatch, Knife()) as knife:
        plan = locked.plan()
        steal(dev_world)
        time.sleep(1.0)
        with pytest.raises(LockLost):
            locked.carry_out(plan)
    assert knife.changes == []


def test_runs_at_once_are_one_after_the_other(dev_world: World) -> None:
    """The second finds nothing to do."""
    plans: list[int] = []

    def run() -> None:
        plan, after = dev_world.apply(spec("chat-api"), spec("jobs-api"))
        assert after.is_empty
        plans.append(len(plan.changes))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(plans) == [0, 0, 4]
