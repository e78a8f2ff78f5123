"""A rotation while a service works: no call fails, and subscriptions go on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import ConnectionError as DriverConnectionError
from tests.servers.aws_kit import settle
from tests.servers.redis_access.world import World, spec

from soa_db.access.redis.entry import redis_passwords
from soa_db.access.redis.rotate import finish_redis, rotate_redis
from soa_db.access.spec import SpecSet
from soa_db.names import redis_user
from soa_db.redis import AsyncRedisConnectionManager, RedisConnectionManager

if TYPE_CHECKING:
    from redis import Redis
    from redis.asyncio.client import PubSub

SERVICE = "chat-api"
CHANNEL = f"{SERVICE}:news"
_TASKS, _THREADS = 6, 3
# Calls each of them makes in each stage.
_CALLS = 25


@pytest.fixture(params=["self", "elasticache"])
def either(request: pytest.FixtureRequest) -> World:
    """A provisioned world of each back end."""
    world: World = request.getfixturevalue("world" if request.param == "self" else "attached")
    world.apply(spec(SERVICE))
    return world


def work_on(world: World, work: Callable[..., Any]) -> None:
    """Rotate or finish, as the command does it."""
    passwords = redis_passwords(SpecSet((spec(SERVICE),)), world.env, aws=world.aws, settings=world.settings)
    work(passwords, progress=lambda _: None)


class Load:
    """Calls through managers of both kinds, each reading back what it wrote; what fails is kept."""

    def __init__(self) -> None:
        self.done: dict[str, int] = {}
        self.failed: list[BaseException] = []
        self.over = False

    async def call(self, name: str, cache: AsyncRedisConnectionManager) -> None:
        """One task."""
        while not self.over:
            number = self.done.setdefault(name, 0)
            try:
                await cache.set(f"{SERVICE}:{name}", number)
                assert await cache.get(f"{SERVICE}:{name}") == number
                assert await cache.cached_call(f"{SERVICE}:{name}:{number % 7}", self.origin) == "value"
            except Exception as error:
                self.failed.append(error)
                return
            self.done[name] += 1
            await asyncio.sleep(0)

    def call_in_thread(self, name: str, cache: RedisConnectionManager) -> None:
        """One thread."""
        while not self.over:
            number = self.done.setdefault(name, 0)
            try:
                cache.set(f"{SERVICE}:{name}", number)
                assert cache.get(f"{SERVICE}:{name}") == number
                assert cache.cached_call(f"{SERVICE}:{name}:{number % 7}", lambda: "value") == "value"
            except Exception as error:
                self.failed.append(error)
                return
            self.done[name] += 1

    async def origin(self) -> str:
        """What is cached."""
        return "value"

    async def goes_on(self, calls: int = _CALLS) -> None:
        """Wait until each has made so many calls more, or one has failed."""
        goal = {name: self.done.get(name, 0) + calls for name in self.names()}
        async with asyncio.timeout(120):
            while not self.failed and any(self.done.get(name, 0) < count for name, count in goal.items()):
                await asyncio.sleep(0.01)
        assert self.failed == []

    @staticmethod
    def names() -> list[str]:
        """Of all tasks and threads."""
        return [f"task-{n}" for n in range(_TASKS)] + [f"thread-{n}" for n in range(_THREADS)]


class Cutter:
    """Cuts one of the service's connections again and again, the oldest first, but for those it spares."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._spared: set[str] = set()
        self.cut = 0
        self.over = threading.Event()

    def spare(self, identity: int) -> None:
        """Leave this connection alone."""
        self._spared.add(str(identity))

    def run(self) -> None:
        """In a thread."""
        with self._world.admin() as admin:
            while not self.over.wait(0.03):
                found = connections(admin, self._world, "normal")
                for identity in found[:1] if (found := [one for one in found if one not in self._spared]) else []:
                    self.cut += int(admin.client_kill_filter(_id=identity))


def connections(admin: Redis, world: World, kind: str) -> list[str]:
    """The ids of the service's connections of a kind, the oldest first."""
    found: Any = admin.client_list(_type=kind)
    return [one["id"] for one in found if one["user"] == redis_user(SERVICE, world.env)]


class Subscription:
    """A subscription and what has come by it."""

    def __init__(self, pubsub: PubSub) -> None:
        self.pubsub = pubsub
        self.received: list[int] = []
        self.over = False

    async def listen(self) -> None:
        """Until it is over; a cut is survived by the driver's own reconnecting, which subscribes again."""
        while not self.over:
            message = None
            with suppress(DriverConnectionError):
                message = await self.pubsub.get_message(ignore_subscribe_messages=True, timeout=0.05)
            if message is not None:
                self.received.append(int(message["data"]))


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """What the test leaves is closed."""
    async with AsyncExitStack() as stack:
        yield stack


async def test_no_call_fails_and_no_message_is_lost_while_a_password_is_rotated(
    either: World, stack: AsyncExitStack
) -> None:
    """Begin, rotate, go on, finish, go on: connections are cut all the time, so that each stage has new logins.

    Managers read AWS by clients of their own, as other processes do: nobody tells them of the rotation.
    """
    old = either.password(SERVICE)
    cache = await stack.enter_async_context(AsyncRedisConnectionManager.from_aws(env="mirror", service=SERVICE))
    news = await stack.enter_async_context(AsyncRedisConnectionManager.from_aws(env="mirror", service=SERVICE))
    blocking = RedisConnectionManager.from_aws(env="mirror", service=SERVICE)
    await asyncio.to_thread(blocking.connect)
    stack.callback(blocking.disconnect)

    subscriptions = [Subscription(news.client.pubsub()) for _ in range(2)]
    for one in subscriptions:
        await one.pubsub.subscribe(CHANNEL)
        stack.push_async_callback(one.pubsub.aclose)
    cutter, load = Cutter(either), Load()
    # Publishing is no call that may be repeated: its connection is not cut.
    cutter.spare(await settle(news.client.client_id()))
    published = 0

    async def publish() -> None:
        nonlocal published
        while not load.over:
            await settle(news.client.publish(CHANNEL, published))
            published += 1
            await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as group:
        listeners = [group.create_task(one.listen()) for one in subscriptions]
        workers = [group.create_task(load.call(f"task-{n}", cache)) for n in range(_TASKS)]
        workers += [
            group.create_task(asyncio.to_thread(load.call_in_thread, f"thread-{n}", blocking)) for n in range(_THREADS)
        ]
        workers.append(group.create_task(publish()))
        cutting = group.create_task(asyncio.to_thread(cutter.run))
        try:
            await load.goes_on()
            await asyncio.to_thread(work_on, either, rotate_redis)
            new = either.password(SERVICE)
            assert new != old
            await load.goes_on()
            assert either.opens(SERVICE, old), "until it is finished"
            await asyncio.to_thread(work_on, either, finish_redis)
            cut = cutter.cut
            await load.goes_on()
            assert not either.opens(SERVICE, old)
            assert either.opens(SERVICE, new)
            assert cutter.cut > cut > 10, "connections were cut before and after"

            # One subscription's connection is cut: it logs in with the new password and goes on.
            with either.admin() as admin:
                first, second = connections(admin, either, "pubsub")
                admin.client_kill_filter(_id=second)
                async with asyncio.timeout(60):
                    while len(found := connections(admin, either, "pubsub")) < 2 or second in found:
                        await asyncio.sleep(0.01)
                assert first in found
            resumed_at = published
            await load.goes_on()
        finally:
            load.over = True
            cutter.over.set()
            await asyncio.wait([*workers, cutting])
            with suppress(TimeoutError):
                async with asyncio.timeout(30):
                    while any(one.received[-1:] != [published - 1] for one in subscriptions):
                        await asyncio.sleep(0.01)
            for one in subscriptions:
                one.over = True
            await asyncio.wait(listeners)

    assert load.failed == []
    whole, interrupted = sorted(subscriptions, key=lambda one: -len(one.received))
    assert whole.received == list(range(published)), "in order, none lost, none twice"
    assert interrupted.received == sorted(set(interrupted.received))
    assert interrupted.received[-1] == published - 1 > resumed_at
    for manager in (cache, news, blocking):
        await settle(manager.drain())
        assert await settle(manager.ping()), "with new connections only"
