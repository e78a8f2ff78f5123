"""A cluster of real Redis (or Valkey) servers of our own: every slot served, each primary with its replicas."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soa_db.errors import ConfigurationError
from soa_db.local.ports import free_port
from soa_db.local.redis import ADMIN_USER, RedisServer
from soa_db.local.server import ServerGroup

if TYPE_CHECKING:
    from soa_db.local.programs import Program
    from soa_db.local.tls import ServerTls

__all__ = ["RedisCluster"]

_SLOTS = 16_384


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
