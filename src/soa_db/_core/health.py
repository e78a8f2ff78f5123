"""What a health check found, and the answers made of it. Pure.

``/health``, ``/health/live``, ``/health/ready`` and ``/health/details`` answer what the TypeScript services' routes of
these names answer, and more beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias
from urllib.parse import unquote

from soa_db.errors import (
    AccessDenied,
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    CredentialError,
    NotConnectedError,
    PoolTimeout,
    ServerUnavailable,
    SoaDbError,
    TlsVerificationFailed,
)

if TYPE_CHECKING:
    from soa_db.credentials import CredentialInUse

__all__ = [
    "CheckError",
    "CheckResult",
    "Checkable",
    "HealthCheck",
    "HealthReport",
    "HealthStatus",
    "Page",
    "build_identity",
    "dependency",
    "failed",
    "found",
    "overdue",
    "ready_body",
    "report_of",
]

# The names of ASP.NET Core's health checks; "healthy" and "unhealthy" are also what the TypeScript services say.
HealthStatus: TypeAlias = Literal["healthy", "degraded", "unhealthy"]
Page: TypeAlias = Literal["health", "live", "ready", "details"]

_STATUSES: tuple[HealthStatus, ...] = ("healthy", "degraded", "unhealthy")
_LONGEST_DETAIL = 200
# What anybody may read of an error: neither words of a server nor a host. The first that fits.
_CATEGORIES: tuple[tuple[type[BaseException], str], ...] = (
    (AuthenticationFailed, "authentication failed"),
    (TlsVerificationFailed, "tls verification failed"),
    (ServerUnavailable, "unavailable"),
    (ConnectionFailed, "connection failed"),
    (PoolTimeout, "no connection"),
    (NotConnectedError, "not connected"),
    (AccessDenied, "access denied"),
    (CredentialError, "no credentials"),
    (ConfigurationError, "misconfigured"),
    (TimeoutError, "timeout"),
)


class Checkable(Protocol):
    """What the providers of this package have, blocking or asynchronous."""

    def check(self, timeout: float) -> Any:
        """Make a round trip within ``timeout`` seconds; raise why it fails."""
        ...


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """A check by name.

    Args:
        name: what answers call it; anybody can read it.
        target: a provider, or a callable without arguments. It is healthy if that returns, and unhealthy if it raises
            or returns False; to say more, it returns a ``CheckResult``.
        deadline: seconds it may take.
        critical: whether the service is of no use without it; if not, its failure makes the service ``degraded``.

    Raises:
        ConfigurationError: one of these cannot be used.
    """

    name: str
    # Not shown: a partial shows its arguments, a password in a URL among them.
    target: Checkable | Callable[[], object] = field(repr=False)
    deadline: float = 2.0
    critical: bool = True

    def __post_init__(self) -> None:
        if not str(self.name).strip():
            raise ConfigurationError("a health check has no name", hint="name what it checks: 'postgres', 'cache'")
        if not callable(self.target) and not callable(getattr(self.target, "check", None)):
            raise ConfigurationError(
                f"the health check {self.name!r} has nothing to check: {type(self.target).__name__}",
                hint="give it a provider, or a callable without arguments",
            )
        if not 0 < self.deadline < math.inf:
            raise ConfigurationError(
                f"the deadline of the health check {self.name!r} is {self.deadline!r}", hint="seconds, more than 0"
            )


@dataclass(frozen=True, slots=True)
class CheckError:
    """Why a check failed; for ``/health/details`` and the log only, as it may name hosts.

    Attributes:
        kind: the class of the error.
        message: its text; empty unless the error is one of this package, since others' texts may hold a secret.
        hint: the next step.
        context: what was tried.
    """

    kind: str
    message: str = ""
    hint: str = ""
    context: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How a check ended.

    Attributes:
        status: ``degraded`` for what works less well than it should, or fails and is not critical.
        detail: a few words that anybody may read: ``connected``, ``disabled``, ``timeout``.
        latency: seconds it took, or has taken so far.
        error: why it failed, if it raised.
    """

    status: HealthStatus
    detail: str = ""
    latency: float | None = None
    error: CheckError | None = None

    def __post_init__(self) -> None:
        if self.status not in _STATUSES:
            raise ConfigurationError(f"unknown health status {self.status!r}", hint=f"one of {', '.join(_STATUSES)}")


@dataclass(frozen=True, slots=True)
class HealthReport:
    """How all checks ended.

    Attributes:
        status: the worst of their statuses; ``healthy`` when there are none.
        results: by name, in the order they were given.
    """

    status: HealthStatus
    results: Mapping[str, CheckResult]

    @property
    def ready(self) -> bool:
        """Whether the service can do its work."""
        return self.status != "unhealthy"


def found(check: HealthCheck, value: object, latency: float) -> CheckResult:
    """Return the result of a check that returned ``value`` after ``latency`` seconds."""
    if latency > check.deadline:
        return overdue(check, latency)
    if isinstance(value, CheckResult):
        status = value.status if value.status != "unhealthy" else _failure(check)
        return replace(value, status=status, detail=str(value.detail)[:_LONGEST_DETAIL], latency=latency)
    if value is False:
        return CheckResult(_failure(check), "error", latency)
    return CheckResult("healthy", "ok" if callable(check.target) else "connected", latency)


def failed(check: HealthCheck, error: BaseException, latency: float) -> CheckResult:
    """Return the result of a check that raised ``error`` after ``latency`` seconds."""
    category = next((words for kind, words in _CATEGORIES if isinstance(error, kind)), "error")
    kind = type(error).__name__
    if isinstance(error, SoaDbError):
        why = CheckError(kind, error.message, error.hint, dict(error.context))
    else:
        why = CheckError(kind)
    return CheckResult(_failure(check), category, latency, why)


def overdue(check: HealthCheck, latency: float) -> CheckResult:
    """Return the result of a check that did not end in time."""
    return CheckResult(_failure(check), "timeout", latency)


def _failure(check: HealthCheck) -> HealthStatus:
    return "unhealthy" if check.critical else "degraded"


def report_of(results: Mapping[str, CheckResult]) -> HealthReport:
    """Return the report on these results."""
    worst = max((_STATUSES.index(result.status) for result in results.values()), default=0)
    return HealthReport(_STATUSES[worst], results)


def build_identity(environ: Mapping[str, str]) -> dict[str, str]:
    """Return which build answers, from the variables of its deployment; what is not set is left out.

    Args:
        environ: ``DD_VERSION`` (the image's tag, a commit), ``EXEC_ENV``, ``DEPLOYMENT_DATETIME``, and
            ``deployment.identifier`` (blue or green) of ``OTEL_RESOURCE_ATTRIBUTES``, whose values are percent-encoded
            (OpenTelemetry, Resource SDK).
    """
    said = {
        "colour": _attribute(environ.get("OTEL_RESOURCE_ATTRIBUTES", ""), "deployment.identifier"),
        "version": environ.get("DD_VERSION", ""),
        "environment": environ.get("EXEC_ENV", ""),
        "deployedAt": environ.get("DEPLOYMENT_DATETIME", ""),
    }
    return {name: value for name, value in said.items() if value}


def _attribute(attributes: str, name: str) -> str:
    for pair in attributes.split(","):
        key, _, value = pair.partition("=")
        if key.strip() == name and value.strip():
            return unquote(value.strip())
    return ""


def ready_body(report: HealthReport) -> dict[str, object]:
    """Return what anybody may know: no host, no secret, no word of a server's."""
    checks = {
        name: {"ready": result.status != "unhealthy", "status": result.status, "detail": result.detail}
        for name, result in report.results.items()
    }
    return {"status": "ready" if report.ready else "not ready", "checks": checks}


def dependency(
    check: HealthCheck,
    result: CheckResult,
    credential: CredentialInUse | None = None,
    stats: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """Return what details say of one check."""
    body: dict[str, object] = {"status": result.status, "detail": result.detail, "critical": check.critical}
    if result.latency is not None:
        body["latencyMs"] = round(result.latency * 1000, 1)
    if result.error is not None:
        error = result.error
        said = {"class": error.kind, "message": error.message, "hint": error.hint, "context": error.context}
        body["error"] = {name: value for name, value in said.items() if value}
    if credential is not None:
        body["credential"] = {"source": credential.source, "ageSeconds": round(credential.age, 1)} | (
            {"expiresInSeconds": round(credential.expires_in, 1)} if math.isfinite(credential.expires_in) else {}
        )
    if stats:
        body["stats"] = dict(stats)
    return body
