"""Prove what every declared identity can and cannot do, by logging in as each of them, engine by engine.

Nothing that is tried takes effect when it is wrongly permitted, and nothing is left behind, so that a run killed at any
moment leaves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from typing import TYPE_CHECKING

from soa_db.access.aws.rights import Rights
from soa_db.access.engine import Request, admin_urls
from soa_db.access.engines import ENGINES, chosen_engines
from soa_db.access.plan import PlanOptions
from soa_db.access.report import Check, VerifyReport
from soa_db.access.settings import Settings, load_settings
from soa_db.access.spec import SpecSet
from soa_db.errors import ConfigurationError
from soa_db.names import check_env

if TYPE_CHECKING:
    from soa_db.access.engine import Part, Verification
    from soa_db.aws import AwsClients
    from soa_db.names import Env

__all__ = ["Progress", "carry_out", "verify"]

Progress = Callable[[int, int, str], None]


def verify(
    specs: SpecSet,
    *,
    env: str,
    engines: Collection[str] | None = None,
    aws: AwsClients | None = None,
    assume_role: str | None = None,
    admin_url: str | Iterable[str] | None = None,
    only: Collection[str] | None = None,
    jobs: int = 8,
    progress: Progress | None = None,
    settings: Settings | None = None,
) -> VerifyReport:
    """Log in as every identity of the specs and try what it must and must not be able to do.

    Args:
        specs: the specs of all services that share the servers; what they leave out counts as foreign.
        env: the environment.
        engines: only these, e.g. ``("postgres",)``; when left out, every one that a spec has a part for.
        aws: whose AWS rights to use; by the settings of ``env`` when left out.
        assume_role: template of a role ARN, e.g. ``arn:aws:iam::{account}:role/{service}-{role}``: log in with each
            service's own AWS rights, and prove that these open nothing of anybody else's.
        admin_url: administrators' URLs, for engines that need one to be asked who else is there, instead of
            SOA_DB_ADMIN_URL or what AWS says.
        only: service ids; only their identities and databases are probed.
        jobs: how many identities at once.
        progress: called with the number of finished parts, of all parts, and the name of the one just finished.
        settings: soa-db.toml; looked for when left out.

    Raises:
        ConfigurationError: an argument cannot be used, the specs declare nothing to verify, or the caller is in
            another AWS account than expected.
        CredentialError: AWS does not say who the caller is.
    """
    environment = check_env(env)
    services = _chosen(specs, only)
    chosen = chosen_engines(SpecSet(tuple(spec for spec in specs.specs if spec.service in services)), engines)
    urls = admin_urls(ENGINES, admin_url)
    settings = load_settings() if settings is None else settings
    with closing(_rights(environment, aws, assume_role, settings)) as rights:
        verifications = [
            engine.verification(
                Request(specs, environment, PlanOptions(), rights.aws, settings, urls.get(engine.name), lambda _: None),
                services,
                rights,
            )
            for engine in chosen
        ]
        return carry_out(environment, verifications, jobs=jobs, progress=progress)


def carry_out(
    env: Env, verifications: Sequence[Verification], *, jobs: int = 8, progress: Progress | None = None
) -> VerifyReport:
    """Run the parts of some verifications side by side; their checks come in the order of the parts."""
    if jobs < 1:
        raise ConfigurationError("jobs must be at least 1")
    home = _home(verifications)
    if not home:
        # Nothing asked is nothing proved: it must not pass for a green run.
        raise ConfigurationError(
            "nothing to verify: the specs declare no identity", hint="name specs with a part for an engine", env=env
        )
    parts = [part for verification in verifications for part in verification.parts()]

    def end() -> None:
        for verification in verifications:
            verification.end()

    return VerifyReport(env, tuple(_together(parts, jobs, progress, end)), home)


def _home(verifications: Sequence[Verification]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """User → where it is at home; one that has the same name on two engines, in both places."""
    found: dict[str, tuple[str, ...]] = {}
    for verification in verifications:
        for user, databases in verification.home:
            found[user] = (*found.get(user, ()), *databases)
    return tuple(found.items())


def _rights(env: Env, aws: AwsClients | None, assume_role: str | None, settings: Settings) -> Rights:
    from soa_db.aws import AwsClients

    clients = aws or AwsClients.from_target(settings.environment(env).target)
    rights = Rights(env, clients, assume_role, own=aws is None)
    try:
        settings.check_account(clients, env)
    except BaseException:
        rights.close()
        raise
    return rights


def _chosen(specs: SpecSet, only: Collection[str] | None) -> frozenset[str]:
    services = frozenset(spec.service for spec in specs.specs)
    if only is None:
        return services
    if unknown := set(only) - services:
        raise ConfigurationError(
            f"no spec is given for {', '.join(sorted(unknown))}", hint=f"known are {', '.join(sorted(services))}"
        )
    return frozenset(only)


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
