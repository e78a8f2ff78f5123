"""The local environment as its users see it: up, down, status, exports, and mischief with its servers.

Each environment has a server of every engine: plain ones in dev; in mirror and prod with TLS, PostgreSQL and Redis
behind the gates of RDS and ElastiCache. AWS is emulated with signatures and policies enforced, dev and mirror in one
account, prod in another. Nothing outlives ``down``: every ``up`` is fresh.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from soa_db.errors import ConfigurationError, MissingExtra, ServerUnavailable
from soa_db.local import processes, state
from soa_db.local.binaries import ENVIRONMENT_VARIABLE
from soa_db.local.engines import FOLDERS, RESTORED, Engine, sweep
from soa_db.local.mongo_binaries import ENVIRONMENT_VARIABLE as MONGO_VARIABLE
from soa_db.local.redis_binaries import ENVIRONMENT_VARIABLE as REDIS_VARIABLE
from soa_db.local.state import ServerState

if TYPE_CHECKING:
    from soa_db.names import Env

__all__ = ["LocalEnvironment", "ServerState", "Status"]

DEFAULT_DIRECTORY = Path(".soa-db")
LOG_FILE = "supervisor.log"
# What an environment makes, besides its locks and its log.
_FILES = (state.STATE_FILE, "ca.pem", "soa-db.toml")
_OURS = (*FOLDERS, *_FILES)
# Of the extra `local`: who lacks it is told so, and not of one server's wheel after the other.
_LIBRARIES = ("flask", "moto", "trustme")


@dataclass(frozen=True, slots=True)
class Status:
    """Whether an environment runs, and which of its servers do.

    Attributes:
        running: the supervisor is there and ready.
        pid: its process id.
        aws_endpoint: the emulated AWS.
        servers: what is published, by engine and environment; empty when not running.
        up: which of the servers run.
    """

    running: bool
    pid: int | None
    aws_endpoint: str | None
    servers: Mapping[Engine, Mapping[Env, ServerState]]
    up: Mapping[Engine, Mapping[Env, bool]]


class LocalEnvironment:
    """One environment, in one folder; several can run side by side in different folders.

    As a context manager it lives as long as the ``with`` block, or as the process in it should that be killed; one that
    was running already is used and left running.

    Args:
        directory: its folder, made by ``up`` and empty again after ``down``.
    """

    def __init__(self, directory: str | os.PathLike[str] = DEFAULT_DIRECTORY) -> None:
        self.directory = Path(directory).resolve()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._up(follow=True, progress=None, timeout=60.0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.down()

    # --- life

    def up(self, *, progress: Callable[[str], None] | None = None, timeout: float = 60.0) -> Status:
        """Start it, or find it running; it stays until ``down``.

        Args:
            progress: is told what has come up.
            timeout: seconds to wait.

        Raises:
            MissingExtra: the extra ``local`` is not installed.
            ServerUnavailable: it did not come up; the message says why.
        """
        self._up(follow=False, progress=progress, timeout=timeout)
        return self.status()

    def down(self, *, timeout: float = 20.0) -> bool:
        """Stop it and delete what it made; whether there was anything to stop.

        Also puts right what an environment that was killed left behind.
        """
        with self._exclusively():
            running = self._supervised()
            if running:
                self._end_supervisor(timeout)
            self._sweep()
        self._forget()
        return running

    def status(self) -> Status:
        """What runs now.

        Raises:
            ConfigurationError: the folder is another user's.
        """
        self._refuse_what_others_may_write()
        current = state.read_state(self.directory) if self._supervised() else None
        if current is None:
            return Status(False, None, None, {}, {})
        up = {
            engine: {env: bool(server.pid and processes.find(server.pid)) for env, server in servers.items()}
            for engine, servers in current.servers.items()
        }
        return Status(True, current.pid, current.exports["AWS_ENDPOINT_URL"], current.servers, up)

    def exports(self) -> dict[str, str]:
        """The environment variables that make any AWS SDK, and soa-db, use this environment.

        Raises:
            ServerUnavailable: it is not running.
            ConfigurationError: the folder is another user's.
        """
        return dict(self._state().exports)

    def server(self, env: Env, engine: Engine = "postgres") -> ServerState:
        """What is known of one of the servers."""
        return self._state().servers[engine][env]

    # --- mischief

    def kill_server(self, env: Env, engine: Engine = "postgres") -> None:
        """SIGKILL a server and all its processes; its gate stays and hangs up on whoever connects."""
        self._command(env, "kill", engine)

    def start_server(self, env: Env, engine: Engine = "postgres") -> None:
        """Start a server that was killed or stopped, on the port it had."""
        self._command(env, "start", engine)

    def stop_server(self, env: Env, engine: Engine = "postgres") -> None:
        """Stop a server in order: PostgreSQL tells its sessions 57P01."""
        self._command(env, "stop", engine)

    def restart_server(self, env: Env, engine: Engine = "postgres") -> None:
        """Stop and start."""
        self._command(env, "restart", engine)

    def pause_server(self, env: Env, engine: Engine = "postgres") -> None:
        """SIGSTOP a server and all its processes: connections stay open and nothing answers."""
        self._command(env, "pause", engine)

    def resume_server(self, env: Env, engine: Engine = "postgres") -> None:
        """Undo ``pause_server``."""
        self._command(env, "resume", engine)

    # --- the daily refresh

    def refresh_mirror(self, *, progress: Callable[[str], None] | None = None) -> None:
        """Do what the daily job does: restore mirror's PostgreSQL and MongoDB from a snapshot of prod, taken now.

        Prod goes on serving. Mirror keeps its addresses; its roles and users, and their passwords, are prod's then, its
        DbiResourceId is a new one, and its administrators have new passwords, published where they were. Whatever
        interrupts it, done again it comes to the same. Mirror's Redis, a cache, stays as it is.

        Args:
            progress: is told what has been restored.

        Raises:
            ServerUnavailable: the environment does not run, or a server could not be copied or restored.
        """
        for engine in RESTORED:
            self._command("mirror", "restore", engine, source="prod")
            if progress is not None:
                progress(f"mirror: {self.server('mirror', engine).product} holds what prod's holds")

    # --- how

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        """One ``up`` or ``down`` of a folder at a time."""
        self._refuse_what_is_not_ours()
        with state.lock(self.directory / state.UP_LOCK, wait=True):
            yield

    def _refuse_what_is_not_ours(self) -> None:
        """Refuse a folder that holds names we would delete, but never was an environment: a home with a ``dev`` in it.

        The supervisor's lock stays for good in a folder where one ran.
        """
        self._refuse_what_others_may_write()
        if (self.directory / state.SUPERVISOR_LOCK).exists():
            return
        if found := [name for name in _OURS if (self.directory / name).exists()]:
            raise ConfigurationError(
                f"{self.directory} holds {', '.join(found)}, which no local environment made",
                hint="choose another directory",
            )

    def _refuse_what_others_may_write(self) -> None:
        """Refuse a folder whose files another user may have put there: they say what we kill, delete and export."""
        try:
            status = self.directory.stat()
        except FileNotFoundError:
            return
        if status.st_uid != os.geteuid() or status.st_mode & stat.S_IWOTH:
            raise ConfigurationError(
                f"{self.directory} belongs to another user, or everybody may write there",
                hint="choose a directory of your own with --state-dir, or take it over (chown, chmod o-w)",
            )

    def _supervised(self) -> bool:
        return state.held(self.directory / state.SUPERVISOR_LOCK)

    def _state(self) -> state.State:
        self._refuse_what_others_may_write()
        current = state.read_state(self.directory) if self._supervised() else None
        if current is None:
            raise ServerUnavailable(
                f"no local environment runs in {self.directory}", hint="start it with `soa-db local up`"
            )
        return current

    def _up(self, *, follow: bool, progress: Callable[[str], None] | None, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        if missing := [library for library in _LIBRARIES if find_spec(library) is None]:
            told = f"the local environment needs {', '.join(missing)}"
            raise MissingExtra(told, hint="pip install 'soa-db[local]'")
        with self._exclusively():
            if self._supervised() and self._becomes_ready(deadline):
                return
            self._sweep()
            self._start_supervisor(follow, progress)

    def _becomes_ready(self, deadline: float) -> bool:
        """Whether a supervisor that runs gets ready: whoever started it may have been killed while it was starting."""
        while self._supervised():
            if state.read_state(self.directory) is not None:
                return True
            if time.monotonic() > deadline:
                raise ServerUnavailable(
                    f"the local environment in {self.directory} is starting and does not get ready",
                    hint="`soa-db local down` ends it",
                )
            time.sleep(0.05)
        return False

    def _start_supervisor(self, follow: bool, progress: Callable[[str], None] | None) -> None:
        log_file = self.directory / LOG_FILE
        log_file.touch(mode=0o600)
        mode = "follow" if follow else "stay"
        # -P: the working directory is no place to import from.
        command = [sys.executable, "-P", "-m", "soa_db.local.supervisor", mode, str(self.directory)]
        with log_file.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 (our own module)
                command,
                stdin=subprocess.PIPE if follow else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(),
                start_new_session=True,
            )
        assert process.stdout is not None
        if follow:
            self._process = process
        try:
            failure = _follow(process.stdout, progress)
        except BaseException:
            # Interrupted while waiting: leave nothing half-started.
            self._end_supervisor(timeout=20.0)
            self._forget()
            raise
        finally:
            process.stdout.close()
            if not follow:
                # It has forked, so that it is nobody's child, and ended.
                process.wait()
        if failure is not None:
            self._forget()
            self._sweep(keep_log=True)
            raise ServerUnavailable(
                f"the local environment did not start: {failure or 'its supervisor ended'}", hint=f"see {log_file}"
            )

    def _forget(self) -> None:
        """Wait for a supervisor that is our child."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()
            self._process = None

    def _end_supervisor(self, timeout: float) -> None:
        """End the process that holds the lock: by its state file, else (it is still starting) by looking for it."""
        current = state.read_state(self.directory)
        if current is not None and processes.alive(current.pid, current.started):
            victim: int | None = current.pid
        else:
            marks = ("soa_db.local.supervisor", str(self.directory))
            victim = next((pid for pid in processes.table() if set(marks) <= set(processes.command_line(pid))), None)
        if victim is None:
            return
        deadline = time.monotonic() + timeout
        os.kill(victim, signal.SIGTERM)
        while self._supervised() or processes.find(victim):
            if time.monotonic() > deadline:
                processes.kill_tree(victim)
                return
            time.sleep(0.01)

    def _sweep(self, *, keep_log: bool = False) -> None:
        """Delete what an environment leaves that was killed, its servers included if they live."""
        if not self.directory.is_dir():
            return
        sweep(self.directory)
        # By name: what else stands here (another environment in a folder of its own) is none of ours.
        for name in (*_FILES, *(() if keep_log else (LOG_FILE,))):
            (self.directory / name).unlink(missing_ok=True)
            for half_written in self.directory.glob(f".{name}.*"):
                half_written.unlink(missing_ok=True)

    def _command(self, env: Env, command: str, engine: Engine = "postgres", **more: str) -> None:
        current = self._state()
        request = {"token": current.control_token, "engine": engine, "env": env, "command": command, **more}
        try:
            with socket.create_connection(("127.0.0.1", current.control_port), timeout=120) as control:
                control.sendall(json.dumps(request).encode() + b"\n")
                answer = json.loads(control.makefile("rb").readline() or b"{}")
        except (OSError, ValueError) as error:
            raise ServerUnavailable("the local environment does not answer", env=env) from error
        if "error" in answer or not answer:
            raise ServerUnavailable(f"could not {command} the server: {answer.get('error', 'no answer')}", env=env)


def _follow(output: IO[bytes], progress: Callable[[str], None] | None) -> str | None:
    """Read what the supervisor tells until it is ready (None) or has failed (why)."""
    for line in output:
        message = json.loads(line)
        if "error" in message:
            return str(message["error"])
        if message.get("ready"):
            return None
        if progress is not None:
            progress(str(message.get("progress", "")))
    return ""


def _environment() -> dict[str, str]:
    """The supervisor's environment: this interpreter's path, and nothing of the caller's AWS or PG… settings."""
    dropped = ("AWS_", "PG", "MOTO_", "SOA_DB_")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(dropped) or name in {ENVIRONMENT_VARIABLE, REDIS_VARIABLE, MONGO_VARIABLE}
    }
    return {**kept, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
