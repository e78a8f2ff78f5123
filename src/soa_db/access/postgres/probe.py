"""All probes of one identity, of one database, of the server: what is asked, in which order.

An error nobody expected never ends the run and never counts as a refusal: it becomes an inconclusive check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from soa_db.access.postgres.attempt import attempt, guard, judge
from soa_db.access.postgres.expect import DatabaseAccess
from soa_db.access.postgres.probe_database import probe_database
from soa_db.access.postgres.probe_indirect import probe_lent
from soa_db.access.postgres.probe_later import probe_later
from soa_db.access.postgres.probe_login import (
    Refusal,
    probe_authentication,
    probe_no_entry,
    probe_token_of_another,
    refusal_of,
)
from soa_db.access.postgres.probe_powers import probe_powers
from soa_db.access.postgres.probe_server import IAM_ROLE, ServerFacts, read_server
from soa_db.access.postgres.probe_session import listed, probe_session
from soa_db.access.postgres.survey import Strangers, Survey
from soa_db.access.report import Aspect, Check, Outcome, Probe
from soa_db.errors import AccessDenied, AuthenticationFailed, CredentialError, SoaDbError

if TYPE_CHECKING:
    from soa_db.access.postgres.expect import ServerAccess
    from soa_db.access.postgres.logins import Logins
    from soa_db.access.spec import PostgresIdentity

__all__ = ["Run"]

_AGAIN = "run verify again; if it persists, look at the error"


@dataclass(frozen=True, slots=True)
class Run:
    """One verification of one server.

    Attributes:
        access: what the specs say.
        logins: how to log in.
        iam: whether identities log in by IAM token over TLS (mirror and prod).
        mend: the command that provisions.
    """

    access: ServerAccess
    logins: Logins
    iam: bool
    mend: str

    def read_server(self) -> ServerFacts | Check:
        """Read the shared catalogs as the first identity that gets in; the check says why none did."""
        last = "no identity is declared"
        for identity in self.access.identities:
            try:
                with closing(self._open(identity, identity.databases[0])) as connection:
                    return read_server(connection)
            except (SoaDbError, psycopg.Error) as error:
                last = _line(error)
        probe = Probe("", "", "roles", "the server's catalogs can be read by some identity", "is", "catalog")
        return Check(probe, Outcome.INCONCLUSIVE, last, f"{self.mend}, then verify again")

    def identity(self, identity: PostgresIdentity, facts: ServerFacts | None) -> Iterator[Check]:
        """Everything about one identity: its databases, everybody else's, and how it must not be able to log in."""
        reachable = self.access.reachable(identity)
        for index, database in enumerate(reachable):
            yield from self._inside(identity, database, facts if index == 0 else None)
        for database in self.access.databases:
            if database not in reachable:
                yield from self._caught(
                    Probe(identity.user, database.name, "connect", "connect", "cannot", "login"),
                    partial(self._outside, identity, database),
                )
        yield from self._caught(
            Probe(identity.user, identity.databases[0], "auth", "log in in a wrong way", "cannot", "login"),
            lambda: probe_authentication(
                self.logins.connect,
                self.logins.config(identity, identity.databases[0]),
                user=identity.user,
                iam=self.iam,
            ),
        )

    def tokens(self, identity: PostgresIdentity) -> Iterator[Check]:
        """With the identity's AWS rights, try to become everybody who has another AWS role."""
        for other in self.access.identities:
            if (other.service, other.role) == (identity.service, identity.role):
                continue
            probe = Probe(identity.user, "", "aws", f"log in as {other.user}", "cannot", "aws")
            yield from self._caught(probe, partial(self._token, identity, other))

    def database(self, database: DatabaseAccess, strangers: Strangers) -> Iterator[Check]:
        """Everything a database's catalogs say, read as its owner or, where that fails, whoever gets in."""
        by_name = {identity.user: identity for identity in self.access.identities}
        last = "no identity is declared for it"
        for part in database.users:
            try:
                connection = self._open(by_name[part.user], database.name)
            except (SoaDbError, psycopg.Error) as error:
                last = _line(error)
                continue
            probe = Probe("", database.name, "rights", "what its catalogs say about everybody", "is", "catalog")
            with closing(connection):
                yield from self._caught(
                    probe,
                    partial(probe_database, connection, self.access, database, strangers, mend=self.mend),
                )
            return
        probe = Probe("", database.name, "rights", "its catalogs can be read by some identity", "is", "catalog")
        yield Check(probe, Outcome.INCONCLUSIVE, last, f"{self.mend}, then verify again")

    def undeclared(self, name: str, strangers: Strangers) -> Iterator[Check]:
        """What everybody who connects to a database no spec declares is lent there; read by the first that gets in."""
        open_to_all = DatabaseAccess("", "", name, isolated=False, schemas=(), users=())
        survey = Survey(self.access, open_to_all, strangers, self.mend)
        probe = survey.ask("", "rights", "no function there lends its owner's rights", "is")
        refusals: list[Refusal] = []
        for identity in self.access.identities:
            try:
                connection = self._open(identity, name)
            except (SoaDbError, psycopg.Error) as error:
                refusals.append(refusal_of(error))
                continue
            with closing(connection):
                yield from self._caught(probe, partial(probe_lent, connection, survey))
            return
        # pg_hba.conf admits nobody (rdsadmin on RDS), or nobody can log in anywhere, which is said elsewhere.
        if Refusal.OTHER in refusals:
            yield Check(probe, Outcome.INCONCLUSIVE, "no identity could look", _AGAIN)

    def _open(self, identity: PostgresIdentity, database: str) -> psycopg.Connection[Any]:
        connection = self.logins.connect(self.logins.config(identity, database))
        try:
            guard(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _inside(
        self, identity: PostgresIdentity, database: DatabaseAccess, facts: ServerFacts | None
    ) -> Iterator[Check]:
        """A database the identity may connect to."""
        entry = Probe(identity.user, database.name, "connect", "connect", "can", "login")
        try:
            connection = self._open(identity, database.name)
        except (SoaDbError, psycopg.Error) as error:
            yield _no_entry(entry, error, self.mend)
            return
        part = database.of(identity.user)
        assert part is not None
        with closing(connection):
            yield from self._caught(entry, lambda: [_who_am_i(connection, entry, identity, database.name)])
            probes: list[tuple[Aspect, str, Callable[[], Iterable[Check]]]] = [
                ("read", "what it can do inside", lambda: probe_session(connection, database, part, mend=self.mend))
            ]
            if part.part == "owner":
                others = tuple(sorted(self.access.users - {user.user for user in database.users}))
                probes.append(
                    (
                        "later",
                        "default privileges",
                        lambda: probe_later(connection, database, others=others, mend=self.mend),
                    )
                )
            if facts is not None:
                probes += [
                    (
                        "roles",
                        "what administrators can do",
                        lambda: probe_powers(connection, identity.user, mend=self.mend),
                    ),
                    ("roles", "SET ROLE", lambda: [_set_role(connection, identity, facts, self.iam, self.mend)]),
                ]
            for aspect, what, ask in probes:
                yield from self._caught(Probe(identity.user, database.name, aspect, what, "is", "attempt"), ask)

    def _outside(self, identity: PostgresIdentity, database: DatabaseAccess) -> Iterator[Check]:
        yield probe_no_entry(
            self.logins.connect,
            self.logins.config(identity, database.name),
            user=identity.user,
            database=database.name,
            isolated=database.isolated,
            mend=self.mend,
        )

    def _token(self, identity: PostgresIdentity, other: PostgresIdentity) -> Iterator[Check]:
        config = self.logins.impostor(identity, other.user, other.databases[0])
        yield probe_token_of_another(self.logins.connect, config, user=identity.user, other=other.user)

    @staticmethod
    def _caught(probe: Probe, ask: Callable[[], Iterable[Check]]) -> Iterator[Check]:
        try:
            yield from ask()
        except (SoaDbError, psycopg.Error) as error:
            yield Check(probe, Outcome.INCONCLUSIVE, _line(error), _AGAIN)


def _line(error: Exception) -> str:
    """One line about an error, without the hint of ours, which speaks to services."""
    text = error.message if isinstance(error, SoaDbError) else str(error)
    return f"{type(error).__name__}: {' '.join(text.split())}"


def _no_entry(probe: Probe, error: Exception, mend: str) -> Check:
    """A login that should have succeeded: refused for good, or not decided."""
    if isinstance(error, AccessDenied) and "sts:AssumeRole" in error.message:
        # That whoever verifies may not act for the service says nothing about the service.
        return Check(probe, Outcome.INCONCLUSIVE, _line(error), error.hint or _AGAIN)
    if type(error) is CredentialError:
        # No credentials at all, throttled, not AWS that answers: nothing said no to this identity.
        return Check(probe, Outcome.INCONCLUSIVE, _line(error), error.hint or _AGAIN)
    refusal = refusal_of(error)
    final = isinstance(error, (AuthenticationFailed, CredentialError)) or refusal not in {
        Refusal.OTHER,
        Refusal.CERTIFICATE,
    }
    if final:
        step = error.hint if isinstance(error, CredentialError) and error.hint else mend
        return Check(probe, Outcome.VIOLATED, _line(error), step)
    return Check(probe, Outcome.INCONCLUSIVE, _line(error), _AGAIN)


def _who_am_i(connection: psycopg.Connection[Any], probe: Probe, identity: PostgresIdentity, database: str) -> Check:
    row = connection.execute("SELECT session_user, current_user, current_database()").fetchone()
    expected = (identity.user, identity.user, database)
    if row == expected:
        return Check(probe, Outcome.OK)
    return Check(probe, Outcome.VIOLATED, f"arrived as {row}, not as {expected}", "reset the role's settings")


def _set_role(
    connection: psycopg.Connection[Any], identity: PostgresIdentity, facts: ServerFacts, iam: bool, mend: str
) -> Check:
    """Try to become every other role of the server, each for the length of a transaction that is rolled back."""
    # The owner of a database is, in it, a member of pg_database_owner, and nobody can be made one.
    meant = {identity.user, "pg_database_owner", *([IAM_ROLE] if iam else [])}
    others = [name for name in facts.roles if name not in meant]
    probe = Probe(identity.user, "", "roles", f"SET ROLE to any of {len(others)} other roles", "cannot", "attempt")
    permitted: list[str] = []
    undecided: list[Check] = []
    for name in others:
        check = judge(probe, attempt(connection, sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(name))), mend=mend)
        if check.outcome is Outcome.VIOLATED:
            permitted.append(name)
        elif check.outcome is Outcome.INCONCLUSIVE:
            undecided.append(check)
    if permitted:
        step = f"REVOKE {', '.join(permitted)} FROM {identity.user}; {mend} does it"
        return Check(probe, Outcome.VIOLATED, f"it can become {listed(permitted)}", step)
    return undecided[0] if undecided else Check(probe, Outcome.OK)
