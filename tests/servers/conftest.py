"""Fixtures of the tests against an emulated AWS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.servers.aws_kit import ACCOUNT, REGION, Clients, CountingAws, Make, settle
from tests.support.environment import only, user_of

from soa_db.aws import AsyncAwsClients, AwsClients


@pytest.fixture(scope="session")
def counting_aws(request: pytest.FixtureRequest) -> Iterator[CountingAws]:
    """One emulator for the session."""
    if request.config.getoption("--skip-servers"):
        pytest.skip("--skip-servers was given")
    emulator = CountingAws()
    emulator.start()
    yield emulator
    emulator.stop()


@pytest.fixture
def aws(counting_aws: CountingAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unique_name: str) -> CountingAws:
    """That emulator as this process's AWS, with nothing of the machine's own configuration."""
    only(monkeypatch, user_of(counting_aws, ACCOUNT, unique_name, REGION, tmp_path))
    counting_aws.seen.clear()
    counting_aws.faults.clear()
    return counting_aws


@pytest.fixture(params=["async", "sync"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    """Make clients of each kind in turn; they are closed at the end."""
    made: list[Clients] = []

    def build(**arguments: object) -> Clients:
        kind = AsyncAwsClients if request.param == "async" else AwsClients
        clients: Clients = kind(**arguments)  # type: ignore[arg-type]  # keywords of either
        made.append(clients)
        return clients

    yield build
    for clients in made:
        await settle(clients.close())
