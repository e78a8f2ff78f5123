"""Fixtures of the tests against an emulated AWS."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.servers.aws_kit import ACCOUNT, REGION, Clients, CountingAws, Make, settle

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
    for name in list(os.environ):
        if name.startswith(("AWS_", "SOA_DB_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    keys = counting_aws.create_user(ACCOUNT, unique_name)
    for name, value in {
        "HOME": str(tmp_path),
        "AWS_ENDPOINT_URL": counting_aws.endpoint,
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        "AWS_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
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
