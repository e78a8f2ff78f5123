"""MongoDB servers whose users and roles these tests have for themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.servers.mongo_access.world import World

from soa_db.aws import AwsClients
from soa_db.local.mongo import MongoServer

if TYPE_CHECKING:
    from tests.servers.aws_kit import CountingAws

    from soa_db.local.tls import ServerTls


@pytest.fixture(scope="session")
def secure_server(server_folder: Path, server_tls: ServerTls) -> Iterator[MongoServer]:
    """As in mirror and prod: a replica set of one, with TLS."""
    server = MongoServer(server_folder / "mongo-access-tls", tls=server_tls, replica_set="saga-rs")
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def plain_server(server_folder: Path) -> Iterator[MongoServer]:
    """As in dev: a standalone without TLS; it can be told to fail (``configureFailPoint``)."""
    server = MongoServer(server_folder / "mongo-access", parameters={"enableTestCommands": True})
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def clients(aws: CountingAws) -> Iterator[AwsClients]:
    """AWS, as whoever provisions."""
    del aws
    with AwsClients() as clients:
        yield clients


@pytest.fixture
def world(secure_server: MongoServer, clients: AwsClients) -> World:
    """Mirror, empty."""
    return World(secure_server, clients, "mirror")


@pytest.fixture
def dev_world(plain_server: MongoServer, clients: AwsClients) -> World:
    """Dev, empty."""
    return World(plain_server, clients, "dev")
