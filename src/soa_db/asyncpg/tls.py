"""The TLS of asyncpg's connections."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from soa_db._psycopg.roots import trusted_roots
from soa_db._runtime.pem import existing_file, load_roots
from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    from soa_db.config import PostgresConfig

__all__ = ["tls_context"]


class _NamedContext(ssl.SSLContext):
    """A context that verifies one name, whatever is dialled.

    asyncpg has no ``hostaddr``: the name it dials is the one it has verified. asyncio and uvloop start TLS by
    ``wrap_bio``; a loop that did not would have the dialled name verified: it would refuse a good server, never take a
    bad one.
    """

    verified: str

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,  # noqa: ARG002 - the dialled name
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Start TLS with the server that ``verified`` names."""
        return super().wrap_bio(incoming, outgoing, server_side, self.verified, session)


def tls_context(config: PostgresConfig) -> ssl.SSLContext | None:
    """Return the context a config describes, None for plain text. Roots are those psycopg would be given.

    Raises:
        ConfigurationError: a file that is named does not exist or cannot be used, or holds no certificate.
        TlsVerificationFailed: the bundled roots do not cover the region the host is in.
    """
    tls = config.tls
    if tls is None:
        return None
    context = _NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verified = config.host
    context.check_hostname = tls.verify == "full"
    if tls.verify == "none":
        context.verify_mode = ssl.CERT_NONE
    else:
        load_roots(context, trusted_roots(config))
    if tls.cert is not None and tls.key is not None:
        _load_client_certificate(context, existing_file(tls.cert, "tls.cert"), existing_file(tls.key, "tls.key"))
    return context


def _load_client_certificate(context: ssl.SSLContext, cert: str, key: str) -> None:
    def no_password(*_: Any) -> str:
        # Without this OpenSSL would ask on the terminal, and wait.
        raise ConfigurationError("tls.key is encrypted", hint="give a key without a passphrase")

    try:
        context.load_cert_chain(cert, key, password=no_password)
    except OSError as error:
        raise ConfigurationError(
            f"tls.cert and tls.key cannot be used: {error}", hint="give a certificate and its own key, as PEM"
        ) from error
