"""Rotation of Redis passwords: two are live until it is finished, and killed anywhere the next run goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.servers.knife import Killed, Knife
from tests.servers.redis_access.world import World, acl_file, knife_at_work, spec

from soa_db.access.redis.acl import password_hash
from soa_db.access.redis.entry import redis_passwords
from soa_db.access.redis.rotate import RedisRotated, finish_redis, rotate_redis
from soa_db.access.spec import SpecSet
from soa_db.errors import ConfigurationError, ProvisionError
from soa_db.names import redis_secret_name, redis_user

if TYPE_CHECKING:
    from soa_db.access.redis.passwords import Passwords
    from soa_db.access.spec import Spec


def passwords_of(world: World, *specs: Spec) -> Passwords:
    """Who looks after the passwords of these services."""
    found = redis_passwords(SpecSet(specs), world.env, aws=world.aws, settings=world.settings)
    if hasattr(found.server, "lock_ttl"):
        found.server.lock_ttl = 3.0  # as in World
    return found


def rotate(world: World, *specs: Spec, told: list[str] | None = None) -> tuple[RedisRotated, ...]:
    """Rotate all of them."""
    return rotate_redis(
        passwords_of(world, *specs), progress=lambda event: None if told is None else told.append(event.message)
    )


def finish(world: World, *specs: Spec) -> tuple[RedisRotated, ...]:
    """Finish all of them."""
    return finish_redis(passwords_of(world, *specs), progress=lambda _: None)


@pytest.fixture(params=["self", "elasticache"])
def either(request: pytest.FixtureRequest) -> World:
    """A provisioned world of each back end."""
    world: World = request.getfixturevalue("world" if request.param == "self" else "attached")
    world.apply(spec("chat-api"))
    return world


def test_both_passwords_open_until_it_is_finished(either: World) -> None:
    """Provisioning in between leaves both alone and reports the second."""
    old = either.password("chat-api")
    told: list[str] = []
    (rotated,) = rotate(either, spec("chat-api"), told=told)
    new = either.password("chat-api")
    secret = redis_secret_name("mirror", "chat-api")
    assert rotated == RedisRotated("chat-api", redis_user("chat-api", "mirror"), (secret,), finished=False)
    assert new != old
    assert either.opens("chat-api", old)
    assert either.opens("chat-api", new)
    assert either.payload("chat-api", "AWSPENDING") is None
    assert old not in str(told)
    assert new not in str(told)
    plan, _ = either.apply(spec("chat-api"))
    assert plan.is_empty
    assert "chat-api-mirror has 1 live password beside the secret's" in [notice.sentence for notice in plan.notices]
    assert finish(either, spec("chat-api"))[0].changed
    assert not either.opens("chat-api", old)
    assert either.opens("chat-api", new)
    assert not finish(either, spec("chat-api"))[0].changed, "the second time there is nothing to do"
    assert either.apply(spec("chat-api"))[0].is_empty


def test_a_second_rotation_is_refused_until_the_first_is_finished(either: World) -> None:
    """A third password would cut somebody off."""
    rotate(either, spec("chat-api"))
    current = either.password("chat-api")
    with pytest.raises(ProvisionError, match="a rotation is not finished"):
        rotate(either, spec("chat-api"))
    assert either.password("chat-api") == current
    assert either.payload("chat-api", "AWSPENDING") is None
    finish(either, spec("chat-api"))
    rotate(either, spec("chat-api"))
    assert either.password("chat-api") != current


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_anywhere_the_same_rotation_is_finished_and_no_client_is_cut_off(
    either: World, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """Whatever stage a client read, it gets in; then --finish leaves the new one alone."""
    step = 0
    while True:
        step += 1
        old = either.password("chat-api")
        killed = False
        with knife_at_work(monkeypatch, Knife(at=step, after=after)) as knife:
            try:
                rotate(either, spec("chat-api"))
            except Killed:
                killed = True
        if not killed:
            break
        assert either.opens("chat-api", old), knife.changes
        assert either.opens("chat-api", either.password("chat-api")), knife.changes
        pending = either.payload("chat-api", "AWSPENDING")
        if either.password("chat-api") == old:
            rotate(either, spec("chat-api"))
        elif pending is not None:
            assert rotate(either, spec("chat-api"))[0].finished
        new = either.password("chat-api")
        assert new != old, knife.changes
        if pending is not None:
            assert new == pending["password"], "the interrupted one, not a third"
        assert either.opens("chat-api", old), knife.changes
        assert either.opens("chat-api", new), knife.changes
        killed_again = True
        cut = 0
        while killed_again:
            cut += 1
            # Where the end is cut off is the same after each step of the rotation: tried after the first.
            with knife_at_work(monkeypatch, Knife(at=cut if step == 1 else None, after=after)):
                try:
                    finish(either, spec("chat-api"))
                    killed_again = False
                except Killed:
                    pass
            assert either.opens("chat-api", new)
        assert not either.opens("chat-api", old)
        assert either.apply(spec("chat-api"))[1].is_empty
    assert step > 3, "the knife did not find the changes"


def test_finishing_an_interrupted_rotation_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pending password may be live and held by somebody."""
    world.apply(spec("chat-api"))
    with knife_at_work(monkeypatch, Knife(at=3)), pytest.raises(Killed):
        rotate(world, spec("chat-api"))
    assert world.payload("chat-api", "AWSPENDING") is not None
    with pytest.raises(ProvisionError, match="was interrupted"):
        finish(world, spec("chat-api"))
    rotate(world, spec("chat-api"))
    finish(world, spec("chat-api"))


def test_what_is_not_in_order_is_left_alone(world: World) -> None:
    """A missing user, a secret that does not open the server; one that fails stops no other."""
    with pytest.raises(ProvisionError, match="there is no user chat-api-mirror"):
        rotate(world, spec("chat-api"))
    world.apply(spec("chat-api"), spec("jobs-api"))
    with world.admin() as client:
        client.execute_command("ACL SETUSER", "chat-api-mirror", "resetpass", ">something-else")
    before = world.password("jobs-api")
    with pytest.raises(ProvisionError, match="1 of 2 users could not be done; 1 were") as caught:
        rotate(world, spec("chat-api"), spec("jobs-api"))
    assert "no password stored for chat-api-mirror opens this server" in str(caught.value)
    assert world.password("jobs-api") != before
    with pytest.raises(ConfigurationError, match="does not open the server"):
        finish(world, spec("chat-api"))
    assert world.opens("chat-api", "something-else")


def test_a_rotation_survives_a_restart(world: World) -> None:
    """Both passwords are in the ACL file, as hashes."""
    world.apply(spec("chat-api"))
    old = world.password("chat-api")
    rotate(world, spec("chat-api"))
    saved = acl_file(world.server)
    assert password_hash(old) in saved
    assert password_hash(world.password("chat-api")) in saved
