"""Writing tasks against one database, on an event loop in a thread of its own: what was acknowledged, what failed."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from soa_db.errors import SoaDbError

if TYPE_CHECKING:
    from types import TracebackType

    from soa_db.aws import AsyncAwsClients
    from soa_db.config import PostgresConfig
    from soa_db.postgres import AsyncPostgresProvider

__all__ = ["Failure", "Load"]

# A table of examples/saga-dash; each write is known by its title.
INSERT = "insert into public.dashboards (title, owner_email) values (%s, 'load@example.com')"
FOUND = "select count(*) from public.dashboards where title = any(%s)"
# Each task rests between calls: the demo shows that calls survive, not how many a laptop can make.
REST = 0.004
RECONNECT = 0.05


@dataclass(frozen=True, slots=True)
class Failure:
    """One call that failed.

    Attributes:
        began: monotonic seconds at which the call was begun.
        error: name of the error's class.
        typed: it is one of the package's errors.
    """

    began: float
    error: str
    typed: bool


class Load:
    """A context manager that keeps writing until it is left.

    Args:
        name: what its writes are called; another for each load on one database.
        config: saga-dash's database, and a user that may insert into it.
        aws: what the provider reads secrets and mints tokens with; closed at the end.
        tasks: how many write at the same time; also an attribute.
        reconnect: drain the pool all the time, so that many calls need a new connection, and with it the password.

    Attributes:
        acknowledged: monotonic seconds of each write the server confirmed, by its title.
        failures: the calls that failed.
        connections: how many the pool made.
        lost: acknowledged writes that were not in the table at the end; None until then.
    """

    def __init__(
        self, name: str, config: PostgresConfig, aws: AsyncAwsClients, *, tasks: int = 20, reconnect: bool = False
    ) -> None:
        self.acknowledged: dict[str, float] = {}
        self.failures: list[Failure] = []
        self.connections = 0
        self.lost: int | None = None
        self._name = name
        self._config = config
        self._aws = aws
        self.tasks = tasks
        self._reconnect = reconnect
        self._ids = itertools.count(1)
        self._stop = threading.Event()
        self._under_way = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="demo-load")

    @property
    def calls(self) -> int:
        """How many calls have ended."""
        return len(self.acknowledged) + len(self.failures)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._under_way.wait()
        except BaseException:
            # Ctrl-C here: nobody will leave the context that was never entered.
            self._stop.set()
            self._thread.join()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that leaves the context
            self._error = error
        finally:
            self._under_way.set()

    async def _main(self) -> None:
        from soa_db.postgres import AsyncPostgresProvider

        async with self._aws, AsyncPostgresProvider(self._config, aws=self._aws) as provider:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.tasks):
                    group.create_task(self._write(provider))
                if self._reconnect:
                    group.create_task(self._drain(provider))
            titles = list(self.acknowledged)
            async with provider.connection() as connection:
                row = await (await connection.execute(FOUND, (titles,))).fetchone()
            self.lost = len(titles) - (row[0] if row else 0)
            self.connections = provider.stats()["connections_num"]

    async def _write(self, provider: AsyncPostgresProvider) -> None:
        while not self._stop.is_set():
            title = f"{self._name} {next(self._ids)}"
            began = time.monotonic()
            try:
                async with provider.connection() as connection:
                    await connection.execute(INSERT, (title,))
            except Exception as error:  # noqa: BLE001  # every way to fail is counted
                self.failures.append(Failure(began, type(error).__name__, isinstance(error, SoaDbError)))
            else:
                self.acknowledged[title] = time.monotonic()
            self._under_way.set()
            await asyncio.sleep(REST)

    async def _drain(self, provider: AsyncPostgresProvider) -> None:
        while not self._stop.is_set():
            await asyncio.sleep(RECONNECT)
            await provider.drain()
