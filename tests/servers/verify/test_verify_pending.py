"""A service verified alone, while another holds what this one's spec shares with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.servers.verify.conftest import PasswordLogins, verify_with

from soa_db.access.report import Outcome
from soa_db.access.spec import SpecSet

if TYPE_CHECKING:
    from tests.servers.verify.conftest import World

    from soa_db.access.report import VerifyReport

_COMMENTS = "; ".join(
    f"COMMENT ON ROLE {{tag}}_beta_{role} IS {text}"
    for role, text in (("app", "'soa-db: app of service {tag}-beta'"), ("ro", "'soa-db: ro of service {tag}-beta'"))
)
_NO_COMMENTS = "COMMENT ON ROLE {tag}_beta_app IS NULL; COMMENT ON ROLE {tag}_beta_ro IS NULL"


def _alone(world: World) -> VerifyReport:
    alpha = SpecSet(tuple(spec for spec in world.specs.specs if spec.service.endswith("-alpha")))
    return verify_with(alpha, PasswordLogins(world.server.port))


def test_what_is_shared_with_a_service_whose_spec_is_not_given_is_noted(world: World) -> None:
    """CONNECT, USAGE and the shared columns are pending, each told with the spec that would decide it."""
    world.run("postgres", _COMMENTS)
    try:
        report = _alone(world)
    finally:
        world.run("postgres", _NO_COMMENTS)
    assert [str(check) for check in report.violations] == []
    pending = [check for check in report.checks if check.probe.identity == f"{world.tag}_beta_ro"]
    assert {check.outcome for check in pending} == {Outcome.NOTED}
    assert {check.mend for check in pending} == {f"give the spec of {world.tag}-beta"}
    assert any("users(id)" in check.probe.what for check in pending)


@pytest.mark.parametrize(
    ("grant", "revoke"),
    [
        ("GRANT SELECT (email) ON public.users TO", "REVOKE SELECT (email) ON public.users FROM"),
        ("GRANT DELETE ON public.users TO", "REVOKE DELETE ON public.users FROM"),
        ("GRANT SELECT ON public.audit_log TO", "REVOKE SELECT ON public.audit_log FROM"),
    ],
)
def test_what_goes_beyond_the_share_stays_a_violation(world: World, grant: str, revoke: str) -> None:
    """Another column, another privilege, another table."""
    user = "{tag}_beta_app"
    world.run("postgres", _COMMENTS)
    world.run(world.main, f"{grant} {user}")
    try:
        report = _alone(world)
    finally:
        world.run(world.main, f"{revoke} {user}")
        world.run("postgres", _NO_COMMENTS)
    assert {check.probe.identity for check in report.violations} == {world.name(user)}


def test_a_role_nobody_says_is_the_services_has_no_share(world: World) -> None:
    """The comment that provision gives a role is what tells whose it is."""
    violated = {check.probe.identity for check in _alone(world).violations}
    assert violated == {f"{world.tag}_beta_app", f"{world.tag}_beta_ro"}
