"""Fixtures of the tests of ``doctor``: an AWS of its own, and the environment a service would have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.integrations.doctor.kit import Doctor, SkewedAws
from tests.servers.aws_kit import ACCOUNT, REGION
from tests.support.environment import only, user_of

from soa_db.access.settings import Settings
from soa_db.doctor import Report, diagnose

if TYPE_CHECKING:
    from soa_db.access.spec import SpecSet


@pytest.fixture(scope="session")
def doctors_aws(request: pytest.FixtureRequest) -> Iterator[SkewedAws]:
    """One emulator for the session."""
    if request.config.getoption("--skip-servers"):
        pytest.skip("--skip-servers was given")
    emulator = SkewedAws()
    emulator.start()
    yield emulator
    emulator.stop()


@pytest.fixture
def aws(doctors_aws: SkewedAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unique_name: str) -> SkewedAws:
    """That emulator as this process's AWS, with nothing of the machine's own configuration."""
    variables = user_of(doctors_aws, ACCOUNT, unique_name, REGION, tmp_path)
    only(monkeypatch, {**variables, "AWS_MAX_ATTEMPTS": "1"})
    doctors_aws.seen.clear()
    doctors_aws.faults.clear()
    doctors_aws.skew = 0.0
    return doctors_aws


@pytest.fixture
def service(unique_name: str) -> str:
    """A service id no other test uses."""
    return unique_name


@pytest.fixture
def doctor(aws: SkewedAws) -> Doctor:
    """Examine specs, by default in dev as app, with no soa-db.toml."""

    def examine(specs: SpecSet, **more: Any) -> Report:
        return diagnose(specs, **{"env": "dev", "roles": ("app",), "settings": Settings(), **more})

    return examine
