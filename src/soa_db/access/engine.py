"""What an engine gives to ``plan`` and ``apply``: a server that can be looked at, locked and changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    from soa_db.access.aws.rights import Rights
    from soa_db.access.plan import Change, PlanOptions, Progress, ServerPlan
    from soa_db.access.report import Check
    from soa_db.access.rotate import RotateResult
    from soa_db.access.settings import Settings
    from soa_db.access.spec import SpecSet
    from soa_db.aws import AwsClients
    from soa_db.names import Env

__all__ = [
    "ADMIN_URL_VARIABLE",
    "Engine",
    "LockedServer",
    "Part",
    "Provisioner",
    "Request",
    "Selection",
    "Verification",
    "admin_urls",
    "with_variable",
]

ADMIN_URL_VARIABLE = "SOA_DB_ADMIN_URL"


@dataclass(frozen=True, slots=True)
class Request:
    """What a run was asked for.

    Attributes:
        specs: the specs.
        env: the environment.
        options: what was asked for beyond them.
        aws: AWS access.
        settings: soa-db.toml.
        admin_url: the URL of this engine's administrator, instead of what AWS says.
        progress: told each step before it is taken; safe to call from several threads.
    """

    specs: SpecSet
    env: Env
    options: PlanOptions
    aws: AwsClients
    settings: Settings
    admin_url: str | None
    progress: Progress

    def specs_text(self) -> str:
        """The specs in a canonical text, for fingerprints."""
        return "\n".join(sorted(spec.model_dump_json() for spec in self.specs.specs))


class LockedServer(Protocol):
    """A server whose lock is held: nobody else provisions it meanwhile."""

    @property
    def waited(self) -> float:
        """Seconds it took to get the lock."""
        ...

    def plan(self) -> ServerPlan:
        """Inspect and compare, under the lock."""
        ...

    @property
    def applied(self) -> tuple[Change, ...]:
        """The changes that were begun."""
        ...

    def carry_out(self, plan: ServerPlan, agree: Callable[[ServerPlan], bool]) -> ServerPlan:
        """Make the changes of the plan just made, look again, and return what is found then: no changes.

        Args:
            plan: the plan.
            agree: asked about a second plan, of what could not be seen when the first was made.

        Raises:
            ProvisionError: a change failed, or was not agreed to, or something is left to do.
        """
        ...


class Provisioner(Protocol):
    """One server, as its administrator, with what is wanted of it."""

    def plan(self) -> ServerPlan:
        """Inspect and compare; changes nothing and takes no lock."""
        ...

    def locked(self, timeout: float | None = None) -> AbstractContextManager[LockedServer]:
        """Hold the server's lock.

        Args:
            timeout: seconds to wait for another run; None for as long as it takes.
        """
        ...


@dataclass(frozen=True, slots=True)
class Selection:
    """Which passwords ``rotate`` is about, and what may happen to those who use them.

    Attributes:
        services: only these; None for all.
        roles: only these; None for all.
        all_consumers_reread: every client reads its secret again when the server refuses the password.
        finish: take the old password away where there are two live ones.
        lock_timeout: seconds to wait for another run at the same server; None for as long as it takes.
    """

    services: Collection[str] | None = None
    roles: Collection[str] | None = None
    all_consumers_reread: bool = False
    finish: bool = False
    lock_timeout: float | None = None


# One piece of a verification, which can run beside the others: its name, and what asks and judges.
Part = tuple[str, Callable[[], "Iterable[Check]"]]


class Verification(Protocol):
    """What ``verify`` asks about one engine's server."""

    @property
    def home(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """User → the databases it is declared for."""
        ...

    def parts(self) -> list[Part]:
        """Everything there is to ask; may read from the server what the parts share."""
        ...

    def end(self) -> None:
        """End what is under way, whatever it waits for; called from another thread, when the run is interrupted."""
        ...


@dataclass(frozen=True, slots=True)
class Engine:
    """One kind of database.

    Attributes:
        name: ``postgres``, ``redis`` ….
        schemes: the URL schemes of its administrators.
        declared: whether any spec has a part for it.
        provisioner: makes the provisioner of its server in an environment; may read coordinates from AWS.
        rotate: gives its users new passwords.
        verification: makes what ``verify`` asks about the identities of some services, with whose AWS rights.
    """

    name: str
    schemes: tuple[str, ...]
    declared: Callable[[SpecSet], bool]
    provisioner: Callable[[Request], Provisioner]
    rotate: Callable[[Request, Selection], RotateResult]
    verification: Callable[[Request, Collection[str], Rights], Verification]


def admin_urls(engines: Iterable[Engine], given: str | Iterable[str] | None) -> dict[str, str]:
    """Return the administrator's URL of each engine that has one, by the engine's name.

    Args:
        engines: every engine there is.
        given: URLs, told apart by their schemes; those in SOA_DB_ADMIN_URL (blanks between them) when left out.

    Raises:
        ConfigurationError: a URL is of no engine, or two are of one. No URL is quoted.
    """
    urls = os.environ.get(ADMIN_URL_VARIABLE, "") if given is None else given
    found: dict[str, str] = {}
    by_scheme = {scheme: engine.name for engine in engines for scheme in engine.schemes}
    for url in urls.split() if isinstance(urls, str) else urls:
        name = by_scheme.get(url.partition("://")[0])
        if name is None:
            hint = f"its scheme is one of {', '.join(by_scheme)}"
            raise ConfigurationError("an administrator's URL is of no kind of database known here", hint=hint)
        if name in found:
            raise ConfigurationError(f"there are two administrator's URLs for {name}", hint="give one of them")
        found[name] = url
    return found


def with_variable(engines: Iterable[Engine], given: Sequence[str]) -> tuple[str, ...]:
    """Return the URLs given, and those of SOA_DB_ADMIN_URL for engines that none of these is for.

    Args:
        engines: every engine there is.
        given: the URLs of a command line.
    """
    by_scheme = {scheme: engine.name for engine in engines for scheme in engine.schemes}

    def engine_of(url: str) -> str | None:
        return by_scheme.get(url.partition("://")[0])

    taken = {engine_of(url) for url in given}
    return (*given, *(url for url in os.environ.get(ADMIN_URL_VARIABLE, "").split() if engine_of(url) not in taken))
