"""Trusted roots as configured, and files of our own for drivers that read PEM from nothing else."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    import ssl

    from soa_db.config import TlsConfig

__all__ = ["PemFile", "Roots", "existing_file", "load_roots", "named_roots"]

_OVERRIDE = "SOA_DB_CA_FILE"


class PemFile:
    """A PEM file: somebody else's, or one of our own.

    One of our own has mode 0600 and stands in a 0700 directory of its own. It stays until ``remove`` (or the end of
    the process) and is deleted only by the process that made it: a forked child shares the path, not the ownership.

    Attributes:
        path: the file.
        own: whether it is one of our own.
    """

    def __init__(self, *, path: str | None = None, pem: str | None = None) -> None:
        self._finalizer: weakref.finalize[[Path, int], PemFile] | None = None
        self.own = path is None
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


@dataclass(frozen=True, slots=True)
class Roots:
    """Trusted roots: a file, or PEM text.

    Attributes:
        name: what messages call them.
        path: the file.
        pem: the text, without a file.
    """

    name: str
    path: str | None = None
    pem: str | None = None


def named_roots(tls: TlsConfig) -> Roots | None:
    """Return what is to be trusted: ``tls.ca_pem``, ``tls.ca_file`` or the variable ``SOA_DB_CA_FILE``, in this order.

    None when none of them is given: what is trusted then is the engine's matter.

    Raises:
        ConfigurationError: a file that is named does not exist.
    """
    if tls.ca_pem is not None:
        return Roots("tls.ca_pem", pem=tls.ca_pem)
    if tls.ca_file is not None:
        return Roots("tls.ca_file", path=existing_file(tls.ca_file, "tls.ca_file"))
    override = os.environ.get(_OVERRIDE)
    return Roots(_OVERRIDE, path=existing_file(override, _OVERRIDE)) if override else None


def load_roots(context: ssl.SSLContext, roots: Roots | None) -> None:
    """Have ``context`` trust ``roots``, or certifi's when there are none.

    Raises:
        ConfigurationError: they hold no certificate.
    """
    if roots is None:
        import certifi

        roots = Roots("certifi", path=certifi.where())
    try:
        context.load_verify_locations(cafile=roots.path, cadata=roots.pem)
    # An SSLError of no certificate is an OSError; text beyond ASCII is a ValueError.
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{roots.name} holds no certificate that can be read", hint="give it PEM text"
        ) from error


def existing_file(path: str, name: str) -> str:
    """Return ``path``; raises ConfigurationError, calling it ``name``, when it is no file."""
    if not Path(path).is_file():
        raise ConfigurationError(f"{name} names {path}, which is no file", hint="check the path and who may read it")
    return path
