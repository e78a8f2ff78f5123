"""What ``verify`` asks about PostgreSQL: parts that can run side by side, and who is at home where."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from soa_db.access.postgres.expect import expected_access
from soa_db.access.postgres.logins import EndableLogins
from soa_db.access.postgres.probe import Run
from soa_db.access.postgres.probe_aws import probe_postgres_aws
from soa_db.access.postgres.probe_server import judge_server
from soa_db.access.postgres.survey import Strangers
from soa_db.access.report import Check, Outcome, Probe
from soa_db.errors import SoaDbError

if TYPE_CHECKING:
    from soa_db.access.aws.rights import Rights
    from soa_db.access.engine import Part
    from soa_db.access.postgres.logins import Logins
    from soa_db.access.postgres.probe_server import ServerFacts
    from soa_db.access.spec import PostgresIdentity, SpecSet
    from soa_db.names import Env

__all__ = ["PostgresVerification"]


class PostgresVerification:
    """One server, as some of the services' identities see it.

    Args:
        specs: every spec; what they leave out counts as foreign.
        env: the environment.
        services: only their identities and databases are probed.
        logins: how to log in.
        rights: whose AWS rights are used; None where AWS plays no part, in tests.
    """

    def __init__(
        self, specs: SpecSet, *, env: Env, services: Collection[str], logins: Logins, rights: Rights | None = None
    ) -> None:
        self._access = expected_access(specs)
        self._services = frozenset(services)
        self._mine = [identity for identity in self._access.identities if identity.service in self._services]
        self._mend = f"soa-db provision --env {env}"
        self._rights = rights
        self._logins = EndableLogins(logins)
        self._run = Run(self._access, self._logins, env != "dev", self._mend)

    @property
    def home(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """User → the databases it is declared for."""
        return tuple((one.user, tuple(database.name for database in self._access.reachable(one))) for one in self._mine)

    def parts(self) -> list[Part]:
        """Read what is server-wide, and return everything there is to ask."""
        run, access = self._run, self._access
        facts = run.read_server()
        known = None if isinstance(facts, Check) else facts
        strangers = known.strangers if known else Strangers()
        parts: list[Part] = [(identity.user, partial(run.identity, identity, known)) for identity in self._mine]
        if self._rights is not None and self._rights.assumes:
            parts += [(f"{one.user} (AWS)", partial(_aws, run, self._rights, one)) for one in _tiers(self._mine)]
        parts += [
            (database.name, partial(run.database, database, strangers))
            for database in access.databases
            if database.service in self._services
        ]
        if known is not None:
            # A session in a template would keep others from copying it.
            declared = {database.name for database in access.databases}
            others = known.open_to_all(declared, templates=False)
            parts += [(name, partial(run.undeclared, name, strangers)) for name in others]
        return [*parts, ("the server", partial(self._server, facts))]

    def end(self) -> None:
        """Hang up every session: what is under way ends, and nothing new is begun."""
        self._logins.end()

    def _server(self, facts: ServerFacts | Check) -> Iterator[Check]:
        if isinstance(facts, Check):
            yield facts
            return
        left_out = self._access.users - {identity.user for identity in self._mine}
        for check in judge_server(facts, self._access, iam=self._run.iam, mend=self._mend):
            if check.probe.identity not in left_out:
                yield check


def _tiers(identities: Iterable[PostgresIdentity]) -> list[PostgresIdentity]:
    """One identity for each service and role: they share an AWS role."""
    first: dict[tuple[str, str], PostgresIdentity] = {}
    for identity in identities:
        first.setdefault((identity.service, identity.role), identity)
    return list(first.values())


def _aws(run: Run, rights: Rights, identity: PostgresIdentity) -> Iterator[Check]:
    try:
        clients = rights.of(identity)
        # A role that cannot be assumed is refused everything: that would look like the best of policies.
        clients.credentials()
    except SoaDbError as error:
        probe = Probe(identity.user, "", "aws", "assume its service's AWS role", "can", "aws")
        yield Check(probe, Outcome.INCONCLUSIVE, error.message, error.hint)
        return
    yield from probe_postgres_aws(clients, identity, run.access.identities, env=rights.env)
    if run.iam:
        yield from run.tokens(identity)
