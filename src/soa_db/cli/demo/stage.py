"""What the demo plays on: a local environment, this process's environment pointing at it, and a worker for each."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from soa_db.errors import ServerUnavailable
from soa_db.local.environment import LocalEnvironment
from soa_db.names import ENVS, Env

if TYPE_CHECKING:
    from soa_db.cli.demo.story import Story

__all__ = ["Stage", "staged"]

T = TypeVar("T")

# What would lead AWS clients or PostgreSQL's elsewhere; those that are kept say which servers to start.
_FOREIGN = ("AWS_", "PG", "SOA_DB_")
_KEPT = {"SOA_DB_POSTGRES_BIN", "SOA_DB_REDIS_SERVER", "SOA_DB_MONGOD"}


@dataclass(frozen=True, slots=True)
class Stage:
    """The environment the demo works in.

    Attributes:
        local: the local environment.
    """

    local: LocalEnvironment
    _workers: ProcessPoolExecutor

    def account(self, env: Env) -> str:
        """The AWS account of an environment."""
        return self.local.server(env).account

    def in_each(self, act: Callable[..., T], *arguments: object) -> dict[Env, T]:
        """Do something in the three environments side by side: ``act(env, *arguments)``, in processes of their own."""
        futures = {env: self._workers.submit(act, env, *arguments) for env in ENVS}
        return {env: future.result() for env, future in futures.items()}


@contextmanager
def staged(directory: Path, story: Story, *, keep: bool) -> Iterator[Stage]:
    """Start a fresh environment in ``directory``, and take it down again unless it is to be kept.

    Raises:
        ServerUnavailable: it did not come up, or another demo plays there.
        ConfigurationError: the folder is somebody else's.
    """
    local = LocalEnvironment(directory)
    with ExitStack() as stack:
        stack.enter_context(_alone(directory))
        # The demo begins on empty servers: what an earlier one was told to keep, or left when it was killed, goes.
        local.down()
        with story.step("start PostgreSQL, Redis and MongoDB for dev, mirror and prod, and an emulated AWS") as lines:
            if keep:
                local.up()
            else:
                stack.enter_context(local)
            versions = ", ".join(sorted({str(local.server(env).version) for env in ENVS}))
            lines.append(f"PostgreSQL {versions}: dev plain, with passwords; mirror and prod with TLS and IAM tokens")
            products = ", ".join(sorted({local.server(env, "redis").product for env in ENVS}))
            lines.append(f"{products}: dev self-run; mirror and prod with TLS, users and groups by ElastiCache's API")
            products = ", ".join(sorted({local.server(env, "mongo").product for env in ENVS}))
            lines.append(f"{products}: dev plain; mirror and prod replica sets with TLS; passwords everywhere")
            lines.append("AWS: signatures and policies enforced; dev and mirror in one account, prod in another")
        stack.enter_context(_pointing_at(local.exports()))
        yield Stage(local, stack.enter_context(_workers()))


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Hold the folder against other demos, each of which would take down what it finds there.

    The lock is on the folder itself and leaves no file in one that turns out to be somebody else's.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o755)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ServerUnavailable(
                f"another demo plays in {directory}", hint="wait for it, or choose another directory with --state-dir"
            ) from error
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _workers() -> Iterator[ProcessPoolExecutor]:
    """Give processes that do the work of one environment each, and end them whatever they are doing."""
    executor = ProcessPoolExecutor(len(ENVS), multiprocessing.get_context("spawn"), initializer=_ignore_interrupts)
    try:
        yield executor
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
            process.join()


def _ignore_interrupts() -> None:
    """Leave Ctrl-C, which the terminal sends to every process, to the one that talks to the person."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _pointing_at(exports: Mapping[str, str]) -> Iterator[None]:
    """Make this process's environment lead to the local environment and nowhere else."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(_FOREIGN) and name not in _KEPT:
            del os.environ[name]
    os.environ.update(exports)
    # A profile of the person who runs this must not play a part.
    os.environ.update(AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull)
    # A proxy neither: botocore would send it what is meant for 127.0.0.1.
    os.environ["NO_PROXY"] = "127.0.0.1,localhost"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
