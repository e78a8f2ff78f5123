"""Which resources an AWS call touches: what its policies are checked against. Pure.

Source: "Actions, resources, and condition keys" of each service in the Service Authorization Reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

__all__ = ["JSON_SERVICES", "SERVICES", "Access", "accesses"]

JSON_SERVICES = frozenset({"secretsmanager", "ssm"})
SERVICES = JSON_SERVICES | {"sts", "iam", "rds", "elasticache"}


@dataclass(frozen=True, slots=True)
class Access:
    """One thing that must be allowed for a call to go through.

    Attributes:
        action: ``service:Action``.
        resource: the ARN checked, or ``*``.
        shown: the resource as a refusal names it.
        context: condition keys that follow from the call.
    """

    action: str
    resource: str
    shown: str
    context: Mapping[str, str] = field(default_factory=dict)


# Finds the ARN of a secret by its name or (partial) ARN; None when there is no such secret.
SecretFinder = Callable[[str], str | None]


def _texts(value: object) -> list[str]:
    match value:
        case str():
            return [value]
        case list():
            return [item for item in value if isinstance(item, str)]
        case _:
            return []


def _secrets(action: str, data: Mapping[str, object], prefix: str, find: SecretFinder) -> Iterator[Access]:
    full = f"secretsmanager:{action}"
    context = {
        f"secretsmanager:{key.lower()}": str(data[key])
        for key in ("SecretId", "VersionId", "VersionStage")
        if data.get(key)
    }
    if action == "CreateSecret":
        name = str(data.get("Name", ""))
        # The six characters are not known yet; any will do for a pattern of six.
        arn = f"{prefix}:secret:{name}-AbCdEf"
        yield Access(full, arn, name, {"secretsmanager:name": name})
    elif "SecretId" in data:
        name = str(data["SecretId"])
        missing = name if name.startswith("arn:") else f"{prefix}:secret:{name}-AbCdEf"
        yield Access(full, find(name) or missing, name, context)
    else:
        yield Access(full, "*", "*")


def _parameters(action: str, data: Mapping[str, object], prefix: str) -> Iterator[Access]:
    full = f"ssm:{action}"
    names = [*_texts(data.get("Name")), *_texts(data.get("Names"))]
    if action == "GetParametersByPath":
        names = _texts(data.get("Path"))
    elif data.get("ResourceType") == "Parameter":
        names = _texts(data.get("ResourceId"))
    if action == "DescribeParameters" or not names:
        yield Access(full, "*", "*")
        return
    for name in names:
        # "name:3" and "name:label" select a version; the ARN has none.
        bare = name.split(":parameter/", 1)[1] if name.startswith("arn:") else name.split(":", 1)[0]
        arn = f"{prefix}:parameter/{bare.removeprefix('/')}"
        yield Access(full, arn, arn)


def _identities(action: str, data: Mapping[str, object], account: str) -> Iterator[Access]:
    root = f"arn:aws:iam::{account}"
    if data.get("RoleName"):
        resource = f"{root}:role/{str(data.get('Path') or '/').lstrip('/')}{data['RoleName']}"
    elif data.get("UserName"):
        resource = f"{root}:user/{data['UserName']}"
    elif data.get("PolicyArn"):
        resource = str(data["PolicyArn"])
    else:
        resource = "*"
    yield Access(f"iam:{action}", resource, resource)


# Which resources the actions of ElastiCache touch: parameter → kind of resource. Lists come flattened, as in
# UserIds.member.1.
_CACHE_RESOURCES = {
    "UserId": "user",
    "UserIds": "user",
    "UserIdsToAdd": "user",
    "UserIdsToRemove": "user",
    "UserGroupId": "usergroup",
    "UserGroupIds": "usergroup",
    "UserGroupIdsToAdd": "usergroup",
    "UserGroupIdsToRemove": "usergroup",
    "ReplicationGroupId": "replicationgroup",
    "ServerlessCacheName": "serverlesscache",
}
_CACHE_DESCRIPTIONS = {
    "DescribeUsers": "user",
    "DescribeUserGroups": "usergroup",
    "DescribeReplicationGroups": "replicationgroup",
    "DescribeServerlessCaches": "serverlesscache",
}


def _caches(action: str, data: Mapping[str, object], prefix: str) -> Iterator[Access]:
    full = f"elasticache:{action}"
    if data.get("ResourceName"):
        # Tags are asked for, and put, by ARN.
        yield Access(full, str(data["ResourceName"]), str(data["ResourceName"]))
        return
    found = False
    for name, value in data.items():
        kind = _CACHE_RESOURCES.get(name.split(".", 1)[0])
        if kind is not None:
            found = True
            # Stored in lower case, whatever the caller writes.
            arn = f"{prefix}:{kind}:{str(value).lower()}"
            yield Access(full, arn, arn)
    if not found:
        arn = f"{prefix}:{_CACHE_DESCRIPTIONS[action]}:*" if action in _CACHE_DESCRIPTIONS else "*"
        yield Access(full, arn, arn)


def accesses(
    service: str, action: str, data: Mapping[str, object], *, account: str, region: str, find_secret: SecretFinder
) -> tuple[Access, ...]:
    """What a call needs; the members of BatchGetSecretValue aside, which are decided one by one.

    Args:
        service: the signing name.
        action: the operation.
        data: its parameters.
        account: the caller's account.
        region: the region called.
        find_secret: finds a secret's ARN.
    """
    prefix = f"arn:aws:{service}:{region}:{account}"
    match service:
        case "secretsmanager":
            found = _secrets(action, data, prefix, find_secret)
        case "ssm":
            found = _parameters(action, data, prefix)
        case "iam":
            found = _identities(action, data, account)
        case "elasticache":
            found = _caches(action, data, prefix)
        case "rds" if data.get("DBInstanceIdentifier"):
            resource = f"{prefix}:db:{data['DBInstanceIdentifier']}"
            found = iter([Access(f"rds:{action}", resource, resource)])
        case "rds" if action == "DescribeDBInstances":
            found = iter([Access("rds:DescribeDBInstances", f"{prefix}:db:*", f"{prefix}:db:*")])
        case _:
            found = iter([Access(f"{service}:{action}", "*", "*")])
    return tuple(found)
