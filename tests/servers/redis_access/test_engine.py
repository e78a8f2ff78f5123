"""Redis as an engine of plan, apply, verify and rotate, in the local environment: dev, mirror and prod."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.servers.redis_access.world import spec
from tests.support.environment import only

from soa_db.access import apply, plan, rotate, verify
from soa_db.access.redis.engine import REDIS
from soa_db.access.spec import Spec, SpecSet
from soa_db.local.environment import LocalEnvironment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from soa_db.names import Env


@pytest.fixture(scope="module")
def own_env(server_folder: Path) -> Iterator[LocalEnvironment]:
    """An environment in which nobody else makes users: verify reports whoever is not declared."""
    with LocalEnvironment(server_folder / "redis-engine") as environment:
        yield environment


@pytest.mark.parametrize("env", ["dev", "mirror", "prod"])
def test_provisioned_verified_rotated_and_finished(
    own_env: LocalEnvironment, monkeypatch: pytest.MonkeyPatch, unique_name: str, env: Env
) -> None:
    """The public functions, with what each environment has: self-run in dev, ElastiCache in mirror and prod."""
    only(monkeypatch, own_env.exports())
    for module in ("apply", "engines", "rotate", "verify"):
        monkeypatch.setattr(f"soa_db.access.{module}.ENGINES", (REDIS,), raising=False)
    monkeypatch.setattr("soa_db.access.engines.ENGINE_NAMES", ("redis",))
    specs = SpecSet((spec(unique_name), spec(f"{unique_name}-jobs", profile="queue")))
    done = apply(specs, env=env)
    assert [change.group for change in done.applied].count("passwords") == 2
    assert plan(specs, env=env).is_empty
    report = verify(specs, env=env)
    assert [str(check) for check in (*report.violations, *report.inconclusive)] == []
    assert {user for user, _ in report.home} == {f"{unique_name}-{env}", f"{unique_name}-jobs-{env}"}
    turned = rotate(specs, env=env, services=[unique_name])
    assert [one.user for one in turned.rotated] == [f"{unique_name}-{env}"]
    finished = rotate(specs, env=env, finish=True)
    assert [one.user for one in finished.rotated] == [f"{unique_name}-{env}"]
    assert len(finished.skipped) == 1
    assert verify(specs, env=env).exit_code == 0
    gone = Spec(version=1, service=f"{unique_name}-jobs")
    assert apply(SpecSet((spec(unique_name), gone)), env=env, prune=True).applied
