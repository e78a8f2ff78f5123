"""The file of trusted roots that libpq is given, and reads again at every connect."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from soa_db._core.rds import select_roots
from soa_db._runtime.pem import PemFile, Roots, existing_file, named_roots
from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    from soa_db.config import PostgresConfig, TlsConfig

__all__ = ["root_file", "trusted_roots"]


def root_file(config: PostgresConfig) -> PemFile | None:
    """Return the trusted roots for a config, None when nothing is to be verified.

    In this order: ``tls.ca_pem``, ``tls.ca_file``, the variable ``SOA_DB_CA_FILE``, and at last the bundled RDS roots
    together with certifi's.

    Raises:
        ConfigurationError: a file that is named does not exist, or ``ca_pem`` holds no certificate.
        TlsVerificationFailed: the bundle does not cover the region the host is in.
    """
    tls = config.tls
    if tls is None:
        return None
    _check_files(tls)
    if tls.verify == "none":
        return None
    roots = trusted_roots(config)
    if roots.pem is not None and "-----BEGIN " not in roots.pem:
        raise ConfigurationError(f"{roots.name} holds no certificate", hint="give it PEM text", host=config.host)
    return PemFile(path=roots.path, pem=roots.pem)


def trusted_roots(config: PostgresConfig) -> Roots:
    """Return what a config that speaks TLS trusts: the same, whether as a file or as text.

    Raises:
        ConfigurationError: a file that is named does not exist.
        TlsVerificationFailed: the bundle does not cover the region the host is in.
    """
    assert config.tls is not None
    named = named_roots(config.tls)
    if named is not None:
        return named
    rds, public = _bundles()
    return Roots("the bundled roots", pem=select_roots(config.host, rds_bundle=rds, public_bundle=public))


def _check_files(tls: TlsConfig) -> None:
    for name, path in (("tls.cert", tls.cert), ("tls.key", tls.key)):
        if path is not None:
            existing_file(path, name)


@cache
def _bundles() -> tuple[str, str]:
    import certifi

    return (files("soa_db") / "data" / "rds-ca-bundle.pem").read_text("utf-8"), certifi.contents()
