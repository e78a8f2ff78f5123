"""redis-py's errors as our typed errors."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from redis import exceptions as driver

from soa_db._core.redis.classify import Category, classify
from soa_db._core.redis.refusal import describe
from soa_db._runtime.telemetry import Pool
from soa_db.errors import AuthenticationFailed, ServerUnavailable, SoaDbError, TlsVerificationFailed

if TYPE_CHECKING:
    from soa_db.config import RedisConfig

__all__ = [
    "DRIVER_ERRORS",
    "LoginRefused",
    "NotReached",
    "NotVerified",
    "category_of",
    "connecting",
    "measured_pool",
    "typed",
]

# RedisClusterException is none of RedisError's.
DRIVER_ERRORS: tuple[type[Exception], ...] = (driver.RedisError, driver.RedisClusterException)


class LoginRefused(AuthenticationFailed, driver.AuthenticationError):
    """Also redis-py's own error, for those who use the native client."""


class NotVerified(TlsVerificationFailed, driver.ConnectionError):
    """Likewise."""


class NotReached(ServerUnavailable, driver.ConnectionError):
    """Likewise. No command was sent."""


_CONNECTING: dict[type[SoaDbError], type[SoaDbError]] = {
    AuthenticationFailed: LoginRefused,
    ServerUnavailable: NotReached,
    TlsVerificationFailed: NotVerified,
}


def _text(error: BaseException) -> str:
    parts = [str(error)]
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLError) and str(cause) not in parts[0]:
        parts.append(str(cause))
    return ": ".join(part for part in parts if part) or type(error).__name__


def category_of(error: BaseException) -> Category:
    """Say what an error is."""
    return classify([cls.__name__ for cls in type(error).__mro__], _text(error))


def context_of(config: RedisConfig) -> dict[str, object]:
    """What was tried, for messages."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    dial = f"{config.dial.host}:{config.dial.port}" if config.dial is not None else None
    return {"instance": config.instance_name, "host": f"{host}:{config.port}", "dial": dial, "user": config.user}


def measured_pool(config: RedisConfig) -> Pool:
    """Return what telemetry calls the pool of a manager."""
    return Pool("redis", config.instance_name, str(config.db), config.host, config.port)


def typed(error: Exception, config: RedisConfig, *, source: str = "", key: str = "") -> SoaDbError:
    """Return our error for one of the driver's; ours stays what it is."""
    seen: BaseException | None = error
    while seen is not None:
        # A cluster client wraps what went wrong at each of its nodes.
        if isinstance(seen, SoaDbError):
            return seen
        seen = seen.__cause__
    kind, message, hint = describe(category_of(error), _text(error), source=source)
    return kind(message, hint=hint, key=key, **context_of(config))


def connecting(error: Exception, config: RedisConfig, *, source: str, secret: str) -> SoaDbError:
    """Return the error of a failed attempt to connect, which is the driver's error too.

    Args:
        error: what redis-py raised.
        config: what was tried.
        source: where the credentials came from.
        secret: what was sent, so that it can be taken out should a server repeat it.
    """
    text = _text(error)
    if len(secret) > 3:
        text = text.replace(secret, "***")
    category = category_of(error)
    kind, message, hint = describe(category, text, source=source)
    if category is Category.SLOW:
        # A Redis without TLS takes the first bytes of a handshake for a command, and waits for the rest of it.
        tls = "that the server speaks TLS there, " if config.tls is not None else ""
        hint = f"check {tls}host, port and network path, or raise connect_timeout"
    if kind is ServerUnavailable or kind not in _CONNECTING:
        return NotReached(message, hint=hint, credentials=source, **context_of(config))
    return _CONNECTING[kind](message, hint=hint, credentials=source, **context_of(config))
