"""What lies between us and a server: TLS, and a tunnel."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from soa_db.config.model import Model, Port, Text
from soa_db.sources.fields import host_and_port

__all__ = ["Dial", "TlsConfig"]


class TlsConfig(Model, frozen=True):
    """TLS, verified.

    Attributes:
        ca_pem: trusted roots as PEM text.
        ca_file: trusted roots as a file; with neither, the bundled RDS roots and certifi's.
        cert: file of a client certificate.
        key: file of its private key.
        verify: ``full`` checks chain and host name, ``ca`` the chain only, ``none`` nothing.
    """

    ca_pem: str | None = Field(default=None, repr=False)
    ca_file: Text | None = None
    cert: Text | None = None
    key: Text | None = None
    verify: Literal["full", "ca", "none"] = "full"

    @model_validator(mode="after")
    def _consistent(self) -> TlsConfig:
        if self.ca_pem is not None and self.ca_file is not None:
            raise ValueError("give ca_pem or ca_file, not both")
        if (self.cert is None) != (self.key is None):
            raise ValueError("a client certificate needs both cert and key")
        return self


class Dial(Model, frozen=True):
    """The host and port really dialled when a tunnel stands in front; ``host`` is still verified and signed."""

    host: str = Field(min_length=1)
    port: Port

    @classmethod
    def from_text(cls, text: str) -> Dial:
        """Return what ``host:port`` or ``[address]:port`` names; raises ConfigurationError."""
        host, port = host_and_port(text)
        return cls(host=host, port=port)
