"""New passwords for users that log in with one, engine by engine.

What a rotation means for those who are connected differs: see ``postgres/rotate.py`` and ``mongo/rotate.py`` (one live
password) and ``redis/rotate.py`` (two, until ``finish``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from soa_db.access.engine import Request, Selection, admin_urls
from soa_db.access.engines import ENGINES, chosen_engines
from soa_db.access.plan import PlanOptions, Progress
from soa_db.access.settings import Settings, load_settings
from soa_db.access.spec import SpecSet
from soa_db.errors import ConfigurationError, ProvisionError, SoaDbError
from soa_db.names import check_env, check_role

if TYPE_CHECKING:
    from soa_db.aws import AwsClients
    from soa_db.names import Env

__all__ = ["RotateResult", "Rotated", "rotate"]


@dataclass(frozen=True, slots=True)
class Rotated:
    """One user that has a new password, or whose old one was taken away.

    Attributes:
        service: whose it is.
        user: the user.
        secrets: the secrets that hold the password.
        finished: it is the end of a rotation begun before: one that was interrupted, or, with ``finish``, one whose
            old password was still live.
    """

    service: str
    user: str
    secrets: tuple[str, ...]
    finished: bool


@dataclass(frozen=True, slots=True)
class RotateResult:
    """What a rotation did.

    Attributes:
        rotated: the users, in the order of engines and specs.
        skipped: a sentence for each service that has no password here.
    """

    rotated: tuple[Rotated, ...]
    skipped: tuple[str, ...] = ()


def rotate(
    specs: SpecSet,
    *,
    env: str,
    all_consumers_reread: bool = False,
    finish: bool = False,
    engines: Collection[str] | None = None,
    aws: AwsClients | None = None,
    admin_url: str | Iterable[str] | None = None,
    services: Collection[str] | None = None,
    roles: Collection[str] | None = None,
    settings: Settings | None = None,
    lock_timeout: float | None = None,
    progress: Progress | None = None,
) -> RotateResult:
    """Give users new passwords, in Secrets Manager and on the server; killed anywhere, the next run finishes it.

    Args:
        specs: the declared services.
        env: ``dev``, ``mirror`` or ``prod``.
        all_consumers_reread: that every client reads its secret again when the server refuses the password; where a
            user has one live password, nothing is rotated without it.
        finish: take the old password away where there are two live ones.
        engines: only these, e.g. ``("redis",)``; when left out, every one that a spec has a part for.
        aws: AWS access; by the settings of ``env`` when left out.
        admin_url: administrators' URLs, one for an engine, instead of SOA_DB_ADMIN_URL or what AWS says.
        services: only these, which must be all that share a user's password; all when left out.
        roles: only these (dev); all when left out.
        settings: soa-db.toml; looked for when left out.
        lock_timeout: seconds to wait for another run at the same server; None for as long as it takes.
        progress: told each step.

    Raises:
        ConfigurationError: it was not said that all consumers re-read, or the selection is wrong.
        ProvisionError: passwords could not be changed: those named; the others were, and nothing is lost.
        CredentialError: AWS did not give, or take, what was needed.
        ConnectionFailed: a server was not reached.
    """
    environment = check_env(env)
    _check_selection(specs, environment, services, roles)
    mine = SpecSet(tuple(spec for spec in specs.specs if services is None or spec.service in services))
    chosen = chosen_engines(mine, engines)
    urls = admin_urls(ENGINES, admin_url)
    settings = load_settings() if settings is None else settings
    selection = Selection(services, roles, all_consumers_reread, finish, lock_timeout)
    results: list[RotateResult] = []
    failed: list[tuple[str, SoaDbError]] = []
    with ExitStack() as stack:
        clients = aws or stack.enter_context(settings.aws_for(env))
        settings.check_account(clients, env)
        for engine in chosen:
            url, tell = urls.get(engine.name), progress or (lambda _: None)
            request = Request(specs, environment, PlanOptions(), clients, settings, url, tell)
            try:
                results.append(engine.rotate(request, selection))
            except SoaDbError as error:
                if isinstance(error, ConfigurationError) and not failed and not any(one.rotated for one in results):
                    # Asked for in a wrong way, and nothing done yet: that is to be mended first.
                    raise
                failed.append((engine.name, error))
    rotated = tuple(one for result in results for one in result.rotated)
    if len(failed) == 1 and not rotated:
        raise failed[0][1]
    if failed:
        done = f"; {len(rotated)} passwords were rotated elsewhere" if rotated else ""
        lines = "\n".join(f"  {name}: {error}" for name, error in failed)
        raise ProvisionError(
            f"passwords of {' and '.join(name for name, _ in failed)} could not be rotated{done}:\n{lines}",
            hint="mend the cause and run the command again, with --engine for this one only",
            problems=tuple(f"{name}: {error.message}" for name, error in failed),
        ) from failed[0][1]
    return RotateResult(rotated, tuple(sentence for result in results for sentence in result.skipped))


def _check_selection(specs: SpecSet, env: Env, services: Collection[str] | None, roles: Collection[str] | None) -> None:
    known = specs.by_service
    for service in services or ():
        if service not in known:
            raise ConfigurationError(
                f"there is no service {service!r} among the specs", hint=f"known are {', '.join(sorted(known))}"
            )
    for role in roles or ():
        check_role(role)
    if roles is not None and env != "dev":
        raise ConfigurationError(
            "a password secret of mirror or prod holds one user: a role cannot be chosen", hint="leave --role out"
        )
