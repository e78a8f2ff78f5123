"""What a running local environment says about itself: the state file, and the lock that proves it runs.

The supervisor holds a lock on ``supervisor.lock`` for as long as it lives; the kernel releases it however it dies, so
whether an environment runs never depends on a process id that may have been recycled. ``state.json`` is written whole
or not at all, and only its owner may read it: it holds the developer's keys of the emulated AWS.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from soa_db.local.engines import Engine
    from soa_db.names import Env

__all__ = ["ServerState", "State", "held", "lock", "read_state", "write_private", "write_state"]

STATE_FILE = "state.json"
SUPERVISOR_LOCK = "supervisor.lock"
UP_LOCK = "up.lock"


@dataclass(frozen=True, slots=True)
class ServerState:
    """One of the servers.

    Attributes:
        host: the host published, and dialled.
        port: the port published: the gate's in mirror and prod.
        backend_port: the server's own TCP port.
        pid: its (first) process, None while it is down.
        version: the major version.
        log_file: the server's log.
        resource_id: in mirror and prod, what AWS knows it by: the DbiResourceId, the replication group's id.
        account: the AWS account it belongs to.
        product: name and version, for people to read.
        superuser_conninfo: PostgreSQL's superuser, over the Unix socket, without a password.
        admin_url: the administrator of Redis (past any gate) or MongoDB. Holds the password.
    """

    host: str
    port: int
    backend_port: int
    pid: int | None
    version: int
    log_file: str
    resource_id: str | None
    account: str
    product: str
    superuser_conninfo: str = ""
    admin_url: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class State:
    """A running environment.

    Attributes:
        pid: the supervisor.
        started: when it started, see ``processes.Process``.
        control_port: where it takes commands.
        control_token: what proves that a command comes from somebody who may read this file.
        exports: environment variables for whoever uses the environment.
        servers: by engine and environment.
    """

    pid: int
    started: str
    control_port: int
    control_token: str
    exports: Mapping[str, str]
    servers: Mapping[Engine, Mapping[Env, ServerState]]

    def __repr__(self) -> str:
        return f"State(pid={self.pid}, servers={sorted(self.servers)})"

    def with_server(self, engine: Engine, env: Env, server: ServerState) -> State:
        """The same with another server in one place."""
        return replace(self, servers={**self.servers, engine: {**self.servers[engine], env: server}})


def write_private(path: Path, content: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
    temporary.replace(path)


def write_state(directory: Path, state: State) -> None:
    """Write the state file."""
    write_private(directory / STATE_FILE, json.dumps(asdict(state), indent=1))


def read_state(directory: Path) -> State | None:
    """Read the state file; None when there is none, or none that can be read."""
    try:
        data = json.loads((directory / STATE_FILE).read_text("utf-8"))
        servers = {
            engine: {env: ServerState(**server) for env, server in of_engine.items()}
            for engine, of_engine in data.pop("servers").items()
        }
        return State(**data, servers=servers)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


@contextmanager
def lock(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold an exclusive lock on a file; gives False, without holding it, when another does and ``wait`` is not set.

    Without ``wait`` it still tries for a second: somebody may be looking (``held``) at this very moment.
    """
    # Whatever the umask: who may write here could lead us, and whoever evaluates our exports, anywhere.
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    with _opened(path) as file:
        for remaining in range(50, -1, -1):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                break
            except BlockingIOError:
                if not remaining:
                    yield False
                    return
                time.sleep(0.02)
        yield True


def held(path: Path) -> bool:
    """Whether somebody holds the lock now; those who only look do not see each other."""
    if not path.exists():
        return False
    with _opened(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _opened(path: Path) -> IO[str]:
    # For its owner alone: a lock can be held by whoever may read the file (flock(2)).
    return open(path, "a", encoding="utf-8", opener=partial(os.open, mode=0o600))
