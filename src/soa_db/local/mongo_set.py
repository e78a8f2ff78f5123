"""A replica set of several real MongoDB servers, for tests of elections and failover."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soa_db.local.mongo import ADMIN_USER, MongoDeployment, MongoServer, create_user, new_key
from soa_db.local.server import ServerGroup

if TYPE_CHECKING:
    from soa_db.local.programs import Program
    from soa_db.local.tls import ServerTls

__all__ = ["MongoReplicaSet"]

# A lost primary is missed after ten seconds by default, and looked for every two: an election then takes about twelve.
_SETTINGS = {"electionTimeoutMillis": 1000, "heartbeatIntervalMillis": 200}


class _Member(MongoServer):
    """A member of a set, which makes set and administrator for all of them."""

    def _settle(self, deadline: float) -> None:
        """Wait for the others to be there."""

    def joined(self) -> None:
        """Keep the data from now on: before that, a start begins anew."""
        self._marker.touch(mode=0o600)


class MongoReplicaSet(MongoDeployment, ServerGroup[_Member]):
    """A replica set in one folder, whose members elect another primary within two seconds.

    Each member has a key, a port and a folder of its own; users and the certificate, which must be for ``localhost``,
    are the same on all. It keeps its data over ``stop`` and ``start``, not for another object of the same folder.

    Args:
        directory: where it lives; made when missing.
        members: how many; an odd number.
        name: the set's name.
        binary: a program, instead of looking for one.
        tls: certificate to speak TLS with; its ``ca_pem`` must be given.
        admin_password: password of ``master``; a random one when left out.
        parameters: server parameters for every member.
        die_with_parent: as ``MongoServer`` has it.
    """

    def __init__(
        self,
        directory: Path,
        members: int = 3,
        *,
        name: str = "saga-rs",
        binary: Program | None = None,
        tls: ServerTls | None = None,
        admin_password: str | None = None,
        parameters: Mapping[str, object] | None = None,
        die_with_parent: bool = True,
    ) -> None:
        MongoDeployment.__init__(self, tls=tls, replica_set=name, auth=True, admin_password=admin_password)
        key, folder = new_key(), directory.resolve()
        nodes = [
            _Member(
                folder / f"node-{number}",
                binary=binary,
                tls=tls,
                replica_set=name,
                admin_password=self.admin_password,
                key=key,
                parameters=parameters,
                die_with_parent=die_with_parent,
            )
            for number in range(members)
        ]
        ServerGroup.__init__(self, folder, nodes)

    @property
    def hosts(self) -> tuple[tuple[str, int], ...]:
        """Host and port of every member, whether it runs or not."""
        return tuple(host for node in self.nodes for host in node.hosts)

    @property
    def folder(self) -> Path:
        """The first member's."""
        return self.nodes[0].folder

    def primary(self) -> MongoServer | None:
        """The running member that takes writes now, as it says of itself; None during an election."""
        return next((node for node in self._running if _hello(node).get("isWritablePrimary")), None)

    def secondaries(self) -> tuple[MongoServer, ...]:
        """The running members that follow it now."""
        return tuple(node for node in self._running if _hello(node).get("secondary"))

    def wait(self, *, timeout: float = 30.0) -> None:
        """Wait until one of the running members takes writes and all others follow it.

        Args:
            timeout: seconds.

        Raises:
            ServerUnavailable: it does not come to that.
        """

        def whole() -> bool:
            told = [_hello(node) for node in self._running]
            primaries = {hello["me"] for hello in told if hello.get("isWritablePrimary")}
            followed = {hello.get("primary") for hello in told}
            return len(primaries) == 1 and primaries == followed and all(map(_serves, told))

        self._until(whole, time.monotonic() + timeout)

    def stop(self) -> None:
        """Stop every member; the primary last, so that there is no election."""
        last = self.primary()
        for node in sorted(self.nodes, key=lambda node: node is last):
            node.stop()

    def _join(self, deadline: float) -> None:
        members = [{"_id": number, "host": f"{host}:{port}"} for number, (host, port) in enumerate(self.hosts)]
        configuration = {"_id": self.replica_set, "members": members, "settings": _SETTINGS}
        with self.nodes[0].system() as client:
            client.admin.command("replSetInitiate", configuration)
        self._until(lambda: self.primary() is not None, deadline)
        primary = self.primary()
        assert primary is not None
        with primary.system() as administrator:
            create_user(administrator, ADMIN_USER, self.admin_password, database="admin", roles=["root"])
        for node in self.nodes:
            node.joined()


def _serves(hello: dict[str, Any]) -> bool:
    return bool(hello.get("isWritablePrimary") or hello.get("secondary"))


def _hello(node: MongoServer) -> dict[str, Any]:
    """What a member says of itself and its set; nothing when it does not answer."""
    from pymongo.errors import PyMongoError

    try:
        with node.system(timeout=2.0) as client:
            return client.admin.command("hello")
    except PyMongoError:
        return {}
