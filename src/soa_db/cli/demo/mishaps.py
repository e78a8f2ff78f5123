"""What happens to a service while it works: its passwords are rotated, its servers are killed."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import QueueHandler
from typing import TYPE_CHECKING

from pydantic import SecretStr

from soa_db.access.settings import load_settings
from soa_db.cli.demo.examples import load_examples
from soa_db.cli.demo.load import Load, kinds
from soa_db.cli.demo.mongo_load import MongoLoad
from soa_db.cli.demo.postgres_load import PostgresLoad
from soa_db.cli.demo.redis_load import CacheLoad, RedisLoad
from soa_db.cli.demo.work import role_arn
from soa_db.cli.terminal import counted
from soa_db.config import PasswordAuth
from soa_db.errors import AuthenticationFailed
from soa_db.names import redis_secret_name

if TYPE_CHECKING:
    from soa_db.aws import AsyncAwsClients, AwsClients
    from soa_db.cli.demo.stage import Stage
    from soa_db.cli.demo.story import Story
    from soa_db.config import RedisConfig
    from soa_db.names import Env

__all__ = ["restart", "rotation"]

_SERVICE = "saga-dash"
# Of those who have a MongoDB.
_MONGO_SERVICE = "sds-api"
# Seconds of calls before, during and after a mishap.
_BEFORE, _DOWN, _AFTER = 0.7, 0.7, 1.0


def rotation(stage: Stage, story: Story) -> None:
    """Rotate passwords in dev while calls are made, many of them on new connections."""
    from soa_db.access.rotate import rotate

    specs = load_examples()[0]
    table = _postgres(stage, "dev", "rotation", reconnect=True)
    cache = RedisLoad(f"{_SERVICE}:rotation:", _redis(stage, "dev"), _rights(stage, "dev"), reconnect=True)
    documents = _mongo(stage, "dev", "demo_rotation", reconnect=True)
    title = "rotate passwords of PostgreSQL, Redis and MongoDB in dev under load, on ever new connections"
    with story.step(title), table, cache, documents, load_settings().aws_for("dev") as aws:
        time.sleep(_BEFORE)
        old = _password(aws)
        began = time.monotonic()
        rotate(specs, env="dev", aws=aws, services=[_SERVICE], roles=["app"], all_consumers_reread=True)
        rotate(specs, env="dev", aws=aws, services=[_MONGO_SERVICE], engines=["mongo"], all_consumers_reread=True)
        took = time.monotonic() - began
        time.sleep(_AFTER / 2)
        opens = [_opens(stage, old), _opens(stage, _password(aws))]
        rotate(specs, env="dev", aws=aws, services=[_SERVICE], engines=["redis"], finish=True)
        time.sleep(_AFTER / 2)
        afterwards = [_opens(stage, old), _opens(stage, _password(aws))]
    calls = f"{counted(table.calls, 'call')} by {table.tasks} tasks on {table.connections} connections"
    others = "; ".join(
        f"{engine}: {counted(load.calls, 'call')} by {load.tasks}"
        for engine, load in (("Redis", cache), ("MongoDB", documents))
    )
    story.say(f"PostgreSQL: {calls}; {others}; rotated in {took:.1f} s")
    for engine, load in (("PostgreSQL", table), ("Redis", cache), ("MongoDB", documents)):
        failed = load.failures
        why = f" ({kinds(failed)})" if failed else ""
        story.promise(not failed, f"{engine}: {counted(len(failed), 'call')} failed{why}")
    _nothing_lost(story, table, documents)
    story.promise(
        opens == [True, True] and afterwards == [False, True],
        "Redis took the old password beside the new one until `rotate --finish`, and only the new one after it",
    )
    text = f"{cache.wrong} values read from Redis other than they were written, {cache.gone} were gone"
    story.promise(cache.wrong == cache.gone == 0, text)


def restart(stage: Stage, story: Story) -> None:
    """Kill prod's servers while calls are made, start them again, and account for every call."""
    table = _postgres(stage, "prod", "restart")
    config = _redis(stage, "prod")
    values = RedisLoad(f"{_SERVICE}:restart:", config, _rights(stage, "prod"))
    cached = CacheLoad(f"{_SERVICE}:cached:", config, _rights(stage, "prod"))
    documents = _mongo(stage, "prod", "demo_restart")
    title = "kill -9 prod's PostgreSQL, Redis and MongoDB under load, start them again"
    with story.step(title), _logged("soa_db.redis") as lines, table, values, cached, documents:
        time.sleep(_BEFORE)
        stage.local.kill_server("prod", "redis")
        redis_dead, origin_before = time.monotonic(), cached.origin_calls
        stage.local.kill_server("prod", "postgres")
        postgres_dead = time.monotonic()
        stage.local.kill_server("prod", "mongo")
        mongo_dead = time.monotonic()
        time.sleep(_DOWN)
        origin_calls = cached.origin_calls - origin_before
        stage.local.start_server("prod", "redis")
        redis_accepts = time.monotonic()
        stage.local.start_server("prod", "postgres")
        postgres_accepts = time.monotonic()
        stage.local.start_server("prod", "mongo")
        mongo_accepts = time.monotonic()
        time.sleep(_AFTER)
    _account(story, "PostgreSQL", table, postgres_dead, postgres_accepts)
    _account(story, "MongoDB", documents, mongo_dead, mongo_accepts)
    _nothing_lost(story, table, documents)
    _account(story, "Redis", values, redis_dead, redis_accepts)
    # Nothing of a cache is on disk: what the server had confirmed went with it.
    text = f"{values.wrong} values read from Redis other than they were written; {values.gone} had gone with the server"
    story.promise(values.wrong == 0, text)
    story.promise(
        not cached.failures and cached.wrong == 0 and origin_calls > 0,
        f"cached calls: {len(cached.failures)} of {cached.calls} failed; {counted(origin_calls, 'call')} of the origin "
        f"while Redis was down, {counted(len(lines), 'line')} in the log",
    )


@contextmanager
def _logged(name: str) -> Iterator[list[logging.LogRecord]]:
    """Give what a logger is told, in place of its standing between the lines of the story."""
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    logger, handler = logging.getLogger(name), QueueHandler(records)
    lines: list[logging.LogRecord] = []
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates
        while not records.empty():
            lines.append(records.get())


def _account(story: Story, engine: str, load: Load, dead: float, accepts: float) -> None:
    """Account for every call made while a server was killed and started again."""
    in_flight = [failure for failure in load.failures if failure.began < dead]
    while_down = [failure for failure in load.failures if dead <= failure.began < accepts]
    afterwards = [failure for failure in load.failures if failure.began >= accepts]
    first = min((at for at in load.succeeded.values() if at > dead), default=None)
    calls = f"{counted(load.calls, 'call')} by {load.tasks} tasks"
    story.say(f"{engine}: {calls}, down for {accepts - dead:.1f} s")
    story.promise(
        all(failure.typed for failure in load.failures),
        f"{counted(len(in_flight), 'call')} in flight failed, typed ({kinds(load.failures)})",
    )
    story.promise(
        not while_down and not afterwards,
        f"{len(while_down)} calls begun while it was down failed, {len(afterwards)} after it accepted again",
    )
    story.promise(first is not None, f"first good call {_since(accepts, first)}")


def _nothing_lost(story: Story, table: PostgresLoad, documents: MongoLoad) -> None:
    for engine, load in (("PostgreSQL", table), ("MongoDB", documents)):
        story.promise(load.lost == 0, f"{engine}: {load.lost} of {len(load.succeeded)} acknowledged writes lost")


def _postgres(stage: Stage, env: Env, name: str, *, reconnect: bool = False) -> PostgresLoad:
    from soa_db.aws import AwsClients
    from soa_db.postgres import load_postgres_config_from_aws

    with AwsClients(role_arn=role_arn(stage.account(env), _SERVICE, "app")) as aws:
        config = load_postgres_config_from_aws(env=env, service=_SERVICE, role="app", aws=aws)
    return PostgresLoad(name, config, _rights(stage, env), reconnect=reconnect)


def _mongo(stage: Stage, env: Env, name: str, *, reconnect: bool = False) -> MongoLoad:
    from soa_db.aws import AwsClients
    from soa_db.mongo import load_mongo_config_from_aws

    with AwsClients(role_arn=role_arn(stage.account(env), _MONGO_SERVICE, "app")) as aws:
        config = load_mongo_config_from_aws(env=env, service=_MONGO_SERVICE, aws=aws)
    return MongoLoad(name, config, _rights(stage, env, _MONGO_SERVICE), reconnect=reconnect)


def _redis(stage: Stage, env: Env) -> RedisConfig:
    from soa_db.aws import AwsClients
    from soa_db.redis import load_redis_config_from_aws

    with AwsClients(role_arn=role_arn(stage.account(env), _SERVICE, "app")) as aws:
        return load_redis_config_from_aws(env=env, service=_SERVICE, aws=aws)


def _rights(stage: Stage, env: Env, service: str = _SERVICE) -> AsyncAwsClients:
    from soa_db.aws import AsyncAwsClients

    return AsyncAwsClients(role_arn=role_arn(stage.account(env), service, "app"))


def _password(aws: AwsClients) -> str:
    """The password in dev's secret, read by the person who runs the demo."""
    return str(aws.secret(redis_secret_name("dev", _SERVICE), force=True)["password"])


def _opens(stage: Stage, password: str) -> bool:
    """Whether dev's Redis takes a password."""
    from soa_db.redis import RedisConnectionManager

    config = _redis(stage, "dev").model_copy(update={"auth": PasswordAuth(password=SecretStr(password))})
    try:
        with RedisConnectionManager(config):
            return True
    except AuthenticationFailed:
        return False


def _since(accepts: float, first: float | None) -> str:
    if first is None:
        return "never came"
    # The moment it accepts is known once `start` has returned; a call can be quicker than that.
    return f"{max(0.0, first - accepts) * 1000:.0f} ms after the server accepted"
