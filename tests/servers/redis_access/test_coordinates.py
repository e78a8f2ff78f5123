"""Where services reach Redis and where its administrator does: the one is in secrets, the other in logins of ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from tests.servers.redis_access.conftest import GROUP
from tests.servers.redis_access.world import World, spec

from soa_db.access.redis.acl import password_hash
from soa_db.access.redis.elasticache import ElastiCache
from soa_db.access.redis.entry import backend_of
from soa_db.access.redis.self_run import SelfRun
from soa_db.access.settings import EnvironmentSettings, Settings
from soa_db.errors import ConfigurationError, ParameterNotFound, SecretMalformed
from soa_db.names import redis_endpoint_ssm_path

if TYPE_CHECKING:
    from soa_db.aws import AwsClients
    from soa_db.local.redis import RedisServer

# Nobody answers to a name like this (RFC 2606).
ELSEWHERE = "redis.internal.invalid"


def publish(world: World, endpoint: str | None) -> None:
    """Write the parameter that says where services come in, or take it away."""
    path = redis_endpoint_ssm_path(world.env)
    if endpoint is None:
        world.aws.call("ssm", "delete_parameter", Name=path)
    else:
        world.aws.call("ssm", "put_parameter", Name=path, Value=endpoint, Type="String", Overwrite=True)


def said(world: World) -> dict[str, Any]:
    """What the service's secret says beside its password."""
    return {key: value for key, value in (world.payload("chat-api") or {}).items() if key != "password"}


@pytest.mark.parametrize(("endpoint", "port"), [(ELSEWHERE, 6379), (f"{ELSEWHERE}:7000", 7000)])
def test_an_administrator_through_a_tunnel_provisions_and_its_address_is_in_no_secret(
    world: World, endpoint: str, port: int
) -> None:
    """Passwords are proved on the administrator's way: that of services is not open from here."""
    publish(world, endpoint)
    way = {"admin_url": world.server.admin_url}
    plan, after = world.apply(spec("chat-api"), **way)
    assert plan.server == f"{world.server.host}:{world.server.port}"
    assert after.is_empty
    assert said(world) == {"username": "chat-api-mirror", "endpoint": ELSEWHERE, "port": port, "tls": True}
    assert world.opens("chat-api", world.password("chat-api"))
    with world.admin() as client:
        client.execute_command("ACL SETUSER", "chat-api-mirror", "resetpass", ">another-password")
    plan = world.plan(spec("chat-api"), **way)
    assert [change.sentence.partition(": ")[2] for change in plan.changes] == [
        "the server refuses the secret's password"
    ]


@pytest.mark.parametrize("env", ["mirror", "prod"])
def test_without_the_services_endpoint_an_administrators_url_does_not_stand_for_it(
    redis_server_factory: Callable[..., RedisServer], clients: AwsClients, env: Any
) -> None:
    """It may be a tunnel's: refused with the parameter's name before anything is changed."""
    server = redis_server_factory()
    world = World(server, clients, env)
    publish(world, None)
    with pytest.raises(ParameterNotFound, match=redis_endpoint_ssm_path(env)):
        world.apply(spec("chat-api"), admin_url=server.admin_url)
    assert world.payload("chat-api") is None
    assert f"chat-api-{env}" not in world.users()


def test_in_dev_services_come_in_where_the_administrator_does_unless_somebody_says_otherwise(
    redis_server_factory: Callable[..., RedisServer], clients: AwsClients
) -> None:
    """A container on this machine; by the parameter first."""
    server = redis_server_factory()
    world = World(server, clients, "dev")
    publish(world, None)
    world.apply(spec("chat-api"), admin_url=server.admin_url)
    here = {"username": "chat-api-dev", "endpoint": server.host, "port": server.port, "tls": False}
    assert said(world) == here
    publish(world, f"{ELSEWHERE}:6380")
    plan, after = world.apply(spec("chat-api"), admin_url=server.admin_url)
    assert [(change.group, change.destructive) for change in plan.changes] == [("passwords", False)]
    assert after.is_empty
    assert said(world) == here | {"endpoint": ELSEWHERE, "port": 6380}


def test_an_endpoint_that_is_none_is_refused(world: World) -> None:
    """A URL in its place, or several hosts."""
    for wrong in ("redis://h:6379", "a:1,b:2", "h:port"):
        publish(world, wrong)
        with pytest.raises(ConfigurationError, match="does not hold host or host:port"):
            world.plan(spec("chat-api"))


def test_the_settings_and_an_administrators_url_say_who_administers(world: World) -> None:
    """ElastiCache's API where nothing is said; never in dev, and not for whoever gives a URL."""

    def backend(env: Any, admin_url: str | None = None, **settings: Any) -> object:
        chosen = Settings(environments={"mirror": EnvironmentSettings(**settings)})
        return backend_of(env, aws=world.aws, settings=chosen, admin_url=admin_url)[0]

    found = backend("mirror")
    assert isinstance(found, ElastiCache)
    assert (found.address, found.user_group) == (f"{world.server.host}:{world.server.port}", GROUP)
    url = world.server.admin_url
    for self_run in (backend("mirror", redis_backend="self"), backend("mirror", url), backend("dev", url)):
        assert isinstance(self_run, SelfRun)
        assert self_run.user_group is None


# --- which live passwords a change takes away


def test_a_change_is_destructive_only_when_a_live_password_goes(world: World) -> None:
    """Not when the secret alone is written; not when the live one stands pending there."""
    world.apply(spec("chat-api"))
    password = world.password("chat-api")
    name = "mirror/redis/chat-api"

    def change() -> tuple[str, bool]:
        (found,) = world.plan(spec("chat-api"), admin_url=world.server.admin_url).changes
        return found.sentence.partition(": ")[2], found.destructive

    def live(*passwords: str) -> None:
        with world.admin() as client:
            words = [f">{one}" for one in passwords]
            client.execute_command("ACL SETUSER", "chat-api-mirror", "resetpass", *words)

    live(password, "the-one-before")
    publish(world, f"{ELSEWHERE}:{world.server.port}")
    assert change() == (f"secret {name} has another endpoint", False)
    world.apply(spec("chat-api"), admin_url=world.server.admin_url)
    assert world.opens("chat-api", "the-one-before"), "a rotation that is not finished stays as it is"
    assert world.opens("chat-api", password)

    world.announce()
    world.apply(spec("chat-api"))
    live("a-strangers")
    assert change() == ("the server refuses the secret's password", True)
    live()
    assert change() == ("the server refuses the secret's password", False)
    pending = world.payload("chat-api", "AWSCURRENT") or {}
    text = str({**pending, "password": "the-pending-one"}).replace("'", '"').replace("True", "true")
    stages = ["AWSPENDING"]
    world.aws.call("secretsmanager", "put_secret_value", SecretId=name, SecretString=text, VersionStages=stages)
    live("the-pending-one")
    assert change() == ("the server refuses the secret's password", False)
    world.apply(spec("chat-api"))
    assert world.password("chat-api") == "the-pending-one"

    world.aws.call("secretsmanager", "delete_secret", SecretId=name, ForceDeleteWithoutRecovery=True)
    assert change() == (f"new secret {name}", True)
    assert password_hash("the-pending-one") in world.users()


def test_on_elasticache_a_change_is_destructive_when_no_stored_password_opens(attached: World) -> None:
    """It shows no hashes: a login tells."""
    world = attached
    world.apply(spec("chat-api"))
    password, name = world.password("chat-api"), "mirror/redis/chat-api"
    payload = {**(world.payload("chat-api") or {}), "user_group_id": "another"}
    text = str(payload).replace("'", '"').replace("True", "true")
    world.aws.call("secretsmanager", "put_secret_value", SecretId=name, SecretString=text)
    plan, after = world.apply(spec("chat-api"))
    assert [(change.group, change.destructive) for change in plan.changes] == [("passwords", False)]
    assert after.is_empty
    assert world.password("chat-api") == password
    world.aws.call("elasticache", "modify_user", UserId="chat-api-mirror", Passwords=["a-strangers-password"])
    assert [change.destructive for change in world.plan(spec("chat-api")).changes] == [True]


def test_a_user_that_needs_no_password_is_a_fault_of_its_password_too(world: World) -> None:
    """The secret's opens the server, as any other does: it is set again once the door is shut."""
    world.apply(spec("chat-api"))
    password = world.password("chat-api")
    with world.admin() as client:
        client.execute_command("ACL SETUSER", "chat-api-mirror", "nopass")
    plan, after = world.apply(spec("chat-api"))
    assert [change.sentence.rpartition(": ")[2] for change in plan.changes if change.group == "passwords"] == [
        "anybody gets in without a password"
    ]
    assert after.is_empty
    assert world.opens("chat-api", password)
    assert not world.opens("chat-api", "any-other")


# --- the administrator's secret


def test_an_administrator_may_come_in_where_its_secret_says(world: World) -> None:
    """Host and port in the secret; services' secrets have the endpoint's."""
    publish(world, ELSEWHERE)
    store_admin(world, host=world.server.host, port=str(world.server.port))
    assert world.apply(spec("chat-api"))[1].is_empty
    assert said(world)["endpoint"] == ELSEWHERE


@pytest.mark.parametrize(("fields", "named"), [({"username": ""}, "'username'"), ({"port": "none"}, "'port'")])
def test_an_administrators_secret_that_says_nothing_usable_is_named(
    world: World, fields: dict[str, str], named: str
) -> None:
    """With the field, and without the password."""
    store_admin(world, **fields)
    with pytest.raises(SecretMalformed, match=f"no usable {named}") as caught:
        world.plan(spec("chat-api"))
    assert world.server.admin_password not in str(caught.value)


def store_admin(world: World, **fields: str) -> None:
    """Write another version of the administrator's secret."""
    name = f"admin-of-redis-{world.env}"
    payload = {"username": world.server.admin_user, "password": world.server.admin_password, **fields}
    world.aws.call("secretsmanager", "put_secret_value", SecretId=name, SecretString=json.dumps(payload))
    world.aws.secret(name, force=True)
