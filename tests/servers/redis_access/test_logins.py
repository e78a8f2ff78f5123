"""How ``verify`` logs in to Redis: as a service would, and what it makes of a login that fails."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.servers.redis_access.world import World, spec

from soa_db.access.redis.expect import expected_access
from soa_db.access.redis.logins import LoaderLogins
from soa_db.access.redis.probe import redis_parts
from soa_db.access.report import Check, Outcome
from soa_db.access.spec import SpecSet
from soa_db.config import IamAuth, SecretAuth
from soa_db.errors import AuthenticationFailed, SecretNotFound
from soa_db.names import redis_endpoint_ssm_path, redis_secret_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from soa_db.access.redis.expect import UserAccess
    from soa_db.aws import AwsClients
    from soa_db.local.redis import RedisServer

SPECS = SpecSet((spec("chat-api"),))
# What ElastiCache's endpoints look like (a replication group's primary endpoint).
CACHE = "master.the-cache.abc123.usw2.cache.amazonaws.com"


def logins(world: World) -> LoaderLogins:
    """Logins with the AWS rights of whoever verifies."""
    return LoaderLogins(world.env, lambda _: world.aws)


def user_of(world: World) -> UserAccess:
    """The user of the one service."""
    (user,) = expected_access(SPECS, world.env).users
    return user


def entry(world: World) -> Check:
    """What ``verify`` says of the login."""
    parts = redis_parts(SPECS, world.env, clients_of=lambda _: world.aws, assumes=False, only=None, administration=None)
    return next(iter(parts[0][1]()))


def set_password(world: World, password: str) -> None:
    """Make this the user's one live password."""
    with world.admin() as client:
        client.execute_command("ACL SETUSER", user_of(world).user, "resetpass", f">{password}")


def store(world: World, **fields: Any) -> None:
    """Write another version of the secret, past the clients' cache."""
    payload = {**(world.payload("chat-api") or {}), **fields}
    name = redis_secret_name(world.env, "chat-api")
    world.aws.call("secretsmanager", "put_secret_value", SecretId=name, SecretString=json.dumps(payload))


def test_a_login_is_by_the_secret_and_reads_it_again_when_the_server_refuses(world: World) -> None:
    """A password rotated since it was read; another one that is in no stage is refused for good."""
    world.apply(spec("chat-api"))
    ways, user = logins(world), user_of(world)
    config = ways.config(user)
    assert isinstance(config.auth, SecretAuth)
    with ways.connect(user, config) as session:
        assert session.call("SET", "chat-api:1", "x") == "OK"
    set_password(world, "the-next-one")
    store(world, password="the-next-one")
    with ways.connect(user, config) as session:
        assert session.call("PING") == "PONG"
    set_password(world, "one-in-no-secret")
    with pytest.raises(AuthenticationFailed) as caught:
        ways.connect(user, config)
    assert "the-next-one" not in str(caught.value)


def test_a_refused_password_is_a_violation_and_a_server_that_is_away_decides_nothing(world: World) -> None:
    """Only the server can say no."""
    world.apply(spec("chat-api"))
    assert entry(world).outcome is Outcome.OK
    set_password(world, "one-in-no-secret")
    refused = entry(world)
    assert refused.outcome is Outcome.VIOLATED
    assert "WRONGPASS" in refused.detail
    world.server.stop()
    away = entry(world)
    assert away.outcome is Outcome.INCONCLUSIVE
    assert "ServerUnavailable" in away.detail


def test_without_a_secret_the_secret_is_what_is_missing_unless_tokens_open_the_cache(world: World) -> None:
    """A host that is no cache of ElastiCache's takes none."""
    with pytest.raises(SecretNotFound):
        logins(world).config(user_of(world))
    path = redis_endpoint_ssm_path("mirror")
    world.aws.call("ssm", "put_parameter", Name=path, Value=f"{CACHE}:6379", Type="String", Overwrite=True)
    config = logins(world).config(user_of(world))
    assert isinstance(config.auth, IamAuth)
    assert (config.host, config.user) == (CACHE, "chat-api-mirror")


def test_in_dev_there_are_no_tokens(redis_server_factory: Callable[..., RedisServer], clients: AwsClients) -> None:
    """Whatever the endpoint looks like, it is the secret that is missing."""
    world = World(redis_server_factory(), clients, "dev")
    world.aws.call(
        "ssm", "put_parameter", Name=redis_endpoint_ssm_path("dev"), Value=CACHE, Type="String", Overwrite=True
    )
    with pytest.raises(SecretNotFound):
        logins(world).config(user_of(world))
