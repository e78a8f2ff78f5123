"""pymongo's errors as our typed errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bson.errors import BSONError
from pymongo import errors as driver

from soa_db._core.mongo.classify import AUTHENTICATION_FAILED, Category, classify
from soa_db._core.mongo.refusal import describe
from soa_db.errors import AuthenticationFailed, SoaDbError

if TYPE_CHECKING:
    from soa_db.config import MongoConfig

__all__ = ["DRIVER_ERRORS", "OPTION_ERRORS", "LoginRefused", "category_of", "context_of", "login_refused", "typed"]

# A document that cannot be encoded, or is too large, is bson's error and none of PyMongoError's.
DRIVER_ERRORS: tuple[type[Exception], ...] = (driver.PyMongoError, BSONError)
# What it raises of arguments of its client.
OPTION_ERRORS: tuple[type[Exception], ...] = (*DRIVER_ERRORS, TypeError, ValueError)


# "…, Timeout: 10.0s, Topology Description: <TopologyDescription …>", "…, full error: {…}", and after each server's
# words " (configured timeouts: connectTimeoutMS: 10000.0ms)".
_AFTERTHOUGHTS = re.compile(
    r", (?:Timeout: [\d.]+s, Topology Description: |full error: ).*| \(configured timeouts: [^)]*\)", re.DOTALL
)


class LoginRefused(AuthenticationFailed, driver.OperationFailure):
    """Also pymongo's own error, for those who use the native client."""

    @property
    def code(self) -> int:
        """The server's code of a failed login."""
        return AUTHENTICATION_FAILED

    @property
    def details(self) -> Mapping[str, Any] | None:
        """Nothing: the server's answer is in the message."""
        return None


def _text(error: BaseException) -> str:
    """The server's or driver's words, without the documents and descriptions that follow them."""
    if isinstance(error, driver.OperationFailure | driver.NotPrimaryError) and isinstance(error.details, Mapping):
        found = error.details.get("errmsg")
        if found:
            # Commands and keys follow in braces: a filter, or a value that must be unique, is somebody's data.
            return str(found).split("{", 1)[0].rstrip(" :")
    text = str(error) or type(error).__name__
    return _AFTERTHOUGHTS.sub("", text)


def category_of(error: BaseException) -> Category:
    """Say what an error is."""
    code = error.code if isinstance(error, driver.OperationFailure) else None
    return classify([cls.__name__ for cls in type(error).__mro__], _text(error), code)


def context_of(config: MongoConfig) -> dict[str, object]:
    """What was tried, for messages."""
    hosts = ",".join(one.address for one in config.hosts)
    return {
        "instance": config.instance_name,
        "hosts": hosts if len(hosts) <= 200 else f"{hosts[:200]}…",
        "dial": f"{config.dial.host}:{config.dial.port}" if config.dial is not None else None,
        "replica_set": config.replica_set if config.dial is None else None,
        "database": config.database,
        "user": config.user,
        "auth_source": config.auth_source,
    }


def typed(error: Exception, config: MongoConfig, *, source: str = "") -> SoaDbError:
    """Return our error for one of the driver's; ours stays what it is.

    Args:
        error: what pymongo raised.
        config: what was tried.
        source: where the credentials came from.
    """
    if isinstance(error, SoaDbError):
        return error
    kind, message, hint = describe(category_of(error), _text(error), source=source)
    return kind(message, hint=hint, credentials=source, **context_of(config))


def login_refused(error: driver.OperationFailure, config: MongoConfig, *, source: str) -> LoginRefused:
    """Return the error of a refused login, which is the driver's error too."""
    _, message, hint = describe(Category.AUTHENTICATION, _text(error), source=source)
    return LoginRefused(message, hint=hint, credentials=source, **context_of(config))
