"""The certificate a server of ours shows."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["ServerTls"]


@dataclass(frozen=True, slots=True)
class ServerTls:
    """What a server speaks TLS with.

    Attributes:
        cert_pem: its certificate.
        key_pem: the key to it.
        client_ca_pem: the CA of client certificates it demands (on PostgreSQL, where a line ``hostssl … clientcert=…``
            does); none are demanded without.
        ca_pem: the CA of its own certificate, by which the nodes of a Redis cluster or the members of a replica set,
            and its administrator here, verify it. PostgreSQL needs none.
    """

    cert_pem: bytes
    key_pem: bytes = field(repr=False)
    client_ca_pem: bytes | None = None
    ca_pem: bytes | None = None
