"""An entry of DATABASES, checked: what it says, without asking anybody."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from soa_db._sync.aws import AwsClients
from soa_db.config import AwsTarget, PoolConfig, PostgresConfig, SessionConfig, TlsConfig
from soa_db.errors import ConfigurationError

__all__ = ["DatabaseSettings", "aws_clients", "hashable", "read_settings", "tls_config"]

# What Django's own back end makes of OPTIONS besides libpq's parameters.
_DJANGO = frozenset(
    {"assume_role", "cursor_factory", "isolation_level", "pool", "prepare_threshold", "server_side_binding"}
)
_LOADER = frozenset({"auth", "db_id", "dial", "env", "instance_name", "region", "role", "service", "spec"})
_SESSION = frozenset(SessionConfig.model_fields)
_KNOWN = _DJANGO | _LOADER | _SESSION | {"aws", "config", "connect_timeout", "tls"}
_HINTS = {
    "password": "credentials are asked for at every connect; none stands in the settings",
    "passfile": "credentials are asked for at every connect; none stands in the settings",
    "user": "it is the setting USER, beside OPTIONS",
    "username": "it is the setting USER, beside OPTIONS",
    "host": "it is the setting HOST, beside OPTIONS",
    "port": "it is the setting PORT, beside OPTIONS",
    "database": "it is the setting NAME, beside OPTIONS",
    "dbname": "it is the setting NAME, beside OPTIONS",
    "sslmode": "TLS is verify-full in mirror and prod; `tls` takes other settings",
    "sslrootcert": "give tls={'ca_file': …}, or the variable SOA_DB_CA_FILE",
    "options": "give statement_timeout, lock_timeout and the like, in seconds",
}


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """An entry of DATABASES, checked.

    Attributes:
        loader: keywords of the loader; empty when there is a ``config``.
        config: the configuration itself, for a database outside the naming contract.
        aws: the clients, or what to make them for.
        key: the same for two entries that may share a target.
    """

    loader: Mapping[str, Any] = field(hash=False)
    config: PostgresConfig | None
    aws: AwsClients | AwsTarget | None
    key: Hashable


def read_settings(entry: Mapping[str, Any]) -> DatabaseSettings:
    """Return an entry of DATABASES, checked as far as that goes without asking anybody.

    Raises:
        ConfigurationError: an option is unknown or missing, or two contradict each other; no value is quoted.
    """
    options: Mapping[str, Any] = entry["OPTIONS"]
    if entry.get("PASSWORD"):
        raise ConfigurationError(
            "PASSWORD is set", hint="take it out: credentials are asked for at every connect, from AWS"
        )
    for name in options:
        if name not in _KNOWN:
            raise ConfigurationError(
                f"OPTIONS has an unknown {name!r}", hint=_HINTS.get(name, "known are " + ", ".join(sorted(_KNOWN)))
            )
    places = {"user": entry.get("USER"), "host": entry.get("HOST"), "port": entry.get("PORT")}
    given = {name: value for name, value in places.items() if value not in {None, ""}}
    given |= {name: options[name] for name in _LOADER if options.get(name) is not None}
    tls, session, pool = tls_config(options.get("tls")), _session(options), _pool(options)
    given |= {name: value for name, value in (("tls", tls), ("session", session), ("pool", pool)) if value is not None}
    aws = aws_clients(options.get("aws"))
    config = options.get("config")
    if config is not None:
        return _of_config(config, given, aws)
    for name in ("env", "service"):
        if name not in given:
            raise ConfigurationError(
                f"OPTIONS has no {name!r}", hint="give env and service, e.g. 'prod' and 'chat-api', or a config"
            )
    key = tuple(sorted((name, hashable(value)) for name, value in given.items()))
    return DatabaseSettings(given, None, aws, (key, hashable(aws)))


def _of_config(config: object, given: Mapping[str, Any], aws: AwsClients | AwsTarget | None) -> DatabaseSettings:
    if not isinstance(config, PostgresConfig):
        raise ConfigurationError(f"OPTIONS['config'] is a {type(config).__name__}", hint="give a PostgresConfig")
    if given:
        names = ", ".join(sorted(given))
        raise ConfigurationError(f"config is given, and also {names}", hint="say it in the config")
    return DatabaseSettings({}, config, aws, (config, hashable(aws)))


def aws_clients(value: object) -> AwsClients | AwsTarget | None:
    """Return the option ``aws``: clients, or a mapping of their keywords; raises ConfigurationError."""
    if value is None or isinstance(value, AwsClients):
        return value
    if isinstance(value, Mapping):
        return AwsTarget(**value)
    hint = "give AwsClients, or a mapping like {'profile': …, 'role_arn': …}"
    raise ConfigurationError(f"OPTIONS['aws'] is a {type(value).__name__}", hint=hint)


def tls_config(value: object) -> TlsConfig | Literal[False] | None:
    """Return the option ``tls``: settings, or a mapping of them, or False; raises ConfigurationError."""
    if value is None or value is False or isinstance(value, TlsConfig):
        return value
    if isinstance(value, Mapping):
        return TlsConfig(**value)
    raise ConfigurationError(f"OPTIONS['tls'] is a {type(value).__name__}", hint="give False, or {'ca_file': …}")


def _session(options: Mapping[str, Any]) -> SessionConfig | None:
    given = {name: options[name] for name in _SESSION if name in options}
    return SessionConfig(**given) if given else None


def _pool(options: Mapping[str, Any]) -> PoolConfig | None:
    # The pool itself is Django's: only the time a connect may take is read here.
    timeout = options.get("connect_timeout")
    return None if timeout is None else PoolConfig(connect_timeout=timeout)


def hashable(value: object) -> Hashable:
    """Return what is equal for equal values; of what cannot be compared (a spec, clients), which object it is."""
    try:
        hash(value)
    except TypeError:
        return id(value)
    return type(value).__name__, value
