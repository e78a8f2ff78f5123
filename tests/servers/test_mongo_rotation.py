"""A password rotated under load: no call fails, whichever of the two the server and AWS hold at the moment."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from pymongo.errors import OperationFailure
from tests.servers.aws_kit import REGION, CountingAws, settle
from tests.servers.mongo_kit import KINDS, config_of

from soa_db import AuthenticationFailed, MongoConfig, SecretAuth
from soa_db.aws import AwsClients
from soa_db.config import AwsTarget

if TYPE_CHECKING:
    from soa_db.local.mongo import MongoServer


@pytest.fixture(params=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of provider in turn."""
    return str(request.param)


@dataclass(frozen=True, slots=True)
class Rotation:
    """A service's user on the server, and its secret."""

    server: MongoServer
    clients: AwsClients
    config: MongoConfig
    secret_id: str

    def put(self, password: str, stage: str = "AWSCURRENT") -> None:
        """Write a version of the secret."""
        value = json.dumps({"username": self.config.user, "password": password})
        self.clients.call(
            "secretsmanager",
            "put_secret_value",
            SecretId=self.secret_id,
            SecretString=value,
            VersionStages=[stage],
            ClientRequestToken=f"{self.secret_id}-{password}-{stage}".ljust(64, "-")[-64:],
        )

    def set_password(self, password: str) -> None:
        """Change it on the server."""
        with self.server.admin() as admin:
            admin[self.config.database].command("updateUser", self.config.user, pwd=password)


@pytest.fixture
def rotation(aws: CountingAws, mongo_server: MongoServer, unique_name: str) -> Any:
    """A user with the password ``first`` in both places."""
    database, user, secret_id = f"{unique_name}_db", f"{unique_name}_app", f"dev/mongodb-shared/{unique_name}-password"
    mongo_server.create_user(user, "first-password", database=database)
    clients = AwsClients(region=REGION)
    value = json.dumps({"username": user, "password": "first-password"})
    clients.call("secretsmanager", "create_secret", Name=secret_id, SecretString=value)
    auth = SecretAuth(secret_id=secret_id, aws=AwsTarget(region=REGION))
    config = config_of(mongo_server, database=database, user=user, auth=auth, auth_source=None)
    yield Rotation(mongo_server, clients, config, secret_id)
    clients.close()


@contextlib.asynccontextmanager
async def under_load(kind: str, provider: Any, failures: list[BaseException]) -> AsyncIterator[Callable[[], int]]:
    """Ten callers who write and read all the time; gives how many calls were made."""
    counts = [0] * 10
    stopped = threading.Event()

    async def work(number: int) -> None:
        while not stopped.is_set():
            try:
                await provider.database["rooms"].insert_one({"by": number})
                assert await provider.database["rooms"].find_one({"by": number}) is not None
                counts[number] += 1
            except Exception as error:
                failures.append(error)
                return

    def blocking(number: int) -> None:
        while not stopped.is_set():
            try:
                provider.database["rooms"].insert_one({"by": number})
                assert provider.database["rooms"].find_one({"by": number}) is not None
                counts[number] += 1
            except Exception as error:
                failures.append(error)
                return

    def start(number: int) -> Awaitable[None]:
        loop = asyncio.get_running_loop()
        return loop.create_task(work(number)) if kind == "async" else loop.run_in_executor(threads, blocking, number)

    # Not the loop's own threads, of which there may be fewer.
    with ThreadPoolExecutor(len(counts)) as threads:
        tasks = [start(number) for number in range(len(counts))]
        try:
            yield lambda: sum(counts)
        finally:
            stopped.set()
            await asyncio.gather(*tasks)


async def proceed(count: Callable[[], int], failures: list[BaseException]) -> None:
    """Wait until every caller has made some more calls."""
    before = count()
    while count() < before + 40 and not failures:
        await asyncio.sleep(0.005)


async def renew(provider: Any, count: Callable[[], int], failures: list[BaseException]) -> None:
    """Have the connections made anew a few times while the callers go on."""
    for _ in range(3):
        await settle(provider.drain())
        await proceed(count, failures)


async def test_no_call_fails_through_a_whole_rotation(rotation: Rotation, kind: str, aws: CountingAws) -> None:
    """AWSPENDING written, the server changed, promoted: connections of all three moments; nobody reads in vain."""
    provider = KINDS[kind](rotation.config)
    failures: list[BaseException] = []
    await settle(provider.connect())
    client = provider.client
    async with under_load(kind, provider, failures) as count:
        await proceed(count, failures)
        await asyncio.to_thread(rotation.put, "second-password", "AWSPENDING")
        await renew(provider, count, failures)
        await asyncio.to_thread(rotation.set_password, "second-password")
        # Those that are logged in stay so; new ones find the pending password.
        await proceed(count, failures)
        await renew(provider, count, failures)
        await asyncio.to_thread(rotation.put, "second-password")
        await renew(provider, count, failures)
        read = aws.seen["GetSecretValue"]
        await renew(provider, count, failures)
        assert aws.seen["GetSecretValue"] == read
    assert failures == []
    assert provider.client is client
    await settle(provider.disconnect())


async def test_a_rotation_without_a_pending_stage_is_found_too(rotation: Rotation, kind: str) -> None:
    """The secret is simply another: one forced read."""
    provider = KINDS[kind](rotation.config)
    failures: list[BaseException] = []
    await settle(provider.connect())
    async with under_load(kind, provider, failures) as count:
        await asyncio.to_thread(rotation.put, "third-password")
        await asyncio.to_thread(rotation.set_password, "third-password")
        await renew(provider, count, failures)
    assert failures == []
    await settle(provider.disconnect())


async def test_a_stale_cache_does_not_fail_connect(rotation: Rotation, kind: str) -> None:
    """The password changed between loading the secret and connecting."""
    provider = KINDS[kind](rotation.config)
    await settle(provider.connect())
    await settle(provider.disconnect())
    rotation.put("fourth-password")
    rotation.set_password("fourth-password")
    await settle(provider.connect())
    assert await settle(provider.ping())
    await settle(provider.disconnect())


async def test_a_password_that_is_nowhere_fails_typed_naming_the_secret(rotation: Rotation, kind: str) -> None:
    """In the middle of operations too: our error, which is pymongo's, after one forced re-read; no frame holds one."""
    provider = KINDS[kind](rotation.config)
    await settle(provider.connect())
    rotation.set_password("only-the-server-knows")
    await settle(provider.database["rooms"].find_one())
    await settle(provider.drain())
    with pytest.raises(AuthenticationFailed, match=rotation.secret_id) as caught:
        await settle(provider.database["rooms"].find_one())
    error = caught.value
    assert isinstance(error, OperationFailure)
    assert error.code == 18
    assert "first-password" not in f"{error}{error!r}{error.__cause__!r}"
    frame = error.__cause__.__traceback__ if error.__cause__ is not None else None
    assert frame is None
    assert provider.is_connected
    await settle(provider.disconnect())
