"""The Redis of each environment: what is published, who gets in, and that ElastiCache's users are the server's."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.retry import Retry
from tests.servers.test_local_environment import client
from tests.support.postgres import eventually

from soa_db import names
from soa_db.local import processes
from soa_db.names import ENVS, Env

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment

PASSWORD = "a-password-of-these-tests"


def at(environment: LocalEnvironment, env: Env, user: str | None = None, password: str = PASSWORD) -> redis.Redis:
    """A client as a service makes it, that tries once."""
    tls: dict[str, Any] = {} if env == "dev" else {"ssl": True, "ssl_ca_certs": environment.exports()["SOA_DB_CA_FILE"]}
    host, port = published(environment, env)
    login: dict[str, Any] = {} if user is None else {"username": user, "password": password}
    return redis.Redis(host=host, port=port, retry=Retry(NoBackoff(), 0), **login, **tls)


def published(environment: LocalEnvironment, env: Env) -> tuple[str, int]:
    """Where the contract says the endpoint is."""
    path = names.redis_endpoint_ssm_path(env)
    value = client(environment, "ssm", env).get_parameter(Name=path)["Parameter"]["Value"]
    host, _, port = value.partition(":")
    return host, int(port)


def make_member(environment: LocalEnvironment, env: Env, name: str) -> Any:
    """A user of ElastiCache, taken into the environment's group."""
    elasticache = client(environment, "elasticache", env)
    elasticache.create_user(
        UserId=name,
        UserName=name,
        Engine="redis",
        AccessString=f"on ~{name}:* -@all +@read +@write +@connection -@dangerous",
        Passwords=[PASSWORD],
    )
    group = names.redis_user_group(env)
    eventually(lambda: elasticache.describe_user_groups(UserGroupId=group)["UserGroups"][0]["Status"] == "active")
    elasticache.modify_user_group(UserGroupId=group, UserIdsToAdd=[name])
    eventually(lambda: elasticache.describe_user_groups(UserGroupId=group)["UserGroups"][0]["Status"] == "active")
    return elasticache


def test_in_dev_the_master_gets_in_with_what_is_published(local_env: LocalEnvironment) -> None:
    """The secret named in SSM says where and who; `default` is off."""
    path = names.redis_admin_secret_ssm_path("dev")
    arn = client(local_env, "ssm").get_parameter(Name=path)["Parameter"]["Value"]
    secret = json.loads(client(local_env, "secretsmanager").get_secret_value(SecretId=arn)["SecretString"])
    assert (secret["host"], secret["port"]) == published(local_env, "dev")
    with at(local_env, "dev", secret["username"], secret["password"]) as master:
        assert master.acl_whoami() in {"master", b"master"}
    with at(local_env, "dev") as nobody, pytest.raises(AuthenticationError):
        nobody.ping()


@pytest.mark.parametrize("env", ["mirror", "prod"])
def test_a_user_of_elasticache_is_a_user_of_the_server(local_env: LocalEnvironment, env: Env, unique_name: str) -> None:
    """With its rights, over TLS, in its account's group; gone when it is deleted. `default` is off."""
    elasticache = make_member(local_env, env, unique_name)
    with at(local_env, env, unique_name) as user:
        user.set(f"{unique_name}:1", "x")
        with pytest.raises(NoPermissionError):
            user.get("other:1")
    with at(local_env, env) as default, pytest.raises(AuthenticationError):
        default.ping()
    with at(local_env, env, "master", "guess") as master, pytest.raises(AuthenticationError):
        master.ping()
    host, port = published(local_env, env)
    plain = redis.Redis(host=host, port=port, username=unique_name, password=PASSWORD, retry=Retry(NoBackoff(), 0))
    with plain, pytest.raises(redis.exceptions.ConnectionError):
        plain.ping()
    elasticache.delete_user(UserId=unique_name)
    with at(local_env, env, unique_name) as gone, pytest.raises(AuthenticationError):
        gone.ping()


@pytest.mark.parametrize("env", ["mirror", "prod"])
def test_the_replication_group_tells_where_it_is_and_who_opens_it(local_env: LocalEnvironment, env: Env) -> None:
    """DescribeReplicationGroups and the group `cache-{env}`, in the account of the environment."""
    server = local_env.server(env, "redis")
    elasticache = client(local_env, "elasticache", env)
    (found,) = elasticache.describe_replication_groups(ReplicationGroupId=server.resource_id)["ReplicationGroups"]
    assert found["NodeGroups"][0]["PrimaryEndpoint"] == {"Address": server.host, "Port": server.port}
    assert found["TransitEncryptionEnabled"]
    assert found["UserGroupIds"] == [f"cache-{env}"]
    assert (server.host, server.port) == published(local_env, env)
    with redis.Redis.from_url(server.admin_url, decode_responses=True) as admin:
        assert {"master", "default"} <= set(admin.acl_users())


def test_the_settings_say_how_redis_is_administered(local_env: LocalEnvironment) -> None:
    """Self-run in dev, ElastiCache in mirror and prod."""
    settings = tomllib.loads(Path(local_env.exports()["SOA_DB_SETTINGS"]).read_text("utf-8"))["environments"]
    assert {env: settings[env]["redis"] for env in ENVS} == {
        "dev": "self",
        "mirror": "elasticache",
        "prod": "elasticache",
    }


def test_a_redis_that_is_killed_comes_back_with_its_users(local_env: LocalEnvironment, unique_name: str) -> None:
    """Also with one that was made while it was down; PostgreSQL is left alone."""
    before = local_env.server("mirror", "redis")
    make_member(local_env, "mirror", f"{unique_name}-a")
    local_env.kill_server("mirror", "redis")
    assert local_env.status().up["redis"] == {"dev": True, "mirror": False, "prod": True}
    assert local_env.status().up["postgres"]["mirror"]
    with at(local_env, "mirror", f"{unique_name}-a") as user, pytest.raises(redis.exceptions.ConnectionError):
        user.ping()
    make_member(local_env, "mirror", f"{unique_name}-b")
    local_env.start_server("mirror", "redis")
    after = local_env.server("mirror", "redis")
    assert (after.port, after.backend_port) == (before.port, before.backend_port)
    assert after.pid != before.pid
    for letter in "ab":
        with at(local_env, "mirror", f"{unique_name}-{letter}") as user:
            assert user.ping()


def test_a_redis_is_paused_stopped_and_restarted_on_request(local_env: LocalEnvironment) -> None:
    """As PostgreSQL is."""
    first = local_env.server("dev", "redis")
    with redis.Redis.from_url(first.admin_url, socket_timeout=0.2, retry=Retry(NoBackoff(), 0)) as admin:
        assert admin.ping()
        local_env.pause_server("dev", "redis")
        with pytest.raises(redis.exceptions.TimeoutError):
            admin.ping()
        local_env.resume_server("dev", "redis")
    with redis.Redis.from_url(first.admin_url) as admin:
        assert admin.ping()
    local_env.stop_server("dev", "redis")
    assert first.pid is not None
    assert processes.find(first.pid) is None
    local_env.start_server("dev", "redis")
    local_env.restart_server("dev", "redis")
    again = local_env.server("dev", "redis")
    assert again.port == first.port
    assert local_env.status().up["redis"]["dev"]
