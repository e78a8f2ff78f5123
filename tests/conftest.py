"""Fixtures every test folder shares: real PostgreSQL, Redis and MongoDB servers.

- ``pg``: a running server, the test run once per supported version (15, 16, 17, 18). The server is shared by the whole
  session, so use names of your own (``unique_name``) and leave its settings alone.
- ``server`` (session): the shared one of version 17; ``user``: a login role of the test's own there.
- ``pg_servers`` (session): a function ``version -> running server``, the same shared servers, when a test wants one.
- ``pg_server_factory``: a function taking the keywords of ``PostgresServer`` (``version=17`` unless given); it gives a
  server of the test's own, started, to be killed, paused, reconfigured; removed afterwards.
- ``redis_server`` (session): a running ``RedisServer``, plain TCP. Shared: users and keys of your own
  (``unique_name``), its settings left alone.
- ``redis_server_factory``: a function taking the keywords of ``RedisServer``; it gives a server of the test's own.
- ``redis_cluster`` (session): a running ``RedisCluster``, three primaries with a replica each, with TLS by
  ``server_tls``. Shared: whoever kills a node starts it again and calls ``wait``.
- ``mongo_server`` (session): a running ``MongoServer``, a standalone without TLS. Shared: users and databases of your
  own (``server.create_user``).
- ``mongo_tls_server`` (session): likewise a replica set ``saga-rs`` of one member, with TLS by ``server_tls``.
- ``mongo_server_factory``: a function taking the keywords of ``MongoServer``; it gives a server of the test's own.
- ``mongo_set`` (session): a running ``MongoReplicaSet``, three members with TLS by ``server_tls``. Shared: whoever
  kills a member starts it again and calls ``wait``.
- ``server_tls`` (session): a certificate for 127.0.0.1 and localhost; ``ca_file`` (session) is its CA as a file.
- ``server_folder`` (session): a folder the servers' user can reach (pytest's ``tmp_path`` lies under a 0700 folder).
- ``local_env`` (session): a running ``LocalEnvironment``: dev, mirror, prod and the emulated AWS. Shared: names of your
  own, and whoever kills or pauses a server starts it again.
- ``local_aws``: the same, with its ``exports()`` set in ``os.environ`` for the test and the caller's own AWS settings
  out of the way.
- ``unique_name``: a name no other test uses, fit for roles and databases.

On every PostgreSQL: superuser over the socket (``server.superuser_conninfo``; for assertions and cleaning up, not for
what is tested), ``master`` (``server.master_conninfo``; CREATEROLE CREATEDB, as on RDS) with the password
MASTER_PASSWORD.
On every Redis: ``master`` (``server.admin_url``, ``server.admin()``); ``default`` is off.
On every MongoDB: ``master`` (the same two), and ``__system`` (``server.system()``; for assertions).
A server that cannot be started fails the test with the reason; only ``--skip-servers`` skips.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trustme
from hypothesis import HealthCheck, settings
from tests.support.environment import only
from tests.support.handlers import handlers
from tests.support.postgres import login_role

from soa_db.local.binaries import SUPPORTED
from soa_db.local.environment import LocalEnvironment
from soa_db.local.mongo import MongoServer
from soa_db.local.mongo_set import MongoReplicaSet
from soa_db.local.postgres import PostgresServer
from soa_db.local.redis import RedisServer
from soa_db.local.redis_cluster import RedisCluster
from soa_db.local.server import Server, ServerGroup
from soa_db.local.tls import ServerTls

# A loaded machine is slow at drawing and running examples: that is no fault of what is tested. In CI the examples are
# the same in every run, so that a change is judged by what it changed; whoever runs the tests elsewhere explores.
settings.register_profile(
    "soa-db", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("soa-db")

MASTER_PASSWORD = "master-password-of-the-tests"

ServerFactory = Callable[..., PostgresServer]
RedisServerFactory = Callable[..., RedisServer]
_Run = TypeVar("_Run", bound=Server | ServerGroup[Any])
MongoServerFactory = Callable[..., MongoServer]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the one way not to run the tests that need a server."""
    parser.addoption("--skip-servers", action="store_true", help="skip every test that needs a real server")


@pytest.fixture(scope="session")
def server_folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder that the user the servers run as can reach."""
    if request.config.getoption("--skip-servers"):
        pytest.skip("--skip-servers was given")
    folder = Path(tempfile.mkdtemp(prefix="soa-db-tests-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def pg_servers(server_folder: Path) -> Iterator[Callable[[int], PostgresServer]]:
    """The session's shared servers by version, each started when first asked for."""
    servers: dict[int, PostgresServer] = {}
    with ExitStack() as stack:

        def get(version: int) -> PostgresServer:
            if version not in servers:
                server = PostgresServer(
                    server_folder / f"shared-{version}", version=version, master_password=MASTER_PASSWORD
                )
                stack.callback(server.remove)
                server.start()
                servers[version] = server
            return servers[version]

        yield get


@pytest.fixture(scope="session")
def server(pg_servers: Callable[[int], PostgresServer]) -> PostgresServer:
    """The shared PostgreSQL of one version, for what no version does otherwise."""
    return pg_servers(17)


@pytest.fixture
def user(server: PostgresServer, unique_name: str) -> Iterator[str]:
    """A login role of the test's own on ``server``; it has PASSWORD and a schema."""
    with login_role(server, unique_name) as name:
        yield name


@pytest.fixture(params=SUPPORTED, ids=lambda version: f"pg{version}")
def pg(request: pytest.FixtureRequest, pg_servers: Callable[[int], PostgresServer]) -> PostgresServer:
    """The shared server of each supported version in turn."""
    version: int = request.param
    return pg_servers(version)


@pytest.fixture
def pg_server_factory(server_folder: Path) -> Iterator[ServerFactory]:
    """Make and start servers of the test's own."""
    with ExitStack() as stack:

        def make(**keywords: Any) -> PostgresServer:
            options = {"version": 17, "master_password": MASTER_PASSWORD, **keywords}
            server = PostgresServer(server_folder / secrets.token_hex(4), **options)
            stack.callback(server.remove)
            server.start()
            return server

        yield make


@pytest.fixture(scope="session")
def server_tls() -> ServerTls:
    """A certificate of a CA of the session's own."""
    authority = trustme.CA(organization_name="soa-db tests")
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    return ServerTls(
        b"".join(part.bytes() for part in certificate.cert_chain_pems),
        certificate.private_key_pem.bytes(),
        ca_pem=authority.cert_pem.bytes(),
    )


@pytest.fixture(scope="session")
def ca_file(server_folder: Path, server_tls: ServerTls) -> Path:
    """The CA of ``server_tls``."""
    assert server_tls.ca_pem is not None
    path = server_folder / "ca.pem"
    path.write_bytes(server_tls.ca_pem)
    return path


@contextmanager
def running(server: _Run) -> Iterator[_Run]:
    """Start a server, and remove it in the end."""
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def redis_server(server_folder: Path) -> Iterator[RedisServer]:
    """The session's shared Redis."""
    with running(RedisServer(server_folder / "redis")) as server:
        yield server


@pytest.fixture
def redis_server_factory(server_folder: Path) -> Iterator[RedisServerFactory]:
    """Make and start Redis servers of the test's own."""
    with ExitStack() as stack:

        def make(**keywords: Any) -> RedisServer:
            server = RedisServer(server_folder / secrets.token_hex(4), **keywords)
            stack.callback(server.remove)
            server.start()
            return server

        yield make


@pytest.fixture(scope="session")
def redis_cluster(server_folder: Path, server_tls: ServerTls) -> Iterator[RedisCluster]:
    """The session's shared cluster."""
    with running(RedisCluster(server_folder / "redis-cluster", tls=server_tls)) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def mongo_server(server_folder: Path) -> Iterator[MongoServer]:
    """The session's shared MongoDB, as in dev."""
    with running(MongoServer(server_folder / "mongo")) as server:
        yield server


@pytest.fixture(scope="session")
def mongo_tls_server(server_folder: Path, server_tls: ServerTls) -> Iterator[MongoServer]:
    """The session's shared MongoDB as in mirror and prod."""
    with running(MongoServer(server_folder / "mongo-tls", tls=server_tls, replica_set="saga-rs")) as server:
        yield server


@pytest.fixture
def mongo_server_factory(server_folder: Path) -> Iterator[MongoServerFactory]:
    """Make and start MongoDB servers of the test's own."""
    with ExitStack() as stack:

        def make(**keywords: Any) -> MongoServer:
            server = MongoServer(server_folder / secrets.token_hex(4), **keywords)
            stack.callback(server.remove)
            server.start()
            return server

        yield make


@pytest.fixture(scope="session")
def mongo_set(server_folder: Path, server_tls: ServerTls) -> Iterator[MongoReplicaSet]:
    """The session's shared set of three."""
    with running(MongoReplicaSet(server_folder / "mongo-set", tls=server_tls)) as members:
        yield members


@pytest.fixture(scope="session")
def local_env(server_folder: Path) -> Iterator[LocalEnvironment]:
    """The whole local environment."""
    with LocalEnvironment(server_folder / "environment") as environment:
        yield environment


@pytest.fixture
def local_aws(local_env: LocalEnvironment, monkeypatch: pytest.MonkeyPatch) -> LocalEnvironment:
    """The local environment as this process's AWS."""
    only(monkeypatch, local_env.exports())
    return local_env


@pytest.fixture(autouse=True)
def _no_logging_handler_stays() -> Iterator[None]:
    """Fail a test that leaves a logging handler behind: the next tests' records would go to a closed stream."""
    before = handlers()
    yield
    left = handlers() - before
    for logger, handler in left:
        logger.removeHandler(handler)
    # redis-py gives one to its own logger when a subscription is first told something.
    left = {(logger, handler) for logger, handler in left if logger.name != "push_response"}
    assert not left, f"left behind, see `untouched` in tests/support/logs.py: {left}"


@pytest.fixture
def unique_name() -> str:
    """A fresh lower-case identifier (not from ``random``, which pytest-randomly reseeds for every test)."""
    return f"t{secrets.token_hex(5)}"
