"""Tasks that write to PostgreSQL: each write is known by its title, and looked for in the end."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

from soa_db.cli.demo.load import Load

if TYPE_CHECKING:
    from soa_db.aws import AsyncAwsClients
    from soa_db.config import PostgresConfig
    from soa_db.postgres import AsyncPostgresProvider

__all__ = ["PostgresLoad"]

# A table of examples/saga-dash.
INSERT = "insert into public.dashboards (title, owner_email) values (%s, 'load@example.com')"
FOUND = "select count(*) from public.dashboards where title = any(%s)"


class PostgresLoad(Load):
    """Inserts, one a call.

    Args:
        name: what its writes are called; another for each load on one database.
        config: saga-dash's database, and a user that may insert into it.
        aws: what the provider reads secrets and mints tokens with; closed at the end.
        tasks: how many write at the same time.
        reconnect: drain the pool all the time, so that many calls need a new connection, and with it the password.

    Attributes:
        connections: how many the pool made.
        lost: acknowledged writes that were not in the table at the end; None until then.
    """

    def __init__(
        self, name: str, config: PostgresConfig, aws: AsyncAwsClients, *, tasks: int = 20, reconnect: bool = False
    ) -> None:
        super().__init__(tasks=tasks)
        self.connections = 0
        self.lost: int | None = None
        self._name = name
        self._config = config
        self._aws = aws
        self._reconnect = reconnect
        self._ids = itertools.count(1)

    async def _main(self) -> None:
        from soa_db.postgres import AsyncPostgresProvider

        async with self._aws, AsyncPostgresProvider(self._config, aws=self._aws) as provider:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.tasks):
                    group.create_task(self._until_stopped(lambda: self._write(provider)))
                if self._reconnect:
                    group.create_task(self._drain(provider.drain))
            titles = list(self.succeeded)
            async with provider.connection() as connection:
                row = await (await connection.execute(FOUND, (titles,))).fetchone()
            self.lost = len(titles) - (row[0] if row else 0)
            self.connections = provider.stats()["connections_num"]

    async def _write(self, provider: AsyncPostgresProvider) -> str:
        title = f"{self._name} {next(self._ids)}"
        async with provider.connection() as connection:
            await connection.execute(INSERT, (title,))
        return title
