"""The access string of a service's user, from its spec. Pure.

What is denied beside ``@dangerous`` and ``@admin``, and why: SCAN, RANDOMKEY and DBSIZE are about everybody's keys; so
is CLIENT TRACKING, which in its BCAST mode tells every key that changes; PUBSUB CHANNELS lists everybody's channels;
FUNCTION changes code that all users share. INFO is permitted though ``@dangerous``: every client library asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from soa_db.names import redis_secret_name, redis_user

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from soa_db.access.spec import SpecSet
    from soa_db.names import Env

__all__ = ["DEFAULT_OFF", "Desired", "DesiredUser", "Profile", "desired_users", "setuser_rules"]

Profile = Literal["app", "readonly", "queue"]

# What a user group of ElastiCache must contain, and what a server's own `default` is to be.
DEFAULT_OFF = "off -@all"

_APP = ("+@read", "+@write", "+@connection", "+@transaction", "+@pubsub")
_READONLY = (
    "+@read",
    "+@connection",
    "+@transaction",
    "+subscribe",
    "+unsubscribe",
    "+psubscribe",
    "+punsubscribe",
)
_READONLY_7 = ("+ssubscribe", "+sunsubscribe", "+pubsub|numsub", "+pubsub|numpat", "+pubsub|shardnumsub")
_DENIED = ("-@dangerous", "-@admin", "-scan", "-randomkey", "-dbsize")
_DENIED_7 = ("-function", "-client|kill", "-client|tracking", "-pubsub|channels", "-pubsub|shardchannels")
# Redis 6 can permit a subcommand, not deny one: CLIENT and PUBSUB are denied whole and given back in part.
_DENIED_6 = ("-client", "-pubsub", "+client|setname", "+client|getname", "+client|id", "+client|reply")
# What redis-py, ioredis and node-redis ask a cluster for.
_CLUSTER = ("+cluster|slots", "+cluster|nodes", "+cluster|info", "+cluster|keyslot")
_CLUSTER_7 = ("+cluster|shards",)
# Job queues (BullMQ, Celery, RQ) keep their steps in scripts; a script's own commands are checked one by one.
_QUEUE = ("+eval", "+evalsha", "+script|load", "+script|exists")
_QUEUE_7 = ("+eval_ro", "+evalsha_ro")


@dataclass(frozen=True, slots=True)
class DesiredUser:
    """What a spec wants of Redis.

    Attributes:
        service: whose it is.
        name: the user.
        secret: the name of its secret.
        keys: key patterns it reads and writes.
        read_only_keys: key patterns it reads.
        channels: channel patterns.
        profile: what kind of commands it uses.
        scan: whether it may list keys, those of others too.
        iam: whether it logs in by IAM tokens of ElastiCache, and has no password.
        place: where its spec names the service, as ``file:line:column``; empty for a spec made in code.
    """

    service: str
    name: str
    secret: str
    keys: tuple[str, ...]
    read_only_keys: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    profile: Profile = "app"
    scan: bool = False
    iam: bool = False
    place: str = ""

    def access_string(self, *, version: int, cluster: bool) -> str:
        """The access string, for a server of this major version (Valkey counts as 7)."""
        return " ".join(["on", *self._words(version=version, cluster=cluster)])

    def _words(self, *, version: int, cluster: bool) -> Iterator[str]:
        yield "resetchannels"
        yield from (f"~{pattern}" for pattern in self.keys)
        yield from (f"%R~{pattern}" for pattern in self.read_only_keys)
        yield from (f"&{pattern}" for pattern in self.channels)
        yield "-@all"
        yield from self._commands(version=version, cluster=cluster)

    def _commands(self, *, version: int, cluster: bool) -> Iterator[str]:
        new = version >= 7
        if self.profile == "readonly":
            yield from (*_READONLY, *(_READONLY_7 if new else ()))
        else:
            yield from _APP
        yield from (*_DENIED, *(_DENIED_7 if new else _DENIED_6))
        yield "+info"
        if self.scan:
            yield "+scan"
            if new:
                yield "+client|tracking"
        if cluster:
            yield from (*_CLUSTER, *(_CLUSTER_7 if new else ()))
        if self.profile == "queue":
            yield from (*_QUEUE, *(_QUEUE_7 if new else ()))


@dataclass(frozen=True, slots=True)
class Desired:
    """What the specs want of one environment's Redis.

    Attributes:
        env: the environment.
        users: name → user, in the order of the specs.
        default_off: whether the user ``default`` must be off; in dev it is left alone, containers come with it.
        services: those whose specs are given, also without a ``redis`` part.
    """

    env: Env
    users: Mapping[str, DesiredUser]
    default_off: bool = True
    services: frozenset[str] = frozenset()

    def service_of(self, name: str) -> str:
        """The service a user is of, by its name."""
        return name.removesuffix(f"-{self.env}")

    def is_given(self, name: str) -> bool:
        """Whether the spec of the user's service is given: only then does it say that there is to be no such user."""
        return self.service_of(name) in self.services


def desired_users(specs: SpecSet, env: Env, *, iam: Collection[str] = ()) -> Desired:
    """Derive the users of an environment from the specs.

    Args:
        specs: the specs.
        env: the environment.
        iam: service ids whose users log in by IAM tokens (``redis_iam`` of soa-db.toml).
    """
    users = {
        (name := redis_user(spec.service, env)): DesiredUser(
            service=spec.service,
            name=name,
            secret=redis_secret_name(env, spec.service),
            keys=spec.redis_keys(),
            read_only_keys=spec.redis.read_only_keys,
            channels=spec.redis_channels(),
            profile=spec.redis.profile,
            scan=spec.redis.scan,
            iam=spec.service in iam,
            place=specs.places.get(spec.service, ""),
        )
        for spec in specs.specs
        if spec.redis is not None
    }
    return Desired(env, users, env != "dev", frozenset(spec.service for spec in specs.specs))


def setuser_rules(access_string: str, *, version: int) -> list[str]:
    """The words for ``ACL SETUSER name``: exactly this access whatever the user had, its passwords untouched."""
    fresh = ["resetkeys", "resetchannels", "sanitize-payload", *(["clearselectors"] if version >= 7 else ())]
    return [*fresh, *access_string.split()]
