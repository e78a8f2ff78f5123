"""What a service's AWS role must not be able to read: the secrets of others and the administrator's whereabouts.

Each engine says whose secrets and which parameter those are (``probe_aws`` of its package).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from soa_db.access.report import Check, Outcome, Probe
from soa_db.errors import AccessDenied, CredentialError, SoaDbError

if TYPE_CHECKING:
    from soa_db.aws import AwsClients

__all__ = ["probe_unreadable", "with_own_rights"]

_MEND = "narrow the role's policy to its exact secrets and parameters: `soa-db policy --apply`"


def with_own_rights(
    user: str, clients: Callable[[], AwsClients], ask: Callable[[AwsClients], Iterable[Check]]
) -> Iterator[Check]:
    """Ask with the AWS rights of a service, once it is sure that these are at hand.

    Args:
        user: whose rights they are.
        clients: gives them.
        ask: asks and judges.
    """
    try:
        aws = clients()
        # A role that cannot be assumed is refused everything: that would look like the best of policies.
        aws.credentials()
    except SoaDbError as error:
        probe = Probe(user, "", "aws", "assume its service's AWS role", "can", "aws")
        yield Check(probe, Outcome.INCONCLUSIVE, error.message, error.hint)
        return
    yield from ask(aws)


def probe_unreadable(
    aws: AwsClients, user: str, *, secrets: Collection[str], of: str, parameter: str, administrator: str
) -> Iterator[Check]:
    """Try to read what belongs to others; values that come nevertheless are dropped unseen.

    Args:
        aws: the AWS rights of the service.
        user: whose rights they are.
        secrets: names of secrets of others; none is no question.
        of: what they are, e.g. ``secrets of other identities``.
        parameter: path of the SSM parameter that says where the administrator's secret is.
        administrator: whose secret that is, e.g. ``the administrator's secret``.
    """
    if secrets:
        probe = Probe(user, "", "aws", f"read {len(secrets)} {of}", "cannot", "aws")
        yield _refused(probe, {name: _reader(aws, name) for name in sorted(secrets)})
    probe = Probe(user, "", "aws", f"learn where {administrator} is", "cannot", "aws")
    yield _refused(probe, {parameter: lambda: aws.parameters([parameter])})


def _reader(aws: AwsClients, name: str) -> Callable[[], object]:
    """A call that reads a secret."""
    return lambda: aws.secret(name)


def _refused(probe: Probe, calls: dict[str, Callable[[], object]]) -> Check:
    """Whether AWS denies every one of these calls, by what each asks for; what they give is dropped unseen."""
    permitted: list[str] = []
    undecided: list[str] = []
    for name, call in calls.items():
        try:
            call()
        except AccessDenied:
            continue
        except CredentialError as error:
            # What does not exist, and was not denied either, is no proof of a refusal.
            undecided.append(f"{name}: {type(error).__name__}")
        else:
            permitted.append(name)
    if permitted:
        return Check(probe, Outcome.VIOLATED, f"it can read {', '.join(permitted)}", _MEND)
    if undecided:
        return Check(
            probe, Outcome.INCONCLUSIVE, f"neither given nor denied: {', '.join(undecided)}", "provision, then verify"
        )
    return Check(probe, Outcome.OK)
