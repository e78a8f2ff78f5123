"""RDS IAM authentication in front of a stock PostgreSQL, as RDS does it behind its own endpoint.

The gate terminates TLS. A client whose role is a member of ``rds_iam`` is asked for a clear-text password, the token;
its signature, the policy behind it and its age are checked, and only then is the client connected, over the server's
Unix socket, which trusts members of ``rds_iam``. Everybody else is passed through and SCRAM runs end to end. Which of
the two somebody is, the server's own pg_hba.conf says (``soa_db.local.postgres``): it asks a member for a clear-text
password, which nobody ever answers.

Protocol: PostgreSQL documentation, "Frontend/Backend Protocol". What differs from RDS: ``pg_stat_ssl`` is false and
``client_addr`` is null or the gate's.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from soa_db.local.gates import CHUNK, Gate, Hangup, TokenCheck, TokenRefused, closing, copy, until_either_ends

__all__ = ["Backend", "IamGate", "TokenRefused"]

_log = logging.getLogger(__name__)


class _Codes(IntEnum):
    """What stands where a startup packet has its protocol version."""

    SSL = 80877103
    GSS = 80877104
    CANCEL = 80877102


_MAX_STARTUP = 10_000  # MAX_STARTUP_PACKET_LENGTH of the server
_MAX_TOKEN = 65_536  # the server takes 64 KiB passwords since 14; tokens with a session token reach 35 KB
_AUTHENTICATION_TIMEOUT = 60.0  # seconds, the server's own default
_AUTH_CLEARTEXT = struct.pack("!I", 3)


@dataclass(frozen=True, slots=True)
class Backend:
    """The server behind the gate.

    Attributes:
        host: where it listens.
        port: on which port.
        socket_directory: where its Unix socket is.
    """

    host: str
    port: int
    socket_directory: Path

    @property
    def socket(self) -> str:
        """The path of the Unix socket."""
        return str(self.socket_directory / f".s.PGSQL.{self.port}")


class IamGate(Gate):
    """One listening port in front of one server.

    Args:
        backend: the server.
        check: decides about a token.
        tls: the context with the certificate to show.
    """

    def __init__(self, backend: Backend, *, check: TokenCheck, tls: ssl.SSLContext) -> None:
        super().__init__(tls=tls)
        self._backend = backend
        self._check = check

    # --- opening

    async def _serve(self, client: socket.socket) -> None:
        async with asyncio.timeout(_AUTHENTICATION_TIMEOUT):
            if not await self._negotiate(client):
                return
            # Before a word of TLS: with the server down, the client meets what it would meet without the gate.
            backend = await asyncio.open_connection(self._backend.host, self._backend.port, limit=CHUNK)
        async with closing(backend[1]):
            reader, writer = await self._start_tls(client)
            async with closing(writer):
                async with asyncio.timeout(_AUTHENTICATION_TIMEOUT):
                    opened = await self._authenticate(reader, writer, *backend)
                if opened is not None:
                    async with closing(opened[1]):
                        await _relay(reader, writer, *opened)

    async def _start_tls(self, client: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        await asyncio.get_running_loop().sock_sendall(client, b"S")
        return await self._tls_streams(client)

    async def _negotiate(self, client: socket.socket) -> bool:
        """Handle what comes before TLS; True when the client wants TLS, False when the conversation is over."""
        loop = asyncio.get_running_loop()
        while True:
            length, code = struct.unpack("!II", await _exactly(client, 8))
            if not 8 <= length <= _MAX_STARTUP:
                return False
            rest = await _exactly(client, length - 8)
            match code:
                case _Codes.SSL:
                    return True
                case _Codes.GSS:
                    await loop.sock_sendall(client, b"N")
                case _Codes.CANCEL:
                    await self._cancel(_packet(code, rest))
                    return False
                case _:
                    parameters = _parameters(rest)
                    user = parameters.get("user", "")
                    message = (
                        f'no pg_hba.conf entry for host "{client.getpeername()[0]}", user "{user}", '
                        f'database "{parameters.get("database", user)}", no encryption'
                    )
                    await loop.sock_sendall(client, _fatal(message))
                    return False

    async def _cancel(self, packet: bytes) -> None:
        _, writer = await asyncio.open_connection(self._backend.host, self._backend.port)
        async with closing(writer):
            writer.write(packet)
            await writer.drain()

    async def _authenticate(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Read the startup packet; give the connection to go on with, past authentication for a member of rds_iam."""
        (length,) = struct.unpack("!I", await reader.readexactly(4))
        if not 8 <= length <= _MAX_STARTUP:
            return None
        startup = struct.pack("!I", length) + await reader.readexactly(length - 4)
        server_writer.write(startup)
        if startup[4:8] == struct.pack("!I", _Codes.CANCEL):
            await server_writer.drain()
            return None
        answer, member = await _first_answer(server_reader)
        if not member:
            writer.write(answer)
            return server_reader, server_writer
        server_writer.transport.abort()
        if not await self._token_holds(reader, writer, _parameters(startup[8:]).get("user", "")):
            return None
        trusted = await asyncio.open_unix_connection(self._backend.socket, limit=CHUNK)
        trusted[1].write(startup)
        return trusted

    async def _token_holds(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, user: str) -> bool:
        writer.write(b"R" + struct.pack("!I", 8) + _AUTH_CLEARTEXT)
        await writer.drain()
        kind, length = struct.unpack("!cI", await reader.readexactly(5))
        if kind != b"p" or not 4 < length <= _MAX_TOKEN:
            return False
        token = (await reader.readexactly(length - 4)).rstrip(b"\0")
        try:
            self._check(token.decode("ascii"), user)
        except (TokenRefused, UnicodeDecodeError) as error:
            reason = str(error) if isinstance(error, TokenRefused) else "the token is not ASCII"
            _log.info("refused %s: %s", user, reason)
            writer.write(_fatal(f'PAM authentication failed for user "{user}"'))
            await writer.drain()
            return False
        return True


# --- the wire


async def _exactly(client: socket.socket, count: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < count:
        part = await loop.sock_recv(client, count - len(data))
        if not part:
            raise Hangup
        data += part
    return data


async def _first_answer(backend: asyncio.StreamReader) -> tuple[bytes, bool]:
    """The server's first messages up to its wish for authentication or its refusal; True when it names rds_iam.

    NegotiateProtocolVersion may precede.
    """
    seen = b""
    while True:
        header = await backend.readexactly(5)
        kind, length = struct.unpack("!cI", header)
        if not 4 <= length <= CHUNK:
            raise Hangup
        body = await backend.readexactly(length - 4)
        seen += header + body
        if kind != b"v":
            return seen, kind == b"R" and body == _AUTH_CLEARTEXT


async def _relay(
    client_reader: asyncio.StreamReader,
    client_writer: asyncio.StreamWriter,
    server_reader: asyncio.StreamReader,
    server_writer: asyncio.StreamWriter,
) -> None:
    up = asyncio.create_task(copy(client_reader, server_writer))
    down = asyncio.create_task(copy(server_reader, client_writer))
    await until_either_ends(up, down, server_writer)


def _packet(code: int, rest: bytes) -> bytes:
    return struct.pack("!II", len(rest) + 8, code) + rest


def _parameters(rest: bytes) -> dict[str, str]:
    """The parameters of a startup packet: pairs of NUL-terminated strings."""
    parts = rest.split(b"\0")
    texts = [part.decode("utf-8", "replace") for part in parts]
    return dict(zip(texts[::2], texts[1::2], strict=False))


def _fatal(message: str) -> bytes:
    fields = (b"SFATAL", b"VFATAL", b"C28000", b"M" + message.encode())
    body = b"".join(field + b"\0" for field in fields) + b"\0"
    return b"E" + struct.pack("!I", len(body) + 4) + body
