"""The typed error of a failed Redis call or login: which class, in what words, with which next step. Pure."""

from __future__ import annotations

from soa_db._core.redis.classify import Category, answer
from soa_db.errors import (
    AccessDenied,
    AuthenticationFailed,
    CommandRefused,
    ConfigurationError,
    PoolTimeout,
    ServerUnavailable,
    SoaDbError,
    TlsVerificationFailed,
)

__all__ = ["describe"]


def describe(  # noqa: PLR0911 - one for each category
    category: Category, text: str, *, source: str = ""
) -> tuple[type[SoaDbError], str, str]:
    """Return class, message and hint for a failure.

    Args:
        category: what kind of failure it is.
        text: the driver's text, free of secrets.
        source: where the credentials came from: a secret id, ``elasticache-iam``, ``config``, ``none``.
    """
    reason = " ".join(answer(text).split())[:400]
    match category:
        case Category.AUTHENTICATION:
            return AuthenticationFailed, f"the server refused the credentials: {reason}", _login_hint(source)
        case Category.CERTIFICATE:
            return TlsVerificationFailed, f"TLS failed: {reason}", _tls_hint(reason)
        case Category.PRIVILEGE:
            hint = "declare it under `redis` in db-access.yaml and provision, or use a key of the service's own"
            return AccessDenied, f"Redis denies the command: {reason}", hint
        case Category.FULL:
            hint = "raise maxmemory, set an eviction policy, or look at the server's disk and replicas"
            return CommandRefused, f"the server takes no writes: {reason}", hint
        case Category.POOL:
            hint = "give connections back sooner, or raise max_connections"
            return PoolTimeout, "no connection became free in time", hint
        case Category.REFUSED | Category.CONFLICT | Category.DRIVER | Category.UNKNOWN:
            return CommandRefused, f"the command was refused: {reason}", "check the key's type and the command"
        case Category.ARGUMENT:
            return ConfigurationError, f"the command cannot be sent: {reason}", "give text, bytes or numbers"
        case Category.NOT_READY:
            hint = "it is starting, failing over, or a replica: try again, or check that host is the primary endpoint"
            return ServerUnavailable, f"the server does not serve it now: {reason}", hint
        case Category.SLOW:
            hint = "check server and network path, or raise command_timeout; whether a write took effect is not known"
            return ServerUnavailable, f"the server did not answer in time: {reason}", hint
        case Category.UNREACHABLE:
            return ServerUnavailable, f"the server is not available: {reason}", _server_hint(reason)


def _login_hint(source: str) -> str:
    match source:
        case "elasticache-iam":
            return (
                "check that the ElastiCache user logs in by IAM, with its id for a name, and is in the user group; "
                "that the caller's policy allows elasticache:Connect; and the region and name of the cache"
            )
        case "config" | "":
            return "check user and password"
        case "none":
            return "the configuration holds no credentials, but the server asks for some"
        case _:
            return f"the secret {source} does not hold a password the server knows: provision or rotate it"


def _tls_hint(reason: str) -> str:
    lower = reason.lower()
    if "wrong version" in lower or "wrong_version" in lower or "record layer" in lower:
        return "the server speaks no TLS there: turn it on, or set tls to false; in dev, TLS is off by default"
    if "expired" in lower:
        return "renew the server's certificate or its authority's; see also whether this machine's clock is right"
    if "mismatch" in lower:
        return "through a tunnel or CNAME, keep `host` the name in the certificate and set `dial`"
    return "name the right certificate authority in SOA_DB_CA_FILE or tls.ca_file"


def _server_hint(reason: str) -> str:
    lower = reason.lower()
    if "protocol error" in lower:
        return "something else than Redis answers there: check host and port"
    if "name or service not known" in lower or "resolution" in lower:
        return "check the host name, and whether this network can resolve it"
    if "max number of clients" in lower:
        return "every connection of the server is taken: lower max_connections times processes, or raise maxclients"
    return (
        "check that the server runs, that host, port and network path are right, and that TLS is on where it is there"
    )
