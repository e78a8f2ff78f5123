"""Administering users by ElastiCache's API (API reference, version 2015-02-02; "Role-Based Access Control (RBAC)").

There is no lock to be had: the API has no conditional write. Two runs at once are told apart so: a user or group that
is being changed refuses a second change (InvalidUserState, InvalidUserGroupState), which is waited for; a password
stands in Secrets Manager before it is set, and two runs that decide on the same state can write one version only, so
that both set the same password; and each run inspects again at its end and fails, named, if what it set is not there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from soa_db._core.redis.endpoint import cache_endpoint
from soa_db.access.aws.secrets import MANAGED_BY, new_password
from soa_db.access.plan import ProgressEvent
from soa_db.access.redis.access_string import DEFAULT_OFF
from soa_db.access.redis.acl import parse
from soa_db.access.redis.actions import ChangeMembers, CreateGroup, CreateUser, DropUser, MarkUser, SetAccess
from soa_db.access.redis.state import DEFAULT, GroupState, NodeState, ServerState, UserState
from soa_db.errors import AccessDenied, ProvisionError, SoaDbError
from soa_db.names import redis_user_group

if TYPE_CHECKING:
    from soa_db.access.plan import Progress
    from soa_db.access.redis.actions import Action
    from soa_db.aws import AwsClients
    from soa_db.config import RedisConfig
    from soa_db.names import Env

__all__ = ["ElastiCache"]

T = TypeVar("T")

_PATIENCE = 600.0  # seconds a user or group may take to become active
_POLL = (0.2, 5.0)  # seconds between two looks, at first and at last
_BUSY = frozenset({"InvalidUserState", "InvalidUserStateFault", "InvalidUserGroupState", "InvalidUserGroupStateFault"})
_GONE = frozenset({"UserNotFound", "UserNotFoundFault", "UserGroupNotFound", "UserGroupNotFoundFault"})
_AUTH: dict[str, Literal["password", "iam", "none"]] = {"iam": "iam", "password": "password"}


@dataclass(frozen=True, slots=True)
class ElastiCache:
    """The users of one environment's ElastiCache.

    Attributes:
        aws: AWS access.
        env: the environment.
        endpoint: what services connect to.
    """

    aws: AwsClients
    env: Env
    endpoint: RedisConfig

    @property
    def address(self) -> str:
        """``host:port`` of what services connect to."""
        return f"{self.endpoint.host}:{self.endpoint.port}"

    @property
    def user_group(self) -> str:
        """The environment's user group."""
        return redis_user_group(self.env)

    @contextmanager
    def locked(self, timeout: float | None, progress: Progress) -> Iterator[float]:
        """Wait until nobody is changing the user group; see the module about what this is worth."""
        start = time.monotonic()
        group = self._group()
        if group is not None and group["Status"] != "active":
            progress(ProgressEvent("wait", f"user group {self.user_group} is {group['Status']}; waiting for it"))
            self._until_active(self._group, f"user group {self.user_group}", _PATIENCE if timeout is None else timeout)
        yield time.monotonic() - start

    # --- looking

    def inspect(self) -> ServerState:
        """Read the users of the environment and the user group.

        Raises:
            CredentialError: AWS refused to tell.
        """
        group = self._group()
        members = frozenset(map(str, group.get("UserIds", ()))) if group else frozenset[str]()
        default = None
        users: dict[str, UserState] = {}
        for user in self._users():
            user_id = str(user["UserId"])
            if user["UserName"] == DEFAULT and user_id in members:
                default = user_id
            if user_id in members or user_id.endswith(f"-{self.env}"):
                users[user_id] = self._user_state(user)
        attached = tuple(
            str(name) for kind in ("ReplicationGroups", "ServerlessCaches") for name in (group or {}).get(kind) or ()
        )
        cluster, version = self._cache((group or {}).get("ReplicationGroups") or ())
        return ServerState(
            address=self.address,
            nodes=(NodeState(self.address, version, users),),
            cluster=cluster,
            group=GroupState(self.user_group, group is not None, members, default, attached),
        )

    def _user_state(self, user: Mapping[str, Any]) -> UserState:
        authentication = user.get("Authentication") or {}
        return UserState(
            name=str(user["UserId"]),
            acl=parse(str(user.get("AccessString", ""))),
            passwords=int(authentication.get("PasswordCount") or 0),
            auth=_AUTH.get(str(authentication.get("Type")), "none"),
            managed=self._tags(str(user.get("ARN", ""))).get("managed-by") == MANAGED_BY,
        )

    def _tags(self, arn: str) -> Mapping[str, str]:
        answer = self.aws.call("elasticache", "list_tags_for_resource", ResourceName=arn)
        return {str(tag["Key"]): str(tag.get("Value", "")) for tag in answer.get("TagList") or ()}

    def _users(self) -> Iterator[Mapping[str, Any]]:
        marker: dict[str, str] = {}
        while True:
            answer = self.aws.call("elasticache", "describe_users", **marker)
            yield from answer.get("Users") or ()
            if not answer.get("Marker"):
                return
            marker = {"Marker": str(answer["Marker"])}

    def _group(self) -> Mapping[str, Any] | None:
        return self._one("describe_user_groups", "UserGroups", UserGroupId=self.user_group)

    def _one(self, operation: str, kind: str, **which: str) -> Mapping[str, Any] | None:
        try:
            answer = self.aws.call("elasticache", operation, **which)
        except SoaDbError as error:
            if _code(error) in _GONE:
                return None
            raise
        found = answer.get(kind) or ()
        return found[0] if found else None

    def _cache(self, attached: Any) -> tuple[bool, int]:
        """Whether the cache is in cluster mode, and its major version; by its endpoint where nobody may tell."""
        endpoint = cache_endpoint(self.endpoint.host)
        cluster, version = endpoint is not None and endpoint.cluster, 7
        for name in attached:
            cache = self._one("describe_replication_groups", "ReplicationGroups", ReplicationGroupId=str(name)) or {}
            cluster = cluster or bool(cache.get("ClusterEnabled"))
            for member in cache.get("MemberClusters") or ():
                node = self._member(str(member))
                text = str(node.get("EngineVersion", "")).partition(".")[0]
                # Valkey begins at 7.2, and has what Redis 7 has.
                version = min(version, int(text)) if text.isdecimal() else version
                break
        return cluster, version

    def _member(self, name: str) -> Mapping[str, Any]:
        try:
            return self._one("describe_cache_clusters", "CacheClusters", CacheClusterId=name) or {}
        except AccessDenied:
            raise
        except SoaDbError:
            return {}  # being replaced just now

    def login_places(self, state: ServerState) -> tuple[RedisConfig, ...]:
        """Where a login proves a password: users are the same everywhere."""
        del state
        return (self.endpoint,)

    # --- changing

    def carry_out(self, action: Action, state: ServerState) -> None:
        """Make one change and wait until it is in force.

        Raises:
            ProvisionError: it did not come into force.
            CredentialError: AWS refused it.
        """
        match action:
            case CreateUser(name, service, access):
                self._create_user(name, name, access, {"service": service})
            case SetAccess(name, access):
                # A user that anybody could log in as is shut: with a password that nobody knows.
                open_to_all = any(user is not None and user.auth == "none" for user in state.users(name))
                proof = {"AuthenticationMode": _password_mode((new_password(),))} if open_to_all else {}
                self._modify_user(name, AccessString=access, **proof)
            case MarkUser(name, service):
                self._mark(name, service)
            case DropUser(name):
                self._busy(lambda: self.aws.call("elasticache", "delete_user", UserId=name))
                self._until(lambda: self._user(name) is None, f"user {name} is deleted", _PATIENCE)
                self._until_active(self._group, f"user group {self.user_group}", _PATIENCE)
            case CreateGroup(name, default, members):
                self._ensure_default(default)
                self.aws.call(
                    "elasticache",
                    "create_user_group",
                    UserGroupId=name,
                    Engine=self._engine(),
                    UserIds=[default, *members],
                    Tags=_tags({}),
                )
                self._until_active(self._group, f"user group {name}", _PATIENCE)
            case ChangeMembers(name, add, remove, default):
                if default is not None:
                    self._ensure_default(default)
                self._change_members(name, add, remove)
            case _:
                raise AssertionError(f"{action} is not for ElastiCache")

    def set_passwords(self, user: str, passwords: tuple[str, ...], state: ServerState) -> None:
        """Make exactly these (one or two) the user's live passwords, and wait until they are."""
        del state
        self._modify_user(user, AuthenticationMode=_password_mode(passwords))

    def add_password(self, user: str, password: str, state: ServerState) -> None:
        """Never needed: a user's passwords are the same on every node."""
        del user, password, state
        raise AssertionError("ElastiCache has a password on every node, or on none")

    def _create_user(self, user_id: str, name: str, access: str, tags: Mapping[str, str]) -> None:
        self.aws.call(
            "elasticache",
            "create_user",
            UserId=user_id,
            UserName=name,
            Engine=self._engine(),
            AccessString=access,
            # Nobody knows it: the user's own comes by way of its secret.
            AuthenticationMode=_password_mode((new_password(),)),
            Tags=_tags(tags),
        )
        self._user_active(user_id)

    def _modify_user(self, user_id: str, **changes: Any) -> None:
        self._busy(lambda: self.aws.call("elasticache", "modify_user", UserId=user_id, **changes))
        self._user_active(user_id)

    def _ensure_default(self, user_id: str) -> None:
        """Our own ``default``, off; one that is there is put right."""
        if self._user(user_id) is None:
            self._create_user(user_id, DEFAULT, DEFAULT_OFF, {})
        elif parse(str((self._user(user_id) or {}).get("AccessString", ""))).enabled:
            self._modify_user(user_id, AccessString=DEFAULT_OFF)

    def _change_members(self, name: str, add: tuple[str, ...], remove: tuple[str, ...]) -> None:
        present = frozenset(map(str, (self._group() or {}).get("UserIds", ())))
        lists = {
            "UserIdsToAdd": [user for user in add if user not in present],
            "UserIdsToRemove": [user for user in remove if user in present and user not in add],
        }
        wanted = {key: users for key, users in lists.items() if users}
        if wanted:
            self._busy(lambda: self.aws.call("elasticache", "modify_user_group", UserGroupId=name, **wanted))
        self._until_active(self._group, f"user group {name}", _PATIENCE)

    def _mark(self, name: str, service: str) -> None:
        user = self._user(name)
        if user is not None:
            tags = _tags({"service": service})
            self.aws.call("elasticache", "add_tags_to_resource", ResourceName=str(user["ARN"]), Tags=tags)

    def _engine(self) -> str:
        """The engine of the group, since members must be of one that it takes."""
        return str((self._group() or {}).get("Engine") or "redis")

    # --- waiting

    def _user(self, user_id: str) -> Mapping[str, Any] | None:
        return self._one("describe_users", "Users", UserId=user_id)

    def _user_active(self, user_id: str) -> None:
        self._until_active(lambda: self._user(user_id), f"user {user_id}", _PATIENCE)
        if user_id in frozenset(map(str, (self._group() or {}).get("UserIds", ()))):
            # A change of a member is a change of its group too, and in force once that is active again.
            self._until_active(self._group, f"user group {self.user_group}", _PATIENCE)

    def _until_active(self, look: Callable[[], Mapping[str, Any] | None], what: str, patience: float) -> None:
        def done() -> bool:
            found = look()
            return found is not None and str(found.get("Status")).lower() == "active"

        self._until(done, f"{what} is active", patience)

    def _until(self, done: Callable[[], bool], what: str, patience: float) -> None:
        pause, last = _POLL
        end = time.monotonic() + patience
        while not done():
            if time.monotonic() >= end:
                raise ProvisionError(
                    f"ElastiCache did not come to this within {patience:.0f} s: {what}",
                    hint="run the command again: it goes on from here",
                )
            time.sleep(pause)
            pause = min(pause * 1.5, last)

    def _busy(self, call: Callable[[], T]) -> T:
        """Make a call again while the user or group is still being changed, by us or by somebody else."""
        pause, last = _POLL
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                return call()
            except SoaDbError as error:
                if _code(error) not in _BUSY or time.monotonic() >= end:
                    raise
            # Looking brings the news, when there is any.
            self._group()
            time.sleep(pause)
            pause = min(pause * 1.5, last)


def _password_mode(passwords: tuple[str, ...]) -> dict[str, object]:
    return {"Type": "password", "Passwords": list(passwords)}


def _tags(more: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in {"managed-by": MANAGED_BY, **more}.items()]


def _code(error: BaseException) -> str:
    response = getattr(error.__cause__, "response", None)
    found = response.get("Error") if isinstance(response, dict) else None
    return str(found.get("Code", "")) if isinstance(found, dict) else ""
