"""The servers benchmarks run on: real ones, in folders of their own, gone afterwards."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from pydantic import SecretStr

from soa_db.config import MongoConfig, MongoHost, MongoOptions, PasswordAuth, PoolConfig, PostgresConfig, RedisConfig
from soa_db.local.mongo import MongoDeployment, MongoServer
from soa_db.local.mongo_set import MongoReplicaSet
from soa_db.local.postgres import MASTER_USER, PostgresServer
from soa_db.local.redis import RedisServer

__all__ = ["Plain", "mongo_config", "mongo_set", "plain_mongo", "plain_redis", "plain_server", "redis_config"]

DATABASE = "bench"


@dataclass(frozen=True, slots=True)
class Plain:
    """A server without TLS, and how to log in as its administrator."""

    server: PostgresServer
    password: str

    @property
    def conninfo(self) -> str:
        """For the drivers themselves."""
        return self.server.conninfo(MASTER_USER, self.password, DATABASE)

    @property
    def url(self) -> str:
        """For drivers that want a URL."""
        return f"postgresql://{MASTER_USER}:{self.password}@127.0.0.1:{self.server.port}/{DATABASE}"

    def config(self, *, pool: PoolConfig | None = None) -> PostgresConfig:
        """For the provider."""
        return PostgresConfig(
            instance_name="bench",
            host="127.0.0.1",
            port=self.server.port,
            database=DATABASE,
            user=MASTER_USER,
            auth=PasswordAuth(password=self.password),
            tls=None,
            pool=pool or PoolConfig(),
        )


@contextmanager
def plain_server(*, settings: Mapping[str, str] | None = None) -> Iterator[Plain]:
    """A server of any version with a database of its administrator's, removed afterwards."""
    password = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="soa-db-bench-") as folder:
        server = PostgresServer(Path(folder) / "postgres", master_password=password, settings=settings)
        try:
            server.start()
            with psycopg.connect(server.master_conninfo, autocommit=True) as conn:
                conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
            yield Plain(server, password)
        finally:
            server.remove()


@contextmanager
def plain_redis(*, settings: Mapping[str, str] | None = None) -> Iterator[RedisServer]:
    """A Redis without TLS, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="soa-db-bench-") as folder:
        server = RedisServer(Path(folder) / "redis", settings=settings)
        try:
            server.start()
            yield server
        finally:
            server.remove()


def redis_config(server: RedisServer, **fields: Any) -> RedisConfig:
    """For the manager."""
    return RedisConfig(
        instance_name="bench",
        host=server.host,
        port=server.port,
        user=server.admin_user,
        auth=PasswordAuth(password=SecretStr(server.admin_password)),
        tls=None,
        **fields,
    )


@contextmanager
def plain_mongo() -> Iterator[MongoServer]:
    """A MongoDB without TLS, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="soa-db-bench-") as folder:
        server = MongoServer(Path(folder) / "mongo")
        try:
            server.start()
            yield server
        finally:
            server.remove()


@contextmanager
def mongo_set() -> Iterator[MongoReplicaSet]:
    """A replica set of three without TLS, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="soa-db-bench-") as folder:
        members = MongoReplicaSet(Path(folder) / "mongo-set")
        try:
            members.start()
            yield members
        finally:
            members.remove()


def mongo_config(server: MongoDeployment, **options: Any) -> MongoConfig:
    """For the provider."""
    return MongoConfig(
        instance_name="bench",
        hosts=tuple(MongoHost(host=host, port=port) for host, port in server.hosts),
        database=DATABASE,
        user=server.admin_user,
        auth=PasswordAuth(password=SecretStr(server.admin_password)),
        auth_source="admin",
        replica_set=server.replica_set,
        tls=None,
        options=MongoOptions(**options),
    )
