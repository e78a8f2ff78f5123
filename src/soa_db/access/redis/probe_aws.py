"""What a service's AWS role must not read of Redis: the secrets of others, the administrator's whereabouts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from soa_db.access.report import Check, Outcome, Probe
from soa_db.errors import AccessDenied, CredentialError
from soa_db.names import redis_admin_secret_ssm_path, redis_secret_name

if TYPE_CHECKING:
    from soa_db.access.redis.expect import RedisAccess, UserAccess
    from soa_db.aws import AwsClients

__all__ = ["probe_redis_aws"]

_MEND = "narrow the role's policy to its exact secrets and parameters: `soa-db policy --apply`"


def probe_redis_aws(aws: AwsClients, access: RedisAccess, user: UserAccess) -> Iterator[Check]:
    """Try to read what belongs to others; values that come nevertheless are dropped unseen.

    Args:
        aws: the AWS rights of the service.
        access: everybody.
        user: whose rights they are.
    """
    names = [redis_secret_name(access.env, other.service) for other in access.users if other is not user]
    if names:
        yield _refused(
            Probe(user.user, "", "aws", f"read {len(names)} Redis secrets of other services", "cannot", "aws"),
            {name: _reader(aws, name) for name in names},
        )
    path = redis_admin_secret_ssm_path(access.env)
    yield _refused(
        Probe(user.user, "", "aws", "learn where the secret of Redis' administrator is", "cannot", "aws"),
        {path: lambda: aws.parameters([path])},
    )


def _reader(aws: AwsClients, name: str) -> Callable[[], object]:
    return lambda: aws.secret(name)


def _refused(probe: Probe, calls: dict[str, Callable[[], object]]) -> Check:
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
        detail = f"neither given nor denied: {', '.join(undecided)}"
        return Check(probe, Outcome.INCONCLUSIVE, detail, "provision, then verify")
    return Check(probe, Outcome.OK)
