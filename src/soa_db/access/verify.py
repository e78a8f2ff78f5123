"""Prove what every declared identity can and cannot do, by logging in as each of them.

No administrator is needed: what is server-wide is read from catalogs that every role may read. Nothing that is tried
takes effect when it is wrongly permitted, and nothing is committed, so that a run killed at any moment leaves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING

from soa_db.access.aws.probe import probe_aws
from soa_db.access.postgres.expect import expected_access
from soa_db.access.postgres.logins import EndableLogins, LoaderLogins, Rights
from soa_db.access.report import Check, Outcome, Probe, VerifyReport
from soa_db.access.settings import Settings, load_settings
from soa_db.errors import ConfigurationError, SoaDbError
from soa_db.names import check_env

if TYPE_CHECKING:
    from soa_db.access.postgres.expect import ServerAccess
    from soa_db.access.postgres.logins import Logins
    from soa_db.access.postgres.probe import Run
    from soa_db.access.spec import PostgresIdentity, SpecSet
    from soa_db.aws import AwsClients
    from soa_db.names import Env

__all__ = ["Progress", "verify"]

Progress = Callable[[int, int, str], None]
Part = tuple[str, Callable[[], Iterable[Check]]]


def verify(
    specs: SpecSet,
    *,
    env: str,
    aws: AwsClients | None = None,
    assume_role: str | None = None,
    only: Collection[str] | None = None,
    jobs: int = 8,
    progress: Progress | None = None,
    settings: Settings | None = None,
    logins: Logins | None = None,
) -> VerifyReport:
    """Log in as every identity of the specs and try what it must and must not be able to do.

    Args:
        specs: the specs of all services that share the server; what they leave out counts as foreign.
        env: the environment.
        aws: whose AWS rights to use; by the settings of ``env`` when left out.
        assume_role: template of a role ARN, e.g. ``arn:aws:iam::{account}:role/{service}-{role}``: log in with each
            service's own AWS rights, and prove that these open nothing of anybody else's.
        only: service ids; only their identities and databases are probed.
        jobs: how many identities at once.
        progress: called with the number of finished parts, of all parts, and the name of the one just finished.
        settings: soa-db.toml; looked for when left out.
        logins: another way of logging in, for tests.

    Raises:
        ConfigurationError: an argument cannot be used, the specs declare nothing to verify, or the caller is in
            another AWS account than expected.
        CredentialError: AWS does not say who the caller is.
    """
    environment = check_env(env)
    if jobs < 1:
        raise ConfigurationError("jobs must be at least 1")
    chosen = _chosen(specs, only)
    access = expected_access(specs)
    mine = [identity for identity in access.identities if identity.service in chosen]
    with ExitStack() as stack:
        rights: Rights | None = None
        if logins is None:
            rights = stack.enter_context(closing(_rights(environment, aws, assume_role, settings)))
            logins = LoaderLogins(rights)
        if not mine:
            # Nothing asked is nothing proved: it must not pass for a green run.
            raise ConfigurationError(
                f"nothing to verify: {', '.join(sorted(chosen)) or 'no spec'} declares no PostgreSQL identity",
                hint="name specs with a `postgres:` part",
                env=env,
            )
        found = _probe(access, mine, EndableLogins(logins), rights, env=environment, jobs=jobs, progress=progress)
    home = tuple((one.user, tuple(database.name for database in access.reachable(one))) for one in mine)
    return VerifyReport(environment, found, home)


def _probe(
    access: ServerAccess,
    mine: list[PostgresIdentity],
    logins: EndableLogins,
    rights: Rights | None,
    *,
    env: Env,
    jobs: int,
    progress: Progress | None,
) -> tuple[Check, ...]:
    from soa_db.access.postgres.probe import Run
    from soa_db.access.postgres.probe_server import judge_server
    from soa_db.access.postgres.survey import Strangers

    iam, mend = env != "dev", f"soa-db provision --env {env}"
    run = Run(access, logins, iam, mend)
    facts = run.read_server()
    known = None if isinstance(facts, Check) else facts
    strangers = known.strangers if known else Strangers()
    parts: list[Part] = [(identity.user, partial(run.identity, identity, known)) for identity in mine]
    if rights is not None and rights.assumes:
        parts += [(f"{one.user} (AWS)", partial(_aws, run, rights, one)) for one in _tiers(mine)]
    services = {identity.service for identity in mine}
    parts += [
        (database.name, partial(run.database, database, strangers))
        for database in access.databases
        if database.service in services
    ]
    if known is not None:
        # A session in a template would keep others from copying it.
        declared = {database.name for database in access.databases}
        others = known.open_to_all(declared, templates=False)
        parts += [(name, partial(run.undeclared, name, strangers)) for name in others]
    server = [facts] if isinstance(facts, Check) else list(judge_server(facts, access, iam=iam, mend=mend))
    left_out = access.users - {identity.user for identity in mine}
    return (
        *_together(parts, jobs, progress, logins.end),
        *(check for check in server if check.probe.identity not in left_out),
    )


def _rights(env: Env, aws: AwsClients | None, assume_role: str | None, settings: Settings | None) -> Rights:
    from soa_db.aws import AwsClients

    settings = load_settings() if settings is None else settings
    clients = aws or AwsClients.from_target(settings.environment(env).target)
    rights = Rights(env, clients, assume_role, own=aws is None)
    try:
        settings.check_account(clients, env)
    except BaseException:
        rights.close()
        raise
    return rights


def _chosen(specs: SpecSet, only: Collection[str] | None) -> set[str]:
    services = {spec.service for spec in specs.specs}
    if only is None:
        return services
    if unknown := set(only) - services:
        raise ConfigurationError(
            f"no spec is given for {', '.join(sorted(unknown))}", hint=f"known are {', '.join(sorted(services))}"
        )
    return set(only)


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
    yield from probe_aws(clients, identity, run.access.identities, env=rights.env)
    if run.iam:
        yield from run.tokens(identity)


def _together(parts: list[Part], jobs: int, progress: Progress | None, end: Callable[[], None]) -> list[Check]:
    """Run the parts side by side; their checks come in the order of the parts. ``end`` ends those under way."""
    results: list[list[Check]] = [[] for _ in parts]
    with ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="soa-db-verify") as pool:
        try:
            futures = {pool.submit(_collect, ask): index for index, (_, ask) in enumerate(parts)}
            for done, future in enumerate(as_completed(futures), start=1):
                index = futures[future]
                results[index] = future.result()
                if progress is not None:
                    progress(done, len(parts), parts[index][0])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            end()
            raise
    return [check for checks in results for check in checks]


def _collect(ask: Callable[[], Iterable[Check]]) -> list[Check]:
    return list(ask())
