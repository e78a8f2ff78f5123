"""What a call touches: the resource its policies are checked against."""

from __future__ import annotations

import pytest

from soa_db.local.actions import accesses

ACCOUNT, REGION = "111111111111", "us-west-2"
SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret"
PARAMETER = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter"
CACHE = f"arn:aws:elasticache:{REGION}:{ACCOUNT}"
KNOWN = f"{SECRET}:known-XyZaBc"


@pytest.mark.parametrize(
    ("service", "action", "data", "resources"),
    [
        ("secretsmanager", "GetSecretValue", {"SecretId": "known"}, [KNOWN]),
        ("secretsmanager", "GetSecretValue", {"SecretId": "none"}, [f"{SECRET}:none-AbCdEf"]),
        ("secretsmanager", "GetSecretValue", {"SecretId": f"{SECRET}:none"}, [f"{SECRET}:none"]),
        ("secretsmanager", "CreateSecret", {"Name": "new"}, [f"{SECRET}:new-AbCdEf"]),
        ("secretsmanager", "ListSecrets", {}, ["*"]),
        ("ssm", "GetParameter", {"Name": "/a/b"}, [f"{PARAMETER}/a/b"]),
        ("ssm", "GetParameter", {"Name": "plain:3"}, [f"{PARAMETER}/plain"]),
        ("ssm", "GetParameter", {"Name": f"{PARAMETER}/a/b:label"}, [f"{PARAMETER}/a/b:label"]),
        ("ssm", "GetParameters", {"Names": ["/a", "/b", 3]}, [f"{PARAMETER}/a", f"{PARAMETER}/b"]),
        ("ssm", "GetParametersByPath", {"Path": "/a/"}, [f"{PARAMETER}/a/"]),
        ("ssm", "AddTagsToResource", {"ResourceType": "Parameter", "ResourceId": "/a"}, [f"{PARAMETER}/a"]),
        ("ssm", "DescribeParameters", {}, ["*"]),
        ("ssm", "GetParameter", {"Name": None}, ["*"]),
        ("iam", "GetRole", {"RoleName": "r"}, [f"arn:aws:iam::{ACCOUNT}:role/r"]),
        ("iam", "CreateRole", {"RoleName": "r", "Path": "/p/"}, [f"arn:aws:iam::{ACCOUNT}:role/p/r"]),
        ("iam", "GetUser", {"UserName": "u"}, [f"arn:aws:iam::{ACCOUNT}:user/u"]),
        ("iam", "GetPolicy", {"PolicyArn": "arn:p"}, ["arn:p"]),
        ("iam", "ListRoles", {}, ["*"]),
        ("rds", "DescribeDBInstances", {}, [f"arn:aws:rds:{REGION}:{ACCOUNT}:db:*"]),
        ("rds", "DescribeDBInstances", {"DBInstanceIdentifier": "x"}, [f"arn:aws:rds:{REGION}:{ACCOUNT}:db:x"]),
        ("elasticache", "DescribeUsers", {}, [f"{CACHE}:user:*"]),
        ("elasticache", "DescribeUsers", {"UserId": "Chat-Prod"}, [f"{CACHE}:user:chat-prod"]),
        ("elasticache", "DescribeUserGroups", {}, [f"{CACHE}:usergroup:*"]),
        ("elasticache", "DescribeReplicationGroups", {}, [f"{CACHE}:replicationgroup:*"]),
        ("elasticache", "DescribeEvents", {}, ["*"]),
        ("elasticache", "ListTagsForResource", {"ResourceName": f"{CACHE}:user:a"}, [f"{CACHE}:user:a"]),
        (
            "elasticache",
            "ModifyUserGroup",
            {"UserGroupId": "g", "UserIdsToAdd.member.1": "a", "UserIdsToRemove.member.1": "b"},
            [f"{CACHE}:usergroup:g", f"{CACHE}:user:a", f"{CACHE}:user:b"],
        ),
        (
            "elasticache",
            "ModifyReplicationGroup",
            {"ReplicationGroupId": "r", "UserGroupIdsToAdd.member.1": "g"},
            [f"{CACHE}:replicationgroup:r", f"{CACHE}:usergroup:g"],
        ),
        ("elasticache", "DeleteServerlessCache", {"ServerlessCacheName": "s"}, [f"{CACHE}:serverlesscache:s"]),
    ],
)
def test_resources(service: str, action: str, data: dict[str, object], resources: list[str]) -> None:
    """As the Service Authorization Reference names them."""
    found = accesses(
        service,
        action,
        data,
        account=ACCOUNT,
        region=REGION,
        find_secret=lambda name: KNOWN if name == "known" else None,
    )
    assert [access.resource for access in found] == resources
    assert {access.action for access in found} == {f"{service}:{action}"}


def test_a_version_is_a_condition() -> None:
    """A policy may allow AWSCURRENT only."""
    data = {"SecretId": "known", "VersionStage": "AWSPENDING"}
    (access,) = accesses(
        "secretsmanager", "GetSecretValue", data, account=ACCOUNT, region=REGION, find_secret=lambda _: KNOWN
    )
    assert access.context == {"secretsmanager:secretid": "known", "secretsmanager:versionstage": "AWSPENDING"}
