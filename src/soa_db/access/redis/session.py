"""One connection to one Redis server, spoken to command by command, with nothing in between.

Neither redis-py's handshake (which sends commands of its own) nor its retries, nor a cluster client's routing: what is
asked here is about one server and one user. RESP2, the protocol every server speaks to a client that does not say HELLO
(https://redis.io/docs/latest/develop/reference/protocol-spec/).
"""

from __future__ import annotations

import os
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from soa_db.access.login import log_in
from soa_db.errors import AuthenticationFailed, ConfigurationError, ServerUnavailable, TlsVerificationFailed

if TYPE_CHECKING:
    from soa_db.config import RedisConfig, TlsConfig
    from soa_db.credentials import CredentialProvider

__all__ = ["NAME", "CommandRefused", "Session", "connect", "login", "opens"]

# What a session calls itself in CLIENT LIST.
NAME = "soa-db"
_CHUNK = 65536
_NOT_LOGGED_IN = frozenset({"WRONGPASS", "NOAUTH", "NOPERM"})


class CommandRefused(Exception):
    """The server answered a command with an error.

    Attributes:
        code: its first word: ``NOPERM``, ``ERR``, ``MOVED`` ….
        message: all of it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.code = message.partition(" ")[0]


class Session:
    """One connection; use it in one thread, and close it.

    Args:
        config: how to reach the server; its ``auth`` is not looked at.

    Raises:
        TlsVerificationFailed: the certificate was refused.
        ServerUnavailable: the server was not reached.
        ConfigurationError: ``tls`` cannot be used.
    """

    def __init__(self, config: RedisConfig) -> None:
        import hiredis

        self.config = config
        self.address = f"{config.host}:{config.port}"
        # Keys and patterns may be any bytes.
        self._reader = hiredis.Reader(encoding="utf-8", errors="surrogateescape")
        context = None if config.tls is None else _context(config.tls)
        dial = (config.host, config.port) if config.dial is None else (config.dial.host, config.dial.port)
        try:
            self._socket = socket.create_connection(dial, timeout=config.connect_timeout)
            try:
                if context is not None:
                    self._socket = context.wrap_socket(self._socket, server_hostname=config.host)
                self._socket.settimeout(config.command_timeout)
            except BaseException:
                self._socket.close()
                raise
        except ssl.SSLCertVerificationError as error:
            raise TlsVerificationFailed(
                f"the certificate of the Redis server was refused: {error.verify_message}", host=self.address
            ) from error
        except (OSError, UnicodeError) as error:  # the latter for a name with a label that DNS has no room for
            raise ServerUnavailable(f"the Redis server was not reached: {error}", host=self.address) from error

    def call(self, *words: str | int) -> Any:
        """Send a command and return its reply.

        Raises:
            CommandRefused: the server answered with an error.
            ServerUnavailable: the connection broke, or there was no answer in time.
        """
        (reply,) = self.pipeline([words])
        if isinstance(reply, CommandRefused):
            raise reply
        return reply

    def pipeline(self, commands: list[tuple[str | int, ...]]) -> list[Any]:
        """Send commands at once and return their replies, errors as ``CommandRefused`` among them."""
        import hiredis

        try:
            # The stub speaks of a tuple of one.
            packed = (hiredis.pack_command(_bytes(words)) for words in commands)  # type: ignore[arg-type]
            self._socket.sendall(b"".join(packed))
            return [self._read() for _ in commands]
        except (OSError, hiredis.ProtocolError) as error:
            self.close()
            raise ServerUnavailable(f"the connection to Redis broke: {error}", host=self.address) from error

    def _read(self) -> Any:
        import hiredis

        while (reply := self._reader.gets()) is False:
            data = self._socket.recv(_CHUNK)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            self._reader.feed(data)
        return CommandRefused(str(reply)) if isinstance(reply, hiredis.ReplyError) else reply

    def close(self) -> None:
        """Close it; what was queued after MULTI is dropped by the server."""
        with suppress(OSError):
            self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(config: RedisConfig, user: str | None, password: str) -> Session:
    """Open a session and log in; an empty password logs nobody in.

    Raises:
        AuthenticationFailed: user or password were refused.
        TlsVerificationFailed, ServerUnavailable: as for ``Session``.
    """
    session = Session(config)
    try:
        if password:
            session.call("AUTH", *([user] if user else []), password)
        with suppress(CommandRefused):
            session.call("CLIENT", "SETNAME", NAME)
    except CommandRefused as error:
        session.close()
        if error.code in _NOT_LOGGED_IN:
            raise AuthenticationFailed(
                f"Redis refused the login: {error.message}", host=session.address, user=user or "default"
            ) from error
        raise ServerUnavailable(f"Redis refused the login: {error.message}", host=session.address) from error
    except BaseException:
        session.close()
        raise
    return session


def login(config: RedisConfig, provider: CredentialProvider) -> Session:
    """Open a session and log in with what a provider gives; a refused secret is read again once.

    Raises:
        AuthenticationFailed, TlsVerificationFailed, ServerUnavailable: as for ``connect``.
        CredentialError: AWS did not give the password.
    """
    return log_in(provider, lambda user, password: connect(config, user, password))


def opens(config: RedisConfig, user: str, password: str) -> bool:
    """Whether a user can log in with a password; False only when the server refuses user or password.

    Raises:
        ConnectionFailed: nothing was decided.
    """
    try:
        connect(config, user, password).close()
    except AuthenticationFailed:
        return False
    return True


def _bytes(words: tuple[str | int, ...]) -> tuple[bytes, ...]:
    return tuple(str(word).encode("utf-8", "surrogateescape") for word in words)


def _context(tls: TlsConfig) -> ssl.SSLContext:
    """Roots in the order that services have: ca_pem, ca_file, SOA_DB_CA_FILE, certifi's (ElastiCache's are there)."""
    import certifi

    file = tls.ca_file or os.environ.get("SOA_DB_CA_FILE") or certifi.where()
    try:
        context = ssl.create_default_context(
            cafile=None if tls.ca_pem is not None else file, cadata=tls.ca_pem if tls.ca_pem is not None else None
        )
        if tls.cert is not None and tls.key is not None:
            context.load_cert_chain(tls.cert, tls.key)
    except OSError as error:  # ssl.SSLError among them
        raise ConfigurationError(
            f"the roots or the client certificate of tls cannot be used: {error}", hint="check the files it names"
        ) from error
    if tls.verify != "full":
        context.check_hostname = False
    if tls.verify == "none":
        context.verify_mode = ssl.CERT_NONE
    return context
