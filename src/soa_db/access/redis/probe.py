"""All probes of the Redis of one environment, as parts that ``access/verify.py`` runs side by side.

An error nobody expected never ends the run and never counts as a refusal: it becomes an inconclusive check.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from soa_db.access.aws.probe import with_own_rights
from soa_db.access.redis.access_string import desired_users
from soa_db.access.redis.expect import RedisAccess, expected_access
from soa_db.access.redis.logins import LoaderLogins
from soa_db.access.redis.probe_aws import probe_redis_aws
from soa_db.access.redis.probe_login import probe_login
from soa_db.access.redis.probe_session import DATABASE, probe_session
from soa_db.access.redis.probe_users import judge_users, not_looked_at
from soa_db.access.redis.session import CommandRefused
from soa_db.access.report import Check, Outcome, Probe
from soa_db.access.undecided import caught, no_entry, one_line
from soa_db.errors import SoaDbError

if TYPE_CHECKING:
    from soa_db.access.engine import Part
    from soa_db.access.redis.access_string import Desired
    from soa_db.access.redis.backend import Backend
    from soa_db.access.redis.expect import UserAccess
    from soa_db.access.redis.logins import Logins
    from soa_db.access.redis.session import Session
    from soa_db.access.redis.state import Cache
    from soa_db.access.spec import SpecSet
    from soa_db.aws import AwsClients
    from soa_db.names import Env

__all__ = ["redis_home", "redis_parts"]


def redis_parts(
    specs: SpecSet,
    env: Env,
    *,
    clients_of: Callable[[str], AwsClients],
    assumes: bool = False,
    only: Collection[str] | None = None,
    administration: Callable[[], Backend] | None = None,
    logins: Logins | None = None,
    iam: Collection[str] = (),
    caches: Callable[[], Sequence[Cache]] = tuple,
) -> list[Part]:
    """What verifies the Redis of an environment, in parts that may run at the same time.

    Args:
        specs: the specs of all services that share the server.
        env: the environment.
        clients_of: service → the AWS clients whose rights it has (its own, when roles are assumed).
        assumes: whether these are the service's own: what they must not open is then tried too.
        only: service ids; only their users are probed.
        administration: gives whoever may look at the list of users (``entry.backend_of``); None: nobody does.
        logins: another way of logging in, for tests.
        iam: service ids whose users log in by IAM tokens (``redis_iam`` of soa-db.toml).
        caches: finds the caches that their tokens can be for.

    Returns:
        Nothing when no spec has a ``redis`` part.
    """
    access = expected_access(specs, env)
    if not access.users:
        return []
    mine = [user for user in access.users if only is None or user.service in only]
    logins = logins or LoaderLogins(env, clients_of, iam=iam, caches=caches)
    run = _Run(desired_users(specs, env, iam=iam), access, logins, f"soa-db provision --env {env}")
    parts: list[Part] = [(user.user, partial(run.user, user)) for user in mine]
    if assumes:
        parts += [(f"{user.user} (AWS)", partial(run.aws, user, clients_of)) for user in mine]
    left_out = {user.user for user in access.users} - {user.user for user in mine}
    parts.append(("the users of Redis", partial(run.users, administration, left_out)))
    return parts


def redis_home(
    specs: SpecSet, env: Env, only: Collection[str] | None = None
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The users with their place, as ``VerifyReport.home`` has them."""
    users = expected_access(specs, env).users
    return tuple((user.user, (DATABASE,)) for user in users if only is None or user.service in only)


@dataclass(frozen=True, slots=True)
class _Run:
    desired: Desired
    access: RedisAccess
    logins: Logins
    mend: str

    def user(self, user: UserAccess) -> Iterator[Check]:
        """Everything about one user."""
        entry = Probe(user.user, DATABASE, "connect", "log in", "can", "login")
        try:
            config = self.logins.config(user)
            session = self.logins.connect(user, config)
        except SoaDbError as error:
            yield no_entry(entry, error, self.mend)
            return
        with session:
            yield from caught(entry, lambda: [Check(entry, Outcome.OK)])

            def elsewhere(host: str, port: int) -> Session:
                place = {"host": host, "port": port, "dial": None}
                return self.logins.connect(user, config.model_copy(update=place))

            yield from caught(
                Probe(user.user, DATABASE, "rights", "what it can do inside", "is", "attempt"),
                lambda: probe_session(
                    session,
                    self.access,
                    user,
                    mark=f"soa-db-probe-{secrets.token_hex(8)}",
                    elsewhere=elsewhere,
                    mend=self.mend,
                ),
                (SoaDbError, CommandRefused),
            )
        yield from caught(
            Probe(user.user, DATABASE, "auth", "log in in a wrong way", "cannot", "login"),
            lambda: probe_login(config, user.user, default_off=self.access.env != "dev", mend=self.mend),
        )

    def aws(self, user: UserAccess, clients_of: Callable[[str], AwsClients]) -> Iterator[Check]:
        """What the service's own AWS rights open."""
        return with_own_rights(
            user.user, partial(clients_of, user.service), lambda aws: probe_redis_aws(aws, self.access, user)
        )

    def users(self, administration: Callable[[], Backend] | None, left_out: Collection[str]) -> Iterator[Check]:
        """The administrator's look; without one a note says so."""
        if administration is None:
            yield not_looked_at("no administrator's access was given")
            return
        try:
            state = administration().inspect()
        except SoaDbError as error:
            yield not_looked_at(one_line(error))
            return
        checks = judge_users(self.desired, state, mend=self.mend)
        yield from (check for check in checks if check.probe.identity not in left_out)
