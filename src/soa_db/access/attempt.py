"""What came of trying something in a form that cannot take effect, and what that says about a probe."""

from __future__ import annotations

from dataclasses import dataclass

from soa_db.access.report import Check, Outcome, Probe
from soa_db.access.undecided import AGAIN

__all__ = ["Attempt", "judge"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of a command.

    Attributes:
        permitted: None when neither was proved.
        seen: a short account.
        absent: the server has no such command, or refuses it to everybody.
    """

    permitted: bool | None
    seen: str
    absent: bool = False


def judge(probe: Probe, results: dict[str, Attempt], *, mend: str) -> Check:
    """Turn what came of one attempt, or of the same on several things, into a check.

    Args:
        probe: the question.
        results: what it was tried on → what came of it.
        mend: the next step when the answer is the wrong one.
    """
    wanted = probe.expect == "can"
    wrong = [name for name, result in results.items() if result.permitted is (not wanted)]
    if wrong:
        seen = results[wrong[0]].seen
        listed = ", ".join(wrong[:4]) + (f" and {len(wrong) - 4} more" if len(wrong) > 4 else "")
        return Check(probe, Outcome.VIOLATED, f"{seen} ({listed})" if listed else seen, mend)
    undecided = [result for result in results.values() if result.permitted is None]
    if all(result.absent for result in undecided):
        if undecided and len(undecided) == len(results):
            return Check(probe, Outcome.NOT_APPLICABLE, undecided[0].seen)
        return Check(probe, Outcome.OK)
    seen = next(result.seen for result in undecided if not result.absent)
    return Check(probe, Outcome.INCONCLUSIVE, seen, AGAIN)
