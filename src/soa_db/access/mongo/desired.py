"""What the specs want of a MongoDB: users, and the roles by which one service reads another's collections. Pure.

A service has one user, kept in the service's own database, with built-in roles on that database. To read collections of
another service it is granted a role that is defined in the *owner's* database: a role of any database but ``admin`` can
hold privileges on that database only ("Role-Based Access Control", MongoDB Manual), so that no mistake in it reaches
further. There is one role for each reader, with ``find`` on exactly the collections both specs name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from soa_db.access.mongo.state import RoleName, UserName
from soa_db.names import mongo_read_role, mongo_secret_name

if TYPE_CHECKING:
    from soa_db.access.spec import Spec, SpecSet
    from soa_db.names import Env

__all__ = ["Desired", "DesiredRole", "DesiredUser", "RetiredUser", "desired_state"]


@dataclass(frozen=True, slots=True)
class DesiredUser:
    """A service's user.

    Attributes:
        service: whose it is.
        user: its database and name.
        secret: the name of its secret.
        roles: exactly what it is granted.
        waits: the services whose specs are not given, and which it wants to read of.
    """

    service: str
    user: UserName
    secret: str
    roles: frozenset[RoleName]
    waits: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class DesiredRole:
    """A role by which ``reader`` may read some collections of the database it is defined in."""

    reader: str
    role: RoleName
    collections: frozenset[str]


@dataclass(frozen=True, slots=True)
class RetiredUser:
    """A user of the past, of the service's own database."""

    service: str
    user: UserName


@dataclass(frozen=True, slots=True)
class Desired:
    """Everything the specs say.

    Attributes:
        env: the environment.
        services: those whose specs are given, with and without a ``mongo`` part.
        users: by database and name.
        roles: by database and name.
        shares: database and reader → the collections that the database's own spec lets the reader have.
        retired: users that are to go.
        pending: reads whose other side is not given, as sentences.
    """

    env: Env
    services: frozenset[str] = frozenset()
    users: Mapping[UserName, DesiredUser] = field(default_factory=dict)
    roles: Mapping[RoleName, DesiredRole] = field(default_factory=dict)
    shares: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    retired: tuple[RetiredUser, ...] = ()
    pending: tuple[str, ...] = ()

    @property
    def databases(self) -> frozenset[str]:
        """The databases that a spec declares."""
        return frozenset(user.database for user in self.users)


def desired_state(specs: SpecSet, env: Env) -> Desired:
    """Work out what the specs want in ``env``; that they do not contradict each other, ``SpecSet`` has seen to."""
    declaring = [spec for spec in specs.specs if spec.mongo is not None]
    shares = {key: found for spec in declaring for key, found in _shares(spec).items()}
    roles = {wanted.role: wanted for spec in declaring for wanted in _reads(spec, specs, shares)}
    users = [_user(spec, env, specs, roles) for spec in declaring]
    return Desired(
        env=env,
        services=frozenset(spec.service for spec in specs.specs),
        users={user.user: user for user in users},
        roles=roles,
        shares=shares,
        retired=tuple(
            RetiredUser(spec.service, UserName(spec.mongo_database(), retired.user))
            for spec in declaring
            for retired in (spec.mongo.retire if spec.mongo else ())
        ),
        pending=tuple(sentence for spec in declaring for sentence in _pending(spec, specs)),
    )


def _user(spec: Spec, env: Env, specs: SpecSet, roles: Mapping[RoleName, DesiredRole]) -> DesiredUser:
    assert spec.mongo is not None
    database = spec.mongo_database()
    own = {RoleName(database, name) for name in spec.mongo.roles}
    reads = {wanted.role for wanted in roles.values() if wanted.reader == spec.service}
    return DesiredUser(
        service=spec.service,
        user=UserName(database, spec.mongo_user()),
        secret=mongo_secret_name(env, spec.service),
        roles=frozenset(own | reads),
        waits=frozenset(read.service for read in spec.mongo.reads if read.service not in specs.by_service),
    )


def _shares(spec: Spec) -> dict[tuple[str, str], frozenset[str]]:
    found: dict[tuple[str, str], frozenset[str]] = {}
    for share in spec.mongo.shared_with if spec.mongo else ():
        key = (spec.mongo_database(), share.service)
        found[key] = found.get(key, frozenset()).union(share.collections)
    return found


def _reads(spec: Spec, specs: SpecSet, shares: Mapping[tuple[str, str], frozenset[str]]) -> Iterator[DesiredRole]:
    """The roles by which a service reads: what it asks for and the other side shares."""
    asked: dict[str, frozenset[str]] = {}
    for read in spec.mongo.reads if spec.mongo else ():
        if (target := specs.by_service.get(read.service)) is not None:
            database = target.mongo_database()
            asked[database] = asked.get(database, frozenset()).union(read.collections)
    for database, collections in asked.items():
        if agreed := collections & shares.get((database, spec.service), frozenset()):
            yield DesiredRole(spec.service, RoleName(database, mongo_read_role(spec.service)), agreed)


def _pending(spec: Spec, specs: SpecSet) -> Iterator[str]:
    for read in spec.mongo.reads if spec.mongo else ():
        if read.service not in specs.by_service:
            yield (
                f"{spec.service} wants to read the collections {', '.join(read.collections)} of {read.service}, "
                "whose spec is not given: not granted"
            )
