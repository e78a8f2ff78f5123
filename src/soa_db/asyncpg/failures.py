"""From the errors of asyncpg's attempts to connect to ours."""

from __future__ import annotations

import ssl

import asyncpg

from soa_db._core.classify import Category, Failure, classify

__all__ = ["CONNECT_ERRORS", "category_of", "forget_frames", "text_of"]

# What an attempt to connect ends in. UnicodeError: a host name that IDNA cannot encode.
CONNECT_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    UnicodeError,
)

# asyncpg hands SQLSTATEs on, libpq does not: they say the same in every language of the server's.
_BY_CODE = {
    "28P01": Category.AUTHENTICATION,
    "3D000": Category.DATABASE_MISSING,
    "42501": Category.AUTHORIZATION,
    "53300": Category.UNREACHABLE,
    "57P03": Category.UNREACHABLE,
}
# X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH (openssl/x509_vfy.h).
_WRONG_NAME = {62, 64}
_UNVERIFIED = "certificate verify failed"


def category_of(error: BaseException) -> Category:
    """Say what kind of failure it is."""
    sqlstate = getattr(error, "sqlstate", None)
    if sqlstate in _BY_CODE:
        return _BY_CODE[sqlstate]
    text = text_of(error)
    # 28000 is a refused token (PAM checks it) as well as a missing line in pg_hba.conf: the text decides.
    refused = isinstance(error, asyncpg.InvalidAuthorizationSpecificationError)
    return classify(Failure(kind=_kind(error), message=text, connecting=True, used_password=refused))


def _kind(error: BaseException) -> str:
    # An option or a way to authenticate that asyncpg does not know: to psycopg that is a NotSupportedError.
    return "NotSupportedError" if isinstance(error, asyncpg.InterfaceError) else "OperationalError"


def text_of(error: BaseException) -> str:
    """Return the reason in libpq's words, where asyncpg's own are Python's."""
    match error:
        case ssl.SSLCertVerificationError():
            said = "server certificate does not match host name" if error.verify_code in _WRONG_NAME else _UNVERIFIED
            text = f"{said}: {error.verify_message}"
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError() | ssl.SSLSyscallError():
            text = "the server closed the connection during the TLS handshake: unexpected eof"
        case ssl.SSLError():
            text = f"SSL error: {getattr(error, 'reason', None) or error}"
        case ConnectionError() if "rejected SSL upgrade" in str(error):
            text = "server does not support SSL, but SSL was required"
        case UnicodeError():
            text = "could not resolve host: it is no valid name"
        case TimeoutError() if not str(error):
            text = "timeout expired"
        case _:
            text = str(error) or type(error).__name__
    return text


def forget_frames(error: BaseException, *, until: BaseException | None) -> None:
    """Drop the tracebacks of an error and of those behind it: asyncpg's frames hold the password as a local.

    Args:
        error: the error.
        until: what the caller was handling when it asked for a connection, which is none of ours.
    """
    seen: set[int] = set() if until is None else {id(until)}
    left = [error]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = None
        left += [other for other in (one.__cause__, one.__context__) if other is not None]
        if isinstance(one, BaseExceptionGroup):
            left += one.exceptions
