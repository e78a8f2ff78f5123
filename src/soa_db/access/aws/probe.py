"""What a service's AWS role must not be able to read: the secrets of others and the administrator's whereabouts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from soa_db.access.report import Check, Outcome, Probe
from soa_db.errors import AccessDenied, CredentialError
from soa_db.names import dev_secret_name, password_secret_name, postgres_admin_secret_ssm_path

if TYPE_CHECKING:
    from soa_db.access.spec import PostgresIdentity
    from soa_db.aws import AwsClients
    from soa_db.names import Env

__all__ = ["probe_aws", "reader", "refused"]

_MEND = "narrow the role's policy to its exact secrets and parameters: `soa-db policy --apply`"


def probe_aws(
    aws: AwsClients, identity: PostgresIdentity, others: Iterable[PostgresIdentity], *, env: Env
) -> Iterator[Check]:
    """Try to read what belongs to others; values that come nevertheless are dropped unseen.

    Args:
        aws: the AWS rights of the identity's service and role.
        identity: whose rights they are.
        others: every identity; those of the same service and role share the AWS role and are passed over.
        env: the environment.
    """
    strangers = [other for other in others if (other.service, other.role) != (identity.service, identity.role)]
    if env == "dev":
        names = {dev_secret_name(other.service, other.role, db) for other in strangers for db in other.db_ids}
    else:
        names = {
            password_secret_name(env, other.service, db)
            for other in strangers
            if other.service != identity.service
            for db in other.db_ids
        }
    if names:
        yield refused(
            Probe(identity.user, "", "aws", f"read {len(names)} secrets of other identities", "cannot", "aws"),
            {name: reader(aws, name) for name in sorted(names)},
        )
    path = postgres_admin_secret_ssm_path(env)
    yield refused(
        Probe(identity.user, "", "aws", "learn where the administrator's secret is", "cannot", "aws"),
        {path: lambda: aws.parameters([path])},
    )


def reader(aws: AwsClients, name: str) -> Callable[[], object]:
    """A call that reads a secret."""
    return lambda: aws.secret(name)


def refused(probe: Probe, calls: dict[str, Callable[[], object]]) -> Check:
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
