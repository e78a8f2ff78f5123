"""The TLS of a Redis connection: one context for all connections of a manager."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    from soa_db.config import RedisConfig

__all__ = ["tls_context"]

_OVERRIDE = "SOA_DB_CA_FILE"


def tls_context(config: RedisConfig) -> ssl.SSLContext | None:
    """Return the context a config describes, None for plain text.

    Roots in this order: ``tls.ca_pem``, ``tls.ca_file``, the variable ``SOA_DB_CA_FILE``, and at last certifi's, which
    hold those of Amazon Trust Services that ElastiCache's certificates chain to.

    Raises:
        ConfigurationError: a file that is named does not exist, or holds no certificate.
    """
    tls = config.tls
    if tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = tls.verify == "full"
    if tls.verify == "none":
        context.verify_mode = ssl.CERT_NONE
    elif tls.ca_pem is not None:
        _load(context, "tls.ca_pem", None, tls.ca_pem)
    else:
        override = os.environ.get(_OVERRIDE)
        if tls.ca_file is not None:
            _load(context, "tls.ca_file", tls.ca_file, None)
        elif override:
            _load(context, _OVERRIDE, override, None)
        else:
            import certifi

            _load(context, "certifi", certifi.where(), None)
    if tls.cert is not None and tls.key is not None:
        try:
            context.load_cert_chain(_existing(tls.cert, "tls.cert"), _existing(tls.key, "tls.key"))
        except ssl.SSLError as error:
            raise ConfigurationError(f"tls.cert and tls.key do not go together: {error}") from error
    return context


def _load(context: ssl.SSLContext, name: str, file: str | None, pem: str | None) -> None:
    try:
        context.load_verify_locations(cafile=None if file is None else _existing(file, name), cadata=pem)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError(f"{name} holds no certificate", hint="give it PEM text") from error


def _existing(path: str, name: str) -> str:
    if not Path(path).is_file():
        raise ConfigurationError(f"{name} names {path}, which is no file", hint="check the path and who may read it")
    return path
