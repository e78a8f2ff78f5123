"""A replica set of several real MongoDB servers, for tests of elections and failover."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from soa_db.errors import ServerUnavailable
from soa_db.local.mongo import ADMIN_USER, MongoDeployment, MongoServer, create_user, new_key

if TYPE_CHECKING:
    from pymongo import MongoClient

    from soa_db.local.mongo_binaries import MongoBinary
    from soa_db.local.tls import ServerTls

__all__ = ["MongoReplicaSet"]

_JOINED = "joined"
# A lost primary is missed after ten seconds by default, and looked for every two: an election then takes about twelve.
_SETTINGS = {"electionTimeoutMillis": 1000, "heartbeatIntervalMillis": 200}


class _Member(MongoServer):
    """A member of a set, which makes set and administrator for all of them."""

    def _settle(self, fresh: bool, deadline: float) -> None:
        del fresh, deadline


class MongoReplicaSet(MongoDeployment):
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
        binary: MongoBinary | None = None,
        tls: ServerTls | None = None,
        admin_password: str | None = None,
        parameters: Mapping[str, object] | None = None,
        die_with_parent: bool = True,
    ) -> None:
        super().__init__(tls=tls, replica_set=name, auth=True, admin_password=admin_password)
        self.directory = directory.resolve()
        key = new_key()
        self.nodes: tuple[MongoServer, ...] = tuple(
            _Member(
                self.directory / f"node-{number}",
                binary=binary,
                tls=tls,
                replica_set=name,
                admin_password=self.admin_password,
                key=key,
                parameters=parameters,
                die_with_parent=die_with_parent,
            )
            for number in range(members)
        )

    def __repr__(self) -> str:
        return f"MongoReplicaSet({str(self.directory)!r}, {len(self.nodes)} members)"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def hosts(self) -> tuple[tuple[str, int], ...]:
        """Host and port of every member, whether it runs or not."""
        return tuple(host for node in self.nodes for host in node.hosts)

    @property
    def folder(self) -> Path:
        """The first member's."""
        return self.nodes[0].folder

    @property
    def is_running(self) -> bool:
        """Whether every member runs."""
        return all(node.is_running for node in self.nodes)

    def primary(self) -> MongoServer | None:
        """The running member that takes writes now, as it says of itself; None during an election."""
        return next((node for node in self._running() if _hello(node).get("isWritablePrimary")), None)

    def secondaries(self) -> tuple[MongoServer, ...]:
        """The running members that follow it now."""
        return tuple(node for node in self._running() if _hello(node).get("secondary"))

    def start(self, *, timeout: float = 60.0) -> None:
        """Start every member, making the set of them the first time; returns once one takes writes, the others follow.

        Args:
            timeout: seconds to wait for that.

        Raises:
            ServerUnavailable: it did not come up.
        """
        deadline = time.monotonic() + timeout
        for node in self.nodes:
            node.start(timeout=timeout)
        marker = self.directory / _JOINED
        if not marker.exists():
            with self.nodes[0].system() as client:
                self._initiate(client, deadline)
            marker.touch()
        self.wait(timeout=deadline - time.monotonic())

    def wait(self, *, timeout: float = 30.0) -> None:
        """Wait until one of the running members takes writes and all others follow it.

        Args:
            timeout: seconds.

        Raises:
            ServerUnavailable: it does not come to that.
        """

        def whole() -> bool:
            told = [_hello(node) for node in self._running()]
            primaries = {hello["me"] for hello in told if hello.get("isWritablePrimary")}
            followed = {hello.get("primary") for hello in told}
            return len(primaries) == 1 and primaries == followed and all(map(_serves, told))

        self._until(whole, time.monotonic() + timeout)

    def stop(self) -> None:
        """Stop every member; the primary last, so that there is no election."""
        last = self.primary()
        for node in sorted(self.nodes, key=lambda node: node is last):
            node.stop()

    def kill(self) -> None:
        """SIGKILL every member."""
        for node in self.nodes:
            node.kill()

    def restart(self) -> None:
        """Stop and start every member."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP every member."""
        for node in self.nodes:
            node.pause()

    def resume(self) -> None:
        """Undo ``pause``."""
        for node in self.nodes:
            node.resume()

    def remove(self) -> None:
        """Kill every member and delete the folder."""
        for node in self.nodes:
            node.remove()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _running(self) -> tuple[MongoServer, ...]:
        return tuple(node for node in self.nodes if node.is_running)

    def _initiate(self, client: MongoClient[dict[str, Any]], deadline: float) -> None:
        members = [{"_id": number, "host": f"{host}:{port}"} for number, (host, port) in enumerate(self.hosts)]
        client.admin.command("replSetInitiate", {"_id": self.replica_set, "members": members, "settings": _SETTINGS})
        self._until(lambda: self.primary() is not None, deadline)
        primary = self.primary()
        assert primary is not None
        with primary.system() as administrator:
            create_user(administrator, ADMIN_USER, self.admin_password, database="admin", roles=["root"])

    def _until(self, done: Callable[[], bool], deadline: float) -> None:
        while not done():
            if time.monotonic() > deadline:
                raise ServerUnavailable(
                    f"the replica set in {self.directory} does not get whole", log=self.nodes[0].log_file
                )
            time.sleep(0.02)


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
