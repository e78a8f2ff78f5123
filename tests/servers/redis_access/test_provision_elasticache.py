"""Provisioning by ElastiCache's API: the emulator does what the API is told to a real server."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from tests.servers.knife import Killed, Knife
from tests.servers.redis_access.conftest import GROUP, attach
from tests.servers.redis_access.world import World, knife_at_work, spec

from soa_db.access.spec import Spec
from soa_db.aws import AwsClients
from soa_db.errors import AccessDenied, ProvisionError

if TYPE_CHECKING:
    from soa_db.local.aws import EmulatedAws
    from soa_db.local.redis import RedisServer
    from soa_db.local.tls import ServerTls


def elasticache(world: World, operation: str, **parameters: Any) -> dict[str, Any]:
    """An API call of the test's own."""
    return world.aws.call("elasticache", operation, **parameters)


def user_ids(world: World) -> list[str]:
    """The members of the group."""
    (group,) = elasticache(world, "describe_user_groups", UserGroupId=GROUP)["UserGroups"]
    return sorted(group["UserIds"])


def test_a_service_gets_a_user_in_the_group_and_a_password_proved_by_a_login(attached: World) -> None:
    """And the real server lets it do what its access string says."""
    plan, after = attached.apply(spec("chat-api", read_only_keys=["flags:*"]))
    assert after.is_empty
    assert [change.group for change in plan.changes] == ["users", "user group", "passwords"]
    payload = attached.payload("chat-api")
    assert payload is not None
    assert payload["user_group_id"] == GROUP
    assert attached.opens("chat-api", payload["password"])
    assert user_ids(attached) == ["cache-mirror-default", "chat-api-mirror"]
    (user,) = elasticache(attached, "describe_users", UserId="chat-api-mirror")["Users"]
    tags = elasticache(attached, "list_tags_for_resource", ResourceName=user["ARN"])["TagList"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"managed-by": "soa-db", "service": "chat-api"}


def test_the_group_is_made_with_a_default_user_that_is_off(
    emulator: tuple[EmulatedAws, str], cache_world: World
) -> None:
    """As a Redis user group must have one; and the second run changes nothing."""
    with pytest.raises(ProvisionError, match="refuses to log in"):
        cache_world.apply(spec("chat-api"))  # the server has no part in it yet
    attach(emulator, cache_world)
    cache_world.apply(spec("chat-api"))
    assert user_ids(cache_world) == ["cache-mirror-default", "chat-api-mirror"]
    assert "user default off" in cache_world.users()
    assert cache_world.opens("chat-api", cache_world.password("chat-api"))


def test_the_second_run_writes_nothing(attached: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Access strings are compared by meaning: ElastiCache gives them back in its own form."""
    specs = (spec("chat-api", scan=True, read_only_keys=["flags:*"]), spec("jobs-api", profile="queue"))
    attached.apply(*specs)
    with knife_at_work(monkeypatch, Knife()) as knife:
        plan, _ = attached.apply(*specs)
    assert plan.is_empty
    assert knife.changes == []


def test_drift_is_named_and_put_right(attached: World) -> None:
    """Access, passwords, membership, marks; users of others are left alone."""
    wanted = spec("chat-api")
    attached.apply(wanted)
    password = attached.password("chat-api")
    other = {"UserId": "somebody-else", "UserName": "somebody-else", "Engine": "redis"}
    elasticache(attached, "create_user", **other, AccessString="on ~x:* +get", Passwords=["somebody-elses-password"])
    elasticache(attached, "modify_user_group", UserGroupId=GROUP, UserIdsToAdd=["somebody-else"])
    for operation, parameters, sentence in (
        ("modify_user", {"UserId": "chat-api-mirror", "AccessString": "on ~* +@all"}, "set the access of chat-api"),
        ("modify_user", {"UserId": "chat-api-mirror", "NoPasswordRequired": True}, "set the access of chat-api"),
        ("modify_user", {"UserId": "chat-api-mirror", "Passwords": ["another-password"]}, "issue a password for chat"),
        (
            "modify_user_group",
            {"UserGroupId": GROUP, "UserIdsToRemove": ["chat-api-mirror"]},
            f"user group {GROUP}: add",
        ),
    ):
        attached.plan(wanted)  # looking ends the emulator's `modifying`
        elasticache(attached, operation, **parameters)
        plan, after = attached.apply(wanted)
        assert plan.changes[0].sentence.startswith(sentence)
        assert after.is_empty
        assert attached.password("chat-api") == password
        assert attached.opens("chat-api", password)
        assert user_ids(attached) == ["cache-mirror-default", "chat-api-mirror", "somebody-else"]
        assert "the user somebody-else is not managed here" in str(after.notices)
    assert [change.group for change in attached.plan(spec("chat-api", scan=True)).changes] == ["users"]


def test_a_default_user_that_is_on_leaves_the_group_for_one_that_is_off(
    emulator: tuple[EmulatedAws, str], cache_world: World
) -> None:
    """At once, since the group must have one; destructive."""
    elasticache(cache_world, "create_user_group", UserGroupId=GROUP, Engine="redis", UserIds=["default"])
    attach(emulator, cache_world)
    plan, after = cache_world.apply(spec("chat-api"))
    assert [change.group for change in plan.destructive] == ["user group"]
    assert "in the place of default" in plan.destructive[0].sentence
    assert plan.changes[-1].group == "passwords", "listed under its heading, and yet done last"
    assert after.is_empty
    assert user_ids(cache_world) == ["cache-mirror-default", "chat-api-mirror"]
    assert "user default off" in cache_world.users()


def test_a_group_that_opens_no_cache_is_reported_and_passwords_wait(
    emulator: tuple[EmulatedAws, str], redis_server_factory: Callable[..., RedisServer], server_tls: ServerTls
) -> None:
    """No login can prove anything; nothing is written to Secrets Manager."""
    with AwsClients() as clients:
        world = World(redis_server_factory(tls=server_tls), clients, "mirror", "elasticache")
        _, after = world.apply(spec("chat-api"))
        (notice,) = after.notices
        assert notice.level == "unreachable"
        assert f"--user-group-ids-to-add {GROUP}" in notice.remedy
        assert world.payload("chat-api") is None
        assert user_ids(world) == ["cache-mirror-default", "chat-api-mirror"]


def test_a_user_with_iam_authentication_keeps_it_and_has_no_secret(attached: World) -> None:
    """What is there decides; its access is looked after."""
    attached.apply(spec("chat-api"))
    elasticache(
        attached,
        "create_user",
        UserId="token-api-mirror",
        UserName="token-api-mirror",
        Engine="redis",
        AccessString="on ~* +@all",
        AuthenticationMode={"Type": "iam"},
    )
    plan, after = attached.apply(spec("chat-api"), spec("token-api"))
    assert [change.group for change in plan.changes] == ["users", "users", "user group"]
    assert "mark token-api-mirror" in plan.changes[1].sentence
    assert after.is_empty
    assert attached.payload("token-api") is None
    (user,) = elasticache(attached, "describe_users", UserId="token-api-mirror")["Users"]
    assert user["Authentication"]["Type"] == "iam"
    assert "~token-api:*" in user["AccessString"]


def test_undeclared_users_go_on_request_when_they_are_marked(attached: World) -> None:
    """A user of that name that somebody made by hand is not ours to delete."""
    attached.apply(spec("chat-api"), spec("old-api"))
    hand = {"UserId": "hand-mirror", "UserName": "hand-mirror", "Engine": "redis", "AccessString": "on ~x:* +get"}
    elasticache(attached, "create_user", **hand, Passwords=["made-by-hand-password"])
    elasticache(attached, "modify_user_group", UserGroupId=GROUP, UserIdsToAdd=["hand-mirror"])
    assert attached.plan(spec("chat-api"), prune=True).is_empty
    hand_made = Spec(version=1, service="hand")
    plan, after = attached.apply(spec("chat-api"), Spec(version=1, service="old-api"), hand_made, prune=True)
    assert [change.sentence for change in plan.destructive] == ["delete user old-api-mirror"]
    assert after.is_empty
    assert user_ids(attached) == ["cache-mirror-default", "chat-api-mirror", "hand-mirror"]
    assert "old-api-mirror" not in attached.users()


def test_a_name_too_long_for_a_user_id_is_an_error_before_anything_is_done(attached: World) -> None:
    """ElastiCache takes forty characters."""
    with pytest.raises(ProvisionError, match="longer than the 40 characters"):
        attached.apply(spec("a" * 50), spec("chat-api"))
    assert user_ids(attached) == ["cache-mirror-default"]


def test_a_refusal_names_action_and_is_typed(attached: World, emulator: tuple[EmulatedAws, str]) -> None:
    """Nothing is swallowed."""
    aws, account = emulator
    allow = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ssm:*", "Resource": "*"}]}
    keys = aws.create_user(account, "weak", allow)
    os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"] = keys.access_key, keys.secret_key
    with AwsClients() as clients:
        attached.aws = clients
        with pytest.raises(AccessDenied, match="DescribeUserGroups"):
            attached.plan(spec("chat-api"))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_call_and_run_again_it_converges(
    attached: World, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """At each change of ElastiCache and Secrets Manager."""
    step = 0
    while True:
        step += 1
        service = f"s{step}-{'after' if after else 'before'}"
        finished = False
        with knife_at_work(monkeypatch, Knife(at=step, after=after)) as knife:
            try:
                attached.apply(spec(service))
                finished = True
            except Killed:
                pass
        if finished:
            break
        assert attached.apply(spec(service))[1].is_empty, knife.changes
        assert attached.opens(service, attached.password(service)), knife.changes
        assert attached.plan(spec(service)).is_empty
    assert step > 4, "the knife did not find the changes"


def test_two_runs_at_once_end_with_one_password(attached: World) -> None:
    """There is no lock: the same version of the secret is written, and both set what it holds."""
    import threading

    errors: list[BaseException] = []

    def run() -> None:
        try:
            attached.apply(spec("chat-api"))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(type(error).__module__ == "soa_db.errors" for error in errors), errors
    _, after = attached.apply(spec("chat-api"))
    assert after.is_empty
    assert attached.opens("chat-api", attached.password("chat-api"))


def test_nothing_goes_on_before_a_change_is_in_force(attached: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each change takes several looks to become active, as on AWS: a password is promoted only then."""
    act, left = AwsClients.call, 0
    looks: list[str] = []

    def slow(self: AwsClients, service: str, operation: str, /, **parameters: object) -> dict[str, Any]:
        nonlocal left
        if service == "elasticache" and operation.startswith(("create_", "modify_")):
            assert left == 0, f"{operation} while another change was not in force"
            left = 4
        if service == "secretsmanager" and operation in {"update_secret_version_stage", "put_secret_value"}:
            assert left == 0, f"{operation} while a change was not in force"
        answer = act(self, service, operation, **parameters)
        if operation in {"describe_users", "describe_user_groups"} and left:
            left -= 1
            looks.append(operation)
            kind = "Users" if operation == "describe_users" else "UserGroups"
            answer = {**answer, kind: [{**one, "Status": "modifying"} for one in answer[kind]]}
        return answer

    monkeypatch.setattr(AwsClients, "call", slow)
    monkeypatch.setattr("soa_db.access.redis.elasticache._POLL", (0.01, 0.02))
    _, after = attached.apply(spec("chat-api"))
    assert after.is_empty
    assert len(looks) >= 12
    monkeypatch.undo()
