"""Slots of a real cluster on the move, as ``redis-cli --cluster reshard`` moves them, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from redis.crc import key_slot

if TYPE_CHECKING:
    from soa_db.local.redis import RedisServer
    from soa_db.local.redis_cluster import RedisCluster


def _id(node: RedisServer) -> str:
    with node.admin() as admin:
        return str(admin.cluster("MYID"))


def holder(cluster: RedisCluster, key: str) -> RedisServer:
    """The primary that has a key's slot."""
    slot = key_slot(key.encode())
    with cluster.nodes[0].admin() as admin:
        admin.set_response_callback("CLUSTER SLOTS", list)
        (port,) = (first[1] for start, end, first, *_ in admin.cluster("SLOTS") if start <= slot <= end)
    (found,) = (node for node in cluster.nodes if node.port == port)
    return found


class Move:
    """One slot's way from one primary to another: begun, keys carried one by one, finished."""

    def __init__(self, cluster: RedisCluster, slot: int, source: RedisServer, target: RedisServer) -> None:
        self._cluster, self._slot, self._source, self.target = cluster, slot, source, target
        self._ids = (_id(source), _id(target))

    def begin(self) -> None:
        """From here on the source answers ASK for keys that it does not have."""
        with self.target.admin() as admin:
            admin.execute_command("CLUSTER SETSLOT", self._slot, "IMPORTING", self._ids[0])
        with self._source.admin() as admin:
            admin.execute_command("CLUSTER SETSLOT", self._slot, "MIGRATING", self._ids[1])

    def carry(self, *keys: str) -> None:
        """Bring keys over; all there are, when none is named."""
        with self._source.admin() as admin:
            names = keys or admin.cluster("GETKEYSINSLOT", self._slot, 1000)
            if names:
                login = ("AUTH2", self._cluster.admin_user, self._cluster.admin_password)
                where = (self.target.host, self.target.port, "", 0, 5000)
                admin.execute_command("MIGRATE", *where, *login, "KEYS", *names)

    def finish(self) -> None:
        """The target has the slot: the source answers MOVED."""
        self.carry()
        # The others hear of it.
        for node in (self.target, self._source):
            with node.admin() as admin:
                admin.execute_command("CLUSTER SETSLOT", self._slot, "NODE", self._ids[1])

    def whole(self) -> None:
        """All of it at once."""
        self.begin()
        self.finish()


@contextmanager
def moving(cluster: RedisCluster, key: str) -> Iterator[Move]:
    """The move of a key's slot to another primary; in the end it is where it was."""
    slot, source = key_slot(key.encode()), holder(cluster, key)
    target = next(node for node in cluster.primaries() if node is not source)
    move = Move(cluster, slot, source, target)
    try:
        yield move
    finally:
        move.finish()
        Move(cluster, slot, target, source).whole()
