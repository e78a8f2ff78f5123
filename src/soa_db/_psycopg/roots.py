"""The file of trusted roots that libpq is given, and reads again at every connect."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from soa_db._core.rds import select_roots
from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    from soa_db.config import PostgresConfig, TlsConfig

__all__ = ["RootFile", "root_file"]

_OVERRIDE = "SOA_DB_CA_FILE"


class RootFile:
    """A file of trusted roots: somebody else's, or one of our own.

    One of our own has mode 0600 and stands in a 0700 directory of its own. It stays until ``remove`` (or the end of
    the process) and is deleted only by the process that made it: a forked child shares the path, not the ownership.
    """

    def __init__(self, *, path: str | None = None, pem: str | None = None) -> None:
        self._finalizer: weakref.finalize[[Path, int], RootFile] | None = None
        if path is not None:
            self.path = path
            return
        directory = Path(tempfile.mkdtemp(prefix="soa-db-ca-"))
        self._finalizer = weakref.finalize(self, _remove, directory, os.getpid())
        file = directory / "roots.pem"
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(pem or "")
        self.path = str(file)

    def remove(self) -> None:
        """Delete the file if it is our own; it must not be used any more."""
        if self._finalizer is not None:
            self._finalizer()


def _remove(directory: Path, maker: int) -> None:
    if os.getpid() == maker:
        shutil.rmtree(directory, ignore_errors=True)


def root_file(config: PostgresConfig) -> RootFile | None:
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
    if tls.ca_pem is not None:
        if "-----BEGIN " not in tls.ca_pem:
            raise ConfigurationError("tls.ca_pem holds no certificate", hint="give it PEM text", host=config.host)
        return RootFile(pem=tls.ca_pem)
    if tls.ca_file is not None:
        return RootFile(path=_existing(tls.ca_file, "tls.ca_file"))
    override = os.environ.get(_OVERRIDE)
    if override:
        return RootFile(path=_existing(override, _OVERRIDE))
    rds, public = _bundles()
    return RootFile(pem=select_roots(config.host, rds_bundle=rds, public_bundle=public))


def _check_files(tls: TlsConfig) -> None:
    for name, path in (("tls.cert", tls.cert), ("tls.key", tls.key)):
        if path is not None:
            _existing(path, name)


def _existing(path: str, name: str) -> str:
    if not Path(path).is_file():
        raise ConfigurationError(f"{name} names {path}, which is no file", hint="check the path and who may read it")
    return path


@cache
def _bundles() -> tuple[str, str]:
    import certifi

    return (files("soa_db") / "data" / "rds-ca-bundle.pem").read_text("utf-8"), certifi.contents()
