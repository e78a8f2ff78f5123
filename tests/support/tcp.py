"""A TCP proxy that misbehaves on request: between a client and a real server."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import Literal, Self

Mode = Literal["pass", "blackhole", "garbage", "reset", "hang_up", "slow", "trickle"]


class FaultyProxy:
    """Relays to a server, or does not.

    Modes, for connections accepted from then on; ``blackhole`` also silences those that are open:

    - ``pass``: relay.
    - ``blackhole``: take everything, answer nothing, close nothing.
    - ``garbage``: answer in another protocol.
    - ``reset``: relay, but reset the client's connection in the middle of the server's next reply.
    - ``hang_up``: accept and close.
    - ``slow``: relay, each reply ``delay`` seconds late.
    - ``trickle``: relay, each byte of a reply ``delay`` seconds after the one before.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.mode: Mode = "pass"
        self.delay = 0.2
        self.accepted = 0
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._silent = threading.Event()
        self._closed = False

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def blackhole(self) -> None:
        """Fall silent, on open connections too."""
        self.mode = "blackhole"
        self._silent.set()

    def restore(self) -> None:
        """Relay again."""
        self._silent.clear()
        self.mode = "pass"

    def cut(self) -> None:
        """Close every open connection."""
        sockets, self._sockets = self._sockets, []
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _spawn(self, call: object, *args: object) -> None:
        thread = threading.Thread(target=call, args=args, daemon=True)  # type: ignore[arg-type]  # any callable
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._sockets.append(client)
            match self.mode:
                case "blackhole":
                    continue
                case "garbage":
                    with contextlib.suppress(OSError):
                        client.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                        client.close()
                    continue
                case "hang_up":
                    client.close()
                    continue
                case _:
                    pass
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            self._sockets.append(server)
            self._spawn(self._relay, client, server, False)
            self._spawn(self._relay, server, client, True)

    def _relay(self, source: socket.socket, sink: socket.socket, reply: bool) -> None:
        try:
            while data := source.recv(65536):
                if self._silent.is_set():
                    continue
                if reply and self.mode == "reset":
                    sink.sendall(data[: len(data) // 2])
                    # SO_LINGER with 0: close sends RST.
                    sink.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    break
                if reply and self.mode == "slow":
                    threading.Event().wait(self.delay)
                if reply and self.mode == "trickle":
                    while data and self.mode == "trickle":
                        threading.Event().wait(self.delay)
                        sink.sendall(data[:1])
                        data = data[1:]
                sink.sendall(data)
        except OSError:
            pass
        for one in (source, sink):
            with contextlib.suppress(OSError):
                # The other direction's thread still reads it, and a socket that is read is not closed: this wakes it,
                # without the FIN that would go before the RST.
                one.shutdown(socket.SHUT_RD if reply and self.mode == "reset" else socket.SHUT_RDWR)
            with contextlib.suppress(OSError):
                one.close()
