"""What the supervisor does with a server of any engine: run it, give it its public port, publish it, end it."""

from __future__ import annotations

import asyncio
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from soa_db.errors import ServerUnavailable
from soa_db.local.engines import Engine, folder_name
from soa_db.local.state import ServerState

if TYPE_CHECKING:
    import ssl

    from soa_db.local.aws import EmulatedAws
    from soa_db.local.gates import Gate
    from soa_db.local.server import Server
    from soa_db.local.tls import ServerTls
    from soa_db.names import Env

__all__ = ["ACCOUNTS", "HOST", "Runner"]

ACCOUNTS: Final[Mapping[Env, str]] = {"dev": "111111111111", "mirror": "111111111111", "prod": "222222222222"}
HOST = "localhost"


class Runner(ABC):
    """One server and the thread that runs it; its public port, and what is published of it.

    Args:
        directory: the environment's folder.
        env: whose server it is.
    """

    engine: ClassVar[Engine]
    # Whether the server shows a certificate itself, and not a gate in front of it: it is given one before it starts.
    speaks_tls = False
    server: Server

    def __init__(self, directory: Path, env: Env) -> None:
        self.env = env
        self.account = ACCOUNTS[env]
        self.folder = directory / folder_name(self.engine, env)
        self.password = secrets.token_urlsafe(24)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"soa-db-{self.folder.name}")
        self.gate: Gate | None = None
        self.port = 0

    # --- what an engine says

    @abstractmethod
    async def open(self, aws: EmulatedAws, tls: ssl.SSLContext) -> None:
        """Give the running server its public port, behind a gate in mirror and prod, and make it known to AWS."""

    @abstractmethod
    def publish(self, aws: EmulatedAws) -> None:
        """Put coordinates and administrators' secrets where the contract says."""

    @abstractmethod
    def state(self) -> ServerState:
        """What the state file says of it."""

    def _state(self, *, version: int, resource_id: str | None, **own: str) -> ServerState:
        return ServerState(
            host=HOST,
            port=self.port,
            backend_port=self.server.port,
            pid=self.server.pid,
            product=self.server.product,
            version=version,
            log_file=str(self.server.log_file),
            resource_id=resource_id,
            account=self.account,
            **own,
        )

    def certify(self, tls: ServerTls) -> None:
        """Give a server that ``speaks_tls`` its certificate."""
        raise NotImplementedError

    def _restore(self, source: Server, password: str) -> None:
        """Replace what the server holds by what ``source`` holds, and give its administrator a password."""
        del password
        raise ServerUnavailable(f"{source.product} is not restored from snapshots")

    # --- what is the same for all

    async def run(self, function: Callable[[], None]) -> None:
        """Run something of the server's in its thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def start(self) -> None:
        """Start the server."""
        await self.run(self.server.start)

    async def command(self, name: str) -> None:
        """Do one of the things a server can be told."""
        match name:
            case "start":
                await self.start()
            case "stop":
                await self.run(self.server.stop)
            case "kill":
                await self.run(self.server.kill)
            case "restart":
                await self.run(self.server.stop)
                await self.start()
            case "pause":
                await self.run(self.server.pause)
            case "resume":
                await self.run(self.server.resume)
            case _:
                raise ServerUnavailable(f"unknown command {name!r}")

    async def restore(self, source: Runner, aws: EmulatedAws) -> None:
        """Restore the server from a snapshot of another environment's, taken now.

        It keeps its address. Its administrator gets a new password, for the one that came with the snapshot is the
        other environment's; what is published says so once all is done.
        """
        password = secrets.token_urlsafe(24)
        # In one piece, so that a removal of the server that is asked for meanwhile comes after all of it.
        await self.run(partial(self._restore, source.server, password))
        self.password = password
        self.publish(aws)

    async def close(self, *, displaced: bool) -> None:
        """Close the gate, stop the server and delete its folder, unless that is no longer ours."""
        if self.gate is not None:
            await self.gate.close()
        await self.run(self.server.abandon if displaced else self.server.remove)
        self._thread.shutdown(wait=False)
