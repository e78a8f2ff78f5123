"""From a PostgresConfig to libpq's connection parameters. Pure; the credentials are added at each connect.

libpq's parameters: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from soa_db.config import PostgresConfig, SessionConfig

__all__ = ["KEEPALIVE", "connection_parameters", "login_parameters", "session_settings", "startup_options"]

_SSL_MODES = {"full": "verify-full", "ca": "verify-ca", "none": "require"}
_LONGEST = 2**31 - 1

# A silent peer is noticed after about a minute, idle (keepalive) or with a query on its way (user timeout): the
# kernel's own limits are two hours and a quarter of one.
KEEPALIVE: Mapping[str, int] = {
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}


def session_settings(session: SessionConfig) -> dict[str, int]:
    """Return the server settings a session starts with, in milliseconds; what is None stays the server's own."""
    settings = {
        "statement_timeout": session.statement_timeout,
        "lock_timeout": session.lock_timeout,
        "idle_in_transaction_session_timeout": session.idle_in_transaction_timeout,
    }
    return {name: _milliseconds(seconds) for name, seconds in settings.items() if seconds is not None}


def _milliseconds(seconds: float) -> int:
    # To the server 0 means "no limit": a tiny limit must not become that.
    return 0 if seconds == 0 else max(1, min(_LONGEST, round(seconds * 1000)))


def startup_options(session: SessionConfig) -> str:
    """Return the settings as libpq's ``options``, which ride in the startup packet."""
    return " ".join(f"-c {name}={value}" for name, value in session_settings(session).items())


def connection_parameters(
    config: PostgresConfig, *, addresses: Sequence[str] = (), root_file: str | None = None
) -> dict[str, str | int]:
    """Return everything but user and password.

    Args:
        config: what to connect to.
        addresses: IP addresses to dial instead of the host's own; the host is still what TLS verifies.
        root_file: file of trusted roots; needed unless TLS is off or unverified.
    """
    port = config.dial.port if config.dial else config.port
    parameters: dict[str, str | int] = {
        # psycopg tries several addresses in turn when both lists are equally long.
        "host": ",".join([config.host] * max(1, len(addresses))),
        "port": port,
        "dbname": config.database,
        "application_name": config.session.application_name or config.instance_name,
        # libpq counts in whole seconds, and takes 1 for 2.
        "connect_timeout": max(2, math.ceil(config.pool.connect_timeout)),
        "gssencmode": "disable",
        **KEEPALIVE,
    }
    # Given even when empty: what is left out libpq takes from PGHOSTADDR and PGOPTIONS, and so would go elsewhere.
    parameters["hostaddr"] = ",".join(addresses)
    parameters["options"] = "" if config.session.proxy else startup_options(config.session)
    if config.tls is None:
        parameters["sslmode"] = "disable"
    else:
        parameters["sslmode"] = _SSL_MODES[config.tls.verify]
        if root_file is not None:
            parameters["sslrootcert"] = root_file
        if config.tls.cert is not None and config.tls.key is not None:
            parameters["sslcert"] = config.tls.cert
            parameters["sslkey"] = config.tls.key
    return parameters


def login_parameters(user: str | None, secret: str, source: str) -> dict[str, str]:
    """Return user and password as parameters.

    Raises:
        ConfigurationError: one of them holds a NUL, at which libpq would end the whole conninfo, or is no Unicode.
    """
    found = {name: value for name, value in (("user", user), ("password", secret)) if value}
    for name, value in found.items():
        if "\0" in value or not _encodable(value):
            raise ConfigurationError(
                f"the {name} holds a character PostgreSQL cannot take",
                hint="NUL and lone surrogates cannot stand in it: set another",
                credentials=source,
            )
    return found


def _encodable(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
