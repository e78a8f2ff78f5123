"""What the specs say about every user of a Redis, for ``verify``. Pure.

Derived from the specs alone, not from access strings, so that a mistake of theirs is found and not repeated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from soa_db.access.spec.redis import patterns_overlap
from soa_db.names import redis_user

if TYPE_CHECKING:
    from collections.abc import Iterable

    from soa_db.access.spec import Spec, SpecSet
    from soa_db.names import Env

__all__ = ["RedisAccess", "UserAccess", "expected_access", "is_exact", "sample"]


@dataclass(frozen=True, slots=True)
class UserAccess:
    """One service's user.

    Attributes:
        service: whose it is.
        user: its name.
        keys: patterns it reads and, unless its profile only reads, writes.
        read_only_keys: patterns it only reads.
        channels: patterns it subscribes to and, unless its profile only reads, publishes to.
        profile: what kind of commands it uses.
        scan: whether it may list keys.
    """

    service: str
    user: str
    keys: tuple[str, ...]
    read_only_keys: tuple[str, ...]
    channels: tuple[str, ...]
    profile: Literal["app", "readonly", "queue"]
    scan: bool

    @property
    def writes(self) -> bool:
        """Whether it may write at all."""
        return self.profile != "readonly"

    def may_read(self, key: str) -> bool:
        """Whether a key is within its patterns."""
        return _matches(key, (*self.keys, *self.read_only_keys))

    def may_write(self, key: str) -> bool:
        """Whether a key is within what it may write."""
        return self.writes and _matches(key, self.keys)

    def may_use(self, channel: str) -> bool:
        """Whether a channel is within its patterns."""
        return _matches(channel, self.channels)


@dataclass(frozen=True, slots=True)
class RedisAccess:
    """Everything the specs say about one Redis."""

    env: Env
    users: tuple[UserAccess, ...]

    def foreign_keys(self, user: UserAccess, mark: str) -> tuple[str, ...]:
        """Keys of other users, and one of nobody's, that this one must not reach at all.

        Args:
            user: who must not.
            mark: what stands for wildcards: no key has it in its name.
        """
        candidates = [sample(pattern, mark) for other in self.users for pattern in (*other.keys, *other.read_only_keys)]
        candidates.append(f"soa-db-nobody:{mark}")
        return tuple(dict.fromkeys(key for key in candidates if not user.may_read(key)))

    def foreign_channels(self, user: UserAccess, mark: str) -> tuple[str, ...]:
        """Channels of other users, and one of nobody's, that this one must not use."""
        candidates = [sample(pattern, mark) for other in self.users for pattern in other.channels]
        candidates.append(f"soa-db-nobody:{mark}")
        return tuple(dict.fromkeys(channel for channel in candidates if not user.may_use(channel)))

    def foreign_patterns(self, user: UserAccess) -> tuple[str, ...]:
        """Channel patterns that this one must not subscribe to: a server wants the very pattern it was told."""
        candidates = [pattern for other in self.users for pattern in other.channels]
        return tuple(dict.fromkeys(one for one in (*candidates, "*") if one not in user.channels))


def expected_access(specs: SpecSet, env: Env) -> RedisAccess:
    """Derive what every user must and must not be able to do."""
    return RedisAccess(env, tuple(_user(spec, env) for spec in specs.specs if spec.redis is not None))


def _user(spec: Spec, env: Env) -> UserAccess:
    assert spec.redis is not None
    return UserAccess(
        service=spec.service,
        user=redis_user(spec.service, env),
        keys=spec.redis_keys(),
        read_only_keys=spec.redis.read_only_keys,
        channels=spec.redis_channels(),
        profile=spec.redis.profile,
        scan=spec.redis.scan,
    )


# A set without an end reaches to the end of the pattern (stringmatchlen in the servers' util.c).
_WILD = re.compile(r"\\(.)|(\*)|(\?)|\[(\^?)([^\]]*)(?:\]|$)", re.DOTALL)


def is_exact(pattern: str) -> bool:
    """Whether a pattern is one key and no other: somebody's real one."""
    return not any(match[1] is None for match in _WILD.finditer(pattern))


def sample(pattern: str, mark: str) -> str:
    """A name that matches a pattern, with ``mark`` for each ``*``."""

    def one(match: re.Match[str]) -> str:
        if match[1] is not None:
            return match[1]
        if match[2]:
            return mark
        if match[3]:
            return "x"
        return "~" if match[4] else (match[5].replace("\\", "") or "x")[:1]

    return _WILD.sub(one, pattern)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    literal = re.sub(r"([*?\[\]\\])", r"\\\1", name)
    return any(patterns_overlap(literal, pattern) for pattern in patterns)
