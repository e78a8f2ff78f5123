"""What ``soa_db+psycopg://chat-api/?env=prod&role=app`` says: the service, and what its loader is to be told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from soa_db import names
from soa_db.config import PoolConfig, SessionConfig
from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

__all__ = ["loader_keywords", "parameters"]

_FORM = "soa_db+psycopg://SERVICE/?env=prod&role=app"
# Handed to the loader as they are.
_LOADER = ("env", "role", "db_id", "region", "user", "database", "host", "port", "dial", "auth", "instance_name")
_SESSION = ("statement_timeout", "lock_timeout", "idle_in_transaction_timeout", "application_name", "proxy")
_POOL = ("connect_timeout",)
_KNOWN = (*_LOADER, *_SESSION, *_POOL)


def parameters(url: URL) -> dict[str, Any]:
    """Return the parameters of a URL as they stand in it, the service among them. No message quotes the URL.

    Raises:
        ConfigurationError: it names no service, or holds credentials, a port, a database or a parameter twice.
    """
    if url.username is not None or url.password is not None:
        hint = f"credentials are asked for at every connect: {_FORM}; another user is `user=` among its parameters"
        raise ConfigurationError("the URL holds a user name or a password", hint=hint)
    if not url.host:
        raise ConfigurationError("the URL names no service", hint=_FORM)
    if url.port is not None or url.database:
        what = "a port" if url.port is not None else "a path"
        hint = f"{_FORM}; db_id=… chooses one of several databases, port=… and database=… override"
        raise ConfigurationError(f"the URL has {what} behind the service", hint=hint)
    for name, value in url.query.items():
        if not isinstance(value, str):
            raise ConfigurationError(f"the URL has the parameter {name!r} twice", hint="give it once")
    return {"service": url.host, **url.query}


def loader_keywords(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of ``load_postgres_config_from_aws`` that the parameters of a URL stand for.

    Times are in seconds.

    Raises:
        ConfigurationError: one is unknown, missing or cannot be used.
    """
    unknown = sorted(set(found) - {*_KNOWN, "service"})
    if unknown:
        known = ", ".join(sorted(_KNOWN))
        raise ConfigurationError(f"unknown parameter {unknown[0]!r} in the URL", hint=f"known are {known}")
    if not found.get("env"):
        raise ConfigurationError("the URL says no env", hint=f"dev, mirror or prod: {_FORM}")
    names.check_env(found["env"])
    names.check_service(found["service"])
    if found.get("role") is not None:
        names.check_role(found["role"])
    names.normal_db_id(found.get("db_id"))
    session = {name: found[name] for name in _SESSION if name in found}
    pool = {name: found[name] for name in _POOL if name in found}
    loader = {name: found[name] for name in _LOADER if name in found}
    return {
        **loader,
        "service": found["service"],
        "session": SessionConfig(**session),
        "pool": PoolConfig(**pool),
    }
