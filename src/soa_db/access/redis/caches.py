"""Which caches the users of an environment log in to: those that its user group is attached to.

A token is signed for a cache, and ``elasticache:Connect`` names it. The endpoint's name may say which it is, a CNAME
does not; the group always does (API reference, DescribeUserGroups).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from soa_db.access.redis.state import Cache
from soa_db.errors import SoaDbError
from soa_db.names import redis_user_group

if TYPE_CHECKING:
    from soa_db.aws import AwsClients
    from soa_db.names import Env

__all__ = ["attached_caches", "describe_one", "error_code", "find_caches"]

_GONE = frozenset({"UserNotFound", "UserNotFoundFault", "UserGroupNotFound", "UserGroupNotFoundFault"})


def find_caches(aws: AwsClients, env: Env) -> tuple[Cache, ...]:
    """Ask ElastiCache; none when the group is missing or attached to none.

    Raises:
        CredentialError: AWS refused to tell.
    """
    group = redis_user_group(env)
    return attached_caches(describe_one(aws, "describe_user_groups", "UserGroups", UserGroupId=group))


def attached_caches(group: Mapping[str, Any] | None) -> tuple[Cache, ...]:
    """The caches of a user group as it is described."""
    found = group or {}
    return (
        *(Cache(str(name)) for name in found.get("ReplicationGroups") or ()),
        *(Cache(str(name), serverless=True) for name in found.get("ServerlessCaches") or ()),
    )


def describe_one(aws: AwsClients, operation: str, kind: str, **which: str) -> Mapping[str, Any] | None:
    """What ElastiCache says about one thing; None when there is no such user or group."""
    try:
        answer = aws.call("elasticache", operation, **which)
    except SoaDbError as error:
        if error_code(error) in _GONE:
            return None
        raise
    found = answer.get(kind) or ()
    return found[0] if found else None


def error_code(error: BaseException) -> str:
    """The code of an answer that AWS gave for an error; empty when it gave none."""
    response = getattr(error.__cause__, "response", None)
    found = response.get("Error") if isinstance(response, dict) else None
    return str(found.get("Code", "")) if isinstance(found, dict) else ""
