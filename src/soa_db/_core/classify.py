"""What an error of the PostgreSQL driver means: for the pool, for a retry, for the person who reads it.

Pure: the driver's error comes in as a ``Failure``, made of its SQLSTATE, its text and what libpq knows about the
connection. Errors of a running session carry a SQLSTATE (PostgreSQL, appendix A). Errors of a connection attempt carry
none, because libpq does not hand it on: they are told apart by their text, which libpq, the server, PgBouncer and RDS
Proxy write, and by libpq's flags.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

__all__ = ["Category", "Failure", "classify"]


class Category(Enum):
    """What kind of failure it is, and so what is done about it."""

    SERVER_GONE = "the server ended the connection or is gone"
    READ_ONLY = "the session may not write"
    UNREACHABLE = "the server does not accept connections now"
    AUTHENTICATION = "the server refused the credentials"
    AUTHORIZATION = "the server refused the user"
    CERTIFICATE = "TLS could not be established or verified"
    DATABASE_MISSING = "the database does not exist"
    STARTUP_REFUSED = "the server refused a setting of the session"
    SESSION_ENDED = "the server ended this one session by a rule of its own"
    RETRY = "the transaction lost against another and may be run again"
    CANCELLED = "the statement was cancelled"
    LOCKED = "a lock was not available"
    RESOURCES = "the server is out of a resource"
    DATA = "a value does not fit"
    INTEGRITY = "a constraint was violated"
    PRIVILEGE = "a privilege is missing"
    TRANSACTION = "the state of the transaction does not allow it"
    PROGRAMMING = "the statement or its use is wrong"
    INTERNAL = "something is wrong inside the server"
    CLIENT = "the driver was used wrongly or gave up"
    POOL = "the pool gave no connection"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Failure:
    """A driver's error, as far as it matters.

    Attributes:
        kind: name of its class.
        sqlstate: five characters, or None.
        message: its text.
        connecting: it happened while a connection was being made.
        broken: the connection it happened on is closed, and not by us.
        used_password: libpq's flag: the server asked for a password and was given one.
        standby: the server says ``in_hot_standby`` (reported since PostgreSQL 14).
    """

    kind: str
    sqlstate: str | None = None
    message: str = ""
    connecting: bool = False
    broken: bool = False
    used_password: bool = False
    standby: bool = False


# Exact codes first, then the class (the first two characters).
_BY_CODE = {
    "25006": Category.READ_ONLY,
    "25P03": Category.SESSION_ENDED,
    "25P04": Category.SESSION_ENDED,
    "3D000": Category.DATABASE_MISSING,
    "40001": Category.RETRY,
    "40P01": Category.RETRY,
    "40003": Category.SERVER_GONE,
    "42501": Category.PRIVILEGE,
    "53300": Category.UNREACHABLE,
    "55006": Category.LOCKED,
    "55P03": Category.LOCKED,
    "57014": Category.CANCELLED,
    "57P01": Category.SERVER_GONE,
    "57P02": Category.SERVER_GONE,
    "57P03": Category.SERVER_GONE,
    "57P04": Category.DATABASE_MISSING,
    # The others in the pool are as idle as this one was.
    "57P05": Category.SERVER_GONE,
    "08P01": Category.PROGRAMMING,
}
_BY_CLASS = {
    "02": Category.PROGRAMMING,
    "03": Category.PROGRAMMING,
    "08": Category.SERVER_GONE,
    "09": Category.PROGRAMMING,
    "0A": Category.PROGRAMMING,
    "0B": Category.TRANSACTION,
    "0F": Category.PROGRAMMING,
    "0L": Category.PRIVILEGE,
    "0P": Category.PRIVILEGE,
    "0Z": Category.PROGRAMMING,
    "10": Category.PROGRAMMING,
    "20": Category.PROGRAMMING,
    "21": Category.PROGRAMMING,
    "22": Category.DATA,
    "23": Category.INTEGRITY,
    "24": Category.TRANSACTION,
    "25": Category.TRANSACTION,
    "26": Category.PROGRAMMING,
    "27": Category.PROGRAMMING,
    # In a session: SET ROLE, dblink and the like. While connecting there is no SQLSTATE.
    "28": Category.PRIVILEGE,
    "2B": Category.PROGRAMMING,
    "2D": Category.TRANSACTION,
    "2F": Category.PROGRAMMING,
    "34": Category.PROGRAMMING,
    "38": Category.PROGRAMMING,
    "39": Category.PROGRAMMING,
    "3B": Category.TRANSACTION,
    "3F": Category.PROGRAMMING,
    "40": Category.TRANSACTION,
    "42": Category.PROGRAMMING,
    "44": Category.INTEGRITY,
    "53": Category.RESOURCES,
    "54": Category.RESOURCES,
    "55": Category.PROGRAMMING,
    "57": Category.CANCELLED,
    "58": Category.INTERNAL,
    "72": Category.RESOURCES,
    "F0": Category.INTERNAL,
    "HV": Category.INTERNAL,
    "P0": Category.PROGRAMMING,
    "XX": Category.INTERNAL,
}
# Classes of the driver that carry no SQLSTATE, outside of a connection attempt and on an unbroken connection.
_BY_KIND = {
    "CancellationTimeout": Category.CLIENT,
    "ConnectionTimeout": Category.UNREACHABLE,
    "DataError": Category.DATA,
    "DatabaseError": Category.CLIENT,
    "Error": Category.CLIENT,
    "IntegrityError": Category.INTEGRITY,
    "InterfaceError": Category.CLIENT,
    "InternalError": Category.CLIENT,
    "NotSupportedError": Category.CLIENT,
    "OperationalError": Category.CLIENT,
    "PipelineAborted": Category.TRANSACTION,
    "PoolClosed": Category.POOL,
    "PoolTimeout": Category.POOL,
    "ProgrammingError": Category.PROGRAMMING,
    "TooManyRequests": Category.POOL,
    "Warning": Category.CLIENT,
    "_WaitTimeout": Category.CLIENT,
}

# Texts of a failed attempt to connect. The order matters: an attempt at several addresses puts all their texts
# together ("localhost" is ::1 and 127.0.0.1), and the one that says most wins.
_CONNECTING: tuple[tuple[Category, re.Pattern[str]], ...] = tuple(
    (category, re.compile(pattern, re.IGNORECASE))
    for category, pattern in (
        # The server (miscinit.c, postinit.c, auth.c), then PgBouncer, then RDS Proxy.
        (
            Category.AUTHENTICATION,
            (
                r"authentication failed for (?:user|the role)|no password supplied|"
                r"password authentication failed|role \".*\" does not exist|"
                r"no such user|SASL authentication failed|auth failed|"
                r"proxy has no credentials for the role|RDS Proxy supports only"
            ),
        ),
        (
            Category.DATABASE_MISSING,
            r"database \".*\" does not exist|no such database|database .* has (?:recently )?disappeared",
        ),
        (
            Category.AUTHORIZATION,
            (
                r"permission denied for database|no pg_hba\.conf entry|pg_hba\.conf rejects|not permitted to log in|"
                r"requires a valid client certificate|requires TLS connections|login rejected"
            ),
        ),
        (
            Category.STARTUP_REFUSED,
            (
                r"unrecognized configuration parameter|invalid value for parameter|is outside the valid range|"
                r"unsupported startup parameter|command-line options|unsupported frontend protocol|"
                r"permission denied to set parameter"
            ),
        ),
        # A socket that broke in the middle of the TLS handshake is no verdict on the certificate.
        (
            Category.UNREACHABLE,
            (
                r"SSL SYSCALL error|unexpected eof|SSL connection has been closed unexpectedly|"
                r"the database system is|too many (?:clients|connections)|connection slots are reserved|"
                r"no more connections allowed|cannot connect to server|server login has been failing|"
                r"waiting to acquire database connection|query_wait_timeout|is not currently accepting connections"
            ),
        ),
        (
            Category.CERTIFICATE,
            (
                r"certificate verify failed|does not match host name|root certificate file|certificate file|"
                r"private key file|server does not support SSL|SSL error|host name must be specified|"
                r"self.signed certificate|could not (?:create|establish|initialize) SSL|unsupported certificate"
            ),
        ),
        (
            Category.UNREACHABLE,
            (
                r"connection refused|timeout expired|server closed the connection|connection reset|timed? ?out|"
                r"no route to host|network is unreachable|host is unreachable|resolve host|translate host name|"
                r"name or service not known|no such file or directory|could not connect|connection aborted|broken pipe|"
                r"invalid response|expected authentication request|unexpected (?:message|response)|"
                r"lost synchroni[sz]ation|host is down|could not receive data|could not send|protocol version|"
                r"connection is bad"
            ),
        ),
    )
)


def classify(failure: Failure) -> Category:
    """Say what a failure is; ``UNKNOWN`` for a class or a code this module has not been told about."""
    if failure.sqlstate:
        return _BY_CODE.get(failure.sqlstate) or _BY_CLASS.get(failure.sqlstate[:2], Category.UNKNOWN)
    if failure.connecting:
        return _connecting(failure)
    known = _BY_KIND.get(failure.kind, Category.UNKNOWN)
    # A broken socket: libpq makes up the error, so there is no SQLSTATE, and DB-API calls it operational.
    return Category.SERVER_GONE if failure.broken and known is not Category.POOL else known


def _connecting(failure: Failure) -> Category:
    if failure.kind in {"ProgrammingError", "NotSupportedError", "InterfaceError"}:
        # psycopg could not make sense of the parameters: nothing was sent.
        return Category.STARTUP_REFUSED
    for category, pattern in _CONNECTING:
        if pattern.search(failure.message):
            return category
    # A server that speaks another language (lc_messages): having taken a password, it most likely refused it.
    return Category.AUTHENTICATION if failure.used_password else Category.UNREACHABLE
