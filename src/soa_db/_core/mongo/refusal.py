"""The typed error of a failed MongoDB operation or login: which class, in what words, with which next step. Pure."""

from __future__ import annotations

from soa_db._core.mongo.classify import Category
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

_NO_SPEAKER = ("message length", "response id", "opcode", "op code", "violation of protocol")

# The class, how the message begins, the next step; an empty one depends on what the driver said.
_MEANING: dict[Category, tuple[type[SoaDbError], str, str]] = {
    Category.AUTHENTICATION: (AuthenticationFailed, "the server refused the credentials", ""),
    Category.CERTIFICATE: (TlsVerificationFailed, "TLS failed", ""),
    Category.PRIVILEGE: (
        AccessDenied,
        "MongoDB denies the command",
        "declare it under `mongo` in db-access.yaml and provision, or use the service's own database",
    ),
    Category.FULL: (CommandRefused, "the server takes no more", "look at the server's disk and memory"),
    Category.POOL: (
        PoolTimeout,
        "no connection became free in time",
        "give connections back sooner, or raise options.max_pool_size",
    ),
    Category.CONFLICT: (
        CommandRefused,
        "the write was refused",
        "the key is taken, or another write was faster: read again and decide",
    ),
    Category.UNACKNOWLEDGED: (
        ServerUnavailable,
        "too few members acknowledged the write",
        "it is on the primary; whether it outlives a failover is not known: look at the secondaries",
    ),
    Category.REFUSED: (CommandRefused, "the command was refused", "check the command and the data it is about"),
    Category.DRIVER: (CommandRefused, "the driver refused the call", "check how it is used"),
    Category.UNKNOWN: (CommandRefused, "the call failed", "check the command and the data it is about"),
    Category.ARGUMENT: (ConfigurationError, "it cannot be sent", "check the configuration and the arguments"),
    Category.NOT_READY: (
        ServerUnavailable,
        "the server does not serve it now",
        "it is starting, or an election is under way: try again, or check that the hosts are the set's",
    ),
    Category.SLOW: (
        ServerUnavailable,
        "the server did not answer in time",
        "check server and network path, or raise the timeout; whether a write took effect is not known",
    ),
    Category.UNREACHABLE: (ServerUnavailable, "the server is not available", ""),
}


def describe(category: Category, text: str, *, source: str = "") -> tuple[type[SoaDbError], str, str]:
    """Return class, message and hint for a failure.

    Args:
        category: what kind of failure it is.
        text: the driver's text, free of secrets.
        source: where the credentials came from: a secret id, ``config``, ``none``.
    """
    reason = " ".join(text.split())[:400]
    if category is Category.PRIVILEGE and source == "none":
        # Whoever has not logged in may do nothing, and is told so with the same code.
        category = Category.AUTHENTICATION
    kind, words, hint = _MEANING[category]
    match category:
        case Category.AUTHENTICATION:
            hint = _login_hint(source, reason)
        case Category.CERTIFICATE:
            hint = _tls_hint(reason)
        case Category.UNREACHABLE:
            hint = _server_hint(reason)
        case _:
            pass
    return kind, f"{words}: {reason}", hint


def _login_hint(source: str, reason: str) -> str:
    if "server returned" in reason.lower():
        return (
            "the server cannot prove that it knows the password: check that hosts are yours, and that TLS verifies them"
        )
    match source:
        case "config" | "":
            return (
                "check user, password and auth_source, the database the user is kept in; a user that cannot do "
                "SCRAM-SHA-256 needs options.mechanism"
            )
        case "none":
            return "the configuration holds no credentials: give it auth"
        case _:
            return (
                f"the secret {source} does not hold the password the server knows, or the user is kept in another "
                "database than auth_source: provision or rotate it"
            )


def _tls_hint(reason: str) -> str:
    lower = reason.lower()
    if "wrong version" in lower or "wrong_version" in lower:
        return "the server speaks no TLS there: turn it on, or set tls to None; in dev, TLS is off by default"
    if "expired" in lower:
        return "renew the server's certificate or its authority's; see also whether this machine's clock is right"
    if "mismatch" in lower:
        return "the certificate is for another name; through a tunnel, dial a name it holds (ours hold localhost)"
    if "alert" in lower:
        return "the server refused the client's side of TLS: it may ask for a client certificate (tls.cert, tls.key)"
    return "name the right certificate authority in SOA_DB_CA_FILE, tls.ca_file or tls.ca_pem"


def _server_hint(reason: str) -> str:
    lower = reason.lower()
    if any(sign in lower for sign in _NO_SPEAKER):
        return "something else than MongoDB answers there, or it speaks TLS: check host and port"
    if "name or service not known" in lower or "resolution" in lower or "no address associated" in lower:
        return "check the host name, and whether this network can resolve it"
    if "no replica set members" in lower or "replica set name" in lower:
        return "check replica_set; a member alone is reached with dial, or without replica_set"
    return (
        "check that MongoDB runs there and has a primary, that hosts and network path are right, "
        "and that TLS is on where it is there"
    )
