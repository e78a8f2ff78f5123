"""The users of an emulated ElastiCache: users, user groups, and the caches that groups open.

moto has users that can be made and deleted, and replication groups; what is here takes their users' place and adds
what moto lacks, with ElastiCache's own rules (API reference; "Role-Based Access Control (RBAC)" and "Authenticating
with IAM" in the User Guide). A cache may have a real server attached: what its groups say is then done to that server,
at once. As in AWS a change is reported as ``modifying`` first: until it has been looked at once, so that whoever does
not wait for ``active`` is found out.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from moto.elasticache.exceptions import ElastiCacheException
from moto.elasticache.models import elasticache_backends

from soa_db.local.access_strings import BadAccessString, canonical
from soa_db.local.redis import ADMIN_USER

if TYPE_CHECKING:
    from redis import Redis

__all__ = ["AclServer", "CacheUser", "CacheUsers", "Refused", "ServerlessCache", "UserGroup"]

Authentication = Literal["password", "no-password-required", "iam"]
AUTHENTICATIONS: tuple[Authentication, ...] = ("password", "no-password-required", "iam")
ENGINES = ("redis", "valkey")
_IDENTIFIER = re.compile(r"(?=.{1,40}$)[a-z](?:-?[a-z0-9])*")
_log = logging.getLogger(__name__)


class Refused(ElastiCacheException):
    """What ElastiCache answers to a call it refuses."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class AclServer(Protocol):
    """A server whose users can be changed (``soa_db.local.redis.RedisServer``)."""

    admin_user: str

    def admin(self, *, timeout: float | None = None) -> Redis:
        """An administrator's client."""
        ...


@dataclass(slots=True)
class CacheUser:
    """A user; passwords are kept as the server keeps them, by their SHA-256.

    Attributes:
        user_id: lower case.
        name: what AUTH is given.
        engine: ``redis`` or ``valkey``.
        access_string: as it was given last; ``canonical`` as it is shown.
        authentication: how it proves who it is.
        hashes: of its passwords.
        token_secret: what stands in for a token on the server, once a gate has checked the token.
        busy: it has changed and nobody has looked since.
        deleted: it is gone, and nobody has looked since.
    """

    user_id: str
    name: str
    engine: str
    access_string: str
    authentication: Authentication
    hashes: tuple[str, ...]
    token_secret: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    busy: bool = False
    deleted: bool = False

    def rules(self) -> list[str]:
        """What ``ACL SETUSER`` is told."""
        match self.authentication:
            case "iam":
                proof = [f">{self.token_secret}"]
            case "no-password-required":
                proof = ["nopass"]
            case _:
                proof = [f"#{each}" for each in self.hashes]
        return ["reset", *canonical(self.access_string).split(), *proof]


@dataclass(slots=True)
class UserGroup:
    """A user group; ``busy`` as for users."""

    group_id: str
    engine: str
    user_ids: list[str]
    busy: bool = False


@dataclass(slots=True)
class ServerlessCache:
    """A serverless cache, at the address it is given."""

    name: str
    engine: str
    group_id: str | None
    host: str = ""
    port: int = 6379


class CacheUsers:
    """Everything about users in one account and region.

    Args:
        account: account id.
        region: region.
    """

    def __init__(self, account: str, region: str) -> None:
        self._prefix = f"arn:aws:elasticache:{region}:{account}"
        self._moto: Any = elasticache_backends[account][region]
        # moto's own list of what may be tagged knows neither user groups nor serverless caches.
        self._moto.arn_regex = re.compile(r"arn:aws:elasticache:[^:]*:[0-9]*:[a-z]+:.+")
        self.tags = self._moto.tagging_service
        # "default" is there from the beginning and cannot be changed (RBAC, "default user").
        default = CacheUser("default", "default", "redis", "on ~* &* +@all", "no-password-required", ())
        self.users: dict[str, CacheUser] = {"default": default}
        self.groups: dict[str, UserGroup] = {}
        self.serverless: dict[str, ServerlessCache] = {}
        self._servers: dict[str, AclServer] = {}
        self._applying = threading.Lock()

    def arn(self, kind: str, name: str) -> str:
        """The ARN of a ``user``, ``usergroup``, ``replicationgroup`` or ``serverlesscache``."""
        return f"{self._prefix}:{kind}:{name}"

    # --- caches

    def groups_of(self, cache: str) -> list[str]:
        """The user groups of a replication group or serverless cache."""
        if cache in self.serverless:
            group = self.serverless[cache].group_id
            return [group] if group else []
        found = self._moto.replication_groups.get(cache)
        if found is None:
            raise Refused("ReplicationGroupNotFoundFault", f"Replication group {cache} not found.")
        return list(found.user_group_ids)

    def caches_of(self, group_id: str) -> tuple[list[str], list[str]]:
        """The replication groups and the serverless caches of a group."""
        replicated = [name for name, cache in self._moto.replication_groups.items() if group_id in cache.user_group_ids]
        return replicated, [name for name, cache in self.serverless.items() if cache.group_id == group_id]

    def change_groups(self, cache: str, add: Sequence[str], remove: Collection[str]) -> None:
        """Open a replication group to a user group, or close it; it has one at most."""
        present = self.groups_of(cache)
        for group_id in (*add, *remove):
            self.group(group_id)
        wanted = [group for group in present if group not in remove] + [group for group in add if group not in present]
        if len(wanted) > 1 or set(remove) - set(present):
            raise Refused("InvalidParameterCombination", "A replication group has one user group at most.")
        self._moto.replication_groups[cache].user_group_ids[:] = wanted
        self.synchronise([cache])

    def attach(self, cache: str, server: AclServer) -> None:
        """Let a real server be a cache: from now on it has the users of the cache's groups, and no others."""
        self.groups_of(cache)
        self._servers[cache] = server
        self.synchronise([cache])

    def users_of(self, cache: str) -> dict[str, CacheUser]:
        """Who may come into a cache, by user name; a cache without groups is open, to ``default``."""
        groups = self.groups_of(cache)
        ids = [user_id for group in groups for user_id in self.group(group).user_ids] if groups else ["default"]
        return {self.users[user_id].name: self.users[user_id] for user_id in ids}

    def token_secret(self, cache: str, name: str) -> str | None:
        """What the server of a cache knows a user by who is on IAM; None for all others."""
        user = self.users_of(cache).get(name)
        return user.token_secret if user is not None and user.authentication == "iam" else None

    def synchronise(self, caches: Iterable[str] | None = None) -> None:
        """Make the servers have the users they should; one that is down is made right when it comes up (ask again)."""
        from redis.exceptions import RedisError

        for cache in self._servers if caches is None else caches:
            server = self._servers.get(cache)
            if server is None:
                continue
            try:
                # One after the other, each by what there is by then: a start and a call to the API may come together.
                with self._applying:
                    _apply(server, self.users_of(cache))
            except RedisError as error:
                _log.warning("the users of %s are not on its server yet: %s", cache, type(error).__name__)

    # --- users

    def user(self, user_id: str) -> CacheUser:
        """A user by its id."""
        found = self.users.get(user_id.lower())
        if found is None or found.deleted:
            raise Refused("UserNotFound", f"User {user_id} not found.")
        return found

    def create_user(
        self, user_id: str, name: str, engine: str, access_string: str, proof: tuple[Authentication, Sequence[str]]
    ) -> CacheUser:
        """Make a user: ``proof`` is its authentication and its passwords."""
        user_id = _identifier(user_id, "user ID")
        if not re.fullmatch(r"[A-Za-z][^\s]*", name) or len(name) > 120:
            raise Refused("InvalidParameterValue", "The user name must begin with a letter and hold no white space.")
        if name == ADMIN_USER:
            raise Refused("InvalidParameterValue", f"The local environment keeps the user name {name} for itself.")
        if engine.lower() not in ENGINES:
            raise Refused("InvalidParameterValue", f"Engine must be one of: {', '.join(ENGINES)}.")
        if user_id in self.users and not self.users[user_id].deleted:
            raise Refused("UserAlreadyExists", f"User {user_id} already exists.")
        authentication, passwords = proof
        _check_iam(authentication, user_id, name)
        self._check_access_string(access_string)
        user = CacheUser(user_id, name, engine.lower(), access_string, authentication, _hashes(passwords))
        self.users[user_id] = user
        return user

    def modify_user(
        self,
        user_id: str,
        *,
        access_string: str | None = None,
        append: str | None = None,
        proof: tuple[Authentication, Sequence[str]] | None = None,
    ) -> CacheUser:
        """Change a user; what is left out stays. New passwords replace all it had."""
        user = self.user(user_id)
        if user.user_id == "default":
            raise Refused("InvalidParameterValue", "The user default cannot be modified.")
        self._idle(user, "User")
        if access_string is not None and append is not None:
            raise Refused("InvalidParameterCombination", "AccessString and AppendAccessString exclude each other.")
        wanted = access_string if append is None else f"{user.access_string} {append}"
        if wanted is not None:
            self._check_access_string(wanted)
        if proof is not None:
            _check_iam(proof[0], user.user_id, user.name)
            user.authentication, user.hashes = proof[0], _hashes(proof[1])
        user.access_string = wanted or user.access_string
        user.busy = True
        self._changed([group for group in self.groups.values() if user.user_id in group.user_ids])
        return user

    def delete_user(self, user_id: str) -> CacheUser:
        """Delete a user, out of its groups too."""
        user = self.user(user_id)
        groups = [group for group in self.groups.values() if user.user_id in group.user_ids]
        if user.user_id == "default":
            raise Refused("InvalidParameterValue", "The user default cannot be deleted.")
        if user.name == "default" and groups:
            raise Refused("DefaultUserAssociatedToUserGroup", f"User {user_id} is the default user of a user group.")
        self._idle(user, "User")
        for group in groups:
            group.user_ids.remove(user.user_id)
        user.deleted = True
        self.tags.delete_all_tags_for_resource(self.arn("user", user.user_id))
        self._changed(groups)
        return user

    # --- groups

    def group(self, group_id: str) -> UserGroup:
        """A user group by its id."""
        found = self.groups.get(group_id.lower())
        if found is None:
            raise Refused("UserGroupNotFound", f"User group {group_id} not found.")
        return found

    def create_group(self, group_id: str, engine: str, user_ids: Sequence[str]) -> UserGroup:
        """Make a user group."""
        group_id = _identifier(group_id, "user group ID")
        if engine.lower() not in ENGINES:
            raise Refused("InvalidParameterValue", f"Engine must be one of: {', '.join(ENGINES)}.")
        if group_id in self.groups:
            raise Refused("UserGroupAlreadyExists", f"User group {group_id} already exists.")
        group = UserGroup(group_id, engine.lower(), self._members(engine, user_ids))
        group.busy = True
        self.groups[group_id] = group
        return group

    def modify_group(self, group_id: str, add: Sequence[str], remove: Sequence[str]) -> UserGroup:
        """Take users in and out."""
        group = self.group(group_id)
        self._idle(group, "UserGroup")
        added, removed = [item.lower() for item in add], [item.lower() for item in remove]
        if not (added or removed):
            raise Refused("InvalidParameterCombination", "No modifications were requested.")
        if set(added) & set(group.user_ids) or set(removed) - set(group.user_ids):
            raise Refused("InvalidParameterValue", "A user to add is a member already, or one to remove is none.")
        kept = [user_id for user_id in group.user_ids if user_id not in removed]
        group.user_ids = self._members(group.engine, [*kept, *added])
        self._changed([group])
        return group

    def delete_group(self, group_id: str) -> UserGroup:
        """Delete a user group that opens no cache."""
        group = self.group(group_id)
        self._idle(group, "UserGroup")
        if any(self.caches_of(group.group_id)):
            raise Refused("InvalidUserGroupState", f"User group {group_id} is associated with a cache.")
        self.tags.delete_all_tags_for_resource(self.arn("usergroup", group.group_id))
        return self.groups.pop(group.group_id)

    # --- rules

    def _members(self, engine: str, user_ids: Sequence[str]) -> list[str]:
        users = [self.user(user_id) for user_id in user_ids]
        names = [user.name for user in users]
        if len(set(names)) < len(names):
            raise Refused("DuplicateUserName", "Two users of a user group have the same user name.")
        if engine.lower() == "redis" and "default" not in names:
            raise Refused("DefaultUserRequired", "You must add default user to a user group.")
        return [user.user_id for user in users]

    def _check_access_string(self, text: str) -> None:
        try:
            rules = canonical(text).split()
        except BadAccessString as error:
            raise Refused("InvalidParameterValue", str(error)) from error
        from redis.exceptions import RedisError, ResponseError

        # Which commands and categories there are, only a server knows.
        for server in self._servers.values():
            probe = f"soa-db-{secrets.token_hex(8)}"
            try:
                with server.admin(timeout=2) as client:
                    client.execute_command("ACL SETUSER", probe, "reset", *rules, "off")
                    client.acl_deluser(probe)
            except ResponseError as error:
                raise Refused("InvalidParameterValue", f"Invalid access string: {error}") from error
            except RedisError:
                continue
            return

    def _idle(self, thing: CacheUser | UserGroup, what: str) -> None:
        if thing.busy:
            raise Refused(f"Invalid{what}State", f"{what} is being modified: wait until it is active.")

    def _changed(self, groups: Iterable[UserGroup]) -> None:
        """These groups, or members of theirs, have changed: so must the servers of their caches."""
        for group in groups:
            group.busy = True
            replicated, serverless = self.caches_of(group.group_id)
            self.synchronise([*replicated, *serverless])


def _apply(server: AclServer, users: Mapping[str, CacheUser]) -> None:
    with server.admin(timeout=2) as client:
        present = {str(name) for name in client.acl_users()} - {server.admin_user}
        for name, user in users.items():
            client.execute_command("ACL SETUSER", name, *user.rules())
        if "default" not in users:
            client.execute_command("ACL SETUSER", "default", "reset")
        # Deleting a user ends its connections.
        if gone := present - {*users, "default"}:
            client.acl_deluser(*sorted(gone))
        client.acl_save()


def _identifier(text: str, what: str) -> str:
    lowered = text.lower()
    if not _IDENTIFIER.fullmatch(lowered):
        raise Refused(
            "InvalidParameterValue",
            f"The {what} must be 1 to 40 letters, digits and hyphens, begin with a letter, not end with a hyphen "
            "and not contain two consecutive hyphens.",
        )
    return lowered


def _check_iam(authentication: Authentication, user_id: str, name: str) -> None:
    if authentication == "iam" and user_id != name:
        raise Refused("InvalidParameterCombination", "For IAM authentication user id and user name must be identical.")


def _hashes(passwords: Sequence[str]) -> tuple[str, ...]:
    return tuple(hashlib.sha256(password.encode()).hexdigest() for password in passwords)
