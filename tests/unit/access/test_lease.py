"""A lock that expires: waited for, renewed, noticed when it is lost, let go. On one that is kept in memory."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from soa_db.access.lease import LockLost, hold, new_token
from soa_db.errors import ProvisionError, ServerUnavailable, SoaDbError

if TYPE_CHECKING:
    from soa_db.access.plan import ProgressEvent


@dataclass
class Place:
    """Where the lease is: who has it, and how often it was renewed."""

    owner: str = ""
    renewed: int = 0
    renewal: threading.Event = field(default_factory=threading.Event)
    breaks: SoaDbError | None = None


@dataclass
class InMemory:
    """One run's view of it."""

    place: Place
    name: str
    seconds: float = 30.0
    address: str = "h:1"

    def take(self) -> bool:
        if self.place.owner:
            return False
        self.place.owner = self.name
        if self.place.breaks is not None:
            raise self.place.breaks
        return True

    def renew(self) -> bool:
        self.place.renewal.set()
        if self.place.breaks is not None:
            raise self.place.breaks
        self.place.renewed += 1
        return self.place.owner == self.name

    def give_back(self) -> None:
        if self.place.owner == self.name:
            self.place.owner = ""

    def holder(self) -> str:
        return self.place.owner


def silent(_: ProgressEvent) -> None:
    """Be told nothing."""


def test_a_second_run_waits_and_is_told_for_whom() -> None:
    """Then it has the lock, and says how long it waited; what names the holder cannot move a cursor."""
    place = Place()
    told: list[ProgressEvent] = []
    started = threading.Event()
    waited: list[float] = []

    def tell(event: ProgressEvent) -> None:
        told.append(event)
        if event.step == "wait":
            started.set()

    def second() -> None:
        with hold(InMemory(place, "second"), timeout=60, progress=tell) as lease:
            waited.append(lease.waited)
            lease.check()

    with hold(InMemory(place, "first\x1b[2J"), timeout=None, progress=silent):
        thread = threading.Thread(target=second)
        thread.start()
        assert started.wait(30)
        assert waited == []
    thread.join()
    assert waited[0] > 0
    assert [event.step for event in told] == ["lock", "wait"]
    assert "('first\\x1b[2J')" in told[1].message
    assert place.owner == ""


def test_waiting_ends_with_an_error_that_names_the_holder() -> None:
    """Nothing is taken from the other run."""
    place = Place("somebody")
    with (
        pytest.raises(ProvisionError, match=r"held the lock for 0 s \(somebody\)"),
        hold(InMemory(place, "me"), timeout=0, progress=silent),
    ):
        pass
    assert place.owner == "somebody"


def test_it_is_renewed_for_as_long_as_the_run_lives() -> None:
    """From a thread of its own, which ends with it."""
    place = Place()
    with hold(InMemory(place, "me", seconds=1.5), timeout=None, progress=silent) as lease:
        while place.renewed < 1:
            place.renewal.clear()
            assert place.renewal.wait(30)
        lease.check()
    assert not any(thread.name == "soa-db-lease" for thread in threading.enumerate())


@pytest.mark.parametrize("stolen", [True, False])
def test_one_that_was_lost_is_noticed_and_not_let_go(stolen: bool) -> None:
    """Taken by another run, or out of reach; what is another's stays."""
    place = Place()
    with hold(InMemory(place, "me", seconds=1.5), timeout=None, progress=silent) as lease:
        if stolen:
            place.owner = "another"
        else:
            place.breaks = ServerUnavailable("the server went away")
        place.renewal.clear()
        assert place.renewal.wait(30)
        lost = _lost(lease.check)
    assert ("another run took it" if stolen else "the server went away") in lost
    assert place.owner == ("another" if stolen else "")


def test_one_that_expired_while_the_machine_slept_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The monotonic clock stood still meanwhile; another run may have taken it."""
    with hold(InMemory(Place(), "me"), timeout=None, progress=silent) as lease:
        awake = time.time()
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: awake + 25)
            lease.check()
            patch.setattr(time, "time", lambda: awake + 31)
            with pytest.raises(LockLost, match="not renewed within 30 s"):
                lease.check()
            patch.setattr(time, "time", lambda: awake - 3600)
            lease.check()


def _lost(check: object) -> str:
    assert callable(check)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            check()
        except LockLost as error:
            return error.message
        time.sleep(0.01)
    return ""


def test_one_whose_answer_is_lost_is_given_back() -> None:
    """It may have been taken all the same."""
    place = Place(breaks=ServerUnavailable("the answer is lost"))
    with pytest.raises(ServerUnavailable), hold(InMemory(place, "me"), timeout=None, progress=silent):
        pass
    assert place.owner == ""


def test_no_two_runs_have_one_token() -> None:
    """And each says who it is."""
    tokens = {new_token() for _ in range(3)}
    assert len({token for token, _ in tokens}) == 3
    assert all(who.startswith("process ") for _, who in tokens)
