"""ElastiCache's actions on users, user groups and serverless caches, added to moto.

Parameters and answers are those of the API reference; what they mean stands in ``soa_db.local.elasticache``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

from moto.core.responses import ActionResult
from moto.elasticache.models import ElastiCacheBackend, elasticache_backends
from moto.elasticache.responses import ElastiCacheResponse

from soa_db.local.access_strings import canonical
from soa_db.local.elasticache import (
    AUTHENTICATIONS,
    ENGINES,
    Authentication,
    CacheUser,
    CacheUsers,
    Refused,
    ServerlessCache,
    UserGroup,
)

__all__ = ["add_elasticache_users", "cache_users", "create_replication_group"]

_Answer = Mapping[str, object]
_Action = Callable[[CacheUsers, Mapping[str, Any]], _Answer]


def cache_users(account: str, region: str) -> CacheUsers:
    """The users of an account's ElastiCache."""
    backend: Any = elasticache_backends[account][region]
    if not hasattr(backend, "soa_db_users"):
        backend.soa_db_users = CacheUsers(account, region)
    return cast("CacheUsers", backend.soa_db_users)


def create_replication_group(account: str, region: str, name: str, *, host: str, port: int, group_id: str) -> None:
    """Make a replication group at a real address, with TLS and one user group."""
    backend: Any = elasticache_backends[account][region]
    # moto's function has no defaults: every parameter must be named.
    nothing = dict.fromkeys(inspect.signature(backend.create_replication_group).parameters)
    wanted = {
        "replication_group_id": name,
        "replication_group_description": "",
        "engine": "redis",
        "port": port,
        "transit_encryption_enabled": True,
        "user_group_ids": [group_id],
    }
    group = backend.create_replication_group(**{**nothing, **wanted})
    # moto makes up an address.
    group.node_groups[0]["primary_endpoint"] = {"address": host, "port": port}


def add_elasticache_users() -> None:
    """Give moto these actions in this process; doing it twice does no harm."""
    response: Any = ElastiCacheResponse
    for name, action in _ACTIONS.items():
        setattr(response, name, _method(action))
    if getattr(ElastiCacheBackend, "soa_db_mended", False):
        return
    modify = response.modify_replication_group

    def modify_replication_group(self: Any) -> Any:
        users = cache_users(self.current_account, self.region)
        add, remove = self._get_param("UserGroupIdsToAdd", []), self._get_param("UserGroupIdsToRemove", [])
        if add or remove:
            users.change_groups(self._get_param("ReplicationGroupId"), add, remove)
        return modify(self)

    response.modify_replication_group = modify_replication_group
    cast("Any", ElastiCacheBackend).soa_db_mended = True


def _method(action: _Action) -> Callable[[Any], ActionResult]:
    def method(self: Any) -> ActionResult:
        return ActionResult(action(cache_users(self.current_account, self.region), self._get_params()))

    return method


# --- what is asked


def _proof(data: Mapping[str, Any]) -> tuple[Authentication, list[str]] | None:
    """The authentication asked for, in either of the two ways there are; None when neither is used."""
    mode: Mapping[str, Any] = data.get("AuthenticationMode") or {}
    plain, moded = list(data.get("Passwords") or []), list(mode.get("Passwords") or [])
    no_password = data.get("NoPasswordRequired")
    if plain and moded:
        raise Refused("InvalidParameterCombination", "Passwords provided via multiple arguments. Use only one argument")
    passwords = plain or moded
    kind = mode.get("Type") or ("no-password-required" if no_password else "password" if passwords else None)
    if kind is None:
        return None
    if kind not in AUTHENTICATIONS:
        raise Refused(
            "InvalidParameterValue",
            f"Input Authentication type: {kind} is not in the allowed list: [{','.join(AUTHENTICATIONS)}]",
        )
    if (kind != "password" and passwords) or (no_password and kind != "no-password-required"):
        raise Refused("InvalidParameterCombination", f"Password field is not allowed with authentication type: {kind}")
    if kind == "password" and not 1 <= len(passwords) <= 2:
        raise Refused(
            "InvalidParameterCombination", "A user with Authentication Mode: password has one or two passwords."
        )
    if any(not 16 <= len(password) <= 128 for password in passwords):
        raise Refused("InvalidParameterValue", "Passwords length must be between 16-128 characters.")
    return kind, passwords


def _create_user(users: CacheUsers, data: Mapping[str, Any]) -> _Answer:
    proof = _proof(data)
    if proof is None:
        raise Refused(
            "InvalidParameterValue",
            "No password was provided. If you want to create/update the user without password, please use the "
            "NoPasswordRequired flag.",
        )
    made = users.create_user(data["UserId"], data["UserName"], data["Engine"], data["AccessString"], proof)
    users.tags.tag_resource(users.arn("user", made.user_id), data.get("Tags"))
    return _user(users, made)


def _modify_user(users: CacheUsers, data: Mapping[str, Any]) -> _Answer:
    changed = users.modify_user(
        data["UserId"],
        access_string=data.get("AccessString"),
        append=data.get("AppendAccessString"),
        proof=_proof(data),
    )
    return _user(users, changed)


def _delete_user(users: CacheUsers, data: Mapping[str, Any]) -> _Answer:
    return _user(users, users.delete_user(data["UserId"]))


def _describe_users(users: CacheUsers, data: Mapping[str, Any]) -> _Answer:
    wanted = data.get("UserId")
    if wanted is not None and wanted.lower() not in users.users:
        users.user(wanted)
    found = list(users.users.values()) if wanted is None else [users.users[wanted.lower()]]
    answer = {"Users": [_user(users, user) for user in found]}
    for user in found:
        user.busy = False
        if user.deleted:
            del users.users[user.user_id]
    return answer


def _create_user_group(users: CacheUsers, data: Mapping[str, Any]) -> _Answer:
    made = users.create_group(data["UserGroupId"], data["Engine"], data.get("UserIds") or [])
    users.tags.tag_resource(users.arn("usergroup", made.group_id), data.get("Tags"))
    return _group(users, made, "creating")


def _modify_user_group(users: CacheUsers, data: Mapping[str, Any]) -> _Answer:
    add, remove = data.get("UserIdsToAdd") or [], data.get("UserIdsToRemove") or []
    return _group(users, users.modify_group(data["UserGroupId"], add, remove))


def _delete_user_group(users: CacheUsers, data: Mapping[str, Any]) -> _Answer:
    return _group(users, users.delete_group(data["UserGroupId"]), "deleting")


def _describe_user_groups(users: CacheUsers, data: Mapping[str, Any]) -> _Answer:
    wanted = data.get("UserGroupId")
    found = list(users.groups.values()) if wanted is None else [users.group(wanted)]
    answer = {"UserGroups": [_group(users, group) for group in found]}
    for group in found:
        group.busy = False
    return answer


def _create_serverless_cache(users: CacheUsers, data: Mapping[str, Any]) -> _Answer:
    name, engine, group_id = data["ServerlessCacheName"].lower(), data["Engine"].lower(), data.get("UserGroupId")
    if engine not in ENGINES:
        raise Refused("InvalidParameterValue", f"Engine must be one of: {', '.join(ENGINES)}.")
    if name in users.serverless:
        raise Refused("ServerlessCacheAlreadyExistsFault", f"Serverless cache {name} already exists.")
    if group_id is not None:
        group_id = users.group(group_id).group_id
    users.serverless[name] = ServerlessCache(name, engine, group_id)
    return {"ServerlessCache": _serverless(users, users.serverless[name])}


def _describe_serverless_caches(users: CacheUsers, data: Mapping[str, Any]) -> _Answer:
    wanted = data.get("ServerlessCacheName")
    if wanted is None:
        return {"ServerlessCaches": [_serverless(users, cache) for cache in users.serverless.values()]}
    return {"ServerlessCaches": [_serverless(users, _serverless_cache(users, wanted))]}


def _delete_serverless_cache(users: CacheUsers, data: Mapping[str, Any]) -> _Answer:
    cache = _serverless_cache(users, data["ServerlessCacheName"])
    del users.serverless[cache.name]
    return {"ServerlessCache": {**_serverless(users, cache), "Status": "deleting"}}


def _serverless_cache(users: CacheUsers, name: str) -> ServerlessCache:
    if name.lower() not in users.serverless:
        raise Refused("ServerlessCacheNotFoundFault", f"Serverless cache {name} not found.")
    return users.serverless[name.lower()]


# --- what is answered: never a password


def _user(users: CacheUsers, user: CacheUser) -> dict[str, object]:
    shown = "no-password" if user.authentication == "no-password-required" else user.authentication
    return {
        "UserId": user.user_id,
        "UserName": user.name,
        "Status": "deleting" if user.deleted else "modifying" if user.busy else "active",
        "Engine": user.engine,
        "MinimumEngineVersion": "7.0" if user.authentication == "iam" else "6.0",
        "AccessString": canonical(user.access_string),
        "UserGroupIds": [group.group_id for group in users.groups.values() if user.user_id in group.user_ids],
        "Authentication": {"Type": shown, **({"PasswordCount": len(user.hashes)} if user.hashes else {})},
        "ARN": users.arn("user", user.user_id),
    }


def _group(users: CacheUsers, group: UserGroup, status: str | None = None) -> dict[str, object]:
    replicated, serverless = users.caches_of(group.group_id)
    return {
        "UserGroupId": group.group_id,
        "Status": status or ("modifying" if group.busy else "active"),
        "Engine": group.engine,
        "UserIds": list(group.user_ids),
        "MinimumEngineVersion": "6.0",
        "PendingChanges": {},
        "ReplicationGroups": replicated,
        "ServerlessCaches": serverless,
        "ARN": users.arn("usergroup", group.group_id),
    }


def _serverless(users: CacheUsers, cache: ServerlessCache) -> dict[str, object]:
    return {
        "ServerlessCacheName": cache.name,
        "Description": "",
        "CreateTime": datetime.now(UTC),
        "Status": "available",
        "Engine": cache.engine,
        "MajorEngineVersion": "7",
        "UserGroupId": cache.group_id or "",
        "Endpoint": {"Address": cache.host, "Port": cache.port},
        "ARN": users.arn("serverlesscache", cache.name),
    }


_ACTIONS: dict[str, _Action] = {
    "create_user": _create_user,
    "modify_user": _modify_user,
    "delete_user": _delete_user,
    "describe_users": _describe_users,
    "create_user_group": _create_user_group,
    "modify_user_group": _modify_user_group,
    "delete_user_group": _delete_user_group,
    "describe_user_groups": _describe_user_groups,
    "create_serverless_cache": _create_serverless_cache,
    "describe_serverless_caches": _describe_serverless_caches,
    "delete_serverless_cache": _delete_serverless_cache,
}
