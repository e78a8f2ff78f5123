"""What fails for one user stops no other, and what is for everybody's good waits until everybody is served."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.servers.redis_access.conftest import GROUP, attach
from tests.servers.redis_access.world import World, spec

from soa_db.access.lease import LockLost
from soa_db.access.redis.lock import LOCK_KEY
from soa_db.access.spec import Spec
from soa_db.errors import AccessDenied, ProvisionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.aws_kit import CountingAws

    from soa_db.local.aws import EmulatedAws

SPECS = (*(spec(name) for name in ("first", "second", "third")), Spec(version=1, service="old"))
OPEN_DEFAULT = "default on nopass ~* &* +@all"
FOREVER = 1000


@pytest.fixture
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> World:
    """A Redis that anybody gets in to, with a user of a service that has no ``redis`` part any more."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")  # so that the test need not wait through more
    make: Callable[..., World] = request.getfixturevalue("secure_world")
    return make(users=[OPEN_DEFAULT, "old-mirror on >a-password-of-the-past ~old:* -@all +get"])


def at(words: str, act: Callable[[], Any]) -> Callable[[str], None]:
    """Do something when a step begins whose sentence begins so."""
    return lambda said: act() if said.startswith(words) else None


def assert_only_the_second_is_left(world: World) -> None:
    """The first and the third get in; the others' way in and the old user are still there; the next run ends it."""
    assert world.opens("first", world.password("first"))
    assert world.opens("third", world.password("third"))
    assert "user default on" in world.users(), "somebody who has no password yet may be using it"
    assert "user old-mirror on" in world.users()
    plan, after = world.apply(*SPECS, prune=True)
    assert after.is_empty
    assert {"delete user old-mirror", "turn the user default off: nobody gets in without a name"} <= {
        change.sentence for change in plan.changes
    }
    assert world.opens("second", world.password("second"))
    assert "user default off" in world.users()
    assert "old-mirror" not in world.users()


def test_a_user_whose_login_the_server_refuses_stops_no_other(world: World) -> None:
    """It was turned off behind our back: the third has its password, nothing is taken away, and all that is told."""
    told: list[str] = []

    def turn_off() -> None:
        with world.admin() as client:
            client.execute_command("ACL SETUSER", "second-mirror", "off")

    with pytest.raises(ProvisionError, match="refuses to log in with it"):
        world.apply(*SPECS, prune=True, told=told, act=at("issue a password for second-mirror", turn_off))
    left = [line for line in told if line.startswith("skip: ")]
    assert left == [
        "skip: left, since something before it failed: delete user old-mirror",
        "skip: left, since something before it failed: turn the user default off: nobody gets in without a name",
    ]
    assert any(line.startswith("failed: second-mirror: failed: ") for line in told)
    assert_only_the_second_is_left(world)


def test_a_call_of_aws_that_is_refused_stops_no_other_user(world: World, aws: CountingAws) -> None:
    """One failure comes out as it is."""
    deny = at("issue a password for second-mirror", lambda: aws.fail("AccessDeniedException"))
    with pytest.raises(AccessDenied, match="secretsmanager:DescribeSecret"):
        world.apply(*SPECS, prune=True, act=deny)
    assert world.payload("second") is None
    assert_only_the_second_is_left(world)


def test_several_failures_are_one_error_that_names_each(world: World, aws: CountingAws) -> None:
    """AWS throttles from the second user on."""
    throttle = at("issue a password for second-mirror", lambda: aws.fail("ThrottlingException", times=FOREVER))
    try:
        with pytest.raises(ProvisionError, match="2 changes failed") as caught:
            world.apply(*SPECS, prune=True, act=throttle)
    finally:
        aws.faults.clear()
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["second-mirror", "third-mirror"]
    assert all("throttles" in problem for problem in caught.value.problems)
    assert world.opens("first", world.password("first"))
    assert "user default on" in world.users()
    assert world.apply(*SPECS, prune=True)[1].is_empty


def test_a_user_that_is_not_made_gets_no_password(world: World) -> None:
    """Its later changes are left; the administrator loses the right to make users for the second one only."""
    told: list[str] = []

    def rights(rule: str) -> Callable[[], None]:
        def change() -> None:
            with world.admin() as client:
                client.execute_command("ACL SETUSER", world.server.admin_user, rule)

        return change

    def act(said: str) -> None:
        # The right to set users, taken by one who has it, cannot be given back by one who has not: SAVE stands for it.
        at("create user second-mirror", rights("-acl|save"))(said)
        at("second-mirror: failed", rights("+acl|save"))(said)

    with pytest.raises(ProvisionError, match=r"make the users survive a restart: NOPERM"):
        world.apply(*SPECS, prune=True, told=told, act=act)
    assert "skip: left, since something before it failed: issue a password for second-mirror" in "\n".join(told)
    assert world.payload("second") is None
    assert_only_the_second_is_left(world)


def test_a_lock_that_is_lost_ends_the_run_at_once(world: World) -> None:
    """Another run may be at work: neither the other users nor anything else is tried."""
    told: list[str] = []

    def lose() -> None:
        with world.admin() as client:
            client.set(LOCK_KEY, "somebody else", px=60_000)
        time.sleep(1.5)

    provisioner = world.provisioner(*SPECS, prune=True, told=told, act=at("create user second-mirror", lose))
    provisioner.server.lock_ttl = 0.6  # type: ignore[attr-defined]
    with pytest.raises(LockLost), provisioner.locked(60) as locked:
        locked.carry_out(locked.plan())
    assert "users: create user third-mirror" not in "\n".join(told)
    assert "third-mirror" not in world.users()
    assert world.payload("first") is None


def test_the_default_of_a_group_stays_on_while_a_user_has_no_password(
    emulator: tuple[EmulatedAws, str], cache_world: World
) -> None:
    """It is the way in of whoever has none; the second run replaces it."""
    world = cache_world
    world.aws.call("elasticache", "create_user_group", UserGroupId=GROUP, Engine="redis", UserIds=["default"])
    attach(emulator, world)

    def members() -> set[str]:
        (group,) = world.aws.call("elasticache", "describe_user_groups", UserGroupId=GROUP)["UserGroups"]
        return set(group["UserIds"])

    def put_out() -> None:
        world.aws.call("elasticache", "modify_user_group", UserGroupId=GROUP, UserIdsToRemove=["second-mirror"])
        members()  # looking ends the emulator's `modifying`

    with pytest.raises(ProvisionError, match="refuses to log in with it"):
        world.apply(*SPECS, act=at("issue a password for second-mirror", put_out))
    assert members() == {"default", "first-mirror", "third-mirror"}
    assert world.opens("third", world.password("third"))
    plan, after = world.apply(*SPECS)
    assert plan.destructive[0].sentence.endswith(
        "its default user is cache-mirror-default, which is off, in the place of default"
    )
    assert after.is_empty
    assert members() == {"cache-mirror-default", "first-mirror", "second-mirror", "third-mirror"}
