"""The algebra of access control lists: what an owner has by default, what is missing, what is too much. Pure.

Sources: PostgreSQL's "Privileges" (ddl-priv) for the built-in defaults; ``aclnewowner`` in
src/backend/utils/adt/acl.c for what a change of owner does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from soa_db.access.postgres.desired import TABLE_KINDS
from soa_db.access.postgres.state import PUBLIC, AclItem, ObjectKind

if TYPE_CHECKING:
    from soa_db.access.postgres.actions import Verb

__all__ = [
    "AclDiff",
    "applicable",
    "builtin_acl",
    "compare",
    "fresh_database_acl",
    "owner_privileges",
    "with_new_owner",
]

_TABLE = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"})
_ALL: Mapping[str, frozenset[str]] = {
    "database": frozenset({"CREATE", "CONNECT", "TEMPORARY"}),
    "schema": frozenset({"CREATE", "USAGE"}),
    "sequence": frozenset({"SELECT", "UPDATE", "USAGE"}),
    "routine": frozenset({"EXECUTE"}),
    "type": frozenset({"USAGE"}),
    "column": frozenset({"SELECT", "INSERT", "UPDATE", "REFERENCES"}),
}


def owner_privileges(kind: str, version: int) -> frozenset[str]:
    """Everything there is to be had on a kind of object: what its owner has unless it was taken away."""
    return _ALL.get(kind, _TABLE | {"MAINTAIN"} if version >= 17 else _TABLE)


def builtin_acl(kind: str, owner: str, version: int) -> tuple[AclItem, ...]:
    """What a new object has when no default privileges are set."""
    public: dict[str, tuple[str, ...]] = {
        "database": ("CONNECT", "TEMPORARY"),
        "routine": ("EXECUTE",),
        "type": ("USAGE",),
    }
    own = [AclItem(owner, privilege, owner) for privilege in sorted(owner_privileges(kind, version))]
    return (*own, *(AclItem(PUBLIC, privilege, owner) for privilege in public.get(kind, ())))


def fresh_database_acl(admin: str, version: int) -> tuple[AclItem, ...]:
    """The ACL of a database the administrator has just made."""
    return builtin_acl("database", admin, version)


def applicable(privileges: Iterable[str], kind: ObjectKind | str, version: int) -> frozenset[str]:
    """Those of the privileges that this kind of object has in this version."""
    wanted = frozenset(privileges)
    if kind in TABLE_KINDS:
        return wanted & owner_privileges("table", version)
    return wanted & owner_privileges(kind, version)


def with_new_owner(acl: tuple[AclItem, ...], old: str, new: str) -> tuple[AclItem, ...]:
    """The ACL after ``ALTER … OWNER TO new``: the new owner takes the old one's place everywhere."""
    swapped = {
        AclItem(
            new if item.grantee == old else item.grantee,
            item.privilege,
            new if item.grantor == old else item.grantor,
            item.grantable,
        )
        for item in acl
    }
    return tuple(sorted(swapped))


@dataclass(frozen=True, slots=True)
class AclDiff:
    """How an ACL differs from the one wanted. Every mapping: grantee → privileges.

    Attributes:
        missing: to be granted.
        extra: to be revoked.
        grantable: whose grant option is to be revoked.
        foreign: (grantee, privilege, grantor) of what somebody other than the owner granted and nobody wants: only the
            loss of that grantor's grant option takes it away. The grantor named had its grant option from the owner,
            however many hands the privilege has gone through since.
    """

    missing: Mapping[str, frozenset[str]]
    extra: Mapping[str, frozenset[str]]
    grantable: Mapping[str, frozenset[str]]
    foreign: frozenset[tuple[str, str, str]] = frozenset()

    @property
    def steps(self) -> tuple[tuple[Verb, Mapping[str, frozenset[str]]], ...]:
        """What is to be done; revocations first, since losing a grant option may take more than meant along."""
        return (("revoke", self.extra), ("revoke grant option", self.grantable), ("grant", self.missing))

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.grantable or self.foreign)


def _sources(item: AclItem, handed_on: set[AclItem], grantable: Mapping[str, set[str]]) -> set[str]:
    """Who had from the owner the grant option that an item goes back to."""
    found, seen, todo = set[str](), set[str](), [item.grantor]
    while todo:
        grantor = todo.pop()
        if grantor in seen:
            continue
        seen.add(grantor)
        if item.privilege in grantable.get(grantor, set()):
            found.add(grantor)
        todo += [
            other.grantor
            for other in handed_on
            if (other.grantee, other.privilege, other.grantable) == (grantor, item.privilege, True)
        ]
    return found or {item.grantor}


def compare(acl: Iterable[AclItem], wanted: Mapping[str, frozenset[str]], owner: str, own: frozenset[str]) -> AclDiff:
    """Compare an ACL with what is wanted.

    Args:
        acl: the ACL as it is.
        wanted: grantee → privileges, without the owner.
        owner: the owner, who has everything; its own grant options are implicit.
        own: what the owner has by default.
    """
    held: dict[str, set[str]] = {}
    grantable: dict[str, set[str]] = {}
    handed_on: set[AclItem] = set()
    for item in acl:
        if item.grantor == owner:
            held.setdefault(item.grantee, set()).add(item.privilege)
            if item.grantable and item.grantee != owner:
                grantable.setdefault(item.grantee, set()).add(item.privilege)
        else:
            handed_on.add(item)
    all_wanted = {**wanted, owner: own}
    missing = {
        grantee: frozenset(lacking)
        for grantee, privileges in all_wanted.items()
        if (lacking := privileges - held.get(grantee, set()))
    }
    extra = {
        grantee: frozenset(surplus)
        for grantee, privileges in held.items()
        if grantee != owner and (surplus := privileges - all_wanted.get(grantee, frozenset()))
    }
    # A privilege that goes takes its grant option along.
    options = {
        grantee: frozenset(kept)
        for grantee, privileges in grantable.items()
        if (kept := privileges - extra.get(grantee, frozenset()))
    }
    foreign = frozenset(
        (item.grantee, item.privilege, source)
        for item in handed_on
        if item.grantable or item.privilege not in all_wanted.get(item.grantee, frozenset())
        for source in _sources(item, handed_on, grantable)
    )
    return AclDiff(missing, extra, options, foreign)
