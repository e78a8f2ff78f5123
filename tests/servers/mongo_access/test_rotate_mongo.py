"""Rotation of MongoDB passwords: one is live, and killed anywhere the next run goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import SecretStr
from tests.servers.knife import Killed, Knife
from tests.servers.mongo_access.world import ADMIN_ROLES, World, knife_at_work, spec

from soa_db.access.engine import Selection
from soa_db.access.mongo.admin import AdminServer
from soa_db.access.mongo.entry import mongo_passwords
from soa_db.access.mongo.rotate import rotate_mongo
from soa_db.access.rotate import Rotated
from soa_db.config import PasswordAuth
from soa_db.errors import ConfigurationError, ProvisionError

SECRET = "/mirror/current/chat-api-mongo-password"


def test_it_takes_the_word_that_all_consumers_read_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not is cut off; there is nothing to finish, and one role only."""
    world.apply(spec("chat-api"))
    with knife_at_work(monkeypatch, Knife()) as knife:
        with pytest.raises(ConfigurationError, match="one live password") as caught:
            world.rotate(spec("chat-api"), all_consumers_reread=False)
        assert "--all-consumers-reread" in caught.value.hint
        assert "nothing to finish" in world.rotate(spec("chat-api"), finish=True).skipped[0]
        assert world.rotate(spec("chat-api"), roles=["owner"]).rotated == ()
        assert world.rotate(spec("chat-api"), services=[]).rotated == ()
    assert knife.changes == []


def test_the_new_password_opens_and_the_old_one_does_not(world: World) -> None:
    """Only of the services chosen; no password is told, and provision finds nothing to do."""
    world.apply(spec("chat-api"), spec("jobs-api"))
    old, other = world.password("chat-api"), world.password("jobs-api")
    told: list[str] = []
    result = world.rotate(spec("chat-api"), spec("jobs-api"), services=["chat-api"], told=told)
    assert result.rotated == (Rotated("chat-api", "chat_api_app", (SECRET,), finished=False),)
    new = world.password("chat-api")
    assert world.opens("chat-api", new)
    assert not world.opens("chat-api", old)
    assert world.password("jobs-api") == other
    assert world.payload("chat-api", "AWSPENDING") is None
    assert new not in str(told)
    assert world.plan(spec("chat-api"), spec("jobs-api")).is_empty
    user = world.user("chat_api_app", "chat_api_db")
    assert user is not None
    assert user["mechanisms"] == ["SCRAM-SHA-256"]


def test_killed_anywhere_the_same_rotation_is_finished(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every moment a stage of the secret opens the server."""
    world.apply(spec("chat-api"))
    step = 0
    while True:
        step += 1
        old = world.password("chat-api")
        killed = False
        with knife_at_work(monkeypatch, Knife(at=step, after=True)) as knife:
            try:
                world.rotate(spec("chat-api"))
            except Killed:
                killed = True
        if not killed:
            break
        pending = world.payload("chat-api", "AWSPENDING")
        stored = [world.password("chat-api"), *([pending["password"]] if pending else [])]
        assert any(world.opens("chat-api", password) for password in stored), knife.changes
        if world.password("chat-api") == old or pending is not None:
            (rotated,) = world.rotate(spec("chat-api")).rotated
            assert rotated.finished == (pending is not None), knife.changes
        new = world.password("chat-api")
        assert new != old, knife.changes
        if pending is not None:
            assert new == pending["password"], "the interrupted one, not a third"
        assert world.opens("chat-api", new), knife.changes
        assert not world.opens("chat-api", old), knife.changes
        assert world.payload("chat-api", "AWSPENDING") is None
    assert step > 3, "the knife did not find the changes"


def test_what_is_not_in_order_is_left_alone(world: World) -> None:
    """A missing user, another's, a secret that does not open the server; one that fails stops no other."""
    with pytest.raises(ProvisionError, match="there is no user chat_api_app"):
        world.rotate(spec("chat-api"))
    world.apply(spec("chat-api"), spec("jobs-api"))
    world.run("chat_api_db", {"updateUser": "chat_api_app", "pwd": "something-else"})
    before = world.password("jobs-api")
    with pytest.raises(ConfigurationError, match="no password stored for chat_api_app in chat_api_db opens"):
        world.rotate(spec("chat-api"), spec("jobs-api"))
    assert world.password("jobs-api") != before
    assert world.opens("chat-api", "something-else")
    world.run("chat_api_db", {"updateUser": "chat_api_app", "customData": {"soa_db": {"service": "o\x1b[2J"}}})
    with pytest.raises(ProvisionError, match=r'belongs to service "o\\u001b\[2J"'):
        world.rotate(spec("chat-api"))


def test_the_administrator_is_not_rotated_as_a_service(world: World) -> None:
    """Its own secret would hold the old password: nobody could administer any more."""
    world.apply(spec("chat-api"))
    world.run("chat_api_db", {"grantRolesToUser": "chat_api_app", "roles": [*ADMIN_ROLES]})
    request = world.request(spec("chat-api"))
    passwords = mongo_passwords(request)
    config = passwords.server.config.model_copy(
        update={
            "user": "chat_api_app",
            "auth_source": "chat_api_db",
            "auth": PasswordAuth(password=SecretStr(world.password("chat-api"))),
        }
    )
    chosen = Selection(all_consumers_reread=True)
    before = world.password("chat-api")
    with pytest.raises(ProvisionError, match="chat_api_app in chat_api_db is the administrator"):
        rotate_mongo(replace(passwords, server=AdminServer(config)), chosen, progress=request.progress)
    assert world.password("chat-api") == before
