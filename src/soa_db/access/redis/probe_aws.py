"""What a service's AWS role must not read of Redis: the secrets of others, the administrator's whereabouts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from soa_db.access.aws.probe import probe_unreadable
from soa_db.names import redis_admin_secret_ssm_path, redis_secret_name

if TYPE_CHECKING:
    from soa_db.access.redis.expect import RedisAccess, UserAccess
    from soa_db.access.report import Check
    from soa_db.aws import AwsClients

__all__ = ["probe_redis_aws"]


def probe_redis_aws(aws: AwsClients, access: RedisAccess, user: UserAccess) -> Iterator[Check]:
    """Try to read what belongs to others.

    Args:
        aws: the AWS rights of the service.
        access: everybody.
        user: whose rights they are.
    """
    return probe_unreadable(
        aws,
        user.user,
        secrets={redis_secret_name(access.env, other.service) for other in access.users if other is not user},
        of="Redis secrets of other services",
        parameter=redis_admin_secret_ssm_path(access.env),
        administrator="the secret of Redis' administrator",
    )
