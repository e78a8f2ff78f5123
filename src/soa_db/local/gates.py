"""What the gates of all engines have in common: they listen, let go, and carry bytes both ways.

A gate stands in front of a server, terminates TLS and checks IAM tokens (``soa_db.local.gate``, ``redis_gate``).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable

__all__ = ["CHUNK", "Gate", "Hangup", "TokenCheck", "TokenRefused", "closing", "copy", "until_either_ends"]

CHUNK = 65_536


class TokenRefused(Exception):
    """The token does not open this door; the text is for our log only, the client is told what RDS tells."""


class Hangup(Exception):
    """The conversation is over: a side went away or broke the protocol."""


# Checks (token, user); raises TokenRefused.
TokenCheck = Callable[[str, str], None]


class Gate(ABC):
    """One listening port in front of one server.

    Args:
        tls: the context with the certificate to show.
    """

    def __init__(self, *, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._conversations: set[asyncio.Task[None]] = set()

    @abstractmethod
    async def _serve(self, client: socket.socket) -> None:
        """Talk to one client, from its first byte on."""

    @property
    def connections(self) -> int:
        """How many clients are being served."""
        return len(self._conversations)

    async def open(self, port: int = 0) -> int:
        """Listen on 127.0.0.1; returns the port (a free one for 0)."""
        listener = socket.create_server(("127.0.0.1", port), backlog=512)
        listener.setblocking(False)
        self._listener = listener
        self._accepting = asyncio.create_task(self._accept(listener))
        return int(listener.getsockname()[1])

    async def close(self) -> None:
        """Stop listening and drop every client."""
        tasks = [*self._conversations, *([self._accepting] if self._accepting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()
        self._listener = self._accepting = None

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(listener)
            except OSError:
                # Out of file descriptors: those waiting stay in the backlog.
                await asyncio.sleep(0.1)
                continue
            task = asyncio.create_task(self._converse(client))
            self._conversations.add(task)
            task.add_done_callback(self._conversations.discard)

    async def _converse(self, client: socket.socket) -> None:
        client.setblocking(False)
        try:
            await self._serve(client)
        except (Hangup, OSError, asyncio.IncompleteReadError, TimeoutError, ssl.SSLError):
            pass  # one side is gone, and the other has been told by closing
        finally:
            client.close()

    async def _tls_streams(self, client: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Go on in TLS."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=CHUNK)
        protocol = asyncio.StreamReaderProtocol(reader)
        # The socket was read byte for byte until here, so nothing sent before TLS can be taken for sent within.
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, client, ssl=self._tls, ssl_handshake_timeout=10, ssl_shutdown_timeout=1
        )
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Carry on what comes until its end."""
    while data := await source.read(CHUNK):
        target.write(data)
        await target.drain()


@contextlib.asynccontextmanager
async def closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    """Close a stream at the end, at once when the other side takes nothing more."""
    try:
        yield
    finally:
        writer.close()
        try:
            async with asyncio.timeout(2):
                await writer.wait_closed()
        except (OSError, TimeoutError, ssl.SSLError):
            pass
        finally:
            writer.transport.abort()


async def until_either_ends(up: asyncio.Task[None], down: asyncio.Task[None], server: asyncio.StreamWriter) -> None:
    """Wait until client (``up``) or server (``down``) has ended; what the server said last still reaches the client."""
    try:
        await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        if up.done() and not down.done():
            # The client is gone: so is its session, as with a socket of the server's own.
            server.transport.abort()
    finally:
        for task in (up, down):
            task.cancel()
        await asyncio.gather(up, down, return_exceptions=True)
