"""The times of a Redis manager are for the whole of what they bound, however little comes at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from tests.servers.aws_kit import settle
from tests.servers.redis_kit import KINDS, config_of, connected
from tests.support.tcp import FaultyProxy

from soa_db import ServerUnavailable

if TYPE_CHECKING:
    from soa_db.local.redis import RedisServer


@pytest.fixture(params=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of manager in turn."""
    return str(request.param)


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[FaultyProxy]:
    """A network that lets one byte at a time through."""
    with FaultyProxy(redis_server.host, redis_server.port) as one:
        yield one


async def test_a_reply_that_trickles_is_given_up_at_the_command_timeout(
    redis_server: RedisServer, proxy: FaultyProxy, kind: str, unique_name: str
) -> None:
    """Each byte comes well within it; the whole reply would take ten times as long. The connection is given up."""
    async with connected(kind, config_of(redis_server, port=proxy.port, command_timeout=0.3)) as cache:
        await settle(cache.set(unique_name, "x" * 30))
        proxy.mode, proxy.delay = "trickle", 0.1
        with pytest.raises(ServerUnavailable, match="in time"):
            await settle(cache.get(unique_name))
        proxy.restore()
        assert await settle(cache.get(unique_name)) == "x" * 30
        assert cache.stats()["in_use"] == 0


async def test_a_reply_in_many_pieces_is_read_to_its_end(
    redis_server: RedisServer, proxy: FaultyProxy, kind: str, unique_name: str
) -> None:
    """Within its time; and the next call has a time of its own."""
    async with connected(kind, config_of(redis_server, port=proxy.port, command_timeout=20)) as cache:
        await settle(cache.set(unique_name, "x" * 30))
        proxy.mode, proxy.delay = "trickle", 0.005
        for _ in range(3):
            assert await settle(cache.get(unique_name)) == "x" * 30


@pytest.mark.parametrize("cluster", [False, True])
async def test_a_login_that_is_not_done_in_time_is_given_up_at_the_connect_timeout(
    redis_server: RedisServer, proxy: FaultyProxy, kind: str, cluster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server accepts and then hardly answers AUTH, for which the command timeout would be long enough."""

    async def awaiting(_: float) -> None: ...

    monkeypatch.setattr(f"soa_db._{kind}.redis.manager.sleep", awaiting if kind == "async" else lambda _: None)
    proxy.mode, proxy.delay = "trickle", 0.1
    times: dict[str, Any] = {"connect_timeout": 0.3, "command_timeout": 30}
    cache = KINDS[kind](config_of(redis_server, port=proxy.port, cluster=cluster, **times))
    with pytest.raises(ServerUnavailable) as caught:
        await settle(cache.connect())
    assert "connect_timeout" in caught.value.hint
    assert not cache.is_connected
    proxy.restore()
    await settle(cache.disconnect())
