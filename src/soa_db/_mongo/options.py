"""pymongo's client options for a config, and the files it reads once, when a client is made."""

from __future__ import annotations

import ssl
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soa_db._runtime.pem import PemFile, Roots, existing_file, load_roots, named_roots
from soa_db._runtime.telemetry import Pool
from soa_db.errors import ConfigurationError
from soa_db.names import MONGO_PORT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from soa_db.config import MongoConfig, TlsConfig

__all__ = ["client_options", "measured_pool", "seeds"]

# Of a client's metadata, in bytes (MongoDB handshake specification).
_APP_NAME_BYTES = 128


def seeds(config: MongoConfig) -> list[str]:
    """Return what is dialled first, as pymongo takes it."""
    dial = config.dial
    if dial is not None:
        return [f"[{dial.host}]:{dial.port}" if ":" in dial.host else f"{dial.host}:{dial.port}"]
    return [one.address for one in config.hosts]


def measured_pool(config: MongoConfig, address: tuple[str, int | None] | None = None) -> Pool:
    """Return what telemetry calls the pool of one server, which pymongo dials at ``address``; the first by default."""
    if address is None or config.dial is not None:
        behind = config.hosts[0]
        address = (behind.host, behind.port)
    host, port = address
    return Pool("mongodb", config.instance_name, config.database, host, port or MONGO_PORT)


@contextmanager
def client_options(config: MongoConfig) -> Iterator[dict[str, Any]]:
    """Give the keywords of pymongo's client, but for the credentials. Files among them are gone at the end.

    Raises:
        ConfigurationError: a file that is named does not exist, or holds no certificate.
    """
    options = config.options
    found: dict[str, Any] = {
        "host": seeds(config),
        "appname": config.instance_name.encode()[:_APP_NAME_BYTES].decode(errors="ignore"),
        "maxPoolSize": options.max_pool_size,
        "minPoolSize": options.min_pool_size,
        "connectTimeoutMS": _milliseconds(options.connect_timeout),
        "serverSelectionTimeoutMS": _milliseconds(options.server_selection_timeout),
        "retryWrites": options.retry_writes if options.retry_writes is not None else config.tls is not None,
        # A tunnel leads to one member: asking it for the others would give names that do not lead through.
        "directConnection": config.dial is not None,
    }
    if config.replica_set is not None and config.dial is None:
        found["replicaSet"] = config.replica_set
    if options.max_idle is not None:
        found["maxIdleTimeMS"] = _milliseconds(options.max_idle)
    if options.pool_timeout is not None:
        found["waitQueueTimeoutMS"] = _milliseconds(options.pool_timeout)
    if options.operation_timeout is not None:
        found["timeoutMS"] = _milliseconds(options.operation_timeout)
    if options.write_concern is not None:
        found["w"] = options.write_concern
    if config.tls is None:
        yield found
        return
    with ExitStack() as stack:
        yield found | _tls_options(config.tls, stack)


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _tls_options(tls: TlsConfig, stack: ExitStack) -> dict[str, Any]:
    found: dict[str, Any] = {"tls": True}
    # pymongo raises whatever ssl raises; the same files in a context of our own give typed errors.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if tls.verify == "none":
        found["tlsAllowInvalidCertificates"] = True
    else:
        roots = named_roots(tls) or _public_roots()
        load_roots(context, roots)
        found["tlsCAFile"] = _file(stack, path=roots.path, pem=roots.pem)
        found["tlsAllowInvalidHostnames"] = tls.verify == "ca"
    if tls.cert is not None and tls.key is not None:
        cert, key = existing_file(tls.cert, "tls.cert"), existing_file(tls.key, "tls.key")
        try:
            # The empty password: asked for none, OpenSSL would read one from the terminal, and wait for it.
            context.load_cert_chain(cert, key, password="")
        except OSError as error:
            raise ConfigurationError(
                f"tls.cert and tls.key cannot be used together: {error}",
                hint="both in PEM, readable, the key of that certificate and not encrypted",
            ) from error
        # pymongo wants both in one.
        both = f"{Path(cert).read_text('utf-8')}\n{Path(key).read_text('utf-8')}"
        found["tlsCertificateKeyFile"] = _file(stack, path=cert if cert == key else None, pem=both)
    return found


def _public_roots() -> Roots:
    import certifi

    return Roots("certifi", path=certifi.where())


def _file(stack: ExitStack, *, path: str | None, pem: str | None) -> str:
    file = PemFile(path=path, pem=pem)
    stack.callback(file.remove)
    return file.path
