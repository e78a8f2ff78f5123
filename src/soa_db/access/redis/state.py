"""What a Redis has today, as values, whichever way it is administered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from soa_db.access.redis.acl import Acl, CommandTable

__all__ = ["DEFAULT", "Cache", "GroupState", "NodeState", "PasswordState", "ServerState", "UserState"]

DEFAULT = "default"
"""The user that a client without a name is."""


@dataclass(frozen=True, slots=True)
class UserState:
    """One user.

    Attributes:
        name: its name; on ElastiCache its user id.
        acl: what it may do; on ElastiCache without passwords, which the API never shows.
        passwords: how many live passwords it has.
        auth: how it logs in; ``none`` for anybody.
        managed: whether it is marked as a service's.
    """

    name: str
    acl: Acl
    passwords: int = 0
    auth: Literal["password", "iam", "none"] = "password"
    managed: bool = False


@dataclass(frozen=True, slots=True)
class NodeState:
    """One server.

    Attributes:
        address: ``host:port``.
        version: major version of Redis it is, or is compatible with.
        users: name → user.
        table: its commands; None where nobody tells (ElastiCache).
        keeps: where its users survive a restart: a file of their own, its configuration file, or nowhere.
    """

    address: str
    version: int
    users: Mapping[str, UserState]
    table: CommandTable | None = field(default=None, repr=False)
    keeps: Literal["aclfile", "config", "nowhere", "service"] = "service"


@dataclass(frozen=True, slots=True)
class Cache:
    """A replication group of ElastiCache, or a serverless cache."""

    name: str
    serverless: bool = False


@dataclass(frozen=True, slots=True)
class GroupState:
    """ElastiCache's user group of the environment.

    Attributes:
        name: its id.
        exists: False when there is none.
        members: user ids.
        default: the id of the member named ``default``.
        attached: the caches it is attached to.
    """

    name: str
    exists: bool = False
    members: frozenset[str] = frozenset()
    default: str | None = None
    attached: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PasswordState:
    """One user's password.

    Attributes:
        user: the user.
        secret: the name of its secret.
        fault: what is wrong; empty when all is in order.
        others: how many passwords are live beside the secret's.
        lost: how many live passwords are taken away when the fault is mended: none while one that is stored is live.
    """

    user: str
    secret: str
    fault: str = ""
    others: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class ServerState:
    """Everything that is compared with the specs.

    Attributes:
        address: ``host:port`` of what services connect to.
        nodes: every server of it, the primary first outside a cluster; one for ElastiCache, whose users are the same
            everywhere.
        cluster: whether it is in cluster mode.
        admin: who looks; None for ElastiCache's API.
        group: the user group; None where there is no such thing.
        unsaved: a run was ended between changing users and making the change survive a restart.
        unreached: replicas outside a cluster whose users were not seen, and why; users are not among what is copied.
        as_default: who is connected as ``default`` now: replicas (whose link would be cut), and how many clients.
        passwords: user → its password.
    """

    address: str
    nodes: tuple[NodeState, ...]
    cluster: bool = False
    admin: str | None = None
    group: GroupState | None = None
    unsaved: bool = False
    unreached: tuple[tuple[str, str], ...] = ()
    as_default: tuple[tuple[str, ...], int] = ((), 0)
    passwords: Mapping[str, PasswordState] = field(default_factory=dict)

    @property
    def version(self) -> int:
        """The oldest version among the nodes."""
        return min((node.version for node in self.nodes), default=7)

    def users(self, name: str) -> tuple[UserState | None, ...]:
        """The user on each node, None where it is missing."""
        return tuple(node.users.get(name) for node in self.nodes)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all users of any node."""
        return tuple(sorted({name for node in self.nodes for name in node.users}))
