"""1,000 callers at once in a new process: ``python -m bench.crowd ask|connect|wait``.

``ask`` has each ask the config's credential provider, ``connect`` has each make a connection of its own, ``wait`` has
each only wait for a while: what the machine and the loop do without us. Standard input is a JSON object: the config,
and the AWS target. Prints the longest stall of the event loop, in seconds, by the clock and in the loop's own CPU time.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

from soa_db._async.credentials import postgres_credentials
from soa_db.aws import AsyncAwsClients
from soa_db.config import AwsTarget, PostgresConfig
from soa_db.postgres import aconnect

CALLERS = 1000
# Callers that arrive in one step of the loop: a listening server accepts no more at once, and what it costs to make a
# thousand tasks in one step is not what is to be measured.
ARRIVING = 50
TICK = 0.001


class Ticker:
    """A task that wakes every millisecond and notes how late it was."""

    def __init__(self) -> None:
        self.wall = self.processor = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            wall, processor = time.perf_counter(), time.thread_time()
            await asyncio.sleep(TICK)
            self.wall = max(self.wall, time.perf_counter() - wall - TICK)
            self.processor = max(self.processor, time.thread_time() - processor)


async def _crowd(what: str, config: PostgresConfig, target: AwsTarget) -> dict[str, float]:
    aws = AsyncAwsClients.from_target(target)
    credentials = postgres_credentials(config, aws=aws)
    connections = []

    async def ask() -> None:
        await credentials.get()

    async def connect() -> None:
        connections.append(await aconnect(config, aws=aws))

    async def wait() -> None:
        await asyncio.sleep(0.2)

    calls: dict[str, Callable[[], Awaitable[None]]] = {"ask": ask, "connect": connect, "wait": wait}
    ticker = Ticker()
    ticking = asyncio.create_task(ticker.run())
    await asyncio.sleep(0.05)
    ticker.wall = ticker.processor = 0.0
    began = time.perf_counter()
    tasks = []
    for _ in range(0, CALLERS, ARRIVING):
        tasks += [asyncio.ensure_future(calls[what]()) for _ in range(ARRIVING)]
        await asyncio.sleep(0)
    for task in tasks:  # gather would take them all in one step of the loop, which is a stall of its own
        await task
    seconds = time.perf_counter() - began
    await asyncio.sleep(2 * TICK)
    ticking.cancel()
    for connection in connections:
        await connection.close()
    await aws.close()
    return {"wall": ticker.wall, "processor": ticker.processor, "seconds": seconds}


def main() -> None:
    """Run one crowd."""
    given = json.loads(sys.stdin.read())
    config = PostgresConfig.model_validate(given["config"])
    print(json.dumps(asyncio.run(_crowd(sys.argv[1], config, AwsTarget.model_validate(given["target"])))))


if __name__ == "__main__":
    main()
