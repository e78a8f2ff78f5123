"""What a service's AWS role must not read of MongoDB: the secrets of others, the administrator's whereabouts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from soa_db.access.aws.probe import probe_unreadable
from soa_db.names import mongo_admin_secret_ssm_path, mongo_secret_name

if TYPE_CHECKING:
    from soa_db.access.mongo.expect import MongoAccess, UserAccess
    from soa_db.access.report import Check
    from soa_db.aws import AwsClients

__all__ = ["probe_mongo_aws"]


def probe_mongo_aws(aws: AwsClients, access: MongoAccess, user: UserAccess) -> Iterator[Check]:
    """Try to read what belongs to others; that it reads its own is proved by logging in with it.

    Args:
        aws: the AWS rights of the service.
        access: everybody.
        user: whose rights they are.
    """
    return probe_unreadable(
        aws,
        user.user.name,
        secrets={mongo_secret_name(access.env, other.service) for other in access.users if other is not user},
        of="MongoDB secrets of other services",
        parameter=mongo_admin_secret_ssm_path(access.env),
        administrator="the secret of MongoDB's administrator",
    )
