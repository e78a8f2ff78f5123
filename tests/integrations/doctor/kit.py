"""What the tests of ``doctor`` share: an emulated AWS whose clock can be wrong, and ways to look at a report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import TYPE_CHECKING

from tests.servers.aws_kit import CountingAws

from soa_db.access.spec import Spec, SpecSet
from soa_db.doctor import Finding, Report, Status

if TYPE_CHECKING:
    from soa_db.doctor import TargetReport

CANARY = "c4nary-Password"
Doctor = Callable[..., Report]


class SkewedAws(CountingAws):
    """An emulator whose ``Date`` header is off by ``skew`` seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.skew = 0.0
        emulator = self

        class Handler(self._server.RequestHandlerClass):  # type: ignore[name-defined, misc]  # made at run time
            def date_time_string(self, timestamp: float | None = None) -> str:
                """The time of every answer."""
                return formatdate((timestamp or time.time()) + emulator.skew, usegmt=True)

        self._server.RequestHandlerClass = Handler


def specs_of(service: str, **parts: object) -> SpecSet:
    """One service's specs."""
    return SpecSet((Spec.model_validate({"version": 1, "service": service, **parts}),))


def only(report: Report) -> TargetReport:
    """The one target that was looked at."""
    (one,) = report.targets
    return one


def blamed(report: Report) -> Finding:
    """The one finding that failed, of the one target or of AWS: it says the next step, and nothing shows the canary."""
    found = [one for one in (*report.aws, *only(report).findings) if one.status is Status.FAILED]
    assert len(found) == 1, found
    assert found[0].hint
    assert CANARY not in json.dumps(report.to_dict())
    return found[0]


def statuses(report: Report) -> dict[str, Status]:
    """Step → what came of it, for the one target."""
    return {finding.step: finding.status for finding in only(report).findings}


def warned(report: Report) -> Finding:
    """The one warning, where nothing failed."""
    assert report.ok, report
    (found,) = [one for one in (*report.aws, *only(report).findings) if one.status is Status.WARNING]
    return found
