"""The connection string of a config, for a person and for tools like mongosh and mongodump."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    from soa_db.config import MongoConfig, TlsConfig

__all__ = ["connection_uri"]

_MASK = "****"


def connection_uri(
    config: MongoConfig, ca_file: str | None = None, show_password: bool = False, *, password: str | None = None
) -> str:
    """Return the connection string of a config, as the TypeScript package builds it, with the password masked.

    The options stand in this order: ``replicaSet``, ``authSource``, ``tls``, ``retryWrites``, ``tlsCAFile``, then what
    else TLS needs. Through a tunnel (``dial``) it is a direct connection, without ``replicaSet``.

    Args:
        config: what to connect to.
        ca_file: a file of trusted roots for whoever uses the string; ``tls.ca_file`` when left out. A ``tls.ca_pem``
            cannot stand in it.
        show_password: show it, and do not mask it as ``****``.
        password: the password, where the config holds the name of its secret only.

    Raises:
        ConfigurationError: the password is to be shown and is not known, or the string cannot say what the config does.
    """
    where = config.hosts
    if config.dial is not None:
        from soa_db.config import MongoHost

        where = (MongoHost(host=config.dial.host, port=config.dial.port),)
    userinfo = _userinfo(config, password, show_password=show_password)
    options = "&".join(f"{name}={_option(text)}" for name, text in _options(config, ca_file))
    hosts = ",".join(one.address for one in where)
    return f"mongodb://{userinfo}{hosts}/{quote(config.database, safe='')}{options and '?'}{options}"


def _userinfo(config: MongoConfig, password: str | None, *, show_password: bool) -> str:
    if config.auth.kind == "none":
        return ""
    if config.user is None:
        hint = "give it the user that stands in the secret"
        raise ConfigurationError("the config names no user", hint=hint, instance=config.instance_name)
    if not show_password:
        return f"{_component(config.user)}:{_MASK}@"
    if password is None and config.auth.kind == "password":
        password = config.auth.password.get_secret_value()
    if password is None:
        raise ConfigurationError(
            "the password stands in a secret, which a config does not hold",
            hint="read it (`aws secretsmanager get-secret-value --secret-id …`) and give password=",
            instance=config.instance_name,
            secret=config.auth.secret_id if config.auth.kind == "secret" else None,
        )
    return f"{_component(config.user)}:{_component(password)}@"


def _options(config: MongoConfig, ca_file: str | None) -> list[tuple[str, str]]:
    tls, retry = config.tls, config.options.retry_writes
    pairs: list[tuple[str, str]] = []
    if config.replica_set is not None and config.dial is None:
        pairs.append(("replicaSet", config.replica_set))
    if config.auth_source is not None:
        pairs.append(("authSource", config.auth_source))
    if tls is not None:
        pairs.append(("tls", "true"))
    if retry is not None or tls is not None:
        pairs.append(("retryWrites", "false" if retry is False else "true"))
    if tls is not None:
        pairs += _tls(tls, ca_file)
    elif ca_file is not None:
        raise ConfigurationError("the connection has no TLS, so no ca_file", instance=config.instance_name)
    if config.dial is not None:
        pairs.append(("directConnection", "true"))
    if config.auth.kind != "none" and config.options.mechanism != "SCRAM-SHA-256":
        # Where it is that one, mongosh agrees on it with the server, and the string is the original's.
        pairs.append(("authMechanism", config.options.mechanism))
    return pairs


def _tls(tls: TlsConfig, ca_file: str | None) -> list[tuple[str, str]]:
    pairs = []
    roots = ca_file or tls.ca_file
    if roots is not None:
        pairs.append(("tlsCAFile", roots))
    if tls.cert is not None:
        if tls.cert != tls.key:
            hint = "write certificate and key into one file and name it as both tls.cert and tls.key"
            raise ConfigurationError("a MongoDB URL names one file for a client certificate and its key", hint=hint)
        pairs.append(("tlsCertificateKeyFile", tls.cert))
    if tls.verify != "full":
        name = "tlsAllowInvalidHostnames" if tls.verify == "ca" else "tlsAllowInvalidCertificates"
        pairs.append((name, "true"))
    return pairs


def _component(text: str) -> str:
    """What JavaScript's encodeURIComponent gives."""
    try:
        return quote(text, safe="!~*'()")
    except UnicodeEncodeError:
        # Not from its cause, which holds the text.
        raise ConfigurationError("user or password is not valid Unicode") from None


def _option(text: str) -> str:
    """What JavaScript's URLSearchParams gives."""
    return quote_plus(text, safe="*").replace("~", "%7E")
