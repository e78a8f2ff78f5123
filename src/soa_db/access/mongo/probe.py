"""All probes of the MongoDB of one environment, as parts that ``access/verify.py`` runs side by side.

An error nobody expected never ends the run and never counts as a refusal: it becomes an inconclusive check.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from soa_db.access.aws.probe import with_own_rights
from soa_db.access.login import log_in
from soa_db.access.mongo.expect import SYSTEM_DATABASES, MongoAccess, UserAccess, expected_access
from soa_db.access.mongo.logins import LoaderLogins
from soa_db.access.mongo.probe_aws import probe_mongo_aws
from soa_db.access.mongo.probe_login import is_open, probe_login, probe_nobody, probe_tls
from soa_db.access.mongo.probe_privileges import probe_privileges
from soa_db.access.mongo.probe_session import probe_name, probe_session, probe_writing
from soa_db.access.mongo.probe_users import judge_users, look, not_looked_at
from soa_db.access.mongo.session import connect
from soa_db.access.report import Check, Outcome, Probe
from soa_db.access.undecided import caught, no_entry, one_line
from soa_db.errors import SoaDbError

if TYPE_CHECKING:
    from soa_db.access.engine import Part
    from soa_db.access.mongo.admin import AdminServer
    from soa_db.access.mongo.logins import Logins
    from soa_db.access.mongo.session import Session
    from soa_db.access.spec import SpecSet
    from soa_db.aws import AwsClients
    from soa_db.config import MongoConfig
    from soa_db.names import Env

__all__ = ["mongo_parts"]

Passwords = Callable[["UserAccess"], Mapping[str, str]]


def mongo_parts(
    specs: SpecSet,
    env: Env,
    *,
    clients_of: Callable[[str], AwsClients],
    assumes: bool = False,
    only: Collection[str] | None = None,
    administration: Callable[[], AdminServer] | None = None,
    logins: Logins | None = None,
    passwords_elsewhere: Passwords = lambda _: {},
) -> list[Part]:
    """What verifies the MongoDB of an environment, in parts that may run at the same time.

    Args:
        specs: the specs of all services that share the server.
        env: the environment.
        clients_of: service → the AWS clients whose rights it has (its own, when roles are assumed).
        assumes: whether these are the service's own: what they must not open is then tried too.
        only: service ids; only their users are probed.
        administration: gives whoever may look at the list of users; None: nobody does.
        logins: another way of logging in, for tests.
        passwords_elsewhere: gives the passwords a user has in other environments, as far as the caller may read them.

    Returns:
        Nothing when no spec has a ``mongo`` part.
    """
    access = expected_access(specs, env)
    mine = [user for user in access.users if only is None or user.service in only]
    if not mine:
        return []
    mend = f"soa-db provision --env {env}"
    run = _Run(access, logins or LoaderLogins(env, clients_of), mend, passwords_elsewhere)
    parts: list[Part] = [(user.user.name, partial(run.user, user)) for user in mine]
    if assumes:
        parts += [(f"{user.user.name} (AWS)", partial(run.aws, user, clients_of)) for user in mine]
    left_out = {user.user.name for user in access.users if user not in mine}
    return [
        *parts,
        ("MongoDB without a login", partial(run.server, mine)),
        ("the users of MongoDB", partial(run.users, administration, left_out)),
    ]


@dataclass(frozen=True, slots=True)
class _Run:
    access: MongoAccess
    logins: Logins
    mend: str
    passwords_elsewhere: Passwords
    mark: str = field(default_factory=probe_name)

    def user(self, user: UserAccess) -> Iterator[Check]:
        """Everything about one user."""
        name = user.user.name
        entry = Probe(name, user.database, "connect", "log in", "can", "login")
        try:
            config = self.logins.config(user)
            provider = self.logins.credentials(user, config)
            unguarded = self._unguarded(config)
            session = log_in(provider, lambda who, password: connect(config, who, password))
        except SoaDbError as error:
            yield no_entry(entry, error, self.mend)
            return
        with session:
            if config.database == user.database:
                yield Check(entry, Outcome.OK)
            else:
                seen = f"it is led to the database {config.database}"
                yield Check(entry, Outcome.VIOLATED, seen, self.mend)
            doubt = Probe(name, user.database, "rights", "what it can do inside", "is", "attempt")
            yield from caught(doubt, lambda: self._inside(session, user, unguarded=unguarded))
        doubt = Probe(name, user.database, "auth", "log in in a wrong way", "cannot", "login")
        if unguarded:
            return
        yield from caught(
            doubt,
            lambda: probe_login(
                config,
                provider.get(),
                user,
                elsewhere=(self.access.databases | set(SYSTEM_DATABASES)) - {user.database, "local", "config"},
                others=self.passwords_elsewhere(user),
                mend=self.mend,
            ),
        )

    def _inside(self, session: Session, user: UserAccess, *, unguarded: bool) -> Iterator[Check]:
        if unguarded:
            probe = Probe(user.user.name, user.database, "rights", "what it cannot do", "is", "attempt")
            yield Check(probe, Outcome.NOT_APPLICABLE, "this MongoDB has no access control, as it may in dev")
            yield from probe_writing(session, user, mark=probe_name(), mend=self.mend)
            return
        yield from probe_privileges(session, self.access, user, mend=self.mend)
        # Two users' probes run side by side: each has a name of its own.
        yield from probe_session(session, self.access, user, mark=probe_name(), mend=self.mend)

    def _unguarded(self, config: MongoConfig) -> bool:
        """Whether everybody may do everything, in the one environment where that is nobody's fault."""
        return self.access.env == "dev" and is_open(config)

    def aws(self, user: UserAccess, clients_of: Callable[[str], AwsClients]) -> Iterator[Check]:
        """What the service's own AWS rights open."""
        return with_own_rights(
            user.user.name, partial(clients_of, user.service), lambda aws: probe_mongo_aws(aws, self.access, user)
        )

    def server(self, users: Collection[UserAccess]) -> Iterator[Check]:
        """What nobody in particular can do, at the place where the first user that knows one says services come in."""
        doubt = Probe("", "", "auth", "nobody may do anything without logging in", "is", "attempt")
        last = ""
        for user in users:
            try:
                config = self.logins.config(user)
            except SoaDbError as error:
                last = one_line(error)
                continue
            yield from caught(doubt, partial(self._nobody, config))
            doubt = Probe("", "", "tls", "it refuses plain text", "is", "login")
            yield from caught(doubt, partial(probe_tls, config, demanded=self.access.env != "dev"))
            return
        yield Check(doubt, Outcome.INCONCLUSIVE, last, f"{self.mend}, then verify again")

    def _nobody(self, config: MongoConfig) -> Iterator[Check]:
        if self._unguarded(config):
            probe = Probe("", "", "auth", "nobody may do anything without logging in", "is", "attempt")
            yield Check(probe, Outcome.NOT_APPLICABLE, "in dev a MongoDB may be without access control")
            return
        yield from probe_nobody(config, self.access.databases, mark=self.mark)

    def users(self, administration: Callable[[], AdminServer] | None, left_out: Collection[str]) -> Iterator[Check]:
        """The administrator's look; without one a note says so."""
        if administration is None:
            yield not_looked_at("no administrator's access was given")
            return
        try:
            with administration().connect() as session:
                state, reach = look(session, self.access.databases)
        except SoaDbError as error:
            yield not_looked_at(one_line(error))
            return
        checks = judge_users(self.access, state, reach, mend=self.mend)
        yield from (check for check in checks if check.probe.identity not in left_out)
