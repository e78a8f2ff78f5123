"""Database access on AWS: the same call to connect in dev, mirror and prod.

The root holds the errors, the config models and the names of environments and roles. It loads no driver, no AWS
library, and pydantic only when a config model is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from soa_db._version import __version__

if TYPE_CHECKING:
    from soa_db.config import (
        Dial,
        IamAuth,
        MongoConfig,
        MongoHost,
        MongoOptions,
        NoAuth,
        PasswordAuth,
        PoolConfig,
        PostgresConfig,
        RedisConfig,
        SecretAuth,
        SessionConfig,
        TlsConfig,
    )
    from soa_db.errors import (
        AccessDenied,
        AuthenticationFailed,
        CommandRefused,
        ConfigurationError,
        ConnectionFailed,
        CredentialError,
        MissingExtra,
        NotConnectedError,
        ParameterNotFound,
        PlanConflict,
        PoolTimeout,
        ProvisionError,
        SecretMalformed,
        SecretNotFound,
        ServerUnavailable,
        SoaDbError,
        SpecError,
        TlsVerificationFailed,
        ValueMalformed,
    )
    from soa_db.names import Env, Role

_LAZY = {
    "errors": (
        "AccessDenied",
        "AuthenticationFailed",
        "CommandRefused",
        "ConfigurationError",
        "ConnectionFailed",
        "CredentialError",
        "MissingExtra",
        "NotConnectedError",
        "ParameterNotFound",
        "PlanConflict",
        "PoolTimeout",
        "ProvisionError",
        "SecretMalformed",
        "SecretNotFound",
        "ServerUnavailable",
        "SoaDbError",
        "SpecError",
        "TlsVerificationFailed",
        "ValueMalformed",
    ),
    "names": ("Env", "Role"),
    "config": (
        "Dial",
        "IamAuth",
        "MongoConfig",
        "MongoHost",
        "MongoOptions",
        "NoAuth",
        "PasswordAuth",
        "PoolConfig",
        "PostgresConfig",
        "RedisConfig",
        "SecretAuth",
        "SessionConfig",
        "TlsConfig",
    ),
}
_HOME = {name: module for module, names in _LAZY.items() for name in names}

__all__ = [
    "AccessDenied",
    "AuthenticationFailed",
    "CommandRefused",
    "ConfigurationError",
    "ConnectionFailed",
    "CredentialError",
    "Dial",
    "Env",
    "IamAuth",
    "MissingExtra",
    "MongoConfig",
    "MongoHost",
    "MongoOptions",
    "NoAuth",
    "NotConnectedError",
    "ParameterNotFound",
    "PasswordAuth",
    "PlanConflict",
    "PoolConfig",
    "PoolTimeout",
    "PostgresConfig",
    "ProvisionError",
    "RedisConfig",
    "Role",
    "SecretAuth",
    "SecretMalformed",
    "SecretNotFound",
    "ServerUnavailable",
    "SessionConfig",
    "SoaDbError",
    "SpecError",
    "TlsConfig",
    "TlsVerificationFailed",
    "ValueMalformed",
    "__version__",
]


def __getattr__(name: str) -> object:
    """Import the module that holds a public name when the name is first used."""
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module 'soa_db' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"soa_db.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)
