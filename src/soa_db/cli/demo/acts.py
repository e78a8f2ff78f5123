"""What the demo does, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from soa_db.cli.demo import mongo_work, redis_work, work
from soa_db.cli.demo.examples import load_examples
from soa_db.cli.demo.mishaps import restart, rotation
from soa_db.cli.terminal import counted
from soa_db.names import ENVS, Env

if TYPE_CHECKING:
    from collections.abc import Mapping

    from soa_db.cli.demo.stage import Stage
    from soa_db.cli.demo.story import Story

__all__ = ["play"]

# Of the things that are wrong, how many are told.
_SHOWN = 10


def play(stage: Stage, story: Story) -> None:
    """Do everything the demo shows."""
    _provision(stage, story)
    _migrate(stage, story)
    _verify(stage, story)
    _connect(stage, story)
    rotation(stage, story)
    restart(stage, story)


def _provision(stage: Stage, story: Story) -> None:
    services = counted(len(load_examples()[0].specs), "service")
    with story.step(f"provision: roles, databases and privileges, users of Redis and MongoDB, of {services}") as lines:
        lines.append(_per_env(stage.in_each(work.provision), "change"))
    with story.step("policy: each tier may become its own users and read its own secrets, nothing else") as lines:
        lines.append(_per_env(stage.in_each(work.write_policies, _accounts(stage)), "write"))


def _migrate(stage: Stage, story: Story) -> None:
    with story.step("each service's owner applies its migrations, with its own AWS rights") as lines:
        lines.append(_per_env(stage.in_each(work.migrate, _accounts(stage)), "migration"))
    with story.step("provision again: what the specs grant on single tables that exist now") as lines:
        lines.append(f"{_per_env(stage.in_each(work.provision), 'change')}; all else came by default privileges")
        left = stage.in_each(work.pending)
    story.promise(not any(left.values()), f"then the plan is empty: {_per_env(left, 'change')}")


def _verify(stage: Stage, story: Story) -> None:
    with story.step("verify: log in as everyone everywhere, with the service's AWS rights, and try what must fail"):
        reports = stage.in_each(work.prove)
    for report in reports.values():
        story.promise(report.exit_code == 0, report.summary())
        wrong = (*report.violations, *report.inconclusive)
        for check in wrong[:_SHOWN]:
            story.say(f"  {check}")
        if len(wrong) > _SHOWN:
            story.say(f"  … and {len(wrong) - _SHOWN} more")


def _connect(stage: Stage, story: Story) -> None:
    with story.step("connect as each identity, as its service does"):
        results = stage.in_each(work.connect_as_each, _accounts(stage))
        caches = stage.in_each(redis_work.connect_as_each, _accounts(stage))
        documents = stage.in_each(mongo_work.connect_as_each, _accounts(stage))
    good, wanted = (sum(result[index] for result in results.values()) for index in (0, 1))
    story.promise(
        good == wanted, f"PostgreSQL: {good} of {wanted} are who and where they should be, with TLS in mirror and prod"
    )
    seen = [user for users in caches.values() for user in users]
    good = sum(user.right for user in seen)
    story.promise(good == len(seen), f"Redis: {good} of {len(seen)} likewise, a value written and read where they may")
    good, wanted = (sum(result[index] for result in documents.values()) for index in (0, 1))
    text = f"MongoDB: {good} of {wanted} likewise, a document written and read, and what others share with it"
    story.promise(good == wanted, text)
    callers, keys, origin = (sum(getattr(user, name) for user in seen) for name in ("callers", "keys", "origin_calls"))
    text = f"cached_call: {callers} callers of {counted(keys, 'key')} at once, {counted(origin, 'call')} of the origin"
    story.promise(origin == keys, text)


def _accounts(stage: Stage) -> dict[Env, str]:
    return {env: stage.account(env) for env in ENVS}


def _per_env(counts: Mapping[Env, int], thing: str) -> str:
    """``187 changes in dev, 142 in mirror, …``."""
    first, *rest = counts.items()
    return ", ".join([f"{counted(first[1], thing)} in {first[0]}", *(f"{number} in {env}" for env, number in rest)])
