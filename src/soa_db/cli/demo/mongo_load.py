"""Tasks that write to MongoDB: each document is known by its id, and looked for in the end."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

from soa_db.cli.demo.load import Load

if TYPE_CHECKING:
    from soa_db.aws import AsyncAwsClients
    from soa_db.config import MongoConfig
    from soa_db.mongo import AsyncMongoProvider

__all__ = ["MongoLoad"]


class MongoLoad(Load):
    """Inserts, one a call, acknowledged by the majority of the members.

    Args:
        name: the collection, which is dropped in the end; another for each load on one database.
        config: a database, and a user that may write there.
        aws: what the provider reads secrets with; closed at the end.
        tasks: how many write at the same time.
        reconnect: drain the pool all the time, so that many calls need a new connection, and with it the password.

    Attributes:
        lost: acknowledged writes that were not there at the end; None until then.
    """

    def __init__(
        self, name: str, config: MongoConfig, aws: AsyncAwsClients, *, tasks: int = 20, reconnect: bool = False
    ) -> None:
        super().__init__(tasks=tasks)
        self.lost: int | None = None
        self._name = name
        self._config = config
        self._aws = aws
        self._reconnect = reconnect
        self._ids = itertools.count(1)

    async def _main(self) -> None:
        from soa_db.mongo import AsyncMongoProvider

        async with self._aws, AsyncMongoProvider(self._config, aws=self._aws) as provider:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.tasks):
                    group.create_task(self._until_stopped(lambda: self._write(provider)))
                if self._reconnect:
                    group.create_task(self._drain(provider.drain))
            collection = provider.database[self._name]
            self.lost = len(self.succeeded) - await collection.count_documents({"_id": {"$in": list(self.succeeded)}})
            await collection.drop()

    async def _write(self, provider: AsyncMongoProvider) -> str:
        document = f"{next(self._ids)}"
        await provider.database[self._name].insert_one({"_id": document})
        return document
