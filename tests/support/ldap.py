"""A small LDAP server: simple binds, and who decides about them.

Enough of RFC 4511 for PostgreSQL's ``ldap`` method with a prefix or suffix: BindRequest, BindResponse, UnbindRequest.
"""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable
from typing import Self

SEQUENCE, INTEGER, OCTETS, ENUMERATED = 0x30, 0x02, 0x04, 0x0A
BIND_REQUEST, BIND_RESPONSE, SIMPLE = 0x60, 0x61, 0x80
SUCCESS, INVALID_CREDENTIALS = 0, 49

# Decides about (name, password).
BindCheck = Callable[[str, str], bool]


def _encoded(tag: int, content: bytes) -> bytes:
    """One BER element; its length in the long form, which holds for every length."""
    return bytes([tag, 0x84]) + len(content).to_bytes(4, "big") + content


def _element(read: Callable[[int], bytes]) -> tuple[int, bytes]:
    """Read one BER element: its tag and its content; (0, b"") at the end."""
    head = read(2)
    if len(head) < 2:
        return 0, b""
    length = head[1]
    if length & 0x80:
        length = int.from_bytes(read(length & 0x7F), "big")
    return head[0], read(length)


class _Elements:
    """The elements inside another."""

    def __init__(self, content: bytes) -> None:
        self._rest = content

    def _read(self, count: int) -> bytes:
        part, self._rest = self._rest[:count], self._rest[count:]
        return part

    def expect(self, tag: int) -> bytes:
        """The content of the next one, which must be of this kind."""
        found, content = _element(self._read)
        assert found == tag, f"BER tag {found:#x} where {tag:#x} was expected"
        return content


class LdapServer(socketserver.ThreadingTCPServer):
    """Listens on 127.0.0.1 while entered.

    Args:
        check: decides about a simple bind.

    Attributes:
        binds: the (name, password) of every bind, in order.
    """

    daemon_threads = True

    def __init__(self, check: BindCheck) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.check = check
        self.binds: list[tuple[str, str]] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Conversation(socketserver.StreamRequestHandler):
    server: LdapServer

    def handle(self) -> None:
        """Answer binds until the client unbinds or goes away."""
        while (message := _element(self.rfile.read))[0] == SEQUENCE:
            parts = _Elements(message[1])
            identifier = parts.expect(INTEGER)
            if message[1][2 + len(identifier)] != BIND_REQUEST:
                return
            request = _Elements(parts.expect(BIND_REQUEST))
            assert request.expect(INTEGER) == b"\3"
            name, password = request.expect(OCTETS).decode(), request.expect(SIMPLE).decode()
            self.server.binds.append((name, password))
            code = SUCCESS if self.server.check(name, password) else INVALID_CREDENTIALS
            result = _encoded(ENUMERATED, bytes([code])) + _encoded(OCTETS, b"") + _encoded(OCTETS, b"")
            answer = _encoded(INTEGER, identifier) + _encoded(BIND_RESPONSE, result)
            self.wfile.write(_encoded(SEQUENCE, answer))
