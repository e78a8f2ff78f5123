"""A proxy before the emulated AWS that counts what is asked of it, and gives credentials as a container's host does."""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, urlsplit

__all__ = ["CountingProxy"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # What Nagle's algorithm holds back waits 40 ms.
    disable_nagle_algorithm = True
    proxy: CountingProxy

    def do_POST(self) -> None:
        """Count, forward, answer."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        target = self.headers.get("X-Amz-Target")
        operation = target.rpartition(".")[2] if target else parse_qs(body.decode()).get("Action", ["?"])[0]
        self.proxy.note(operation)
        upstream = http.client.HTTPConnection(self.proxy.host, self.proxy.port)
        try:
            # With the client's own Host header, which its signature covers.
            upstream.putrequest("POST", self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                upstream.putheader(name, value)
            upstream.endheaders(body)
            answer = upstream.getresponse()
            content = answer.read()
        finally:
            upstream.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"content-length", "connection", "date", "server"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        """The credentials of a container's role."""
        self.proxy.note("credentials")
        content = json.dumps(self.proxy.role).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name in http.server)
        """Log nothing."""


class CountingProxy:
    """A context manager.

    Attributes:
        endpoint: for AWS_ENDPOINT_URL, and with a path for AWS_CONTAINER_CREDENTIALS_FULL_URI.
        role: what the latter answers.
    """

    def __init__(self, upstream: str) -> None:
        self.role: dict[str, str] = {}
        parts = urlsplit(upstream)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self._guard = threading.Lock()
        self._counts: Counter[str] = Counter()
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def note(self, operation: str) -> None:
        """Count one."""
        with self._guard:
            self._counts[operation] += 1

    def take(self) -> Counter[str]:
        """What was asked since the last time, by operation."""
        with self._guard:
            counts, self._counts = self._counts, Counter()
        return counts

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
