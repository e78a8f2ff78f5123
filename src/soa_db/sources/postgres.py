"""Where the values of a PostgreSQL config come from: a secret's payload, a URL, libpq's variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from soa_db.errors import ConfigurationError
from soa_db.sources.fields import Payload, is_host, is_local, malformed, read_port, read_text
from soa_db.sources.url import read_url_parts

__all__ = ["SecretFields", "read_environment", "read_payload", "read_url"]

# libpq's parameters as fields of a config; https://www.postgresql.org/docs/current/libpq-connect.html
_PARAMETERS = {
    "host": "host",
    "port": "port",
    "dbname": "database",
    "user": "user",
    "password": "password",
    "sslmode": "sslmode",
    "sslrootcert": "ca_file",
    "sslcert": "cert",
    "sslkey": "key",
    "application_name": "application_name",
    "connect_timeout": "connect_timeout",
}
# https://www.postgresql.org/docs/current/libpq-envars.html
_VARIABLES = {
    "PGHOST": "host",
    "PGPORT": "port",
    "PGDATABASE": "dbname",
    "PGUSER": "user",
    "PGPASSWORD": "password",
    "PGSSLMODE": "sslmode",
    "PGSSLROOTCERT": "sslrootcert",
    "PGSSLCERT": "sslcert",
    "PGSSLKEY": "sslkey",
    "PGAPPNAME": "application_name",
    "PGCONNECT_TIMEOUT": "connect_timeout",
}
_VERIFY = {"verify-full": "full", "verify-ca": "ca", "require": "none"}


@dataclass(frozen=True, slots=True)
class SecretFields:
    """What the payload of a Postgres secret says; None where it says nothing."""

    password: str = field(repr=False)
    user: str | None = None
    host: str | None = None
    port: int | None = None
    database: str | None = None


def read_payload(payload: Payload, secret_id: str) -> SecretFields:
    """Return the fields ``{username?, password, host?, port?, database | dbname?}`` of a secret.

    Args:
        payload: the secret's JSON object; what else stands in it is nobody's business here.
        secret_id: whose payload it is, for messages.

    Raises:
        SecretMalformed: a field is missing, empty or of another type; the message names it.
    """
    password = read_text(payload, "password", secret_id)
    if password is None:
        raise malformed(secret_id, "password", "is missing")
    host = read_text(payload, "host", secret_id)
    if host is not None and not is_host(host):
        raise malformed(secret_id, "host", "is not one host name or address")
    port = payload.get("port")
    number = None if port is None else read_port(port)
    if port is not None and number is None:
        raise malformed(secret_id, "port", "is not a port number from 1 to 65535")
    database = read_text(payload, "database", secret_id) or read_text(payload, "dbname", secret_id)
    return SecretFields(password, read_text(payload, "username", secret_id), host, number, database)


def read_url(url: str) -> dict[str, object]:
    """Return the fields of a config from ``postgresql://user:password@host:port/database?sslmode=…``.

    Raises:
        ConfigurationError: it is not such a URL, or holds a parameter that is not understood; the message names the
            parameter and never quotes the URL.
    """
    _, values = read_url_parts(
        url,
        called="the database URL",
        schemes=("postgresql", "postgres"),
        path="dbname",
        parameters=_PARAMETERS,
        hint="write postgresql://user:password@host:port/database, special characters as %XX",
    )
    return _fields(values, "the database URL")


def read_environment(environment: Mapping[str, str]) -> dict[str, object]:
    """Return the fields of a config from the variables libpq reads (``PGHOST``, ``PGPORT`` …)."""
    values = {name: environment[variable] for variable, name in _VARIABLES.items() if environment.get(variable)}
    return _fields(values, "the environment")


def _fields(values: Mapping[str, str], origin: str) -> dict[str, object]:
    """Return a config's fields: ``tls`` and ``auth`` as the data their models are made from."""
    given = {_PARAMETERS[name]: text for name, text in values.items()}
    if "host" not in given:
        raise ConfigurationError(f"{origin} names no host", hint="PostgreSQL's own default socket is not guessed")
    fields: dict[str, object] = {"host": given["host"]}
    if "port" in given:
        fields["port"] = read_port(given["port"])
        if fields["port"] is None:
            raise ConfigurationError(f"{origin} holds a port that is not a number from 1 to 65535")
    user = given.get("user")
    database = given.get("database") or user
    if database is None:
        raise ConfigurationError(f"{origin} names neither database nor user")
    fields |= {"user": user, "database": database, "tls": _tls(given, origin)}
    if "password" in given:
        fields["auth"] = {"kind": "password", "password": given["password"]}
    if "application_name" in given:
        fields["session"] = {"application_name": given["application_name"]}
    if "connect_timeout" in given:
        if not given["connect_timeout"].isdecimal() or int(given["connect_timeout"]) == 0:
            raise ConfigurationError(f"{origin} holds a connect_timeout that is not a whole number of seconds")
        fields["pool"] = {"connect_timeout": float(given["connect_timeout"])}
    return fields


def _tls(given: Mapping[str, str], origin: str) -> dict[str, object] | None:
    mode = given.get("sslmode") or ("disable" if is_local(given["host"]) and "ca_file" not in given else "verify-full")
    files: dict[str, object] = {name: given[name] for name in ("ca_file", "cert", "key") if name in given}
    if mode == "disable":
        if files:
            raise ConfigurationError(f"{origin} names certificates, but sslmode=disable")
        return None
    verify = _VERIFY.get(mode)
    if verify is None:
        # prefer and allow fall back to plain text when the server, or somebody in between, asks for it.
        hint = "use verify-full, verify-ca, require or disable"
        raise ConfigurationError(f"{origin} asks for an sslmode that is not safe or not known", hint=hint)
    if files.get("ca_file") == "system":
        raise ConfigurationError(f"{origin} asks for sslrootcert=system", hint="leave it out: certifi's roots are used")
    return {"verify": verify, **files}
