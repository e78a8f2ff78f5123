"""One fault planted on a server that is otherwise as the specs say: ``verify`` names it, and nothing but it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tests.servers.verify.faults_of_reach import FAULTS_OF_REACH
from tests.servers.verify.faults_of_rights import FAULTS_OF_RIGHTS
from tests.servers.verify.faults_of_roles import FAULTS_OF_ROLES
from tests.servers.verify.faults_of_ways_round import FAULTS_OF_WAYS_ROUND

from soa_db.local.binaries import SUPPORTED

if TYPE_CHECKING:
    from tests.servers.verify.conftest import World
    from tests.servers.verify.fault import Fault


_FAULTS = (*FAULTS_OF_REACH, *FAULTS_OF_RIGHTS, *FAULTS_OF_ROLES, *FAULTS_OF_WAYS_ROUND)


@pytest.mark.parametrize(
    ("fault", "version"),
    [
        pytest.param(fault, version, id=f"{fault.name}-{version}")
        for fault in _FAULTS
        for version in (SUPPORTED if fault.everywhere else (fault.version,))
    ],
)
def test_a_planted_fault_is_named_with_what_follows_from_it_and_nothing_else(
    fault: Fault, version: int, worlds: Callable[[int], World]
) -> None:
    """Each expected violation is reported with a way to mend it, and no violation without connection to the fault."""
    world = worlds(version)
    world.run(fault.database, fault.plant)
    try:
        report = world.verify()
    finally:
        world.run(fault.database, fault.undo)
    said = [str(check) for check in report.violations]
    missing = [pattern for pattern in fault.says if not any(re.search(world.name(pattern), text) for text in said)]
    patterns = [world.name(pattern) for pattern in (*fault.says, *fault.also)]
    beside = [text for text in said if not any(re.search(pattern, text) for pattern in patterns)]
    assert not missing, "\n".join(("not said:", *missing, "said:", *said))
    assert not beside, "\n".join(("beside the point:", *beside))
    assert all(check.mend for check in report.violations)
    assert report.exit_code == 4
