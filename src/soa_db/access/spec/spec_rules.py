"""What must hold within one spec between its parts, and between declared and derived names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from soa_db.access.spec.faults import Fault
from soa_db.errors import ConfigurationError
from soa_db.names import ROLES, Role

if TYPE_CHECKING:
    from soa_db.access.spec.document import Path
    from soa_db.access.spec.models import Spec
    from soa_db.access.spec.postgres import PostgresDatabase, PostgresSpec

__all__ = ["spec_faults"]


def spec_faults(spec: Spec) -> Iterator[Fault]:
    """Every fault between the fields of one spec."""
    for engine, part in (("postgres", spec.postgres), ("mongo", spec.mongo)):
        for kind in ("reads", "shared_with"):
            for index, entry in enumerate(getattr(part, kind, ())):
                if entry.service == spec.service:
                    yield Fault((engine, kind, index, "service"), "this is the service itself")
    if spec.postgres:
        yield from _postgres_faults(spec, spec.postgres)
    if spec.mongo:
        for index, retired in enumerate(spec.mongo.retire):
            if retired.user == spec.mongo_user():
                yield Fault(("mongo", "retire", index, "user"), f"{retired.user!r} is this service's own user")


def _postgres_faults(spec: Spec, part: PostgresSpec) -> Iterator[Fault]:
    names: dict[str, str] = {}
    for index, database in enumerate(part.databases):
        path: Path = ("postgres", "databases", index)
        try:
            name = spec.database_name(database)
        except ConfigurationError as error:
            yield Fault(path, f"{error.message}: name it with `database`")
            continue
        if name in names:
            at: Path = (*path, "database") if database.database else path
            yield Fault(at, f"the database {name!r} is that of {names[name]!r} already: name it with `database`")
        names.setdefault(name, database.id)
    yield from _user_faults(spec, part)
    for index, retired in enumerate(part.retire):
        if any(retired.role == spec.user(database, role) for database in part.databases for role in ROLES):
            yield Fault(("postgres", "retire", index, "role"), f"{retired.role!r} is a user this spec declares")
    for index, read in enumerate(part.reads):
        playing = {role for role, _ in spec.read_users(read)}
        if not playing:
            yield Fault(("postgres", "reads", index), "nobody plays the roles that are to read")
        elif "to" in read.model_fields_set:
            for number, role in enumerate(read.to):
                if role not in playing:
                    yield Fault(("postgres", "reads", index, "to", number), f"nobody plays the role {role} here")


def _user_faults(spec: Spec, part: PostgresSpec) -> Iterator[Fault]:
    """One user plays one role; an isolated database shares no user with another."""
    played: dict[str, tuple[Role, PostgresDatabase]] = {}
    for index, database in enumerate(part.databases):
        path: Path = ("postgres", "databases", index)
        for role in ROLES:
            user = spec.user(database, role)
            if user is None:
                continue
            at: Path = (*path, "identities", role) if role in database.identities else path
            first_role, first = played.setdefault(user, (role, database))
            if first_role != role:
                yield Fault(at, f"the user {user!r} plays the role {first_role} already: one user, one role")
            elif first is not database and (database.isolated or first.isolated):
                if database.isolated:
                    isolated, other = database.id, first.id
                else:
                    isolated, other = first.id, database.id
                yield Fault(
                    at,
                    f"the database {isolated!r} is isolated but shares the user {user!r} with {other!r}: give the "
                    f"isolated one a user of its own (or null) as `{role}` in `identities`",
                )
