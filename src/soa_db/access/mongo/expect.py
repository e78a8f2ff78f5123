"""What the specs say about every user of a MongoDB, for ``verify``. Pure.

Derived from the specs alone, not from the planner, so that a mistake of the planner's is found and not repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from soa_db.access.mongo.state import RoleName, UserName
from soa_db.names import mongo_read_role

if TYPE_CHECKING:
    from soa_db.access.spec import Spec, SpecSet
    from soa_db.names import Env

__all__ = ["SYSTEM_DATABASES", "MongoAccess", "UserAccess", "expected_access"]

# The server's own, each with a collection that is there and worth reading.
SYSTEM_DATABASES: Mapping[str, str] = {"admin": "system.users", "config": "system.sessions", "local": "oplog.rs"}


@dataclass(frozen=True, slots=True)
class UserAccess:
    """One service's user.

    Attributes:
        service: whose it is.
        user: its database and name.
        builtin: the built-in roles it has on its database.
        reads: of which other databases it reads which collections.
        pending: collections it wants to read of services whose specs are not given.
    """

    service: str
    user: UserName
    builtin: frozenset[str]
    reads: Mapping[str, frozenset[str]] = field(default_factory=dict)
    pending: frozenset[str] = frozenset()

    @property
    def database(self) -> str:
        """Where it is at home."""
        return self.user.database

    @property
    def roles(self) -> frozenset[RoleName]:
        """Exactly what it is granted."""
        own = {RoleName(self.database, name) for name in self.builtin}
        return frozenset(own | {RoleName(database, self.read_role) for database in self.reads})

    @property
    def read_role(self) -> str:
        """The name of the roles by which it reads of others."""
        return mongo_read_role(self.service)

    def has(self, roles: Iterable[str]) -> bool:
        """Whether it has one of some built-in roles."""
        return not self.builtin.isdisjoint(roles)


@dataclass(frozen=True, slots=True)
class MongoAccess:
    """Everything the specs say about one MongoDB.

    Attributes:
        env: the environment.
        users: of every service with a ``mongo`` part.
        collections: those a spec names, by their database.
        shared: database and reader → the collections that the database's own spec lets the reader have.
        retired: users of the past.
        services: those whose specs are given.
    """

    env: Env
    users: tuple[UserAccess, ...]
    collections: Mapping[str, frozenset[str]]
    shared: Mapping[tuple[str, str], frozenset[str]]
    retired: frozenset[UserName]
    services: frozenset[str]

    @property
    def databases(self) -> frozenset[str]:
        """The databases that a spec declares."""
        return frozenset(user.database for user in self.users)

    def foreign(self, user: UserAccess, mark: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Other databases, one of nobody's among them, each with collections that a user must not reach.

        Args:
            user: who must not.
            mark: a name that no collection has.
        """
        for database in sorted(self.databases - {user.database}):
            named = self.collections.get(database, frozenset()) - user.reads.get(database, frozenset())
            yield database, (mark, *sorted(named))
        yield mark, (mark,)
        for database, collection in SYSTEM_DATABASES.items():
            yield database, (mark, collection)


def expected_access(specs: SpecSet, env: Env) -> MongoAccess:
    """Derive what every user must and must not be able to do."""
    declaring = [spec for spec in specs.specs if spec.mongo is not None]
    collections: dict[str, frozenset[str]] = {}
    shared: dict[tuple[str, str], frozenset[str]] = {}
    retired: set[UserName] = set()
    for spec in declaring:
        assert spec.mongo is not None
        database = spec.mongo_database()
        for share in spec.mongo.shared_with:
            key = (database, share.service)
            shared[key] = shared.get(key, frozenset()) | frozenset(share.collections)
            collections[database] = collections.get(database, frozenset()) | frozenset(share.collections)
        retired |= {UserName(database, one.user) for one in spec.mongo.retire}
    return MongoAccess(
        env=env,
        users=tuple(_user(spec, specs, shared) for spec in declaring),
        collections=collections,
        shared=shared,
        retired=frozenset(retired),
        services=frozenset(spec.service for spec in specs.specs),
    )


def _user(spec: Spec, specs: SpecSet, shared: Mapping[tuple[str, str], frozenset[str]]) -> UserAccess:
    assert spec.mongo is not None
    reads: dict[str, frozenset[str]] = {}
    pending: set[str] = set()
    for read in spec.mongo.reads:
        owner = specs.by_service.get(read.service)
        if owner is None:
            pending |= set(read.collections)
            continue
        # Both sides are needed.
        agreed = shared.get((owner.mongo_database(), spec.service), frozenset()) & frozenset(read.collections)
        if agreed:
            reads[owner.mongo_database()] = reads.get(owner.mongo_database(), frozenset()) | agreed
    return UserAccess(
        spec.service,
        UserName(spec.mongo_database(), spec.mongo_user()),
        frozenset(spec.mongo.roles),
        reads,
        frozenset(pending),
    )
