"""Services that ``redis_iam`` of soa-db.toml names: their users log in to ElastiCache by IAM tokens only."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.servers.redis_access.conftest import GROUP
from tests.servers.redis_access.test_provision_elasticache import elasticache, user_ids
from tests.servers.redis_access.test_rotate_redis import finish, passwords_of, rotate
from tests.servers.redis_access.world import World, spec

from soa_db.access import apply, plan, verify
from soa_db.access.aws.roles import apply_policies, policies
from soa_db.access.engine import Request, Selection
from soa_db.access.plan import PlanOptions
from soa_db.access.redis.engine import REDIS
from soa_db.access.settings import EnvironmentSettings, Settings, load_settings
from soa_db.access.spec import SpecSet
from soa_db.aws import AwsClients
from soa_db.config import AwsTarget
from soa_db.errors import AuthenticationFailed, ConfigurationError, SecretNotFound
from soa_db.names import redis_secret_name, redis_user
from soa_db.redis import RedisConnectionManager, load_redis_config_from_aws

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment
    from soa_db.names import Env


@pytest.fixture
def tokens(attached: World) -> World:
    """A cache where token-api is on IAM."""
    on_iam(attached, "token-api")
    return attached


def on_iam(world: World, *services: str) -> None:
    """What soa-db.toml says."""
    here = EnvironmentSettings(redis_backend="elasticache", redis_iam=services)
    world.settings = Settings(environments={world.env: here})


def authentication(world: World, service: str) -> str:
    """How a service's user logs in, as ElastiCache tells it."""
    (user,) = elasticache(world, "describe_users", UserId=redis_user(service, world.env))["Users"]
    return str(user["Authentication"]["Type"])


def test_such_a_user_is_made_for_tokens_and_has_no_secret(tokens: World) -> None:
    """Beside one with a password; the second run has nothing to do."""
    plan, after = tokens.apply(spec("chat-api"), spec("token-api"))
    assert any("token-api-mirror, who logs in by IAM tokens" in change.sentence for change in plan.changes)
    assert after.is_empty
    assert after.notices == ()
    assert (authentication(tokens, "token-api"), authentication(tokens, "chat-api")) == ("iam", "password")
    assert user_ids(tokens) == ["cache-mirror-default", "chat-api-mirror", "token-api-mirror"]
    assert tokens.payload("token-api") is None
    assert tokens.opens("chat-api", tokens.password("chat-api"))


def test_a_user_with_a_password_changes_over_and_its_passwords_end(tokens: World) -> None:
    """Marked destructive: whoever still has the password is cut off."""
    on_iam(tokens)
    tokens.apply(spec("token-api"))
    password = tokens.password("token-api")
    on_iam(tokens, "token-api")
    plan, after = tokens.apply(spec("token-api"))
    assert [change.sentence for change in plan.destructive] == [
        "let token-api-mirror log in by IAM tokens, and by no password any more"
    ]
    assert after.is_empty
    assert authentication(tokens, "token-api") == "iam"
    assert not tokens.opens("token-api", password)


def test_settings_that_do_not_name_it_take_no_tokens_away(tokens: World) -> None:
    """A file that was not found must cut nobody off: it is told."""
    tokens.apply(spec("token-api"))
    on_iam(tokens)
    plan, _ = tokens.apply(spec("token-api"))
    assert plan.is_empty
    (notice,) = plan.notices
    assert "token-api-mirror logs in by IAM tokens, though redis_iam does not name token-api" in notice.sentence
    assert authentication(tokens, "token-api") == "iam"


def test_rotating_says_that_there_is_no_password(tokens: World) -> None:
    """Begun and finished; the others are done."""
    specs = (spec("chat-api"), spec("token-api"))
    tokens.apply(*specs)
    sentence = "token-api-mirror logs in by IAM tokens: it has no password"
    for work in (rotate, finish):
        done = work(tokens, *specs)
        assert [one.user for one in done if one.changed] == ["chat-api-mirror"]
        assert [one.idle for one in done if not one.changed] == [sentence]
    request = Request(SpecSet(specs), "mirror", PlanOptions(), tokens.aws, tokens.settings, None, lambda _: None)
    skipped = REDIS.rotate(request, Selection(finish=True)).skipped
    assert sorted(skipped) == ["chat-api-mirror has one live password: there is nothing to finish", sentence]
    assert passwords_of(tokens, *specs).desired.users["token-api-mirror"].iam


def test_policies_for_tokens_wait_for_a_cache(tokens: World) -> None:
    """``elasticache:Connect`` names the caches of the user group."""
    elasticache(tokens, "modify_replication_group", ReplicationGroupId="the-cache", UserGroupIdsToRemove=[GROUP])
    with pytest.raises(ConfigurationError, match=f"the user group {GROUP} is attached to none"):
        policies(SpecSet((spec("token-api"),)), env="mirror", aws=tokens.aws, redis_iam=["token-api"])


@pytest.mark.parametrize("env", ["mirror", "prod"])
def test_provision_then_policy_then_a_token_opens_it_and_verify_is_green(
    local_aws: LocalEnvironment, env: Env, unique_name: str
) -> None:
    """In the local environment, with the service's own AWS role and no other right."""
    specs = SpecSet((spec(unique_name),))
    found = load_settings()
    here = replace(found.environment(env), redis_iam=(unique_name,))
    settings = Settings(found.source, {**found.environments, env: here})
    apply(specs, env=env, settings=settings)
    assert plan(specs, env=env, settings=settings).is_empty
    cache = local_aws.server(env, "redis").resource_id
    assert cache is not None
    with settings.aws_for(env) as aws:
        rendered = policies(specs, env=env, aws=aws, redis_iam=here.redis_iam)
        assert [item.role_name for item in rendered] == [f"{unique_name}-app"]
        apply_policies(specs, rendered, env=env, aws=aws, create_roles=True)
        with pytest.raises(SecretNotFound):
            aws.secret(redis_secret_name(env, unique_name))
        role = f"arn:aws:iam::{aws.caller_identity().account}:role/{unique_name}-app"
        with aws.assume(role) as own:
            config = load_redis_config_from_aws(env=env, service=unique_name, aws=own, auth="iam", cache_name=cache)
            with RedisConnectionManager(config, aws=own) as manager:
                manager.set(f"{unique_name}:greeting", {"hello": "world"})
                assert manager.get(f"{unique_name}:greeting") == {"hello": "world"}
    report = verify(
        specs,
        env=env,
        settings=settings,
        assume_role="arn:aws:iam::{account}:role/{service}-{role}",
        only=[unique_name],
        engines=["redis"],
    )
    assert [str(check) for check in (*report.violations, *report.inconclusive)] == []
    assert any(check.probe.aspect == "connect" for check in report.checks)


def test_without_the_right_to_connect_a_token_opens_nothing(local_aws: LocalEnvironment, unique_name: str) -> None:
    """The policy is what opens the cache: another service's role is refused for this user."""
    names = (f"{unique_name}-a", f"{unique_name}-b")
    specs = SpecSet(tuple(spec(name) for name in names))
    found = load_settings()
    here = replace(found.environment("mirror"), redis_iam=names)
    settings = Settings(found.source, {**found.environments, "mirror": here})
    apply(specs, env="mirror", settings=settings)
    with settings.aws_for("mirror") as aws:
        rendered = policies(specs, env="mirror", aws=aws, redis_iam=names)
        apply_policies(specs, rendered, env="mirror", aws=aws, create_roles=True)
        account = aws.caller_identity().account
        target = AwsTarget(
            region=aws.region(),
            endpoint_url=here.endpoint_url,
            role_arn=f"arn:aws:iam::{account}:role/{names[0]}-app",
        )
    cache = local_aws.server("mirror", "redis").resource_id
    with AwsClients.from_target(target) as own:
        config = load_redis_config_from_aws(env="mirror", service=names[1], aws=own, auth="iam", cache_name=cache)
        with pytest.raises(AuthenticationFailed):
            RedisConnectionManager(config, aws=own).connect()
