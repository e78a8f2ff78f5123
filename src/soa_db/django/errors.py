"""Our errors as Django's: what code written for Django catches, with our class, message and hint.

Each is both, so that ``except OperationalError`` and ``except AuthenticationFailed`` catch it. They are classes of
this module, so that they can be pickled (Django's parallel test runner does that).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.exceptions import ImproperlyConfigured
from django.db.utils import OperationalError

from soa_db import errors
from soa_db.errors import SoaDbError

__all__ = ["DatabaseFailure", "SettingsError", "as_settings_error", "database_errors"]


class SettingsError(errors.ConfigurationError, ImproperlyConfigured):
    """DATABASES or CACHES says something that cannot be used."""


class DatabaseFailure(SoaDbError, OperationalError):
    """No connection to a database. Each is also the error of ``soa_db.errors`` that says why."""


class ConnectionFailed(errors.ConnectionFailed, DatabaseFailure):
    """Ours of this name, and Django's."""


class AuthenticationFailed(errors.AuthenticationFailed, DatabaseFailure):
    """Ours of this name, and Django's."""


class TlsVerificationFailed(errors.TlsVerificationFailed, DatabaseFailure):
    """Ours of this name, and Django's."""


class ServerUnavailable(errors.ServerUnavailable, DatabaseFailure):
    """Ours of this name, and Django's."""


class PoolTimeout(errors.PoolTimeout, DatabaseFailure):
    """Ours of this name, and Django's."""


class NotConnectedError(errors.NotConnectedError, DatabaseFailure):
    """Ours of this name, and Django's."""


class CredentialError(errors.CredentialError, DatabaseFailure):
    """Ours of this name, and Django's."""


class AccessDenied(errors.AccessDenied, DatabaseFailure):
    """Ours of this name, and Django's."""


class SecretNotFound(errors.SecretNotFound, DatabaseFailure):
    """Ours of this name, and Django's."""


class ParameterNotFound(errors.ParameterNotFound, DatabaseFailure):
    """Ours of this name, and Django's."""


class SecretMalformed(errors.SecretMalformed, DatabaseFailure):
    """Ours of this name, and Django's."""


# The most particular first.
_KINDS: tuple[type[DatabaseFailure], ...] = (
    AuthenticationFailed,
    TlsVerificationFailed,
    ServerUnavailable,
    ConnectionFailed,
    PoolTimeout,
    NotConnectedError,
    AccessDenied,
    SecretNotFound,
    ParameterNotFound,
    SecretMalformed,
    CredentialError,
    DatabaseFailure,
)


def _as_failure(error: SoaDbError) -> DatabaseFailure:
    # Of each class the first base is ours.
    kind = next(kind for kind in _KINDS if isinstance(error, kind.__bases__[0]))
    return kind(error.message, hint=error.hint, **error.context)


def as_settings_error(error: errors.ConfigurationError, where: str) -> SettingsError:
    """Return the error to raise for a setting that cannot be used; ``where`` names it."""
    return SettingsError(f"{where}: {error.message}", hint=error.hint, **error.context)


@contextmanager
def database_errors(alias: str) -> Iterator[None]:
    """Raise our errors as errors that are Django's too.

    Args:
        alias: the database's, for messages about its settings.
    """
    try:
        yield
    except DatabaseFailure:
        raise
    except errors.ConfigurationError as error:
        if isinstance(error, ImproperlyConfigured):
            raise
        raise as_settings_error(error, f"DATABASES[{alias!r}]") from error
    except SoaDbError as error:
        raise _as_failure(error) from error
