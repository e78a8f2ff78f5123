"""What comparing needs to know beyond the two states: who is managed, whom the administrator can act as. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from soa_db.access.plan import Change, Notice, PlanOptions
from soa_db.access.postgres.actions import Action, sentence
from soa_db.access.postgres.desired import service_of
from soa_db.access.postgres.state import PUBLIC, ServerState

if TYPE_CHECKING:
    from soa_db.access.postgres.desired import Desired

__all__ = ["Context", "Findings"]

# By name, not by prefix: somebody's own role may be called "rds-reports". From "Understanding PostgreSQL roles and
# permissions" in the RDS User Guide and pg_roles of an instance.
_RDS_ROLES = frozenset(
    {
        "rdsadmin",
        "rdsproxyadmin",
        "rdsrepladmin",
        "rdstopmgr",
        "rdswriteforwarduser",
        "rds_ad",
        "rds_extension",
        "rds_iam",
        "rds_password",
        "rds_replication",
        "rds_reserved",
        "rds_superuser",
    }
)


@dataclass(frozen=True, slots=True)
class Context:
    """The two states and the options."""

    desired: Desired
    state: ServerState
    options: PlanOptions

    @property
    def version(self) -> int:
        """Major version of the server."""
        return self.state.version

    def may_manage(self, role: str) -> bool:
        """Whether the administrator may alter this role, comment on it, grant it and end its memberships.

        Before PostgreSQL 16 CREATEROLE is enough for any role but a superuser; since then ADMIN OPTION is needed,
        which the creator of a role is given (https://www.postgresql.org/docs/16/role-attributes.html).
        """
        admin = self.state.admin
        if admin.superuser:
            return True
        found = self.state.roles.get(role)
        if found is None:
            # It is created in this very plan.
            return role in self.desired.roles and admin.createrole
        if found.superuser:
            return False
        return role in admin.administers if self.version >= 16 else admin.createrole

    def may_become(self, role: str, database: str | None = None) -> bool:
        """Whether the administrator can act as this role, if need be by granting it to itself for a moment."""
        admin = self.state.admin
        if admin.superuser or role == admin.name or role in admin.acts_as:
            return True
        if role == "pg_database_owner" and database is not None:
            # Its one, implicit, member is the owner of the current database.
            wanted = self.desired.databases.get(database)
            return wanted is not None and self.may_become(wanted.owner)
        return not role.startswith("pg_") and self.may_manage(role)

    def is_managed(self, role: str) -> bool:
        """Whether it is for the specs to say what this grantee may do; PUBLIC is declared to have nothing."""
        return role == PUBLIC or role in self.desired.roles

    def may_take_from(self, role: str, database: str) -> bool:
        """Whether what this grantee has too much is taken away: always when managed, else with ``prune`` only."""
        return self.is_managed(role) or (
            self.options.prune and not self.is_exempt(role) and self.reads_for(role, database) is None
        )

    def reads_for(self, role: str, database: str) -> str | None:
        """The service of a role to which the database is shared, and whose spec is not given; else None.

        What such a role has was agreed on by both sides in another run: "no spec declares it" would be wrong.
        """
        found, wanted = self.state.roles.get(role), self.desired.databases.get(database)
        service = None if found is None else service_of(found.comment)
        return service if wanted is not None and service in wanted.shared_with else None

    def is_exempt(self, role: str) -> bool:
        """Whether this role is none of our business: the administrator, superusers, RDS's and PostgreSQL's own."""
        found = self.state.roles.get(role)
        return (
            role == self.state.admin.name
            or role.startswith("pg_")
            or role in _RDS_ROLES
            or (found is not None and found.superuser)
        )


@dataclass(slots=True)
class Findings:
    """What comparing has found so far, in order.

    Attributes:
        group: the heading of the changes that are added.
        database: the database they happen in.
    """

    group: str
    database: str | None = None
    changes: list[Change] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    def change(self, action: Action, *, destructive: bool = False) -> None:
        """Add a change."""
        self.changes.append(Change(sentence(action, self.database), self.group, self.database, destructive, action))

    def note(self, text: str, remedy: str = "") -> None:
        """Report something that is not managed here."""
        self.notices.append(Notice("note", text, remedy, self.database))

    def unreachable(self, text: str, remedy: str = "") -> None:
        """Report something that ought to change and cannot be changed by this administrator."""
        self.notices.append(Notice("unreachable", text, remedy, self.database))

    def error(self, text: str, remedy: str = "") -> None:
        """Report something that makes applying impossible."""
        self.notices.append(Notice("error", text, remedy, self.database))
