"""TLS and ElastiCache's IAM authentication in front of a stock Redis.

The gate terminates TLS and passes everything on, except that AUTH and HELLO of a user with IAM authentication are
looked into: the token given for a password is checked (signature, age, policy), and the server is given the secret it
knows that user by instead, or, for a token that does not hold, one that is wrong: so every answer is the server's own,
in its order. The server takes nothing else for such a user: to get a token past the gate unseen gains nothing.

Source: "Authenticating with IAM", Amazon ElastiCache User Guide. A connection authenticated so is ended after 12 hours,
unless it authenticates again. What differs: it is ended even if it has meanwhile authenticated with a password.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from soa_db.local.gates import CHUNK, Gate, TokenCheck, TokenRefused, closing, copy, until_either_ends
from soa_db.local.resp import Login, Requests, encode

__all__ = ["MAX_CONNECTION_SECONDS", "RedisGate"]

MAX_CONNECTION_SECONDS = 12 * 3600.0
_log = logging.getLogger(__name__)

# The secret by which the server knows a user with IAM authentication; None for every other user.
SecretOf = Callable[[str], str | None]


class RedisGate(Gate):
    """One listening port in front of one server.

    Args:
        host: where the server listens.
        port: on which port.
        secret_of: who is on IAM.
        check: decides about a token.
        tls: the context with the certificate to show.
        limit: seconds after which a connection that a token has opened is ended.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        secret_of: SecretOf,
        check: TokenCheck,
        tls: ssl.SSLContext,
        limit: float = MAX_CONNECTION_SECONDS,
    ) -> None:
        super().__init__(tls=tls)
        self._server = (host, port)
        self._secret_of = secret_of
        self._check = check
        self._limit = limit

    async def _serve(self, client: socket.socket) -> None:
        # Before a word of TLS: with the server down, the client meets what it would meet without the gate.
        server_reader, server_writer = await asyncio.open_connection(*self._server, limit=CHUNK)
        async with closing(server_writer):
            reader, writer = await self._tls_streams(client)
            async with closing(writer):
                ending = _Ending(self._limit, writer)
                up = asyncio.create_task(self._requests(reader, server_writer, ending))
                down = asyncio.create_task(copy(server_reader, writer))
                try:
                    await until_either_ends(up, down, server_writer)
                finally:
                    ending.cancel()

    async def _requests(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, ending: _Ending) -> None:
        requests = Requests()
        while data := await source.read(CHUNK):
            for item in requests.feed(data):
                target.write(encode(self._admitted(item, ending).words) if isinstance(item, Login) else item)
            await target.drain()

    def _admitted(self, login: Login, ending: _Ending) -> Login:
        """The login as the server is to see it."""
        secret = self._secret_of(login.user) if login.user else None
        if secret is None:
            return login
        try:
            self._check(login.secret.decode("ascii"), login.user)
        except (TokenRefused, UnicodeDecodeError) as error:
            _log.info("refused %s: %s", login.user, error if isinstance(error, TokenRefused) else "not ASCII")
            return login.with_secret(secrets.token_urlsafe(32).encode())
        ending.put_off()
        return login.with_secret(secret.encode())


@dataclass(slots=True)
class _Ending:
    """The end of a connection that a token has opened."""

    limit: float
    writer: asyncio.StreamWriter
    handle: asyncio.TimerHandle | None = None

    def put_off(self) -> None:
        self.cancel()
        self.handle = asyncio.get_running_loop().call_later(self.limit, self.writer.transport.abort)

    def cancel(self) -> None:
        if self.handle is not None:
            self.handle.cancel()
