"""Where the values of a Redis config come from: a secret's payload, a URL, the environment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from soa_db.errors import ConfigurationError
from soa_db.sources.fields import Payload, malformed, read_endpoint, read_port, read_text
from soa_db.sources.url import read_url_parts

__all__ = [
    "RedisSecret",
    "read_redis_environment",
    "read_redis_payload",
    "read_redis_url",
]

_HINT = "write redis://user:password@host:port/0, or rediss:// for TLS; special characters as %XX"
# redis-py's parameters as fields of a config (redis.connection.URL_QUERY_ARGUMENT_PARSERS lists those with a type).
_PARAMETERS = (
    "db",
    "max_connections",
    "socket_connect_timeout",
    "socket_timeout",
    "ssl_ca_certs",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_keyfile",
)
# redis-py itself reads no variable; redis-cli reads REDISCLI_AUTH; the others are what hosts and tools agree on.
_VARIABLES = {
    "REDIS_HOST": "host",
    "REDIS_PORT": "port",
    "REDIS_USERNAME": "user",
    "REDIS_PASSWORD": "password",
    "REDISCLI_AUTH": "password",
    "REDIS_DB": "db",
}
_YES = frozenset({"1", "true", "yes", "on"})
_NO = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class RedisSecret:
    """What the payload of a Redis secret says; None where it says nothing."""

    password: str = field(repr=False)
    user: str | None = None
    host: str | None = None
    port: int | None = None
    tls: bool | None = None


def read_redis_payload(payload: Payload, secret_id: str) -> RedisSecret:
    """Return the fields ``{username?, password, endpoint?, port?, tls?}`` of a secret.

    The field ``port`` wins over a port in ``endpoint``.

    Args:
        payload: the secret's JSON object; what else stands in it is nobody's business here.
        secret_id: whose payload it is, for messages.

    Raises:
        SecretMalformed: a field is missing, empty or of another type; the message names it.
    """
    password = read_text(payload, "password", secret_id)
    if password is None:
        raise malformed(secret_id, "password", "is missing")
    host, port = None, None
    endpoint = read_text(payload, "endpoint", secret_id)
    if endpoint is not None:
        found = read_endpoint(endpoint)
        if found is None:
            raise malformed(secret_id, "endpoint", "is not one host name or address")
        host, port = found
    given = payload.get("port")
    if given is not None:
        port = read_port(given)
        if port is None:
            raise malformed(secret_id, "port", "is not a port number from 1 to 65535")
    return RedisSecret(password, read_text(payload, "username", secret_id), host, port, _tls_of(payload, secret_id))


def _tls_of(payload: Payload, secret_id: str) -> bool | None:
    match payload.get("tls"):
        case None:
            return None
        case bool(tls):
            return tls
        case str(text) if text.lower() in _YES:
            return True
        case str(text) if text.lower() in _NO:
            return False
        case _:
            raise malformed(secret_id, "tls", "is neither true nor false")


def read_redis_url(url: str) -> dict[str, object]:
    """Return the fields of a config from ``redis://user:password@host:port/db`` or ``rediss://…`` (TLS).

    Raises:
        ConfigurationError: it is not such a URL, or holds a parameter that is not understood; the URL is never quoted.
    """
    scheme, values = read_url_parts(
        url, called="the Redis URL", schemes=("redis", "rediss"), path="db", parameters=_PARAMETERS, hint=_HINT
    )
    return _fields(values, tls=scheme == "rediss", origin="the Redis URL")


def read_redis_environment(environment: Mapping[str, str]) -> dict[str, object]:
    """Return the fields of a config from ``REDIS_URL``, or from ``REDIS_HOST``, ``REDIS_PORT`` … ``REDIS_TLS``."""
    url = environment.get("REDIS_URL")
    if url:
        return read_redis_url(url)
    values: dict[str, str] = {}
    for variable, name in _VARIABLES.items():
        if environment.get(variable):
            values.setdefault(name, environment[variable])
    tls = environment.get("REDIS_TLS", "").lower()
    if tls and tls not in _YES | _NO:
        raise ConfigurationError("REDIS_TLS is neither true nor false")
    return _fields(values, tls=tls in _YES, origin="the environment")


def _fields(values: Mapping[str, str], *, tls: bool, origin: str) -> dict[str, object]:
    """Return a config's fields: ``tls`` and ``auth`` as the data their models are made from."""
    if "host" not in values:
        raise ConfigurationError(f"{origin} names no host", hint="set REDIS_URL or REDIS_HOST, or name it in the URL")
    fields: dict[str, object] = {"host": values["host"], "tls": _tls(values, tls=tls, origin=origin)}
    if "port" in values:
        fields["port"] = read_port(values["port"])
        if fields["port"] is None:
            raise ConfigurationError(f"{origin} holds a port that is not a number from 1 to 65535")
    for name, target in (("db", "db"), ("max_connections", "max_connections")):
        if name in values:
            fields[target] = _whole(values[name], name, origin)
    for name, target in (("socket_timeout", "command_timeout"), ("socket_connect_timeout", "connect_timeout")):
        if name in values:
            fields[target] = _seconds(values[name], name, origin)
    if "user" in values:
        fields["user"] = values["user"]
    if "password" in values:
        fields["auth"] = {"kind": "password", "password": values["password"]}
    elif "user" in values:
        raise ConfigurationError(f"{origin} names a user and no password", hint="write user:password@, or :password@")
    return fields


def _whole(text: str, name: str, origin: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise ConfigurationError(f"{origin} holds a {name} that is not a whole number")
    return int(text)


def _seconds(text: str, name: str, origin: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ConfigurationError(f"{origin} holds a {name} that is not a number of seconds")
    return seconds


def _tls(values: Mapping[str, str], *, tls: bool, origin: str) -> dict[str, object] | None:
    given = {name: text for name, text in values.items() if name.startswith("ssl_")}
    if not tls:
        if given:
            raise ConfigurationError(f"{origin} has settings of TLS, but starts with redis://", hint=_HINT)
        return None
    verify = {"required": "full", "none": "none"}.get(given.get("ssl_cert_reqs", "required"))
    if verify is None:
        raise ConfigurationError(f"{origin} holds an ssl_cert_reqs that is not safe or not known", hint="use required")
    match given.get("ssl_check_hostname", "true").lower():
        case text if text in _NO:
            verify = "ca" if verify == "full" else verify
        case text if text not in _YES:
            raise ConfigurationError(f"{origin} holds an ssl_check_hostname that is neither true nor false")
    files = {"ca_file": "ssl_ca_certs", "cert": "ssl_certfile", "key": "ssl_keyfile"}
    return {"verify": verify, **{field: given[name] for field, name in files.items() if name in given}}
