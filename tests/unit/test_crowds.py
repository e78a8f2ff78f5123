"""What keeps a crowd of callers from holding up the event loop."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from typing import cast

import pytest

from soa_db._async.credentials import AsyncIamCredentials, postgres_credentials
from soa_db._runtime.clock import Clock
from soa_db._runtime.imports import no_collection
from soa_db.aws import AsyncAwsClients, AwsCredentials
from soa_db.config import IamAuth, PostgresConfig
from soa_db.credentials import Credentials


class SlowAws:
    """Gives AWS credentials once it is told to; another set each time ``force`` is used."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.held = self._new(1)

    def _new(self, number: int) -> AwsCredentials:
        return AwsCredentials(f"AKIA{number}", f"made-up-{number}", None, time.time() + 3600)

    async def credentials(self, *, force: bool = False) -> AwsCredentials:
        await self.ready.wait()
        if force:
            self.held = self._new(2)
        return self.held


def _provider(aws: SlowAws, clock: Clock | None = None) -> AsyncIamCredentials:
    clients = cast("AsyncAwsClients", aws)
    config = PostgresConfig(
        instance_name="chat", host="db.example", database="d", user="chat_api_app", auth=IamAuth(region="us-west-2")
    )
    provider = postgres_credentials(config, aws=clients, clock=clock)
    assert isinstance(provider, AsyncIamCredentials)
    return provider


async def test_callers_who_waited_for_the_same_aws_credentials_share_one_token() -> None:
    """Only one of them signs: a thousand signatures would hold up the event loop for 100 ms."""
    aws = SlowAws()
    provider = _provider(aws)
    callers = [asyncio.create_task(provider.get()) for _ in range(20)]
    await asyncio.sleep(0)
    aws.ready.set()
    tokens = [await caller for caller in callers]
    assert all(token is tokens[0] for token in tokens)


async def test_new_aws_credentials_sign_a_new_token() -> None:
    """A token refused is replaced by one of the renewed credentials, not given again."""
    aws = SlowAws()
    aws.ready.set()
    provider = _provider(aws)
    refused = await provider.get()
    renewed = await provider.refresh(refused)
    assert isinstance(renewed, Credentials)
    assert renewed.secret != refused.secret
    assert await provider.get() is renewed


@pytest.mark.parametrize("jump", [1800.0, -1800.0])
async def test_a_token_is_signed_anew_when_the_clocks_drift_apart(jump: float) -> None:
    """After a suspend, in which only the wall clock runs, or once a wrong clock is set: AWS goes by the wall clock."""
    aws = SlowAws()
    aws.ready.set()
    wall = time.time()
    off = [0.0]
    provider = _provider(aws, Clock(monotonic=lambda: 100.0, wall=lambda: wall + off[0]))
    before = await provider.get()
    off[0] = 5.0
    assert await provider.get() is before
    off[0] = jump
    after = await provider.get()
    assert after.secret != before.secret
    assert await provider.get() is after


def test_the_collector_rests_while_something_is_loaded() -> None:
    """And works again afterwards, also when the import fails."""
    assert gc.isenabled()
    with no_collection():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), no_collection():
        raise ImportError
    assert gc.isenabled()


def test_a_collector_the_user_switched_off_stays_off() -> None:
    """Whoever runs without it (gunicorn before its fork, say) does not get it back from us."""
    gc.disable()
    try:
        with no_collection():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


# Python 3.12 warns of every fork while threads run, and which run here depends on the tests before.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_forked_while_another_thread_loads_collects_garbage() -> None:
    """That thread is not in the child, and would never switch the collector on again."""
    with no_collection():
        child = os.fork()
        if not child:
            os._exit(0 if gc.isenabled() else 1)
        assert not gc.isenabled()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    gc.disable()
    try:
        child = os.fork()
        if not child:
            os._exit(1 if gc.isenabled() else 0)
    finally:
        gc.enable()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
