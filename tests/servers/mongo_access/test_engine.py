"""MongoDB as an engine of plan, apply, rotate, verify and policy, in the local environment: dev, mirror and prod."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pymongo.errors
import pytest
from tests.servers.mongo_access.world import reads, shares, spec

from soa_db.access import apply, plan, rotate, verify
from soa_db.access.aws.roles import apply_policies, policies
from soa_db.access.report import Outcome
from soa_db.access.settings import load_settings
from soa_db.access.spec import SpecSet
from soa_db.aws import AwsClients
from soa_db.config import AwsTarget
from soa_db.errors import AccessDenied
from soa_db.mongo import MongoProvider, load_mongo_config_from_aws
from soa_db.names import mongo_admin_secret_ssm_path, mongo_secret_name

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment
    from soa_db.names import Env

ROLE = "arn:aws:iam::{account}:role/{service}-{role}"
DEVELOPER = "arn:aws:iam::111111111111:root"


@pytest.mark.parametrize("env", ["dev", "mirror", "prod"])
def test_provisioned_used_with_a_services_own_aws_rights_and_rotated(
    local_aws: LocalEnvironment, unique_name: str, env: Env
) -> None:
    """The public functions; one service reads the other's collection and none of its secrets."""
    del local_aws
    owner, reader = f"{unique_name}-a", f"{unique_name}-b"
    specs = SpecSet((spec(owner, shared_with=shares(reader, "rooms")), spec(reader, reads=reads(owner, "rooms"))))
    done = apply(specs, env=env)
    assert [change.group for change in done.applied] == ["roles", "users", "users", "passwords", "passwords"]
    assert plan(specs, env=env).is_empty
    with ExitStack() as closing:
        aws = closing.enter_context(load_settings().aws_for(env))
        rendered = policies(specs, env=env, aws=aws)
        assert [item.users for item in rendered] == [(f"{unique_name}_a_app",), (f"{unique_name}_b_app",)]
        account = aws.caller_identity().account
        # Whoever develops, and whoever verifies, who has a role in the environment's own account.
        principals = [DEVELOPER, f"arn:aws:iam::{account}:root"]
        statement = {"Effect": "Allow", "Principal": {"AWS": principals}, "Action": "sts:AssumeRole"}
        trust = {"Version": "2012-10-17", "Statement": [statement]}
        apply_policies(specs, rendered, env=env, aws=aws, create_roles=True, trust=trust)
        narrow = {
            name: closing.enter_context(
                AwsClients.from_target(
                    AwsTarget(
                        region=aws.region(),
                        endpoint_url=os.environ["AWS_ENDPOINT_URL"],
                        role_arn=f"arn:aws:iam::{account}:role/{name}-app",
                    )
                )
            )
            for name in (owner, reader)
        }
        with pytest.raises(AccessDenied):
            narrow[reader].secret(mongo_secret_name(env, owner))
        with pytest.raises(AccessDenied):
            narrow[reader].parameters([mongo_admin_secret_ssm_path(env)])
        config = {name: load_mongo_config_from_aws(env=env, service=name, aws=narrow[name]) for name in narrow}
        with MongoProvider(config[owner], aws=narrow[owner]) as own:
            own.database["rooms"].insert_one({"_id": 1})
            with pytest.raises(pymongo.errors.OperationFailure):
                own.client[f"{unique_name}_b_db"]["x"].find_one()
        with MongoProvider(config[reader], aws=narrow[reader]) as other:
            assert other.client[f"{unique_name}_a_db"]["rooms"].find_one() == {"_id": 1}
            turned = rotate(specs, env=env, services=[reader], all_consumers_reread=True)
            assert [one.user for one in turned.rotated] == [f"{unique_name}_b_app"]
            assert other.ping()
        assert plan(specs, env=env).is_empty
        report = verify(specs, env=env, assume_role=ROLE)
        assert [str(check) for check in (*report.violations, *report.inconclusive)] == []
        assert report.exit_code == 0
        aspects = {check.probe.aspect for check in report.checks if check.outcome is Outcome.OK}
        assert aspects >= {"connect", "read", "write", "ddl", "rights", "roles", "auth", "aws"}
        everything = {"Effect": "Allow", "Action": ["secretsmanager:*", "ssm:*"], "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [everything]})
        too_much = {"RoleName": f"{reader}-app", "PolicyName": "too-much"}
        aws.call("iam", "put_role_policy", **too_much, PolicyDocument=document)
        secret, parameter = mongo_secret_name(env, owner), mongo_admin_secret_ssm_path(env)
        user = f"{unique_name}_b_app"
        found = verify(specs, env=env, assume_role=ROLE).violations
        assert [(check.probe.identity, check.probe.aspect, check.detail) for check in found] == [
            (user, "aws", f"it can read {secret}"),
            (user, "aws", f"it can read {parameter}"),
        ]
        aws.call("iam", "delete_role_policy", **too_much)
