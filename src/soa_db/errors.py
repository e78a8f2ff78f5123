"""Every error this package raises, one tree with one root.

::

    SoaDbError
    ├── ConfigurationError (ValueError)   an argument, URL, variable or soa-db.toml that cannot be used
    ├── SpecError                         db-access.yaml, every fault with file:line:column
    ├── CredentialError                   AWS did not give what was asked for
    │   ├── AccessDenied                  … because a policy or privilege is missing (action and resource named)
    │   ├── SecretNotFound
    │   ├── ParameterNotFound
    │   └── SecretMalformed               the payload is not what the contract says (field named)
    ├── ConnectionFailed                  the database was not reached or refused
    │   ├── AuthenticationFailed
    │   ├── TlsVerificationFailed
    │   └── ServerUnavailable             down, starting, demoted, not speaking the protocol, too slow
    ├── PoolTimeout                       no connection became free in time
    ├── NotConnectedError                 used before connect() or after disconnect()
    ├── CommandRefused                    a server that is reached does not do it: wrong type of key, out of memory
    ├── ValueMalformed                    what a key holds is not what the contract says (key named)
    ├── PlanConflict                      a saved plan no longer fits the server
    ├── ProvisionError                    a change could not be applied
    └── MissingExtra (ImportError)        an optional dependency is not installed

No message contains a secret. Each says what was tried, why it failed, and in ``hint`` the next step.
"""

from __future__ import annotations

__all__ = [
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
]


class SoaDbError(Exception):
    """The root of all errors of this package.

    Args:
        message: what failed and why, without any secret.
        hint: the next step for the person who reads it.
        context: what was tried, e.g. ``env="prod", service="chat-api", host="db:5432"``; empty values are
            left out.
    """

    def __init__(self, message: str, *, hint: str = "", **context: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.context = {key: str(value) for key, value in context.items() if value is not None and value != ""}

    def __str__(self) -> str:
        text = self.message
        if self.context:
            text += " (" + ", ".join(f"{key}={value}" for key, value in self.context.items()) + ")"
        if self.hint:
            text += f"\n  hint: {self.hint}"
        return text

    def __reduce__(self) -> tuple[object, ...]:
        # The default re-creates an exception from args alone and would lose hint and context.
        return (_rebuild, (type(self), self.message, self.hint, self.context, self.__dict__))


def _rebuild(
    cls: type[SoaDbError], message: str, hint: str, context: dict[str, str], state: dict[str, object]
) -> SoaDbError:
    error = cls.__new__(cls)
    SoaDbError.__init__(error, message, hint=hint, **context)
    error.__dict__.update(state)
    return error


class ConfigurationError(SoaDbError, ValueError):
    """An argument, URL, environment variable or configuration file cannot be used."""


class SpecError(SoaDbError):
    """One or more faults in ``db-access.yaml`` files.

    ``problems`` holds one line per fault, each starting with ``file:line:column:``.
    """

    def __init__(self, problems: tuple[str, ...] | list[str], *, hint: str = "") -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        heading = f"{count} problem{'' if count == 1 else 's'} in the access specs"
        super().__init__("\n".join((heading, *(f"  {line}" for line in self.problems))), hint=hint)


class CredentialError(SoaDbError):
    """AWS did not give the credentials, parameters or secrets that were asked for."""


class AccessDenied(CredentialError):
    """A policy or privilege is missing; the message names the action and the resource."""


class SecretNotFound(CredentialError):
    """There is no secret with this name, or it has no value in the stage asked for."""


class ParameterNotFound(CredentialError):
    """There is no SSM parameter with this name."""


class SecretMalformed(CredentialError):
    """A secret's payload is not what the contract says; the message names the field, never its value."""


class ConnectionFailed(SoaDbError):
    """A database was not reached, or refused the connection."""


class AuthenticationFailed(ConnectionFailed):
    """The server refused the user or the credentials."""


class TlsVerificationFailed(ConnectionFailed):
    """The server's certificate could not be verified, or the server speaks no TLS."""


class ServerUnavailable(ConnectionFailed):
    """The server is down, starting, demoted, too slow, or is not the kind of server expected."""


class PoolTimeout(SoaDbError):
    """No connection became available within the pool's timeout."""


class NotConnectedError(SoaDbError):
    """A provider was used before ``connect()`` or after ``disconnect()``."""


class CommandRefused(SoaDbError):
    """The server is there and refuses a command: the key holds another type, its memory is full …."""


class ValueMalformed(SoaDbError):
    """What a key holds is not what the contract says; the message names the key, never the value."""


class PlanConflict(SoaDbError):
    """A saved plan no longer fits what the server or the specs look like now."""


class ProvisionError(SoaDbError):
    """A change could not be applied; the message names the change and what was already done.

    ``problems`` holds one text for each change that failed, where several were tried side by side.
    """

    def __init__(self, message: str, *, hint: str = "", problems: tuple[str, ...] = (), **context: object) -> None:
        super().__init__(message, hint=hint, **context)
        self.problems = problems or (self.message,)


class MissingExtra(SoaDbError, ImportError):
    """An optional dependency is not installed; the hint is the pip command that installs it."""
