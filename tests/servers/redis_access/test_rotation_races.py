"""Two runs at one ElastiCache at once, which keeps neither away: the second comes in at every call of the first."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.servers.redis_access.test_rotate_redis import finish, rotate
from tests.servers.redis_access.world import World, spec

from soa_db.aws import AwsClients
from soa_db.errors import ProvisionError, SoaDbError

SERVICE = spec("chat-api")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator's changes are in force at the second look."""
    monkeypatch.setattr("soa_db.access.redis.elasticache._POLL", (0.001, 0.01))


@dataclass
class Intruder:
    """Runs ``act`` whole before a call to AWS of the run under test: the ``at``-th from the first read secret on."""

    at: int
    act: Callable[[], object]
    calls: list[str] = field(default_factory=list)
    within: bool = False

    def come_in(self, patch: pytest.MonkeyPatch) -> None:
        """Stand between the run and AWS."""
        call = AwsClients.call

        def called(client: AwsClients, service: str, operation: str, /, **parameters: object) -> dict[str, Any]:
            if not self.within and (self.calls or service == "secretsmanager"):
                self.calls.append(operation)
                if len(self.calls) == self.at:
                    self.within = True
                    with suppress(SoaDbError):
                        self.act()
                    self.within = False
            return call(client, service, operation, **parameters)

        patch.setattr(AwsClients, "call", called)


def test_a_rotation_made_meanwhile_is_not_made_again(attached: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """At whatever moment: nobody is cut off who holds the old password, or one that the secret held in between."""
    attached.apply(SERVICE)
    refused: list[str] = []
    for number in itertools.count(1):
        held = [attached.password("chat-api")]

        def other(held: list[str] = held) -> None:
            rotate(attached, SERVICE)
            held.append(attached.password("chat-api"))

        intruder = Intruder(number, other)
        with monkeypatch.context() as patch:
            intruder.come_in(patch)
            try:
                rotate(attached, SERVICE)
            except SoaDbError as error:
                refused.append(str(error))
        held.append(attached.password("chat-api"))
        assert held[-1] != held[0]
        assert [attached.opens("chat-api", one) for one in held] == [True] * len(held), intruder.calls
        assert attached.payload("chat-api", "AWSPENDING") is None
        finish(attached, SERVICE)
        if len(intruder.calls) < number:
            break
    assert number > 10, "the other run did not come in"
    assert all("a rotation is not finished" in one for one in refused)


def test_finishing_while_the_next_rotation_begins_is_noticed(attached: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other run finishes and rotates again: either nothing of that is lost, or it is told and mended."""
    attached.apply(SERVICE)
    told: list[str] = []

    def other() -> None:
        finish(attached, SERVICE)
        rotate(attached, SERVICE)

    for number in itertools.count(1):
        rotate(attached, SERVICE)
        intruder, mended = Intruder(number, other), False
        with monkeypatch.context() as patch:
            intruder.come_in(patch)
            try:
                finish(attached, SERVICE)
            except ProvisionError as error:
                told.append(str(error))
                mended = True
        if mended:
            assert attached.apply(SERVICE)[1].is_empty
        assert attached.opens("chat-api", attached.password("chat-api")), intruder.calls
        finish(attached, SERVICE)
        if len(intruder.calls) < number:
            break
    assert told, "no moment was dangerous: is the other run at work?"
    assert all("soa-db provision" in one for one in told)
