"""What must hold between the specs of several services: one owner for each name, and reads both sides agree on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from soa_db.access.spec.redis import patterns_overlap
from soa_db.names import ROLES, normal_db_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from soa_db.access.spec.document import Path
    from soa_db.access.spec.models import Spec
    from soa_db.access.spec.pattern import ObjectPattern
    from soa_db.access.spec.postgres import PostgresShare

__all__ = ["Conflict", "conflicts", "covering", "shares_of"]


class Conflict(NamedTuple):
    """A fault at ``path`` in the ``spec``-th spec."""

    spec: int
    path: Path
    text: str


def conflicts(specs: Sequence[Spec]) -> Iterator[Conflict]:
    """Every fault between specs, told where the later spec, or the reader, says it."""
    first: dict[str, int] = {}
    for index, spec in enumerate(specs):
        if first.setdefault(spec.service, index) != index:
            yield Conflict(index, ("service",), f"a second spec for {spec.service}: one service has one spec")
    distinct = [(index, spec) for index, spec in enumerate(specs) if first[spec.service] == index]
    yield from _claims(distinct)
    yield from _retired(distinct)
    yield from _key_overlaps(distinct)
    by_service = {spec.service: spec for _, spec in distinct}
    for index, spec in distinct:
        yield from _refused_reads(index, spec, by_service)
        yield from _refused_mongo_reads(index, spec, by_service)


def _claims(specs: Iterable[tuple[int, Spec]]) -> Iterator[Conflict]:
    """Two services that say the same user or database is theirs."""
    owners: dict[tuple[str, str], str] = {}
    for index, spec in specs:
        for kind, name, path in _claimed(spec):
            owner = owners.setdefault((kind, name), spec.service)
            if owner != spec.service:
                yield Conflict(index, path, f"{kind} {name!r} belongs to {owner} already")


def _claimed(spec: Spec) -> Iterator[tuple[str, str, Path]]:
    for number, database in enumerate(spec.postgres_databases()):
        path: Path = ("postgres", "databases", number)
        at: Path = (*path, "database") if database.database else path
        yield "the database", spec.database_name(database), at
        # With auth="password" both would read one secret (names.password_secret_name).
        db_id = normal_db_id(database.id)
        yield "the password secret of", f"{spec.service}-{db_id}" if db_id else spec.service, path
        for role in ROLES:
            if (user := spec.user(database, role)) is not None:
                yield "the user", user, (*path, "identities", role) if role in database.identities else path
    if spec.mongo:
        # MongoDB refuses names that differ in case only.
        yield "the MongoDB database", spec.mongo_database().lower(), ("mongo", "database")


def _retired(specs: Sequence[tuple[int, Spec]]) -> Iterator[Conflict]:
    users = {
        user: spec.service
        for _, spec in specs
        for database in spec.postgres_databases()
        for role in ROLES
        if (user := spec.user(database, role)) is not None
    }
    mongo_users = {spec.mongo_user(): spec.service for _, spec in specs if spec.mongo}
    retired: dict[tuple[str, str], str] = {}
    for index, spec in specs:
        entries = [
            ("role", entry.role, ("postgres", "retire", number, "role"), users)
            for number, entry in enumerate(spec.postgres.retire if spec.postgres else ())
        ] + [
            ("user", entry.user, ("mongo", "retire", number, "user"), mongo_users)
            for number, entry in enumerate(spec.mongo.retire if spec.mongo else ())
        ]
        for kind, name, path, declared in entries:
            if declared.get(name, spec.service) != spec.service:
                yield Conflict(index, path, f"the {kind} {name!r} is declared by {declared[name]}")
            earlier = retired.setdefault((kind, name), spec.service)
            if earlier != spec.service:
                yield Conflict(index, path, f"the {kind} {name!r} is retired by {earlier} already")


def _key_overlaps(specs: Sequence[tuple[int, Spec]]) -> Iterator[Conflict]:
    seen: list[tuple[str, str]] = []
    for index, spec in specs:
        mine = spec.redis_keys()
        for number, pattern in enumerate(mine):
            path: Path = ("redis", "keys", number)
            for service, other in seen:
                if patterns_overlap(pattern, other):
                    yield Conflict(index, path, f"{pattern!r} overlaps {other!r}, which {service} writes")
                    break
        seen += [(spec.service, pattern) for pattern in mine]


def _refused_reads(index: int, spec: Spec, by_service: dict[str, Spec]) -> Iterator[Conflict]:
    for number, read in enumerate(spec.postgres.reads if spec.postgres else ()):
        target = by_service.get(read.service)
        if target is None or target is spec:
            continue
        path: Path = ("postgres", "reads", number)
        database = target.postgres.database(read.db) if target.postgres else None
        if database is None:
            at: Path = (*path, "db") if "db" in read.model_fields_set else (*path, "service")
            yield Conflict(index, at, f"{read.service} declares no PostgreSQL database {read.db!r}")
        elif database.isolated:
            yield Conflict(index, path, f"the database {read.db!r} of {read.service} is isolated: nobody else reads it")
        else:
            for position, (text, table) in enumerate(zip(read.tables, read.patterns, strict=True)):
                if not covering(target, spec.service, read.db, table):
                    yield Conflict(
                        index,
                        (*path, "tables", position),
                        f"{read.service} does not share {text} with {spec.service}: its `shared_with` must name it",
                    )


def _refused_mongo_reads(index: int, spec: Spec, by_service: dict[str, Spec]) -> Iterator[Conflict]:
    for number, read in enumerate(spec.mongo.reads if spec.mongo else ()):
        target = by_service.get(read.service)
        if target is None or target is spec:
            continue
        shared = {
            collection
            for share in (target.mongo.shared_with if target.mongo else ())
            if share.service == spec.service
            for collection in share.collections
        }
        for position, collection in enumerate(read.collections):
            if collection not in shared:
                yield Conflict(
                    index,
                    ("mongo", "reads", number, "collections", position),
                    f"{read.service} does not share {collection} with {spec.service}: its `shared_with` must name it",
                )


def shares_of(target: Spec) -> tuple[PostgresShare, ...]:
    """What a service shares of PostgreSQL."""
    return target.postgres.shared_with if target.postgres else ()


def covering(target: Spec, reader: str, db: str, table: ObjectPattern) -> list[int]:
    """The positions in ``target``'s ``shared_with`` of the entries that let ``reader`` read all of ``table``."""
    return [
        index
        for index, share in enumerate(shares_of(target))
        if share.service == reader and share.db == db and any(pattern.covers(table) for pattern in share.patterns)
    ]
