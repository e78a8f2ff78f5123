"""What a service's AWS role must not read of Redis: the secrets of others, the administrator's whereabouts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from soa_db.access.aws.probe import reader, refused
from soa_db.access.report import Check, Probe
from soa_db.names import redis_admin_secret_ssm_path, redis_secret_name

if TYPE_CHECKING:
    from soa_db.access.redis.expect import RedisAccess, UserAccess
    from soa_db.aws import AwsClients

__all__ = ["probe_redis_aws"]


def probe_redis_aws(aws: AwsClients, access: RedisAccess, user: UserAccess) -> Iterator[Check]:
    """Try to read what belongs to others; values that come nevertheless are dropped unseen.

    Args:
        aws: the AWS rights of the service.
        access: everybody.
        user: whose rights they are.
    """
    names = [redis_secret_name(access.env, other.service) for other in access.users if other is not user]
    if names:
        yield refused(
            Probe(user.user, "", "aws", f"read {len(names)} Redis secrets of other services", "cannot", "aws"),
            {name: reader(aws, name) for name in names},
        )
    path = redis_admin_secret_ssm_path(access.env)
    yield refused(
        Probe(user.user, "", "aws", "learn where the secret of Redis' administrator is", "cannot", "aws"),
        {path: lambda: aws.parameters([path])},
    )
