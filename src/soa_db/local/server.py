"""What every embedded server has in common: a process of its own, started, stopped, killed, paused and resumed.

An engine says how its command line looks, when it is ready and how it is told to stop (``soa_db.local.postgres``,
``soa_db.local.redis``, ``soa_db.local.mongo``).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Generic, Self, TypeVar

from soa_db.errors import ServerUnavailable
from soa_db.local import processes
from soa_db.local.ports import free_port

__all__ = ["Server", "ServerGroup", "environment"]

S = TypeVar("S", bound="Server")

_LAUNCH = Path(__file__).with_name("_launch.py")


class _Startable(ABC):
    """What is started and stopped; as a context manager it runs as long as the ``with`` block."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def start(self, *, timeout: float = 30.0) -> None:
        """Start it; returns once it can be used."""

    @abstractmethod
    def stop(self) -> None:
        """Shut it down in order."""

    def restart(self, *, timeout: float = 30.0) -> None:
        """Stop and start on the same port."""
        self.stop()
        self.start(timeout=timeout)


class Server(_Startable):
    """One server in one folder, listening on 127.0.0.1.

    Args:
        directory: where it lives; made when missing. Starting again in the same folder finds the same data.
        port: TCP port; a free one when left out, kept from then on.
        die_with_parent: end when the thread that called ``start`` ends, however it ends (Linux).
    """

    host = "127.0.0.1"
    # What the server calls itself in messages.
    product: str
    # Ends it in order.
    stop_signal: ClassVar[signal.Signals]
    # Sent when the parent ends.
    orphan_signal: ClassVar[signal.Signals]

    def __init__(self, directory: Path, *, port: int | None, die_with_parent: bool) -> None:
        self.directory = directory.resolve()
        self._fixed_port = port is not None
        self._port = port
        self._die_with_parent = die_with_parent
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.directory)!r}, port={self._port})"

    @property
    def port(self) -> int:
        """The TCP port; chosen at the first start."""
        if self._port is None:
            raise ServerUnavailable("the server has not been started yet, so it has no port")
        return self._port

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def is_running(self) -> bool:
        """Whether it runs (paused counts as running)."""
        return self.pid is not None

    # --- what an engine says

    @property
    @abstractmethod
    def log_file(self) -> Path:
        """The server's log."""

    @abstractmethod
    def _prepare(self) -> None:
        """Make what must be there before it starts."""

    @abstractmethod
    def _command(self, port: int) -> Sequence[str]:
        """The program and its arguments; may write the configuration that names the port."""

    @abstractmethod
    def _ready(self, log: str) -> bool:
        """Whether it answers, by what it has logged since its start."""

    def _settle(self, deadline: float) -> None:
        """What is to be done once it answers, before anybody else uses it; by ``deadline`` (monotonic)."""

    @abstractmethod
    def _port_taken(self, log: str) -> bool:
        """Whether it ended because its port was taken."""

    @abstractmethod
    def remove(self) -> None:
        """Kill it and delete its folder."""

    def abandon(self) -> None:
        """Kill it and leave its folder, which somebody else deleted and may have made anew."""
        self.kill()

    # --- life

    def start(self, *, timeout: float = 30.0) -> None:
        """Start it, making first what it needs; returns once it can be used.

        Args:
            timeout: seconds to wait for that.

        Raises:
            ServerUnavailable: it did not come up; the message ends with the last lines of its log.
        """
        if self.is_running:
            return
        self._prepare()
        deadline = time.monotonic() + timeout
        self._listen(deadline)
        try:
            self._settle(deadline)
        except BaseException:
            self.kill()
            raise

    def stop(self, *, timeout: float = 10.0) -> None:
        """Shut it down in order; kill it when that takes longer than ``timeout`` seconds."""
        if self._process is None:
            return
        if self.is_running:
            processes.resume_tree(self._process.pid)
            self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """SIGKILL it and every child at once, as a crash of the machine would end them."""
        if self._process is None:
            return
        if self.is_running:
            processes.kill_tree(self._process.pid)
        self._process.wait()
        self._process = None

    def pause(self) -> None:
        """Stop all its processes without ending them: connections stay open and nothing answers."""
        # Of a process that has ended the pid may be anybody's.
        if (pid := self.pid) is not None:
            processes.pause_tree(pid)

    def resume(self) -> None:
        """Undo ``pause``."""
        if (pid := self.pid) is not None:
            processes.resume_tree(pid)

    # --- how

    def _listen(self, deadline: float) -> None:
        for attempt in range(1, 11):
            if self._port is None:
                self._port = free_port()
            if self._spawn(self._port, deadline):
                return
            # Somebody took the port between our look and the server's bind.
            if self._fixed_port and attempt > 3:
                break
            if not self._fixed_port:
                self._port = None
        raise ServerUnavailable(f"the port {self._port} is taken", hint="choose another, or none", log=self.log_file)

    def _launch(self, uid: int, gid: int, command: Sequence[str]) -> list[str]:
        """The command that becomes ``command`` as that user, to be signalled when the parent ends."""
        parent = str(os.getpid()) if self._die_with_parent else "0"
        account = (str(uid), str(gid), parent, str(int(self.orphan_signal)))
        return [sys.executable, "-I", "-S", str(_LAUNCH), *account, *command]

    def _spawn(self, port: int, deadline: float) -> bool:
        """Start the process; False when its port is taken."""
        command = self._command(port)
        self.log_file.touch(mode=0o600)
        offset = self.log_file.stat().st_size
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 (our own arguments)
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.log_file.parent,
                env=environment(),
                umask=0o077,
                # Ctrl-C in a terminal must reach us, who stop it in order, and not the server.
                start_new_session=True,
            )
        try:
            while self._process.poll() is None:
                if self._ready(self._log_since(offset)):
                    return True
                if time.monotonic() > deadline:
                    raise ServerUnavailable(f"{self.product} did not become ready: {self._log_since(offset)[-2000:]}")
                time.sleep(0.005)
        except BaseException:
            # Interrupted too: the next start would take it for one that answers.
            self.kill()
            raise
        self._process = None
        said = self._log_since(offset)
        if self._port_taken(said):
            return False
        raise ServerUnavailable(f"{self.product} did not start: {said[-2000:]}", log=self.log_file)

    def _log_since(self, offset: int) -> str:
        with self.log_file.open("rb") as file:
            file.seek(offset)
            return file.read().decode("utf-8", "replace").strip()


class ServerGroup(_Startable, Generic[S]):
    """Several servers in one folder that are one to their clients.

    Args:
        directory: where they live.
        nodes: the servers, each in a folder below that.
    """

    def __init__(self, directory: Path, nodes: Sequence[S]) -> None:
        self.directory = directory
        self.nodes: tuple[S, ...] = tuple(nodes)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.directory)!r}, {len(self.nodes)} nodes)"

    @abstractmethod
    def wait(self, *, timeout: float = 30.0) -> None:
        """Wait until the running nodes agree on who is which, and all of it can be used.

        Args:
            timeout: seconds.

        Raises:
            ServerUnavailable: it does not come to that.
        """

    @abstractmethod
    def _join(self, deadline: float) -> None:
        """Make one of the running nodes, the first time."""

    def start(self, *, timeout: float = 60.0) -> None:
        """Start every node, making one of them the first time; returns once each says that it is whole.

        Args:
            timeout: seconds to wait for that.

        Raises:
            ServerUnavailable: it did not come up.
        """
        deadline = time.monotonic() + timeout
        joined = self.directory / "joined"
        fresh = not joined.exists()
        for node in self.nodes:
            if fresh:
                # Whoever began to make it may have been ended before it was whole: its nodes know half of each other.
                node.remove()
            node.start(timeout=timeout)
        if fresh:
            self._join(deadline)
            joined.touch()
        self.wait(timeout=deadline - time.monotonic())

    @property
    def is_running(self) -> bool:
        """Whether every node runs."""
        return all(node.is_running for node in self.nodes)

    @property
    def _running(self) -> tuple[S, ...]:
        return tuple(node for node in self.nodes if node.is_running)

    def stop(self) -> None:
        """Stop every node."""
        for node in self.nodes:
            node.stop()

    def kill(self) -> None:
        """SIGKILL every node."""
        for node in self.nodes:
            node.kill()

    def pause(self) -> None:
        """SIGSTOP every node."""
        for node in self.nodes:
            node.pause()

    def resume(self) -> None:
        """Undo ``pause``."""
        for node in self.nodes:
            node.resume()

    def remove(self) -> None:
        """Kill every node and delete the folder."""
        for node in self.nodes:
            node.remove()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _until(self, done: Callable[[], bool], deadline: float) -> None:
        while not done():
            if time.monotonic() > deadline:
                raise ServerUnavailable(f"{self!r} does not get whole", log=self.nodes[0].log_file)
            time.sleep(0.02)


def environment() -> dict[str, str]:
    """The server's environment: nothing of ours (PG… variables, credentials) leaks into it."""
    kept = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "TZ", "ICU_DATA")
    return {"LC_ALL": "C", **{name: os.environ[name] for name in kept if name in os.environ}}
