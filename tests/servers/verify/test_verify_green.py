"""``verify`` on servers that are as the specs say: nothing violated, nothing left undecided, nothing changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from soa_db.local.binaries import SUPPORTED

if TYPE_CHECKING:
    from tests.servers.verify.conftest import World


@pytest.mark.parametrize("version", SUPPORTED)
def test_a_properly_provisioned_server_violates_nothing_and_leaves_nothing_undecided(
    version: int, worlds: Callable[[int], World]
) -> None:
    """Every probe is decided, and every answer is the one the specs ask for, on every supported version."""
    report = worlds(version).verify()
    assert [str(check) for check in (*report.violations, *report.inconclusive)] == []
    assert report.exit_code == 0
    assert {check.probe.aspect for check in report.checks} >= {
        "connect", "read", "write", "ddl", "temp", "rights", "later", "roles", "auth"
    }  # fmt: skip
