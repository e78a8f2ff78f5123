"""The way to AWS: proxies, who goes past them, and whose certificates are trusted, as for every program of AWS."""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import threading
import traceback
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme
from tests.servers.aws_kit import ACCOUNT, OTHER_ACCOUNT, REGION, CountingAws, Make, allow, settle, trust

from soa_db.errors import CredentialError

HOSTS = [f"{service}.{REGION}.amazonaws.com" for service in ("ssm", "secretsmanager", "sts")]


def relay(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until one side ends."""
    pair = {one: other, other: one}
    while True:
        # What TLS has read ahead is seen by no select.
        waiting = [side for side in pair if isinstance(side, ssl.SSLSocket) and side.pending()]
        for side in waiting or select.select(list(pair), [], [], 30)[0]:
            data = side.recv(65536)
            if not data:
                return
            pair[side].sendall(data)


class Server:
    """A server with a thread of its own."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        """Stop it."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Proxy(Server):
    """An HTTP proxy: CONNECT leads to the emulated AWS behind TLS whatever host is asked for, all else is forwarded.

    Attributes:
        asked: method and target of each request.
        password: that of the user ``us``, if it wants one.
        ca_file: who signed the certificate behind it.
    """

    def __init__(self, aws: CountingAws, certificate: trustme.LeafCert, ca_file: Path) -> None:
        self.ca_file = ca_file
        self.asked: list[tuple[str, str]] = []
        self.password = ""
        upstream = urlsplit(aws.endpoint)
        address = (str(upstream.hostname), int(upstream.port or 0))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def welcome(self) -> bool:
                proxy.asked.append((self.command, self.path))
                expected = b64encode(f"us:{proxy.password}".encode()).decode()
                if not proxy.password or self.headers.get("Proxy-Authorization") == f"Basic {expected}":
                    return True
                self.send_error(407)
                return False

            def do_CONNECT(self) -> None:
                self.close_connection = True
                if not self.welcome():
                    return
                self.send_response(200)
                self.end_headers()
                try:
                    with (
                        context.wrap_socket(self.connection, server_side=True) as client,
                        socket.create_connection(address) as server,
                    ):
                        relay(client, server)
                except OSError:
                    pass  # the client does not trust the certificate, or has gone

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if not self.welcome():
                    return
                connection = http.client.HTTPConnection(*address)
                connection.request("POST", urlsplit(self.path).path, body, dict(self.headers))
                answer = connection.getresponse()
                content = answer.read()
                connection.close()
                self.send_response(answer.status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(Handler)


@pytest.fixture
def proxy(aws: CountingAws, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy that everybody may use."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    found = Proxy(aws, authority.issue_cert(*HOSTS), tmp_path / "ca.pem")
    yield found
    found.close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between attempts, not waited."""
    waits: list[float] = []
    monkeypatch.setattr("soa_db._aws.http.time.sleep", waits.append)
    return waits


async def test_https_goes_through_the_proxy_to_the_hosts_of_aws(
    aws: CountingAws, make: Make, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, unique_name: str
) -> None:
    """Parameters, secrets and roles alike; AWS_CA_BUNDLE is trusted within the tunnel."""
    role = aws.create_role(OTHER_ACCOUNT, unique_name, trust=trust(ACCOUNT), policy=allow(("*", "*")))
    aws.put_secret(OTHER_ACCOUNT, unique_name, {"password": "p"})
    aws.put_parameters(OTHER_ACCOUNT, {f"/{unique_name}": "1"})
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(proxy.ca_file))
    clients = make(role_arn=role)
    assert await settle(clients.parameters([f"/{unique_name}"])) == {f"/{unique_name}": "1"}
    assert await settle(clients.secret(unique_name)) == {"password": "p"}
    assert sorted(proxy.asked) == sorted(("CONNECT", f"{host}:443") for host in HOSTS)


@pytest.mark.parametrize("how", ["REQUESTS_CA_BUNDLE", "file"])
async def test_the_other_ways_to_name_a_certificate_authority(
    aws: CountingAws, make: Make, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """botocore honours them, so do the calls of our own."""
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    if how == "file":
        config = proxy.ca_file.with_name("config")
        config.write_text(f"[default]\nca_bundle = {proxy.ca_file}\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    else:
        monkeypatch.setenv(how, str(proxy.ca_file))
    assert (await settle(make().caller_identity())).account == ACCOUNT


async def test_a_certificate_that_nobody_vouches_for_is_refused_at_once(
    aws: CountingAws, make: Make, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, no_waiting: list[float]
) -> None:
    """Another attempt would find the same; nothing of the call was sent."""
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    with pytest.raises(CredentialError, match="could not be verified") as caught:
        await settle(make().secret("s"))
    assert "AWS_CA_BUNDLE" in str(caught.value)
    assert not no_waiting
    assert not aws.seen


async def test_plain_http_is_forwarded_unless_no_proxy_names_the_host(
    aws: CountingAws, make: Make, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, unique_name: str
) -> None:
    """The host of an emulator or an endpoint within the network."""
    aws.put_secret(ACCOUNT, unique_name, {"password": "p"})
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
    assert await settle(make().secret(unique_name)) == {"password": "p"}
    assert proxy.asked == [("POST", f"{aws.endpoint}/")]
    monkeypatch.setenv("NO_PROXY", "example.com,127.0.0.1,localhost")
    assert await settle(make().secret(unique_name)) == {"password": "p"}
    assert len(proxy.asked) == 1
    assert aws.seen == {"GetSecretValue": 2}


async def test_the_password_of_a_proxy_is_given_and_never_shown(
    aws: CountingAws, make: Make, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when it is refused, by either kind of proxying, nor when the proxy is not there."""
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(proxy.ca_file))
    proxy.password = "c4n4ry-c4n4ry"

    def through(port: int, password: str) -> None:
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://us:{password}@127.0.0.1:{port}")

    through(proxy.port, "c4n4ry-c4n4ry")
    assert (await settle(make().caller_identity())).account == ACCOUNT
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = free.getsockname()[1]
    for port, password, arguments in (
        (proxy.port, "wr0ng-c4n4ry", {}),
        (proxy.port, "wr0ng-c4n4ry", {"endpoint_url": "http://aws.example"}),
        (nowhere, "c4n4ry-c4n4ry", {}),
    ):
        through(port, password)
        failed: Any = make(**arguments)
        with pytest.raises(CredentialError) as caught:
            await settle(failed.caller_identity())
        assert "c4n4ry" not in "".join(traceback.format_exception(caught.value))
