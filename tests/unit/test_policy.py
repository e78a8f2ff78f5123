"""IAM policies as documents: exact resources, three tiers, and the faults that rendering refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soa_db.access.aws.policy import Place, RolePolicy, policy, policy_size, role_name, undeclared
from soa_db.access.spec import MongoSpec, PostgresDatabase, PostgresSpec, Spec, SpecSet
from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    from soa_db.names import Env

PLACE = Place("222222222222", "eu-west-1", resource_id="db-ABC")


def service(name: str, *databases: PostgresDatabase) -> Spec:
    """A spec with these databases, one plain one unless given."""
    return Spec(version=1, service=name, postgres=PostgresSpec(databases=databases or (PostgresDatabase(),)))


IAM_API = service(
    "iam-api",
    PostgresDatabase(id="main", database="iam_db"),
    PostgresDatabase(
        id="pii",
        database="iam_pii_db",
        isolated=True,
        identities={"owner": "iam_pii_owner", "app": "iam_pii_app", "ro": None},
    ),
)
SPECS = SpecSet((service("chat-api"), IAM_API))


def render(env: Env, specs: SpecSet = SPECS, **keywords: Any) -> dict[str, RolePolicy]:
    """Policies by AWS role."""
    return {item.role_name: item for item in policy(specs, env=env, place=PLACE, **keywords)}


def resources(item: RolePolicy) -> dict[str, list[str]]:
    """The resources of each action."""
    return {action: statement["Resource"] for statement in item.document["Statement"] for action in statement["Action"]}


def test_a_tier_in_prod_may_connect_as_its_user_on_the_one_database() -> None:
    """And read the coordinates; no secret."""
    rds = "arn:aws:rds-db:eu-west-1:222222222222:dbuser:db-ABC/"
    ssm = "arn:aws:ssm:eu-west-1:222222222222:parameter/prod/postgres-rds/"
    found = render("prod")
    assert list(found) == [
        "chat-api-owner", "chat-api-app", "chat-api-ro", "iam-api-owner", "iam-api-app", "iam-api-ro",
    ]  # fmt: skip
    for tier in ("owner", "app", "ro"):
        assert resources(found[f"chat-api-{tier}"]) == {
            "rds-db:connect": [f"{rds}chat_api_{tier}"],
            "ssm:GetParameter": [f"{ssm}endpoint", f"{ssm}port"],
            "ssm:GetParameters": [f"{ssm}endpoint", f"{ssm}port"],
        }
    assert found["chat-api-app"].name == "soa-db-prod"


def test_an_isolated_database_adds_its_users_to_the_tiers_of_its_service() -> None:
    """A tier without a user there gains nothing."""
    found = render("prod")
    rds = "arn:aws:rds-db:eu-west-1:222222222222:dbuser:db-ABC/"
    assert resources(found["iam-api-owner"])["rds-db:connect"] == [f"{rds}iam_api_owner", f"{rds}iam_pii_owner"]
    assert resources(found["iam-api-ro"])["rds-db:connect"] == [f"{rds}iam_api_ro"]


def test_in_mirror_the_resource_id_is_open_because_it_changes_daily() -> None:
    """The user is still exact."""
    found = resources(render("mirror")["chat-api-app"])
    assert found["rds-db:connect"] == ["arn:aws:rds-db:eu-west-1:222222222222:dbuser:*/chat_api_app"]
    prefix = "arn:aws:ssm:eu-west-1:222222222222:parameter/mirror/current/postgres-rds/"
    assert found["ssm:GetParameters"] == [f"{prefix}endpoint", f"{prefix}port"]


def test_in_dev_a_tier_may_read_its_parity_secrets_and_nothing_else() -> None:
    """One per database id; the suffix is what Secrets Manager appends."""
    prefix = "arn:aws:secretsmanager:eu-west-1:222222222222:secret:dev/postgres-shared/"
    found = render("dev")
    assert resources(found["chat-api-ro"]) == {"secretsmanager:GetSecretValue": [f"{prefix}chat-api/ro-??????"]}
    assert resources(found["iam-api-app"]) == {
        "secretsmanager:GetSecretValue": [f"{prefix}iam-api/app-??????", f"{prefix}iam-api/pii/app-??????"]
    }


def test_the_app_tier_may_read_what_its_mongodb_takes() -> None:
    """Its secret and, in mirror and prod, the coordinates and the CA, whose secret is named as SSM names it."""
    chat = SpecSet((Spec(version=1, service="chat-api", mongo=MongoSpec()),))
    secret = "arn:aws:secretsmanager:eu-west-1:222222222222:secret:"
    ssm = "arn:aws:ssm:eu-west-1:222222222222:parameter/"
    (found,) = render("dev", chat).values()
    assert (found.role_name, found.users) == ("chat-api-app", ("chat_api_app",))
    assert resources(found) == {
        "secretsmanager:GetSecretValue": [f"{secret}dev/mongodb-shared/chat-api-password-??????"]
    }
    (found,) = policy(chat, env="mirror", place=replace(PLACE, mongo_ca_secret="the/ca"))
    paths = [f"{ssm}mirror/current/mongodb-shared/{one}" for one in ("ca-secret-arn", "endpoint", "port")]
    assert resources(found) == {
        "ssm:GetParameter": [*paths, f"{ssm}mirror/current/mongodb-shared/replica-set-name"],
        "ssm:GetParameters": [*paths, f"{ssm}mirror/current/mongodb-shared/replica-set-name"],
        "secretsmanager:GetSecretValue": [
            f"{secret}/mirror/current/chat-api-mongo-password-??????",
            f"{secret}the/ca-??????",
        ],
    }
    (found,) = policy(chat, env="prod", place=replace(PLACE, mongo_ca_secret=f"{secret}the/ca-AbCdEf"))
    paths = [f"{ssm}shared/infra/prod/mongodb-{one}" for one in ("ca-secret-arn", "hosts", "replica-set-name")]
    assert resources(found) == {
        "ssm:GetParameter": paths,
        "ssm:GetParameters": paths,
        "secretsmanager:GetSecretValue": [
            f"{secret}prod/mongodb-shared/chat-api-password-??????",
            f"{secret}the/ca-AbCdEf",
        ],
    }
    (found,) = policy(chat, env="prod", place=replace(PLACE, mongo_ca_secret=f"{secret}the/ca"))
    assert f"{secret}the/ca-??????" in resources(found)["secretsmanager:GetSecretValue"], "an ARN without its ending"
    with pytest.raises(ConfigurationError, match="MongoDB's CA"):
        policy(chat, env="prod", place=PLACE)


@pytest.mark.parametrize(
    "told",
    [
        "*",
        "the/ca*",
        "a secret",
        "arn:aws:s3:::a-bucket",
        "arn:aws:secretsmanager:*:*:secret:*",
        "arn:aws:secretsmanager:eu-west-1:222222222222:secret:c?",
        "arn:aws:secretsmanager:eu-west-1:222222222222:secret:${aws:username}",
    ],
)
def test_a_parameter_that_is_a_pattern_does_not_get_into_a_policy(told: str) -> None:
    """Whoever writes the parameter would let every service read every secret."""
    chat = SpecSet((Spec(version=1, service="chat-api", mongo=MongoSpec()),))
    with pytest.raises(ConfigurationError, match="/shared/infra/prod/mongodb-ca-secret-arn holds no name or ARN"):
        policy(chat, env="prod", place=replace(PLACE, mongo_ca_secret=told))


def test_the_app_tier_of_a_service_not_yet_on_iam_may_read_its_password() -> None:
    """The other tiers may not: the secret holds one user."""
    found = render("prod", password_services=["iam-api"])
    prefix = "arn:aws:secretsmanager:eu-west-1:222222222222:secret:prod/postgres-shared/"
    assert resources(found["iam-api-app"])["secretsmanager:GetSecretValue"] == [
        f"{prefix}iam-api-??????",
        f"{prefix}iam-api-pii-??????",
    ]
    assert "secretsmanager:GetSecretValue" not in resources(found["iam-api-owner"])
    assert "secretsmanager:GetSecretValue" not in resources(found["chat-api-app"])


@pytest.mark.parametrize("env", ["dev", "mirror", "prod"])
def test_no_wildcard_stands_anywhere_else(env: Env) -> None:
    """Neither in actions nor in resources."""
    for item in render(env, password_services=["iam-api"]).values():
        for statement in item.document["Statement"]:
            assert all("*" not in action for action in statement["Action"])
            for resource in statement["Resource"]:
                rest = resource.removesuffix("-??????").replace("dbuser:*/", "dbuser:" if env == "mirror" else "no")
                assert not {"*", "?", "$"}.intersection(rest)


@pytest.mark.parametrize("partition", ["aws-us-gov", "aws-cn"])
def test_other_partitions_are_named_in_every_arn(partition: str) -> None:
    """GovCloud and China have ARNs of their own."""
    place = Place("222222222222", "us-gov-west-1", partition, "db-ABC")
    for item in policy(SPECS, env="prod", place=place, password_services=["chat-api"]):
        for found in resources(item).values():
            assert all(resource.startswith(f"arn:{partition}:") for resource in found)


def test_some_services_only() -> None:
    """Unknown names are refused: a typo must not read as "nothing to do"."""
    assert list(render("dev", services=["chat-api"])) == ["chat-api-owner", "chat-api-app", "chat-api-ro"]
    with pytest.raises(ConfigurationError, match="no service 'chat'"):
        render("dev", services=["chat"])
    with pytest.raises(ConfigurationError, match="no service 'chat'"):
        render("dev", password_services=["chat"])


def test_prod_needs_the_database_by_its_resource_id() -> None:
    """Never a wildcard instead."""
    with pytest.raises(ConfigurationError, match="resource id is not known"):
        policy(SPECS, env="prod", place=Place("222222222222", "eu-west-1"))


def test_a_policy_larger_than_iam_takes_is_refused() -> None:
    """Here rather than by IAM, and with what to do."""
    databases = [PostgresDatabase(id=f"d{index}", identities={"app": f"{'u' * 50}{index}"}) for index in range(120)]
    with pytest.raises(ConfigurationError, match="IAM takes 10240") as caught:
        policy(SpecSet((service("chat-api", *databases),)), env="mirror", place=PLACE)
    assert caught.value.hint


def test_size_is_counted_without_white_space() -> None:
    """As IAM counts it."""
    assert policy_size({"a": ["b c"]}) == len('{"a":["bc"]}')


def test_the_json_is_what_people_and_iam_read() -> None:
    """The same document, indented."""
    item = render("dev")["chat-api-app"]
    assert json.loads(item.as_json()) == item.document
    assert "\n" in item.as_json()


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{service}", "gives several tiers one name"),
        ("{role}", "gives several tiers one name"),
        ("{service", "is no template"),
        ("{service}-{role}-{x}", "is no template"),
        ("{0}{service}{role}", "is no template"),
        ("{service}/{role}", "is no name for an AWS role"),
        ("{service}-{role}-" + "x" * 60, "is no name for an AWS role"),
    ],
)
def test_a_template_that_cannot_name_roles_is_refused(template: str, message: str) -> None:
    """Before anything is written."""
    with pytest.raises(ConfigurationError, match=message):
        role_name(template, service="chat-api", role="app", env="dev")


def test_a_template_that_gives_two_services_one_role_is_refused() -> None:
    """Each would write its policy over the other's, also when only one of them is chosen."""
    specs = SpecSet((service("chat-api"), service("chat-web")))
    with pytest.raises(ConfigurationError, match=r"one name, chat-owner, to chat-api owner and chat-web owner"):
        render("dev", specs, role_template="{service:.4}-{role}", services=["chat-web"])


def test_a_template_may_name_the_environment() -> None:
    """For accounts that hold several."""
    assert role_name("{env}-{service}-{role}", service="chat-api", role="app", env="dev") == "dev-chat-api-app"


def test_roles_without_a_user_are_known() -> None:
    """Their policies are stale."""
    specs = SpecSet((service("chat-api", PostgresDatabase(identities={"ro": None})), service("other")))
    assert undeclared(specs, env="dev") == ("chat-api-ro",)
    assert undeclared(specs, env="dev", services=["other"]) == ()


@given(st.sets(st.sampled_from(["a", "b-b", "c1"]), min_size=1), st.sampled_from(["dev", "mirror", "prod"]))
def test_no_two_services_share_a_user_or_secret(names: set[str], env: Env) -> None:
    """What one tier may do, no other may."""
    seen: list[str] = []
    for item in policy(SpecSet(tuple(service(name) for name in sorted(names))), env=env, place=PLACE):
        found = {resource for each in resources(item).values() for resource in each}
        own = [resource for resource in found if ":parameter/" not in resource]
        assert own
        seen += own
    assert len(seen) == len(set(seen))
