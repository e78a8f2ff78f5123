"""What the watch over certificates makes of a set's heartbeats."""

from __future__ import annotations

import pytest
from pymongo.errors import AutoReconnect
from pymongo.hello import Hello
from pymongo.monitoring import ServerHeartbeatFailedEvent, ServerHeartbeatSucceededEvent

from soa_db._mongo.heartbeat import CertificateWatch

BAD = AutoReconnect("SSL handshake failed: h:1: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
AWAY = AutoReconnect("h:1: connection refused")


@pytest.mark.parametrize(
    ("servers", "heard", "refused"),
    [
        (1, [("a", BAD)], True),
        (2, [("a", BAD)], False),
        (2, [("a", BAD), ("a", BAD)], False),
        (2, [("a", BAD), ("b", BAD)], True),
        (2, [("a", BAD), ("b", AWAY)], False),
        # The one member that the config names is good, and names others.
        (1, [("a", None), ("b", BAD)], False),
        (1, [("a", None), ("b", BAD), ("c", BAD)], False),
        (1, [("a", None), ("a", BAD)], True),
        (2, [("a", BAD), ("a", None), ("b", BAD)], False),
    ],
)
def test_one_good_certificate_is_enough_to_go_on(
    servers: int, heard: list[tuple[str, Exception | None]], refused: bool
) -> None:
    """Whichever member it is of, and however few of them the config names."""
    called: list[None] = []
    watch = CertificateWatch(servers, lambda: called.append(None))
    for host, error in heard:
        if error is None:
            watch.succeeded(ServerHeartbeatSucceededEvent(0.0, Hello({}), (host, 1)))
        else:
            watch.failed(ServerHeartbeatFailedEvent(0.0, error, (host, 1)))
    assert bool(called) is refused
    assert (watch.error is BAD) is refused
