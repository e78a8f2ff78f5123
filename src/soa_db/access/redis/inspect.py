"""What each node of a self-run Redis says about itself and its users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from soa_db.access.redis.acl import CommandTable, parse
from soa_db.access.redis.session import CommandRefused
from soa_db.access.redis.state import DEFAULT, NodeState, UserState

if TYPE_CHECKING:
    from soa_db.access.redis.session import Session

__all__ = ["Replication", "acl_lines", "info", "inspect_node", "logged_in_as_default", "replication_of", "where_kept"]


def info(text: str) -> dict[str, str]:
    """The fields of an INFO reply."""
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line and not line.startswith("#"))


def acl_lines(reply: Sequence[str]) -> dict[str, str]:
    """User → its rules, from ACL LIST."""
    found = {}
    for line in reply:
        _, name, *rules = line.split(" ", 2)
        found[name] = rules[0] if rules else ""
    return found


def where_kept(session: Session) -> Literal["aclfile", "config", "nowhere"]:
    """Where a node keeps its users over a restart."""
    server, setting = session.pipeline([("INFO", "server"), ("CONFIG", "GET", "aclfile")])
    if not isinstance(setting, CommandRefused) and len(setting) == 2 and setting[1]:
        return "aclfile"
    return "config" if info(_checked(server)).get("config_file") else "nowhere"


def inspect_node(session: Session, env: str) -> NodeState:
    """Read a node's users and commands.

    Raises:
        CommandRefused: this user may not.
    """
    server, users, categories = session.pipeline([("INFO", "server"), ("ACL", "LIST"), ("ACL", "CAT")])
    names = [str(name) for name in _checked(categories)]
    members = session.pipeline([("ACL", "CAT", name) for name in names])
    table = CommandTable(
        {name: frozenset(map(str, _checked(found))) for name, found in zip(names, members, strict=True)}
    )
    found = {}
    for name, rules in acl_lines(_checked(users)).items():
        acl = parse(rules)
        found[name] = UserState(
            name=name,
            acl=acl,
            passwords=len(acl.passwords),
            auth="none" if acl.nopass else "password",
            # There is nothing to mark a user with but its name.
            managed=name.endswith(f"-{env}"),
        )
    version = int(info(_checked(server)).get("redis_version", "7").partition(".")[0])
    return NodeState(session.address, version, found, table, where_kept(session))


@dataclass(frozen=True, slots=True)
class Replication:
    """A server's place in replication.

    Attributes:
        history: what it and everything copied from it share (``master_replid``).
        replicas: ``host:port`` of the servers that copy from it.
    """

    history: str
    replicas: tuple[str, ...]


def replication_of(session: Session) -> Replication:
    """Read ``INFO replication``: ``slave0:ip=…,port=…,state=…``."""
    fields = info(str(session.call("INFO", "replication")))
    found = []
    for name, value in fields.items():
        if name.startswith("slave") and name[5:].isdecimal():
            parts = dict(part.split("=", 1) for part in value.split(",") if "=" in part)
            found.append(f"{parts.get('ip')}:{parts.get('port')}")
    return Replication(fields.get("master_replid", ""), tuple(sorted(found)))


def logged_in_as_default(session: Session) -> tuple[tuple[str, ...], int]:
    """The replicas, and the number of other clients, that are ``default`` on this server."""
    # Not knowing whom turning `default` off would cut off is no reason to think that it is nobody: a refusal is raised.
    replicas, clients = map(_checked, session.pipeline([("CLIENT", "LIST", "TYPE", "replica"), ("CLIENT", "LIST")]))
    links = [fields for fields in map(_client, replicas.splitlines()) if fields.get("user") == DEFAULT]
    everybody = [fields for fields in map(_client, clients.splitlines()) if fields.get("user") == DEFAULT]
    return tuple(sorted(link.get("addr", "?") for link in links)), len(everybody) - len(links)


def _client(line: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in line.split(" ") if "=" in part)


def _checked(reply: Any) -> Any:
    if isinstance(reply, CommandRefused):
        raise reply
    return reply
