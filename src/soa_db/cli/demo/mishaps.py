"""What happens to a service while it works: its password is rotated, its server is killed."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from soa_db.access.settings import load_settings
from soa_db.cli.demo.examples import load_examples
from soa_db.cli.demo.load import Load
from soa_db.cli.demo.work import role_arn
from soa_db.cli.terminal import counted

if TYPE_CHECKING:
    from soa_db.cli.demo.stage import Stage
    from soa_db.cli.demo.story import Story
    from soa_db.names import Env

__all__ = ["restart", "rotation"]

_SERVICE = "saga-dash"
# Seconds of calls before, during and after a mishap.
_BEFORE, _DOWN, _AFTER = 0.7, 0.7, 1.0


def rotation(stage: Stage, story: Story) -> None:
    """Rotate a password in dev while calls are made, many of them on new connections."""
    from soa_db.access.rotate import rotate

    load = _load(stage, "dev", "rotation", reconnect=True)
    title = "rotate a password in dev under load, connections being made all the time"
    with story.step(title), load, load_settings().aws_for("dev") as aws:
        time.sleep(_BEFORE)
        began = time.monotonic()
        specs = load_examples()[0]
        rotate(specs, env="dev", aws=aws, services=[_SERVICE], roles=["app"], all_consumers_reread=True)
        took = time.monotonic() - began
        time.sleep(_AFTER)
    kinds = ", ".join(sorted({failure.error for failure in load.failures}))
    calls = f"{counted(load.calls, 'call')} by {load.tasks} tasks on {load.connections} connections"
    story.say(f"{calls}; rotated in {took:.1f} s")
    story.promise(not load.failures, f"{counted(len(load.failures), 'call')} failed{kinds and f' ({kinds})'}")
    story.promise(load.lost == 0, f"{load.lost} of {len(load.acknowledged)} acknowledged writes lost")


def restart(stage: Stage, story: Story) -> None:
    """Kill prod's server while calls are made, start it again, and account for every call."""
    load = _load(stage, "prod", "restart")
    with story.step("kill -9 prod's server under load, start it again"), load:
        time.sleep(_BEFORE)
        stage.local.kill_server("prod")
        dead = time.monotonic()
        time.sleep(_DOWN)
        stage.local.start_server("prod")
        accepts = time.monotonic()
        time.sleep(_AFTER)
    in_flight = [failure for failure in load.failures if failure.began < dead]
    while_down = [failure for failure in load.failures if dead <= failure.began < accepts]
    afterwards = [failure for failure in load.failures if failure.began >= accepts]
    kinds = ", ".join(f"{number} × {kind}" for kind, number in Counter(item.error for item in load.failures).items())
    first = min((at for at in load.acknowledged.values() if at > dead), default=None)
    story.say(f"{counted(load.calls, 'call')} by {load.tasks} tasks, down for {accepts - dead:.1f} s")
    story.promise(
        all(failure.typed for failure in load.failures),
        f"{counted(len(in_flight), 'call')} in flight failed, typed ({kinds or 'none'})",
    )
    story.promise(
        not while_down and not afterwards,
        f"{len(while_down)} calls begun while it was down failed, {len(afterwards)} after it accepted again",
    )
    story.promise(first is not None, f"first good write {_since(accepts, first)}")
    story.promise(load.lost == 0, f"{load.lost} of {len(load.acknowledged)} acknowledged writes lost")


def _load(stage: Stage, env: Env, name: str, *, reconnect: bool = False) -> Load:
    from soa_db.aws import AsyncAwsClients, AwsClients
    from soa_db.postgres import load_postgres_config_from_aws

    role = role_arn(stage.account(env), _SERVICE, "app")
    with AwsClients(role_arn=role) as aws:
        config = load_postgres_config_from_aws(env=env, service=_SERVICE, role="app", aws=aws)
    return Load(name, config, AsyncAwsClients(role_arn=role), reconnect=reconnect)


def _since(accepts: float, first: float | None) -> str:
    if first is None:
        return "never came"
    # The moment it accepts is known once `start` has returned; a write can be quicker than that.
    return f"{max(0.0, first - accepts) * 1000:.0f} ms after the server accepted"
