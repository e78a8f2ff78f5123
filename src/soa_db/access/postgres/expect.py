"""What the specs say about every user of every declared database, for ``verify``. Pure.

Derived from the specs alone, not from the planner, so that a mistake of the planner's is found and not repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from soa_db.names import ROLES, Role

if TYPE_CHECKING:
    from soa_db.access.spec import ObjectPattern, PostgresDatabase, PostgresIdentity, Spec, SpecSet

__all__ = ["DML", "DatabaseAccess", "Rule", "ServerAccess", "Share", "UserAccess", "Wanted", "expected_access"]

DML = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})
EVERYTHING = DML | {"TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN", "USAGE", "CREATE", "EXECUTE"}
_SEQUENCE = frozenset({"USAGE", "SELECT", "UPDATE"})
_NOTHING: Mapping[str, frozenset[str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Rule:
    """What one entry of a spec adds to or takes from a user's rights on the objects it names."""

    pattern: ObjectPattern
    added: frozenset[str] = frozenset()
    taken: frozenset[str] = frozenset()
    columns: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Wanted:
    """The rights of one user on one object.

    Attributes:
        must: privileges the user needs.
        may: privileges that are no violation, ``must`` included.
        columns: privilege → columns on which alone it is needed.
    """

    must: frozenset[str] = frozenset()
    may: frozenset[str] = frozenset()
    columns: Mapping[str, frozenset[str]] = field(default_factory=lambda: _NOTHING)


_OWNER_NEEDS: Mapping[str, frozenset[str]] = MappingProxyType(
    {"r": DML, "p": DML, "v": frozenset({"SELECT"}), "m": frozenset({"SELECT"}), "f": frozenset({"SELECT"})}
)


def _owned(declared: bool, needs: frozenset[str]) -> Wanted:
    # What an owner may do with its own is never a violation; that it owns too little is.
    return Wanted(needs if declared else frozenset(), EVERYTHING)


@dataclass(frozen=True, slots=True)
class UserAccess:
    """One user's part in one database.

    Attributes:
        user: its name.
        part: its role there; ``reader`` for a user of another service with an agreed read.
        base: table privileges in every declared schema.
        rules: exceptions, in the order of the spec.
    """

    user: str
    part: Role | Literal["reader"]
    base: frozenset[str] = frozenset()
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Share:
    """What a database's spec lets a service read whose own spec is not given."""

    service: str
    patterns: tuple[ObjectPattern, ...]
    columns: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class DatabaseAccess:
    """One declared database: who may do what in it."""

    service: str
    db_id: str
    name: str
    isolated: bool
    schemas: tuple[str, ...]
    users: tuple[UserAccess, ...]
    shares: tuple[Share, ...] = ()

    @property
    def owner(self) -> str | None:
        """The user that owns everything in it."""
        return next((access.user for access in self.users if access.part == "owner"), None)

    def of(self, user: str) -> UserAccess | None:
        """The part ``user`` has here, None for a stranger."""
        return next((access for access in self.users if access.user == user), None)

    def on_relation(self, access: UserAccess, schema: str, name: str, kind: str) -> Wanted:
        """What a user may do with a table, view, … or sequence (``kind`` is its relkind)."""
        if access.part == "owner":
            return _owned(schema in self.schemas, frozenset({"USAGE"}) if kind == "S" else _OWNER_NEEDS[kind])
        if kind == "S":
            return self._on_sequence(access, schema, name)
        table: set[str] = set(access.base) if schema in self.schemas else set()
        columns: dict[str, frozenset[str]] = {}
        for rule in access.rules:
            if rule.pattern.kind != "relation" or not rule.pattern.matches(schema, name):
                continue
            table -= rule.taken
            if rule.columns:
                for privilege in rule.added:
                    columns[privilege] = columns.get(privilege, frozenset()) | rule.columns
            else:
                table |= rule.added
        must = frozenset(table)
        if kind in {"v", "m", "f"}:
            # Whether a view can be written depends on its shape; that it can be read is what matters.
            must &= {"SELECT"} | {p for rule in access.rules for p in rule.added}
        return Wanted(must, frozenset(table), {p: names for p, names in columns.items() if p not in table})

    def _on_sequence(self, access: UserAccess, schema: str, name: str) -> Wanted:
        must: set[str] = set()
        may: set[str] = set()
        if schema in self.schemas and access.base:
            may |= {"SELECT"}
            if "INSERT" in access.base:
                # A serial column's default calls nextval, which needs USAGE (FACTS, Postgres 10).
                must |= {"USAGE"}
                may |= _SEQUENCE
        for rule in access.rules:
            if rule.pattern.kind == "relation" and rule.pattern.matches(schema, name):
                must = (must - rule.taken) | (rule.added & _SEQUENCE if rule.pattern.exact else set())
                may = (may - rule.taken) | (rule.added & _SEQUENCE)
        return Wanted(frozenset(must), frozenset(may | must))

    def named_routine(self, access: UserAccess, schema: str, name: str) -> bool:
        """Whether the spec gives this user EXECUTE on a routine by naming it."""
        return any(
            rule.pattern.kind == "routine" and "EXECUTE" in rule.added and rule.pattern.matches(schema, name)
            for rule in access.rules
        )

    def on_routine(self, access: UserAccess, schema: str, name: str) -> Wanted:
        """What a user may do with a function or procedure."""
        if access.part == "owner":
            return _owned(schema in self.schemas, frozenset({"EXECUTE"}))
        must: set[str] = {"EXECUTE"} if access.part == "app" and schema in self.schemas else set()
        for rule in access.rules:
            if rule.pattern.kind == "routine" and rule.pattern.matches(schema, name):
                must = (must - rule.taken) | rule.added
        return Wanted(frozenset(must), frozenset(must))

    def on_schema(self, access: UserAccess, schema: str) -> Wanted:
        """What a user may do with a schema."""
        if access.part == "owner":
            return _owned(schema in self.schemas, frozenset({"USAGE", "CREATE"}))
        named = any(rule.pattern.schema == schema and rule.added for rule in access.rules)
        inside = schema in self.schemas and access.part != "reader"
        usage = frozenset({"USAGE"}) if named or inside else frozenset()
        return Wanted(usage, usage)


@dataclass(frozen=True, slots=True)
class ServerAccess:
    """Everything the specs say about one server.

    Attributes:
        identities: every declared user.
        databases: every declared database.
        retired: roles the specs want to be rid of.
    """

    identities: tuple[PostgresIdentity, ...]
    databases: tuple[DatabaseAccess, ...]
    retired: frozenset[str] = frozenset()

    def reachable(self, identity: PostgresIdentity) -> tuple[DatabaseAccess, ...]:
        """The databases an identity may connect to: its own, and those it reads of others."""
        return tuple(database for database in self.databases if database.of(identity.user))

    @property
    def users(self) -> frozenset[str]:
        """The names of all declared users."""
        return frozenset(identity.user for identity in self.identities)


def expected_access(specs: SpecSet) -> ServerAccess:
    """Derive what every user must and must not be able to do."""
    readers: dict[tuple[str, str], dict[str, list[Rule]]] = {}
    for read in specs.agreed_reads():
        target = read.target.postgres.database(read.share.db) if read.target.postgres else None
        if target is None or target.isolated:
            continue
        rules = [Rule(pattern, frozenset({"SELECT"}), columns=frozenset(read.share.columns)) for pattern in read.tables]
        for _, user in read.reader.read_users(read.read):
            readers.setdefault((read.target.service, read.share.db), {}).setdefault(user, []).extend(rules)
    databases = tuple(
        _database(spec, database, readers.get((spec.service, database.id), {}), specs.by_service)
        for spec in specs.specs
        for database in spec.postgres_databases()
    )
    retired = frozenset(
        retired.role for spec in specs.specs if spec.postgres is not None for retired in spec.postgres.retire
    )
    return ServerAccess(specs.postgres_identities(), databases, retired)


def _database(
    spec: Spec, database: PostgresDatabase, readers: Mapping[str, list[Rule]], given: Mapping[str, Spec]
) -> DatabaseAccess:
    users = []
    for role in ROLES:
        user = spec.user(database, role)
        if user is None:
            continue
        rules = [
            Rule(extra.pattern, _upper(extra.privileges), _upper(extra.revoke), frozenset(extra.columns))
            for extra in (spec.postgres.extra_grants if spec.postgres else ())
            if extra.to == role and extra.db == database.id
        ]
        users.append(UserAccess(user, role, _upper(database.table_privileges(role)), tuple(rules)))
    users += [UserAccess(user, "reader", rules=tuple(rules)) for user, rules in readers.items()]
    shares = tuple(
        Share(share.service, share.patterns, frozenset(share.columns))
        for share in (spec.postgres.shared_with if spec.postgres else ())
        if share.db == database.id and share.service not in given and not database.isolated
    )
    name = spec.database_name(database)
    return DatabaseAccess(spec.service, database.id, name, database.isolated, database.schemas, tuple(users), shares)


def _upper(privileges: Iterable[str]) -> frozenset[str]:
    return frozenset(privilege.upper() for privilege in privileges)
