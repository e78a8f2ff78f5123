"""Policies on AWS roles, against the emulated IAM and RDS: written once, told apart, pruned only when asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest
from moto.server import ThreadedMotoServer

from soa_db.access.aws.roles import PolicyResult, apply_policies, find_place, policies
from soa_db.access.spec import PostgresDatabase, PostgresSpec, RedisSpec, Spec, SpecSet
from soa_db.aws import AwsClients
from soa_db.errors import ConfigurationError, ParameterNotFound

if TYPE_CHECKING:
    from soa_db.access.aws.policy import RolePolicy

REGION = "us-west-2"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """An emulator that stores and enforces nothing."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsClients]:
    """A platform engineer, in an empty account."""
    urlopen(Request(f"{endpoint}/moto-api/reset", method="POST")).close()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with AwsClients(region=REGION, endpoint_url=endpoint) as clients:
        yield clients


def specs(*names: str, ro: str | None = "given") -> SpecSet:
    """Plain services; ``ro=None`` leaves the reading role out."""
    identities: dict[Any, str | None] = {} if ro else {"ro": None}
    return SpecSet(
        tuple(
            Spec(version=1, service=name, postgres=PostgresSpec(databases=(PostgresDatabase(identities=identities),)))
            for name in names
        )
    )


def bring(aws: AwsClients, wanted: SpecSet, **keywords: Any) -> PolicyResult:
    """Render and apply for dev."""
    return apply_policies(wanted, policies(wanted, env="dev", aws=aws), env="dev", aws=aws, **keywords)


def on_role(aws: AwsClients, role: str) -> dict[str, Any]:
    """The inline policies of a role."""
    names = aws.call("iam", "list_role_policies", RoleName=role)["PolicyNames"]
    return {
        name: aws.call("iam", "get_role_policy", RoleName=role, PolicyName=name)["PolicyDocument"] for name in names
    }


def test_missing_roles_are_named_and_nothing_is_written(aws: AwsClients) -> None:
    """All of them at once; making AWS roles is not done unasked."""
    aws.call("iam", "create_role", RoleName="chat-api-owner", AssumeRolePolicyDocument="{}")
    with pytest.raises(ConfigurationError, match="no AWS role chat-api-app, chat-api-ro") as caught:
        bring(aws, specs("chat-api"))
    assert "--create-roles" in caught.value.hint
    assert on_role(aws, "chat-api-owner") == {}


def test_roles_are_made_on_request_and_the_second_run_writes_nothing(aws: AwsClients) -> None:
    """The account may assume them, its own policies say who; and what was written is what was rendered."""
    told: list[str] = []
    result = bring(aws, specs("chat-api"), create_roles=True, progress=told.append)
    assert told == list(result.changes)
    assert result.changes[:2] == (
        "create AWS role chat-api-owner",
        "write policy soa-db-dev on AWS role chat-api-owner: owner of chat-api (chat_api_owner)",
    )
    account = aws.caller_identity().account
    role = aws.call("iam", "get_role", RoleName="chat-api-app")["Role"]
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"AWS": f"arn:aws:iam::{account}:root"}
    assert {tag["Key"]: tag["Value"] for tag in role["Tags"]} == {"managed-by": "soa-db", "service": "chat-api"}
    for item in policies(specs("chat-api"), env="dev", aws=aws):
        assert on_role(aws, item.role_name) == {"soa-db-dev": item.document}
    assert bring(aws, specs("chat-api"), create_roles=True) == PolicyResult((), (), 3)


def test_a_policy_changed_by_hand_is_put_right_and_others_stay(aws: AwsClients) -> None:
    """The role's other policies are somebody else's."""
    bring(aws, specs("chat-api"), create_roles=True)
    wide = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    for name in ("soa-db-dev", "theirs"):
        aws.call("iam", "put_role_policy", RoleName="chat-api-app", PolicyName=name, PolicyDocument=json.dumps(wide))
    result = bring(aws, specs("chat-api"), check=True)
    assert result.changes == ("change policy soa-db-dev on AWS role chat-api-app: app of chat-api (chat_api_app)",)
    assert on_role(aws, "chat-api-app")["soa-db-dev"] == wide, "check writes nothing"
    assert bring(aws, specs("chat-api")).changes == result.changes
    held = on_role(aws, "chat-api-app")
    assert held["theirs"] == wide
    assert held["soa-db-dev"] != wide


def test_a_stale_policy_is_reported_and_removed_only_on_request(aws: AwsClients) -> None:
    """Only of services whose specs are given."""
    bring(aws, specs("chat-api", "other"), create_roles=True)
    assert bring(aws, specs("chat-api", "other")).stale == ()
    without = specs("chat-api", ro=None)
    result = bring(aws, without)
    assert result.changes == ()
    assert result.stale == ("AWS role chat-api-ro has the policy soa-db-dev, but no database user is declared for it",)
    assert bring(aws, without, prune=True).changes == ("remove policy soa-db-dev from AWS role chat-api-ro",)
    assert on_role(aws, "chat-api-ro") == {}
    assert on_role(aws, "other-ro") != {}
    assert bring(aws, without, prune=True) == PolicyResult((), (), 2)


@pytest.mark.parametrize("whole", [False, True])
def test_who_may_assume_a_new_role_can_be_given(aws: AwsClients, whole: bool) -> None:
    """A principal, or a whole trust policy (for OIDC, conditions)."""
    arn = f"arn:aws:iam::{aws.caller_identity().account}:user/ci"
    statement = {"Effect": "Allow", "Principal": {"AWS": arn}, "Action": "sts:AssumeRole"}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    bring(aws, specs("chat-api"), create_roles=True, trust=document if whole else arn)
    role = aws.call("iam", "get_role", RoleName="chat-api-app")["Role"]
    assert role["AssumeRolePolicyDocument"] == document


def test_a_role_that_another_run_has_made_meanwhile_is_no_fault(aws: AwsClients) -> None:
    """Two pipelines at once."""
    wanted = specs("chat-api")

    def faster(sentence: str) -> None:
        if sentence == "create AWS role chat-api-owner":
            aws.call("iam", "create_role", RoleName="chat-api-app", AssumeRolePolicyDocument="{}")

    bring(aws, wanted, create_roles=True, progress=faster)
    assert "soa-db-dev" in on_role(aws, "chat-api-app")


def database(aws: AwsClients, identifier: str, **keywords: Any) -> dict[str, Any]:
    """An RDS instance."""
    instance: dict[str, Any] = aws.call(
        "rds",
        "create_db_instance",
        DBInstanceIdentifier=identifier,
        DBInstanceClass="db.t3.small",
        Engine="postgres",
        MasterUsername="m",
        MasterUserPassword="made-up-password",
        AllocatedStorage=20,
        **keywords,
    )["DBInstance"]
    return instance


def publish(aws: AwsClients, host: str, port: int = 5432) -> None:
    """The coordinates of prod."""
    for name, value in (("endpoint", host), ("port", str(port))):
        aws.call("ssm", "put_parameter", Name=f"/prod/postgres-rds/{name}", Value=value, Type="String")


def rendered(aws: AwsClients, **keywords: Any) -> tuple[RolePolicy, ...]:
    """Prod's policies."""
    return policies(specs("chat-api"), env="prod", aws=aws, **keywords)


def test_prods_database_is_found_by_its_endpoint(aws: AwsClients) -> None:
    """Among other instances."""
    database(aws, "other")
    found = database(aws, "prod")
    publish(aws, found["Endpoint"]["Address"], found["Endpoint"]["Port"])
    place = find_place(aws, "prod")
    assert (place.region, place.partition, place.resource_id) == (REGION, "aws", found["DbiResourceId"])
    assert f"dbuser:{found['DbiResourceId']}/chat_api_owner" in rendered(aws)[0].as_json()


@pytest.mark.parametrize("key", ["Endpoint", "ReaderEndpoint"])
def test_a_cluster_is_found_by_either_endpoint(aws: AwsClients, key: str) -> None:
    """Aurora's users are named by the cluster's resource id."""
    cluster = aws.call(
        "rds",
        "create_db_cluster",
        DBClusterIdentifier="prod",
        Engine="aurora-postgresql",
        MasterUsername="m",
        MasterUserPassword="made-up-password",
    )["DBCluster"]
    publish(aws, cluster[key], cluster["Port"])
    assert find_place(aws, "prod").resource_id == cluster["DbClusterResourceId"]


def test_a_proxy_is_found_too(aws: AwsClients) -> None:
    """Its resource id ends its ARN."""
    proxy = aws.call(
        "rds",
        "create_db_proxy",
        DBProxyName="prod",
        EngineFamily="POSTGRESQL",
        Auth=[],
        RoleArn="arn:aws:iam::123456789012:role/x",
        VpcSubnetIds=[aws.call("ec2", "describe_subnets")["Subnets"][0]["SubnetId"]],
    )["DBProxy"]
    publish(aws, proxy["Endpoint"])
    assert find_place(aws, "prod").resource_id == proxy["DBProxyArn"].rpartition(":")[2]


def test_a_database_that_rds_does_not_know_is_an_error_with_a_way_out(aws: AwsClients) -> None:
    """A CNAME, for one."""
    publish(aws, "db.example.org")
    with pytest.raises(
        ConfigurationError, match=r"no instance, cluster or proxy with the endpoint db\.example\.org:5432"
    ):
        rendered(aws)
    (first, *_) = rendered(aws, resource_id="db-GIVEN")
    assert "dbuser:db-GIVEN/chat_api_owner" in first.as_json()


def test_nothing_is_looked_up_for_services_that_were_not_chosen(aws: AwsClients) -> None:
    """In prod, where neither the database nor a cache is known: a service with only Redis needs neither."""
    cache_only = Spec(version=1, service="cache-only", redis=RedisSpec())
    wanted = SpecSet((*specs("chat-api").specs, cache_only))
    (found,) = policies(wanted, env="prod", aws=aws, services=["cache-only"], redis_iam=["chat-api"])
    assert found.role_name == "cache-only-app"
    assert "rds" not in found.as_json()
    with pytest.raises(ParameterNotFound):
        policies(wanted, env="prod", aws=aws)


def test_coordinates_that_are_missing_are_named(aws: AwsClients) -> None:
    """Typed, by the parameter."""
    with pytest.raises(ParameterNotFound, match="/prod/postgres-rds/endpoint"):
        rendered(aws)
