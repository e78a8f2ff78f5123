"""What every chain of a run shares: the environment, AWS, how long a step may take, what was asked already."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from soa_db.doctor.chain import Memo
from soa_db.doctor.report import Finding, Status

if TYPE_CHECKING:
    from soa_db.access.settings import Settings
    from soa_db.aws import AwsClients
    from soa_db.names import Env

__all__ = ["Surroundings", "judge_clock"]

_WARN_SECONDS = 60.0
# AWS accepts signatures that are five minutes off at most; RDS checks its tokens so by its own clock.
_FAIL_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """One run.

    Attributes:
        env: the environment.
        settings: soa-db.toml.
        aws: AWS access.
        timeout: seconds a step may take.
        wall: this machine's clock, in seconds since the epoch.
        memo: what was asked already.
    """

    env: Env
    settings: Settings
    aws: AwsClients
    timeout: float
    wall: Callable[[], float] = time.time
    memo: Memo = field(default_factory=Memo)


def judge_clock(whose: str, theirs: float, ours: float) -> Finding:
    """Compare a clock with this machine's.

    Args:
        whose: whose clock it is: ``AWS``, ``the server``.
        theirs: what it says, in seconds since the epoch.
        ours: what this machine said at that moment.
    """
    ahead = ours - theirs
    off = abs(ahead)
    text = f"{off:.0f} s {'ahead of' if ahead > 0 else 'behind'} {whose}'s"
    hint = "set this machine's clock (NTP): AWS accepts signatures that are 5 minutes off at most"
    if whose != "AWS":
        hint = f"compare with the clock of AWS above: one of the two machines needs NTP; {hint.partition(': ')[2]}"
    if off > _FAIL_SECONDS:
        return Finding("clock", Status.FAILED, f"this machine's clock is {text}", hint)
    if off > _WARN_SECONDS:
        return Finding("clock", Status.WARNING, f"this machine's clock is {text}", hint)
    return Finding("clock", Status.OK, f"this machine's clock is that of {whose}, within {max(off, 1):.0f} s")
