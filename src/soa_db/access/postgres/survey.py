"""The context in which what a database's catalogs say is judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from soa_db.access.report import Aspect, Probe

if TYPE_CHECKING:
    from soa_db.access.postgres.expect import DatabaseAccess, ServerAccess

__all__ = ["Strangers", "Survey"]


@dataclass(frozen=True, slots=True)
class Strangers:
    """How roles the specs do not know are to be taken.

    Attributes:
        administrators: superusers and roles with CREATEROLE, and members of such: they can give themselves anything.
        system: predefined roles, and those the cloud provider's server comes with.
        services: role → the service it belongs to, by the comment `provision` gave it.
    """

    administrators: frozenset[str] = frozenset()
    system: frozenset[str] = frozenset()
    services: Mapping[str, str] = field(default_factory=dict)

    @property
    def expected(self) -> frozenset[str]:
        """Roles whose rights are nobody's fault."""
        return self.administrators | self.system


@dataclass(frozen=True, slots=True)
class Survey:
    """The context of one database's judgements.

    Attributes:
        access: what the specs say about the server.
        database: … about this database.
        strangers: how to take roles the specs do not know.
        mend: the command that provisions.
    """

    access: ServerAccess
    database: DatabaseAccess
    strangers: Strangers
    mend: str

    def ask(
        self,
        identity: str,
        aspect: Aspect,
        what: str,
        expect: Literal["can", "cannot", "is"] = "cannot",
    ) -> Probe:
        """A question that the catalogs of this database answer."""
        return Probe(identity, self.database.name, aspect, what, expect, "catalog")

    def named(self, user: str, schema: str, name: str, privilege: str) -> bool:
        """Whether the spec gives a user this privilege by naming the relation exactly: then it is meant."""
        part = self.database.of(user)
        return part is not None and any(
            rule.pattern.kind == "relation"
            and rule.pattern.exact is not None
            and privilege in rule.added
            and rule.pattern.matches(schema, name)
            for rule in part.rules
        )
