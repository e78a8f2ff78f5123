"""``soa_db.access``: roles in code."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

from soa_db.access import (
    ApplyResult,
    Change,
    Notice,
    Plan,
    PlanOptions,
    Progress,
    ProgressEvent,
    Rotated,
    RotateResult,
    ServerPlan,
    Spec,
    SpecSet,
    VerifyReport,
    apply,
    load_plan,
    load_spec,
    load_specs,
    plan,
    rotate,
    save_plan,
    verify,
)
from soa_db.aws import AwsClients
from soa_db.names import Env


def provisioning(aws: AwsClients, folder: Path) -> None:
    """From the specs to what was done."""
    specs = load_specs([folder])
    assert_type(specs, SpecSet)
    spec = load_spec(folder / "db-access.yaml")
    assert_type(spec, Spec)
    assert_type(spec.service, str)
    assert_type(spec.postgres_user(None, "ro"), str)

    def tell(event: ProgressEvent) -> None:
        assert_type(event.message, str)
        assert_type(event.database, str | None)

    progress: Progress = tell
    wanted = plan(specs, env="dev", aws=aws, engines=["postgres"], prune=True, progress=progress)
    assert_type(wanted, Plan)
    assert_type(wanted.env, Env)
    assert_type(wanted.options, PlanOptions)
    for server in wanted.servers:
        assert_type(server, ServerPlan)
        for change in server.changes:
            assert_type(change, Change)
            assert_type(change.sentence, str)
        for notice in server.notices:
            assert_type(notice, Notice)
    save_plan(wanted, folder / "plan.json")
    assert_type(load_plan(folder / "plan.json"), Plan)
    done = apply(specs, env="dev", aws=aws)
    assert_type(done, ApplyResult)
    assert_type(done.applied, tuple[Change, ...])
    assert_type(done.declined, bool)


def proving(specs: SpecSet) -> None:
    """What is there, and new passwords."""
    report = verify(specs, env="mirror")
    assert_type(report, VerifyReport)
    result = rotate(specs, env="dev")
    assert_type(result, RotateResult)
    for one in result.rotated:
        assert_type(one, Rotated)
    verify("db-access.yaml", env="dev")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
