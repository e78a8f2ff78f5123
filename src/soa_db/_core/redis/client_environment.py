"""What redis-cli, and programs that read REDIS_HOST and its kin, are started with. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from soa_db._core.client_environment import UNSAFE_VARIABLES, ClientEnvironment

if TYPE_CHECKING:
    from soa_db.config import RedisConfig
    from soa_db.credentials import Credentials

__all__ = ["REDIS_PROGRAMS", "redis_environment"]

REDIS_PROGRAMS = frozenset({"redis-cli", "valkey-cli"})
"""Clients that read the password from a variable, and the rest from their arguments."""

# An inherited one of these would win over what is set here, or lead elsewhere.
_REMOVED = UNSAFE_VARIABLES | frozenset(
    {
        "REDISCLI_AUTH",
        "REDIS_DB",
        "REDIS_HOST",
        "REDIS_PASSWORD",
        "REDIS_PORT",
        "REDIS_TLS",
        "REDIS_URL",
        "REDIS_USERNAME",
        "VALKEYCLI_AUTH",
    }
)


def redis_environment(
    config: RedisConfig, credentials: Credentials, *, program: str, root_file: str | None = None
) -> ClientEnvironment:
    """Return what a client of Redis connects with.

    The variables are those that ``RedisConfig.from_env`` reads, and redis-cli's REDISCLI_AUTH.

    Args:
        config: what to connect to.
        credentials: user and password or token.
        program: the client's name; for redis-cli and valkey-cli host, port, user and TLS are put into arguments, since
            they read no variables for them.
        root_file: file of trusted roots; needed unless TLS is off or unverified.
    """
    host, port = (config.dial.host, config.dial.port) if config.dial else (config.host, config.port)
    user = config.user if config.user is not None else credentials.user
    variables = {
        "REDIS_HOST": host,
        "REDIS_PORT": str(port),
        "REDIS_DB": str(config.db),
        "REDIS_TLS": "true" if config.tls is not None else "false",
    }
    secret: frozenset[str] = frozenset()
    if credentials.secret:
        secret = frozenset({"REDIS_PASSWORD", "REDISCLI_AUTH", "VALKEYCLI_AUTH"})
        variables |= dict.fromkeys(sorted(secret), credentials.secret)
        if user is not None:
            variables["REDIS_USERNAME"] = user
    arguments: list[str] = []
    if program in REDIS_PROGRAMS:
        arguments = ["-h", host, "-p", str(port), *_options(config, root_file)]
        if user is not None and credentials.secret:
            arguments += ["--user", user]
    return ClientEnvironment(variables, secret=secret, removed=_REMOVED, arguments=tuple(arguments))


def _options(config: RedisConfig, root_file: str | None) -> list[str]:
    found: list[str] = []
    if config.cluster:
        found.append("-c")
    if config.db:
        found += ["-n", str(config.db)]
    tls = config.tls
    if tls is None:
        return found
    # The real host: what stands behind a tunnel may choose its certificate by it.
    found += ["--tls", "--sni", config.host]
    if tls.verify == "none":
        found.append("--insecure")
    elif root_file is not None:
        found += ["--cacert", root_file]
    if tls.cert is not None and tls.key is not None:
        found += ["--cert", tls.cert, "--key", tls.key]
    return found
