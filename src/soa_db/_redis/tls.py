"""The TLS of a Redis connection: one context for all connections of a manager."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from soa_db._runtime.pem import existing_file, load_roots, named_roots
from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    from soa_db.config import RedisConfig

__all__ = ["tls_context"]


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
    else:
        load_roots(context, named_roots(tls))
    if tls.cert is not None and tls.key is not None:
        try:
            context.load_cert_chain(existing_file(tls.cert, "tls.cert"), existing_file(tls.key, "tls.key"))
        except ssl.SSLError as error:
            raise ConfigurationError(f"tls.cert and tls.key do not go together: {error}") from error
    return context
