"""The typed error of a failed attempt to connect: which class, in what words, with which next step. Pure."""

from __future__ import annotations

from soa_db._core.classify import Category
from soa_db.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    ServerUnavailable,
    SoaDbError,
    TlsVerificationFailed,
)

__all__ = ["connection_error", "is_final"]

_IAM_HINT = (
    "check that the user is a member of rds_iam, that the caller's policy allows rds-db:connect on it, and that region "
    "and host are those of the database"
)
_FULL = ("too many clients", "too many connections", "connection slots are reserved", "no more connections allowed")
_NO_SPEAKER = ("invalid response", "expected authentication request", "unexpected message", "lost synchroni")


def connection_error(
    category: Category, text: str, *, source: str, secret: str = "", **context: object
) -> ConnectionFailed | ConfigurationError:
    """Return the error to raise for a failed attempt.

    Args:
        category: what kind of failure it is.
        text: the driver's text.
        source: where the credentials came from: a secret id, ``rds-iam``, ``config``.
        secret: the secret that was used, so that it can be taken out should a server repeat it.
        context: what was tried.
    """
    reason = _reason(text, secret)
    context = {**context, "credentials": source}
    match category:
        case Category.AUTHENTICATION:
            return AuthenticationFailed(
                f"the server refused the credentials: {reason}", hint=_login_hint(source), **context
            )
        case Category.AUTHORIZATION:
            return AuthenticationFailed(f"the server refused the user: {reason}", hint=_access_hint(reason), **context)
        case Category.CERTIFICATE:
            return TlsVerificationFailed(f"TLS failed: {reason}", hint=_tls_hint(reason), **context)
        case Category.DATABASE_MISSING:
            hint = "provision it, or name another database"
            return ConnectionFailed(f"the database does not exist: {reason}", hint=hint, **context)
        case Category.STARTUP_REFUSED:
            hint = "behind PgBouncer or RDS Proxy, set session.proxy"
            return ConfigurationError(f"the session could not be started as configured: {reason}", hint=hint, **context)
        case _:
            return ServerUnavailable(f"the server is not available: {reason}", hint=_server_hint(reason), **context)


def is_final(error: SoaDbError) -> bool:
    """Whether trying again soon is pointless: everything but a server that is down, starting or out of connections."""
    return not isinstance(error, ServerUnavailable)


def _reason(text: str, secret: str) -> str:
    """The driver's text on one line; "connection failed: " says nothing our own words do not."""
    line = " ".join(text.split()).removeprefix("connection failed: ")
    return line.replace(secret, "***") if len(secret) > 3 else line


def _login_hint(source: str) -> str:
    match source:
        case "rds-iam":
            return _IAM_HINT
        case "config":
            return "check user and password"
        case "none":
            return "the configuration holds no credentials, but the server asks for some"
        case _:
            return f"the secret {source} does not hold the password the server knows: provision or rotate it"


def _access_hint(reason: str) -> str:
    if "pg_hba.conf" in reason and "no encryption" in reason:
        return "the server takes no plain-text connection here: turn TLS on"
    if "pg_hba.conf" in reason:
        return "the server's pg_hba.conf has no line that lets this user in from here"
    return "grant the right, or connect as another user: `soa-db plan` shows what differs from the specs"


def _tls_hint(reason: str) -> str:
    if "does not support SSL" in reason:
        return "the server speaks no TLS: turn it on there; in dev, TLS is off by default"
    if "certificate has expired" in reason:
        return "renew the server's certificate or its authority's; see also whether this machine's clock is right"
    if "does not match host name" in reason:
        return "through a tunnel or CNAME, keep `host` the name in the certificate and set `dial`"
    return "name the right certificate authority in SOA_DB_CA_FILE or tls.ca_file"


def _server_hint(reason: str) -> str:
    if any(sign in reason for sign in _NO_SPEAKER):
        return "something else than PostgreSQL answers there: check host and port"
    if any(sign in reason for sign in _FULL):
        return "every connection is taken: lower pool.max_size times processes, raise max_connections, or use a proxy"
    if "resolve" in reason or "not known" in reason:
        return "check the host name, and whether this network can resolve it"
    return "check that the server runs and that host, port and network path are right"
