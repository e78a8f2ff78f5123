"""What the specs want of one environment's PostgreSQL server. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from soa_db.names import ROLES, Env, Role, dev_secret_name

if TYPE_CHECKING:
    from soa_db.access.postgres.state import ObjectKind
    from soa_db.access.spec import ObjectPattern, Spec, SpecSet

__all__ = [
    "IAM_ROLE",
    "Desired",
    "DesiredDatabase",
    "DesiredRole",
    "RetiredRole",
    "Rule",
    "desired_state",
    "service_of",
]

# The role RDS checks at login: its members authenticate by IAM token
# (https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.DBAccounts.html).
IAM_ROLE = "rds_iam"

_COMMENT, _OF = "soa-db: ", " of service "

TABLE_KINDS: frozenset[ObjectKind] = frozenset({"table", "view", "materialized view", "foreign table"})
_RELATIONS: frozenset[ObjectKind] = TABLE_KINDS | {"sequence"}


@dataclass(frozen=True, slots=True)
class DesiredRole:
    """A user the specs declare.

    Attributes:
        name: its name.
        service: whose it is.
        role: what it plays there.
        secrets: names of its parity secrets (dev only) with the database each is for.
    """

    name: str
    service: str
    role: Role
    secrets: tuple[tuple[str, str], ...] = ()

    @property
    def comment(self) -> str:
        """What the role's comment says: whose it is."""
        return f"{_COMMENT}{self.role}{_OF}{self.service}"


def service_of(comment: str | None) -> str | None:
    """The service a role was made for, by its comment; None when it says nothing of the kind."""
    return comment.rpartition(_OF)[2] if comment is not None and comment.startswith(_COMMENT) else None


@dataclass(frozen=True, slots=True)
class Rule:
    """An exception for the objects a pattern names. Rules apply in order; the last that matches decides.

    Attributes:
        grantee: the role it is about.
        pattern: the objects.
        kinds: the kinds of object.
        privileges: what it may do, upper case.
        revoked: what it may not do.
        columns: the columns ``privileges`` are limited to.
    """

    grantee: str
    pattern: ObjectPattern
    kinds: frozenset[ObjectKind]
    privileges: frozenset[str]
    revoked: frozenset[str] = frozenset()
    columns: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class DesiredDatabase:
    """A database the specs declare.

    Attributes:
        name: its name on the server.
        service: whose it is.
        owner: the owner role; every database has one, by whose comment it is known whose it is.
        schemas: the schemas the owner owns.
        tables: what each identity may do on every table, upper case.
        executes: who may call every routine.
        connect: who may connect: its identities, and readers of other services.
        usage: per schema, who has USAGE.
        rules: exceptions.
        shared_with: services that may read of it and whose own spec is not given: what they have is theirs.
    """

    name: str
    service: str
    owner: str
    schemas: tuple[str, ...]
    tables: Mapping[str, frozenset[str]]
    executes: frozenset[str]
    connect: frozenset[str]
    usage: Mapping[str, frozenset[str]]
    rules: tuple[Rule, ...] = ()
    shared_with: frozenset[str] = frozenset()

    @property
    def columns(self) -> frozenset[str]:
        """Every column name a rule mentions."""
        return frozenset().union(*(rule.columns for rule in self.rules))


@dataclass(frozen=True, slots=True)
class RetiredRole:
    """A role that is to go; ``heir`` gets what it owns."""

    name: str
    service: str
    heir: str | None


@dataclass(frozen=True, slots=True)
class Desired:
    """Everything the specs want of one server.

    Attributes:
        env: the environment.
        services: the services whose specs are given.
        roles: by name.
        databases: by name.
        retired: roles that are to go.
        pending: reads whose other side is not given, as sentences.
    """

    env: Env
    services: frozenset[str] = frozenset()
    roles: Mapping[str, DesiredRole] = field(default_factory=dict)
    databases: Mapping[str, DesiredDatabase] = field(default_factory=dict)
    retired: tuple[RetiredRole, ...] = ()
    pending: tuple[str, ...] = ()

    @property
    def iam(self) -> bool:
        """Whether users log in by IAM token."""
        return self.env != "dev"


def desired_state(specs: SpecSet, env: Env) -> Desired:
    """Work out what the specs want in ``env``; that they do not contradict each other, ``SpecSet`` has seen to."""
    roles: dict[str, DesiredRole] = {}
    for identity in specs.postgres_identities():
        secrets = tuple(
            (dev_secret_name(identity.service, identity.role, db_id), database)
            for database, db_id in zip(identity.databases, identity.db_ids, strict=True)
        )
        roles[identity.user] = DesiredRole(
            identity.user, identity.service, identity.role, secrets if env == "dev" else ()
        )
    readers = _reads(specs)
    given = frozenset(specs.by_service)
    databases = {wanted.name: wanted for spec in specs.specs for wanted in _databases(spec, readers, given)}
    return Desired(
        env=env,
        services=given,
        roles=roles,
        databases=databases,
        retired=tuple(_retired(specs)),
        pending=tuple(
            f"{pending.reader.service} wants to read {', '.join(pending.read.tables)} of {pending.read.service}, "
            "whose spec is not given: not granted"
            for pending in specs.pending_reads()
        ),
    )


def _databases(spec: Spec, readers: Mapping[str, list[Rule]], given: frozenset[str]) -> list[DesiredDatabase]:
    found = []
    for database in spec.postgres_databases():
        name = spec.database_name(database)
        users = {role: user for role in ROLES if (user := spec.user(database, role)) is not None}
        plain = {role: user for role, user in users.items() if role != "owner"}
        rules = [
            Rule(
                grantee=plain[extra.to],
                pattern=extra.pattern,
                kinds=frozenset({"routine"}) if extra.pattern.kind == "routine" else _RELATIONS,
                privileges=frozenset(privilege.upper() for privilege in extra.privileges),
                revoked=frozenset(privilege.upper() for privilege in extra.revoke),
                columns=frozenset(extra.columns),
            )
            for extra in (spec.postgres.extra_grants if spec.postgres else ())
            if extra.db == database.id and extra.to in plain
        ]
        reads = readers.get(name, [])
        own = frozenset(plain.values())
        found.append(
            DesiredDatabase(
                name=name,
                service=spec.service,
                owner=users["owner"],  # a spec without one is refused
                schemas=database.schemas,
                tables={
                    user: frozenset(privilege.upper() for privilege in database.table_privileges(role))
                    for role, user in plain.items()
                },
                executes=frozenset(user for role, user in plain.items() if role == "app"),
                connect=frozenset(users.values()) | {rule.grantee for rule in reads},
                usage={
                    schema: own | {rule.grantee for rule in reads if rule.pattern.schema == schema}
                    for schema in database.schemas
                },
                rules=(*rules, *reads),
                shared_with=frozenset(
                    share.service
                    for share in (spec.postgres.shared_with if spec.postgres else ())
                    if share.db == database.id and share.service not in given
                ),
            )
        )
    return found


def _reads(specs: SpecSet) -> dict[str, list[Rule]]:
    """The rules that cross-service reads make, by the database they are about."""
    found: dict[str, list[Rule]] = {}
    for agreed in specs.agreed_reads():
        target = agreed.target.postgres.database(agreed.read.db) if agreed.target.postgres else None
        if target is None or target.isolated:
            continue
        rules = found.setdefault(agreed.target.database_name(target), [])
        for _, user in agreed.reader.read_users(agreed.read):
            rules += [
                Rule(user, pattern, TABLE_KINDS, frozenset({"SELECT"}), columns=frozenset(agreed.share.columns))
                for pattern in agreed.tables
            ]
    return found


def _retired(specs: SpecSet) -> list[RetiredRole]:
    found = []
    for spec in specs.specs:
        for retired in spec.postgres.retire if spec.postgres else ():
            databases = spec.postgres_databases()
            heir = spec.user(databases[0], retired.reassign_to) if databases else None
            found.append(RetiredRole(retired.role, spec.service, heir))
    return found
