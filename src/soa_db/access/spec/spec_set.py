"""Several services' specs taken together: who reads whom, who is who, and the rules across specs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from soa_db.access.spec.across import conflicts, covering, shares_of
from soa_db.errors import SpecError
from soa_db.names import ROLES, Role

if TYPE_CHECKING:
    from soa_db.access.spec.models import Spec
    from soa_db.access.spec.pattern import ObjectPattern
    from soa_db.access.spec.postgres import PostgresRead, PostgresShare

__all__ = ["AgreedRead", "PendingRead", "PostgresIdentity", "SpecSet"]


@dataclass(frozen=True, slots=True)
class PostgresIdentity:
    """One PostgreSQL user of a service, with every declared database it works in.

    ``databases`` and ``db_ids`` run in parallel; a user shared by several databases is one identity.
    """

    service: str
    role: Role
    user: str
    databases: tuple[str, ...]
    db_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AgreedRead:
    """Tables one service may read of another, since both specs say so.

    Attributes:
        reader: the spec that reads; its users are ``reader.read_users(read)``.
        read: what it asks for.
        target: the spec that shares.
        share: what it lets the reader have; ``share.columns``, when there are any, is all that may be read.
        tables: the patterns of ``read`` that this share covers.
    """

    reader: Spec
    read: PostgresRead
    target: Spec
    share: PostgresShare
    tables: tuple[ObjectPattern, ...]


@dataclass(frozen=True, slots=True)
class PendingRead:
    """A read whose other side's spec is not given: reported, never granted."""

    reader: Spec
    read: PostgresRead


@dataclass(frozen=True, slots=True)
class SpecSet:
    """The specs a command works on, one per service.

    Attributes:
        specs: the specs.
        places: service id → where its spec names it, as ``file:line:column``; empty for specs made in code.

    Raises:
        SpecError: they don't fit together.
    """

    specs: tuple[Spec, ...]
    places: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        # For specs made in code; load_specs has found the same faults before, with their lines.
        faults = [
            f"{self.specs[index].service}: {'.'.join(map(str, path))}: {text}"
            for index, path, text in conflicts(self.specs)
        ]
        if faults:
            raise SpecError(faults)

    @property
    def by_service(self) -> Mapping[str, Spec]:
        """Service id → its spec."""
        return MappingProxyType({spec.service: spec for spec in self.specs})

    def postgres_identities(self) -> tuple[PostgresIdentity, ...]:
        """Every declared PostgreSQL user once, in the order of the specs, their databases and roles."""
        return tuple(identity for spec in self.specs for identity in _identities(spec))

    def agreed_reads(self) -> tuple[AgreedRead, ...]:
        """Every read that the other spec shares, one entry per read and share.

        A table shared whole and, in another entry, by columns is read whole.
        """
        found = []
        by_service = self.by_service
        for reader in self.specs:
            for read in reader.postgres.reads if reader.postgres else ():
                target = by_service.get(read.service)
                if target is None:
                    continue
                covered: dict[int, list[ObjectPattern]] = {}
                for table in read.patterns:
                    shares = covering(target, reader.service, read.db, table)
                    whole = [share for share in shares if not shares_of(target)[share].columns]
                    for share in whole[:1] or shares:
                        covered.setdefault(share, []).append(table)
                found += [
                    AgreedRead(reader, read, target, shares_of(target)[share], tuple(tables))
                    for share, tables in sorted(covered.items())
                ]
        return tuple(found)

    def pending_reads(self) -> tuple[PendingRead, ...]:
        """Every read of a service whose spec is not given."""
        known = self.by_service
        return tuple(
            PendingRead(spec, read)
            for spec in self.specs
            for read in (spec.postgres.reads if spec.postgres else ())
            if read.service not in known
        )


def _identities(spec: Spec) -> list[PostgresIdentity]:
    found: dict[tuple[Role, str], list[tuple[str, str]]] = {}
    for database in spec.postgres_databases():
        for role in ROLES:
            user = spec.user(database, role)
            if user is not None:
                found.setdefault((role, user), []).append((spec.database_name(database), database.id))
    return [
        PostgresIdentity(spec.service, role, user, tuple(name for name, _ in places), tuple(db for _, db in places))
        for (role, user), places in found.items()
    ]
