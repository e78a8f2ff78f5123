"""Providers on a MongoDB of their own, thrown away when they disconnect: no specs, no environment, no AWS.

For unit tests of code that takes a provider. ``soa_db_mongo_provider`` and its neighbours give providers with the
rights that a ``db-access.yaml`` declares instead.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Self, Unpack

from soa_db import names
from soa_db._async.mongo.principal import AsyncMongoPrincipal
from soa_db._sync.mongo.principal import MongoPrincipal
from soa_db.config import MongoConfig, MongoHost, PasswordAuth
from soa_db.mongo import AsyncMongoProvider, MongoProvider

if TYPE_CHECKING:
    from soa_db._async.mongo.principal import LoaderKeywords
    from soa_db.aws import AsyncAwsClients, AwsClients
    from soa_db.credentials import AsyncCredentialProvider, CredentialProvider
    from soa_db.local.mongo import MongoServer

__all__ = ["AsyncLocalMongoProvider", "LocalMongoProvider"]


class _ThrowAway:
    """A server that lives from ``start`` to ``remove``: a replica set of one, so that there are transactions.

    It is started and removed in a thread of its own: it would end with the thread that started it, which may be
    anybody's.
    """

    def __init__(self, config: MongoConfig | None, service: str) -> None:
        self.instance_name = config.instance_name if config is not None else names.check_service(service)
        self._database = config.database if config is not None else names.mongo_database(service)
        self._user = (config.user if config is not None else None) or names.mongo_user(service)
        self._thread: ThreadPoolExecutor | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._config: MongoConfig | None = None
        self.server: MongoServer | None = None

    def start(self) -> Future[MongoConfig]:
        """Start it, or find it running; how its user reaches it."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="soa-db-local-mongo")
        return self._thread.submit(self._start)

    def remove(self) -> Future[None] | None:
        """Kill it and delete its folder; None when there is nothing to remove."""
        thread, self._thread = self._thread, None
        if thread is None:
            return None
        removed = thread.submit(self._remove)
        thread.shutdown(wait=False)
        return removed

    def _start(self) -> MongoConfig:
        from soa_db.local.mongo import MongoServer

        if self._config is not None:
            return self._config
        self._folder = self._folder or tempfile.TemporaryDirectory(prefix="soa-db-mongo-")
        server = self.server = MongoServer(Path(self._folder.name) / "server", replica_set="local")
        server.start()
        password = secrets.token_urlsafe(24)
        server.create_user(self._user, password, database=self._database)
        self._config = MongoConfig(
            instance_name=self.instance_name,
            hosts=tuple(MongoHost(host=host, port=port) for host, port in server.hosts),
            database=self._database,
            user=self._user,
            auth=PasswordAuth(password=password),
            replica_set=server.replica_set,
            tls=None,
        )
        return self._config

    def _remove(self) -> None:
        server, folder = self.server, self._folder
        self.server = self._folder = self._config = None
        if server is not None:
            server.remove()
        if folder is not None:
            folder.cleanup()


class _Principal(MongoPrincipal):
    def __init__(self, behind: _ThrowAway) -> None:
        super().__init__()
        self._behind = behind

    @property
    def name(self) -> str:
        return self._behind.instance_name

    def resolve(self) -> tuple[MongoConfig, CredentialProvider]:
        self._config = self._behind.start().result()
        return super().resolve()

    def close(self) -> None:
        removed = self._behind.remove()
        if removed is not None:
            removed.result()
        self._config = self._credentials = None


class _AsyncPrincipal(AsyncMongoPrincipal):
    def __init__(self, behind: _ThrowAway) -> None:
        super().__init__()
        self._behind = behind

    @property
    def name(self) -> str:
        return self._behind.instance_name

    async def resolve(self) -> tuple[MongoConfig, AsyncCredentialProvider]:
        self._config = await asyncio.wrap_future(self._behind.start())
        return await super().resolve()

    async def close(self) -> None:
        removed = self._behind.remove()
        if removed is not None:
            await asyncio.wrap_future(removed)
        self._config = self._credentials = None


class _OnThrowAway:
    _behind: _ThrowAway

    @property
    def admin_url(self) -> str | None:
        """The administrator's way in, for assertions; None before ``connect``. Holds the password."""
        return self._behind.server.admin_url if self._behind.server is not None else None


class LocalMongoProvider(_OnThrowAway, MongoProvider):
    """A ``MongoProvider`` with a real MongoDB of its own, which ``connect`` starts and ``disconnect`` throws away.

    It takes the place of a ``MongoProvider`` in the code under test, however that is made: instance name, database and
    user are those of the configuration, or of the service. The user has the role ``readWrite`` in the database.

    Args:
        config: whose names to take; where it leads does not matter.
        aws: ignored.
        service: the service, when there is no configuration.
    """

    def __init__(
        self, config: MongoConfig | None = None, *, aws: AwsClients | None = None, service: str = "local"
    ) -> None:
        del aws
        self._behind = _ThrowAway(config, service)
        self._start(_Principal(self._behind))

    @classmethod
    def from_aws(cls, *, aws: AwsClients | None = None, **loader: Unpack[LoaderKeywords]) -> Self:
        """Return one for ``service``; nothing is loaded from AWS."""
        return cls(aws=aws, service=loader["service"])


class AsyncLocalMongoProvider(_OnThrowAway, AsyncMongoProvider):
    """The asynchronous twin of ``LocalMongoProvider``."""

    def __init__(
        self, config: MongoConfig | None = None, *, aws: AsyncAwsClients | None = None, service: str = "local"
    ) -> None:
        del aws
        self._behind = _ThrowAway(config, service)
        self._start(_AsyncPrincipal(self._behind))

    @classmethod
    def from_aws(cls, *, aws: AsyncAwsClients | None = None, **loader: Unpack[LoaderKeywords]) -> Self:
        """Return one for ``service``; nothing is loaded from AWS."""
        return cls(aws=aws, service=loader["service"])
