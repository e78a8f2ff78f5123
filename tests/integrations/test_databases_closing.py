"""How `open_databases` ends on real servers: all are closed, and all that goes wrong is told, whatever ended it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.environment import only
from tests.support.postgres import eventually, superuser

from soa_db.access import apply, load_specs
from soa_db.aws import AsyncAwsClients
from soa_db.databases import Databases, open_databases
from soa_db.errors import ServerUnavailable
from soa_db.mongo import AsyncMongoProvider
from soa_db.postgres import AsyncPostgresProvider
from soa_db.redis import AsyncRedisConnectionManager

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment

COACH = Path(__file__).resolve().parents[2] / "examples" / "coach" / "db-access.yaml"
CANARY = "a-canary-of-the-tests"


@pytest.fixture(scope="module")
def provisioned(local_env: LocalEnvironment) -> LocalEnvironment:
    """With coach's users in dev."""
    with pytest.MonkeyPatch.context() as patch:
        only(patch, local_env.exports())
        apply(load_specs([COACH]), env="dev")
    return local_env


def sessions(env: LocalEnvironment) -> int:
    """How many sessions coach has on dev's PostgreSQL."""
    query = "select count(*) from pg_stat_activity where usename like 'coach%'"
    return int(str(superuser(env.server("dev"), query)[0][0]))


@pytest.fixture
def coach(provisioned: LocalEnvironment, local_aws: LocalEnvironment) -> Iterator[LocalEnvironment]:
    """The environment, for a test that leaves no session behind."""
    before = sessions(local_aws)
    yield local_aws
    eventually(lambda: sessions(local_aws) == before)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Redis, MongoDB and the AWS clients close, and then fail; what has been closed."""
    closed: list[str] = []

    def breaks(kind: type[Any], method: str, error: Exception) -> None:
        real = getattr(kind, method)

        async def close(self: Any) -> None:
            await real(self)
            closed.append(kind.__name__)
            raise error

        monkeypatch.setattr(kind, method, close)

    breaks(AsyncRedisConnectionManager, "disconnect", KeyError("of redis"))
    breaks(AsyncMongoProvider, "disconnect", ServerUnavailable("of mongo"))
    breaks(AsyncAwsClients, "close", RuntimeError(f"postgresql://u:{CANARY}@h/d"))
    return closed


ALL = {"AsyncRedisConnectionManager", "AsyncMongoProvider", "AsyncAwsClients"}


async def test_every_failure_to_close_is_raised(
    coach: LocalEnvironment, broken: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """All are closed; one error is raised as it is, several as a group, and each is a line in the log."""
    with pytest.raises(ExceptionGroup, match="of coach that could not be closed") as caught:
        async with open_databases("coach", "dev", specs=COACH):
            pass
    assert set(broken) == ALL
    assert [type(error) for error in caught.value.exceptions] == [KeyError, ServerUnavailable, RuntimeError]
    told = [record.getMessage() for record in caplog.records if record.name == "soa_db.databases"]
    assert [line.split(": ")[1] for line in told] == ["redis", "mongo", "AWS clients"]
    assert CANARY not in caplog.text


async def test_a_single_failure_to_close_is_raised_as_it_is(coach: LocalEnvironment, broken: list[str]) -> None:
    """The caller's AWS clients are the caller's to close."""
    aws = AsyncAwsClients()
    with pytest.raises(KeyError, match="of redis"):
        async with open_databases("coach", "dev", specs=COACH, engines=["postgres", "redis"], aws=aws):
            pass
    assert broken == ["AsyncRedisConnectionManager"]
    with pytest.raises(RuntimeError):
        await aws.close()


async def test_the_blocks_own_error_goes_on_with_a_note_of_each_failure(
    coach: LocalEnvironment, broken: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """It is why all was closed; no note shows a secret."""
    with pytest.raises(LookupError, match="of the block") as caught:
        async with open_databases("coach", "dev", specs=COACH):
            raise LookupError("of the block")
    assert set(broken) == ALL
    notes = caught.value.__notes__
    assert [note.split(": ")[1] for note in notes] == ["redis", "mongo", "AWS clients"]
    assert all(note.startswith("could not be closed: ") for note in notes)
    assert "of mongo" in notes[1]
    assert CANARY not in "".join(notes)


async def test_a_cancelled_block_stays_cancelled(coach: LocalEnvironment, broken: list[str]) -> None:
    """A timeout is still a timeout, though closing fails."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as limit, open_databases("coach", "dev", specs=COACH):
            limit.reschedule(0)
            await asyncio.sleep(60)
    assert set(broken) == ALL


async def test_cancelled_while_closing_all_is_closed_and_the_log_tells(
    coach: LocalEnvironment, broken: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As often as it may be: the caller sees its cancellation when all are closed, with what went wrong."""
    begun, go_on = asyncio.Event(), asyncio.Event()
    real = AsyncPostgresProvider.disconnect

    async def slow(self: AsyncPostgresProvider) -> None:
        begun.set()
        await go_on.wait()
        await real(self)

    monkeypatch.setattr(AsyncPostgresProvider, "disconnect", slow)

    async def run() -> None:
        async with open_databases("coach", "dev", specs=COACH):
            pass

    task = asyncio.create_task(run())
    await begun.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert sessions(coach) == 0
    assert set(broken) == ALL
    assert len(caught.value.__notes__) == len(ALL)
    assert "AWS clients: RuntimeError" in caplog.text


@pytest.fixture
def ctrl_c() -> Iterator[Callable[[], None]]:
    """What Ctrl-C does, whatever shell runs the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("when", ["raised", "open", "closing"])
def test_ctrl_c_closes_all(
    coach: LocalEnvironment,
    broken: list[str],
    monkeypatch: pytest.MonkeyPatch,
    ctrl_c: Callable[[], None],
    when: str,
) -> None:
    """While they are open, as a signal or an error raised; and while they are being closed. The program ends then."""
    kept: list[Databases] = []
    real = AsyncPostgresProvider.disconnect

    async def interrupted(self: AsyncPostgresProvider) -> None:
        if self is kept[0].postgres:  # a second Ctrl-C ends the loop at once
            ctrl_c()
        await asyncio.sleep(0.05)
        await real(self)

    async def run() -> None:
        async with open_databases("coach", "dev", specs=COACH) as databases:
            kept.append(databases)  # what is not closed is not collected either
            if when == "raised":
                raise KeyboardInterrupt
            if when == "open":
                ctrl_c()
                await asyncio.sleep(60)
            monkeypatch.setattr(AsyncPostgresProvider, "disconnect", interrupted)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(run())
    assert set(broken) == ALL
    eventually(lambda: sessions(coach) == 0)


async def test_a_fault_while_opening_goes_on_with_a_note_of_what_else_failed(
    coach: LocalEnvironment, broken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those that could not be opened, and of those that could not be closed."""

    async def faulty(_self: object) -> None:
        raise ZeroDivisionError

    async def away(_self: object) -> None:
        raise ServerUnavailable("is away")

    monkeypatch.setattr(AsyncMongoProvider, "connect", faulty)
    monkeypatch.setattr(AsyncRedisConnectionManager, "connect", away)
    with pytest.raises(ZeroDivisionError) as caught:
        async with open_databases("coach", "dev", specs=COACH):
            pytest.fail("it cannot have been opened")
    first, *rest = caught.value.__notes__
    assert first == "nor could be opened: redis: ServerUnavailable: is away"
    assert len(rest) == len(ALL)
