"""What is tried on a database, as commands that cannot take effect whoever sends them. Pure.

Each names a collection, user or role that is not there, or says something that the server refuses once it has looked at
privileges; what is explained is not carried out ("explain", MongoDB Manual).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from soa_db.access.report import Aspect

__all__ = ["INSIDE", "RENAMED", "SERVER", "USERS", "Form", "out_to", "rename_to"]

# src/mongo/base/error_codes.yml.
_BAD_VALUE, _USER_NOT_FOUND, _NAMESPACE_NOT_FOUND, _ROLE_NOT_FOUND = 2, 11, 26, 31
_INVALID_OPTIONS, _NO_REPLICATION, _INVALID_SET, _ON_VIEW = 72, 76, 93, 166
_WRITES = frozenset({"readWrite"})
_SHAPES = frozenset({"readWrite", "dbAdmin"})
RENAMED = frozenset({_NAMESPACE_NOT_FOUND})
"""What comes of ``rename_to`` where it is permitted."""


@dataclass(frozen=True, slots=True)
class Form:
    """One thing to try on a database.

    Attributes:
        aspect: the column of the matrix.
        what: the ability, for people.
        command: makes the command, of a collection and a name that nothing has.
        harmless: the codes that only somebody permitted gets.
        roles: the built-in roles that permit it on their own database.
        each: whether it is tried on every collection that is known by name, not only on one that is not there.
    """

    aspect: Aspect
    what: str
    command: Callable[[str, str], dict[str, Any]]
    harmless: frozenset[int] = frozenset()
    roles: frozenset[str] = frozenset()
    each: bool = False


def _explained(command: dict[str, Any]) -> dict[str, Any]:
    return {"explain": command, "verbosity": "queryPlanner"}


INSIDE: tuple[Form, ...] = (
    Form(
        "read",
        "find",
        lambda name, _: {"find": name, "filter": {"$alwaysFalse": 1}, "limit": 1},
        roles=frozenset({"read", "readWrite"}),
        each=True,
    ),
    Form(
        "read",
        "list collections",
        lambda _, nothing: {"listCollections": 1, "filter": {"name": nothing}, "nameOnly": True},
        roles=frozenset({"read", "readWrite", "dbAdmin"}),
    ),
    # An array is no _id: the document is refused before its collection would be made.
    Form(
        "write",
        "insert",
        lambda name, _: {"insert": name, "documents": [{"_id": []}]},
        frozenset({_ON_VIEW}),
        _WRITES,
        each=True,
    ),
    Form(
        "write",
        "update",
        lambda name, _: _explained({"update": name, "updates": [{"q": {"$alwaysFalse": 1}, "u": {"$set": {"x": 1}}}]}),
        frozenset({_ON_VIEW}),
        _WRITES,
        each=True,
    ),
    Form(
        "write",
        "delete",
        lambda name, _: _explained({"delete": name, "deletes": [{"q": {"$alwaysFalse": 1}, "limit": 1}]}),
        frozenset({_ON_VIEW}),
        _WRITES,
        each=True,
    ),
    # A capped collection needs a size.
    Form(
        "ddl",
        "create collections",
        lambda _, nothing: {"create": nothing, "capped": True},
        frozenset({_INVALID_OPTIONS}),
        _SHAPES,
    ),
    Form(
        "ddl",
        "create indexes",
        lambda _, nothing: {"createIndexes": nothing, "indexes": []},
        frozenset({_BAD_VALUE}),
        _SHAPES,
    ),
    Form("ddl", "drop collections", lambda _, nothing: {"drop": nothing}, frozenset({_NAMESPACE_NOT_FOUND}), _SHAPES),
    Form(
        "ddl",
        "change collections (collMod)",
        lambda _, nothing: {"collMod": nothing},
        frozenset({_NAMESPACE_NOT_FOUND}),
        frozenset({"dbAdmin"}),
    ),
)

# Users and roles of a database; no role that a spec may name permits any of it.
USERS: tuple[Form, ...] = (
    Form(
        "rights",
        "createUser",
        # Half a password's digest and SCRAM-SHA-256 do not go together.
        lambda _, nothing: {
            "createUser": nothing,
            "pwd": nothing,
            "roles": [],
            "mechanisms": ["SCRAM-SHA-256"],
            "digestPassword": False,
        },
        frozenset({_BAD_VALUE}),
    ),
    Form(
        "rights", "updateUser", lambda _, nothing: {"updateUser": nothing, "pwd": nothing}, frozenset({_USER_NOT_FOUND})
    ),
    Form(
        "rights",
        "grantRolesToUser",
        lambda _, nothing: {"grantRolesToUser": nothing, "roles": ["read"]},
        frozenset({_USER_NOT_FOUND}),
    ),
    Form(
        "rights",
        "revokeRolesFromUser",
        lambda _, nothing: {"revokeRolesFromUser": nothing, "roles": ["read"]},
        frozenset({_USER_NOT_FOUND}),
    ),
    Form("rights", "dropUser", lambda _, nothing: {"dropUser": nothing}, frozenset({_USER_NOT_FOUND})),
    # A built-in role's name cannot be taken.
    Form(
        "rights",
        "createRole",
        lambda _, __: {"createRole": "read", "privileges": [], "roles": []},
        frozenset({_BAD_VALUE}),
    ),
    Form("rights", "dropRole", lambda _, nothing: {"dropRole": nothing}, frozenset({_ROLE_NOT_FOUND})),
    Form("rights", "usersInfo", lambda _, __: {"usersInfo": 1}),
)

# Commands of the database ``admin`` about the whole server.
SERVER: tuple[Form, ...] = (
    Form(
        "rights",
        "list databases of others",
        lambda _, __: {"listDatabases": 1, "nameOnly": True, "authorizedDatabases": False},
    ),
    Form("rights", "serverStatus", lambda _, __: {"serverStatus": 1}),
    Form("rights", "getParameter", lambda _, __: {"getParameter": 1, "enableLocalhostAuthBypass": 1}),
    Form("rights", "getLog", lambda _, __: {"getLog": "*"}),
    Form("rights", "getCmdLineOpts", lambda _, __: {"getCmdLineOpts": 1}),
    Form("rights", "hostInfo", lambda _, __: {"hostInfo": 1}),
    Form("rights", "see operations of others", lambda _, __: {"currentOp": 1}),
    Form("rights", "replSetGetStatus", lambda _, __: {"replSetGetStatus": 1}, frozenset({_NO_REPLICATION})),
    # A configuration without a name is none.
    Form(
        "rights", "replSetReconfig", lambda _, __: {"replSetReconfig": {}}, frozenset({_NO_REPLICATION, _INVALID_SET})
    ),
)


def out_to(database: str, own: str, nothing: str) -> dict[str, Any]:
    """``$out`` of a collection into another database, explained."""
    return {"aggregate": own, "pipeline": [{"$out": {"db": database, "coll": nothing}}], "cursor": {}, "explain": True}


def rename_to(database: str, own: str, nothing: str) -> dict[str, Any]:
    """Moving a collection that is not there from one database into another."""
    return {"renameCollection": f"{own}.{nothing}", "to": f"{database}.{nothing}"}
