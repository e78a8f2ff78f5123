"""The generation of a pool and the pace of looking at an absent server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soa_db._core.classify import Failure
from soa_db._core.generation import Generation, after_failure, is_suspect
from soa_db._core.reconnect import probe_delay

GONE = Failure(kind="AdminShutdown", sqlstate="57P01")


@pytest.mark.parametrize("sqlstate", ["57P01", "57P02", "57P03", "57P05", "08006"])
def test_a_server_that_is_gone_raises_it(sqlstate: str) -> None:
    """Every other connection is then in doubt."""
    assert after_failure(Generation(3), 3, Failure(kind="Error", sqlstate=sqlstate)) == Generation(4)


@pytest.mark.parametrize("sqlstate", ["23505", "40001", "42601", "57014", "25P03", "25P02", "53200"])
def test_an_error_of_the_callers_own_does_not(sqlstate: str) -> None:
    """Nor does a session ended for its own idleness."""
    assert after_failure(Generation(3), 3, Failure(kind="Error", sqlstate=sqlstate)) == Generation(3)


def test_read_only_counts_only_on_a_standby() -> None:
    """A user's own read-only transaction gives the same code."""
    assert not is_suspect(Failure(kind="ReadOnlySqlTransaction", sqlstate="25006"))
    risen = after_failure(Generation(), 0, Failure(kind="ReadOnlySqlTransaction", sqlstate="25006", standby=True))
    assert risen == Generation(1, demoted=True)


def test_many_connections_meeting_one_crash_raise_it_once() -> None:
    """The others were made before it rose."""
    present = Generation()
    for _ in range(20):
        present = after_failure(present, 0, GONE)
    assert present == Generation(1)


@given(elapsed=st.floats(0, 1e9), chance=st.floats(0, 1, exclude_max=True))
def test_an_absent_server_is_looked_at_soon_but_never_hammered(elapsed: float, chance: float) -> None:
    """At least 15 ms and at most 1.25 s apart; in the first two seconds 25 ms at most."""
    delay = probe_delay(elapsed, rng=lambda: chance)
    assert 0.015 <= delay <= 1.25
    assert elapsed >= 2 or delay <= 0.025
