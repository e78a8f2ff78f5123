"""Errors as checks: what a probe met that it did not expect never counts as a refusal, and never ends the run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from soa_db.access.report import Check, Outcome, Probe
from soa_db.errors import AccessDenied, AuthenticationFailed, CredentialError, SoaDbError

__all__ = ["AGAIN", "caught", "no_entry", "one_line"]

AGAIN = "run verify again; if it persists, look at the error"


def caught(
    probe: Probe, ask: Callable[[], Iterable[Check]], errors: tuple[type[Exception], ...] = (SoaDbError,)
) -> Iterator[Check]:
    """Ask, and turn an error into an inconclusive check.

    Args:
        probe: what is said to be undecided then.
        ask: asks and judges.
        errors: which errors.
    """
    try:
        yield from ask()
    except errors as error:
        yield Check(probe, Outcome.INCONCLUSIVE, one_line(error), AGAIN)


def one_line(error: Exception) -> str:
    """One line about an error, without the hint of ours, which speaks to services."""
    text = error.message if isinstance(error, SoaDbError) else str(error)
    return f"{type(error).__name__}: {' '.join(text.split())}"


def no_entry(probe: Probe, error: SoaDbError, mend: str) -> Check:
    """A login that should have succeeded: refused for good, or not decided."""
    if (isinstance(error, AccessDenied) and "sts:AssumeRole" in error.message) or type(error) is CredentialError:
        # Nothing said no to this user: whoever verifies got no credentials, or AWS did not answer.
        return Check(probe, Outcome.INCONCLUSIVE, one_line(error), error.hint or AGAIN)
    if isinstance(error, (AuthenticationFailed, CredentialError)):
        step = error.hint if isinstance(error, CredentialError) and error.hint else mend
        return Check(probe, Outcome.VIOLATED, one_line(error), step)
    return Check(probe, Outcome.INCONCLUSIVE, one_line(error), AGAIN)
