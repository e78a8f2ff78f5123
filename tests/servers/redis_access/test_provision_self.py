"""Provisioning a self-run Redis: real servers, emulated AWS."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
from tests.servers.knife import Killed, Knife
from tests.servers.redis_access.conftest import admin_session
from tests.servers.redis_access.world import World, acl_file, knife_at_work, spec

from soa_db.access.redis.acl import password_hash
from soa_db.access.redis.admin import AdminServer
from soa_db.access.redis.session import connect
from soa_db.access.spec import Spec
from soa_db.errors import AuthenticationFailed, CredentialError, ProvisionError, ServerUnavailable
from soa_db.redis import load_redis_config_from_aws

if TYPE_CHECKING:
    from soa_db.access.redis.session import Session
    from soa_db.aws import AwsClients
    from soa_db.config import RedisConfig
    from soa_db.local.redis import RedisCluster, RedisServer

OPEN_DEFAULT = "default on nopass ~* &* +@all"


def test_a_service_gets_a_user_a_password_and_a_secret_that_the_loader_reads(world: World) -> None:
    """Over TLS, logged in with what Secrets Manager holds, on its own keys and nobody else's."""
    told: list[str] = []
    plan, after = world.apply(spec("chat-api"), spec("jobs-api", profile="queue"), told=told)
    assert [change.sentence.split(":")[0] for change in plan.changes] == [
        "create user chat-api-mirror",
        "create user jobs-api-mirror",
        "issue a password for chat-api-mirror through mirror/redis/chat-api",
        "issue a password for jobs-api-mirror through mirror/redis/jobs-api",
    ]
    assert plan.destructive == ()
    assert after.is_empty
    payload = world.payload("chat-api")
    assert payload is not None
    password = payload.pop("password")
    assert payload == {
        "username": "chat-api-mirror",
        "endpoint": world.server.host,
        "port": world.server.port,
        "tls": True,
    }
    config = load_redis_config_from_aws(env="mirror", service="chat-api", aws=world.aws)
    assert (config.user, config.host, config.port) == ("chat-api-mirror", world.server.host, world.server.port)
    with connect(config, config.user, password) as session:
        assert session.call("SET", "chat-api:1", "x") == "OK"
        with pytest.raises(Exception, match="NOPERM"):
            session.call("GET", "jobs-api:1")
    assert password not in "\n".join([*told, json.dumps(plan.to_json()), repr(plan), world.users()])


def test_the_second_run_writes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither to Redis (but for the lock) nor to AWS; planning takes no lock."""
    specs = (spec("chat-api", read_only_keys=["flags:*"], scan=True), spec("jobs-api", profile="queue"))
    world.apply(*specs)
    with knife_at_work(monkeypatch, Knife()) as knife:
        assert world.plan(*specs).is_empty
        assert knife.changes == []
        plan, _ = world.apply(*specs)
    assert plan.is_empty
    assert knife.changes == ["redis SET", "redis DEL", "redis EXEC"], "the lock"


def test_users_survive_a_restart_and_hashes_only_are_in_the_file(
    redis_server_factory: Callable[..., RedisServer], clients: AwsClients
) -> None:
    """The ACL file is saved after every change."""
    server = redis_server_factory()
    world = World(server, clients, "dev")
    world.apply(spec("chat-api"))
    server.restart()
    world.announce()
    assert world.opens("chat-api", world.password("chat-api"))
    assert world.password("chat-api") not in acl_file(server)


def test_every_node_of_a_cluster_has_the_users(
    own_cluster: RedisCluster, clients: AwsClients, unique_name: str
) -> None:
    """Users are not replicated; one that is missing on a single node is made there, with its password."""
    world = World(own_cluster, clients, "prod")
    plan, after = world.apply(spec(unique_name))
    assert after.is_empty
    assert "+cluster|slots" in plan.changes[0].sentence
    name, password = f"{unique_name}-prod", world.password(unique_name)
    for node in own_cluster.nodes:
        with node.admin() as client:
            assert any(line.startswith(f"user {name} on ") for line in client.acl_list())
            assert name in acl_file(node)
    lost = own_cluster.nodes[4]
    with lost.admin() as client:
        client.acl_deluser(name)
    plan, after = world.apply(spec(unique_name))
    assert [change.sentence.split(":")[0] for change in plan.changes] == [
        f"set the access of {name} (it differs on 127.0.0.1",
        f"issue a password for {name} through prod/redis/{unique_name}",
    ]
    assert f"127.0.0.1:{lost.port}" in plan.changes[0].sentence
    assert after.is_empty
    assert world.password(unique_name) == password, "a password that is in the secret stays"
    for node in own_cluster.nodes:
        config = world.config(port=node.port)
        connect(config, name, password).close()


def test_a_node_of_a_cluster_is_reached_by_the_name_it_announces(
    own_cluster: RedisCluster, clients: AwsClients
) -> None:
    """Its certificate is for that; where our keys are, the cluster says by address."""
    world = World(own_cluster, clients, "prod")

    def announce(name: str) -> None:
        for node in own_cluster.nodes:
            with node.admin() as client:
                client.config_set("cluster-announce-hostname", name)

        deadline = time.monotonic() + 60
        for node in own_cluster.nodes:
            with admin_session(node) as session:
                while str(session.call("CLUSTER", "NODES")).count(",localhost") != (6 if name else 0):
                    assert time.monotonic() < deadline, "the name did not get around"
                    time.sleep(0.05)

    announce("localhost")
    try:
        for node in own_cluster.nodes[:3]:
            url = node.admin_url
            provisioner = world.provisioner(spec("chat-api"), admin_url=url)
            with provisioner.locked(60) as locked:
                assert "create user chat-api-prod" in locked.plan().changes[0].sentence
                with provisioner.server._connect_to_keys() as keys:  # type: ignore[attr-defined]
                    assert keys.address in {f"127.0.0.1:{node.port}"} | {
                        f"localhost:{other.port}" for other in own_cluster.nodes if other is not node
                    }
            assert {one.address.partition(":")[0] for one in provisioner.server.inspect().nodes} == {"localhost"}
    finally:
        announce("")


def test_drift_is_named_and_put_right(world: World) -> None:
    """Too much, too little, off, without a password, another password."""
    wanted = spec("chat-api")
    world.apply(wanted)
    password = world.password("chat-api")
    for rules, sentence, destructive in (
        ("+@all", "set the access of chat-api-mirror", True),
        ("~others:*", "set the access of chat-api-mirror", True),
        ("&others:*", "set the access of chat-api-mirror", True),
        ("(~others:* +get)", "set the access of chat-api-mirror", True),
        ("-get", "set the access of chat-api-mirror", False),
        ("off", "set the access of chat-api-mirror", False),
        ("skip-sanitize-payload", "set the access of chat-api-mirror", False),
        ("nopass", "set the access of chat-api-mirror", True),
        ("resetpass", "issue a password for chat-api-mirror", False),
        ("resetpass >something-else", "issue a password for chat-api-mirror", True),
    ):
        with world.admin() as client:
            client.execute_command("ACL SETUSER", "chat-api-mirror", *_words(rules))
        plan, after = world.apply(wanted)
        assert plan.changes[0].sentence.startswith(sentence), rules
        assert bool(plan.destructive) == destructive, rules
        assert after.is_empty
        assert world.password("chat-api") == password, rules
        assert world.opens("chat-api", password), rules
        assert not world.opens("chat-api", "something-else"), rules


def _words(rules: str) -> list[str]:
    return [rules] if rules.startswith("(") else rules.split()


def test_default_is_turned_off_as_the_last_thing(secure_world: Callable[..., World], ca_file: Path) -> None:
    """A destructive change that says how many it cuts off; the administrator still gets in."""
    world = secure_world(users=[OPEN_DEFAULT])
    server = world.server
    with redis.Redis(host=server.host, port=server.port, ssl=True, ssl_ca_certs=str(ca_file)) as somebody:
        assert somebody.ping()
        plan, after = world.apply(spec("chat-api"))
        assert [change.sentence for change in plan.destructive] == [
            "turn the user default off: nobody gets in without a name"
        ]
        assert plan.changes[-1] in plan.destructive
        assert any("1 clients are connected as default" in notice.sentence for notice in plan.notices)
        assert after.is_empty
        with pytest.raises(redis.exceptions.RedisError):
            somebody.get("x")
    assert "user default off" in world.users()
    assert "user default off" in acl_file(server)


def test_default_stays_on_in_dev_and_is_reported(
    redis_server_factory: Callable[..., RedisServer], clients: AwsClients
) -> None:
    """Containers come with it."""
    world = World(redis_server_factory(users=[OPEN_DEFAULT]), clients, "dev")
    plan, after = world.apply(spec("chat-api"))
    assert plan.destructive == ()
    assert "the user default is on, as is usual in dev" in [notice.sentence for notice in after.notices]
    assert "user default on" in world.users()


def test_default_cannot_be_turned_off_by_whoever_comes_in_as_it(
    secure_world: Callable[..., World], ca_file: Path
) -> None:
    """It would lock the administrator out: reported, with the remedy."""
    world = secure_world(users=["default on >secret-of-default ~* &* +@all"])
    world.server.admin_user, world.server.admin_password = "default", "secret-of-default"
    world.announce()
    plan, after = world.apply(spec("chat-api"))
    assert plan.destructive == ()
    (notice,) = [notice for notice in after.notices if notice.level == "unreachable"]
    assert "cannot be turned off" in notice.sentence
    assert "make an administrator" in notice.remedy


@pytest.mark.parametrize(
    "fails",
    [
        AuthenticationFailed("as if the password had been default's"),
        CredentialError("AWS throttles secretsmanager:GetSecretValue"),
        None,
    ],
    ids=["refused", "not-had", "server-gone"],
)
def test_default_comes_back_on_when_no_login_proves_that_the_administrator_still_gets_in(
    secure_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch, fails: Exception | None
) -> None:
    """Tried after the change, while the session that can undo it is open; when that is gone too, it is said."""
    world = secure_world(users=[OPEN_DEFAULT])
    world.apply(spec("chat-api"))
    with world.admin() as client:
        client.execute_command("ACL SETUSER", "default", *OPEN_DEFAULT.split()[1:])
    act = AdminServer.connect

    def connect_unless_off(self: AdminServer, node: RedisConfig | None = None) -> Session:
        if "user default off" in world.users():
            if fails is not None:
                raise fails
            world.server.stop()
        return act(self, node)

    monkeypatch.setattr(AdminServer, "connect", connect_unless_off)
    with pytest.raises(ProvisionError, match="it was undone") as caught:
        world.apply(spec("chat-api"))
    if fails is None:
        assert f"but at {world.server.host}:{world.server.port} it could not be" in caught.value.message
    else:
        assert "user default on nopass" in world.users()


def test_undeclared_users_are_reported_and_removed_on_request_only_if_they_are_services(world: World) -> None:
    """By their names; others stay whatever is asked for."""
    world.apply(spec("chat-api"), spec("old-api"))
    with world.admin() as client:
        client.execute_command("ACL SETUSER", "monitoring", "on", ">some-password", "+info")
        client.execute_command("ACL SETUSER", "old-api-prod", "on", ">some-password", "+info")
    plan, _ = world.apply(spec("chat-api"), prune=True)
    assert plan.is_empty, "the spec of old-api is not given: it may be another repository's"
    said = [notice.sentence for notice in plan.notices]
    assert "the user old-api-mirror is of the service old-api, whose spec is not given" in said
    assert "the user monitoring is not managed here: it is no service's by its name and marks" in said
    gone = Spec(version=1, service="old-api")
    plan, _ = world.apply(spec("chat-api"), gone)
    assert plan.is_empty
    assert "the user old-api-mirror is not declared by its spec" in [notice.sentence for notice in plan.notices]
    plan, after = world.apply(spec("chat-api"), gone, prune=True)
    assert [change.sentence for change in plan.destructive] == ["delete user old-api-mirror"]
    assert after.is_empty
    users = world.users()
    assert "old-api-mirror" not in users
    assert "user monitoring on" in users
    assert "user old-api-prod on" in users


def test_fixed_development_passwords(redis_server_factory: Callable[..., RedisServer], clients: AwsClients) -> None:
    """In dev only; and leaving the option out replaces them, since everybody knows them."""
    world = World(redis_server_factory(), clients, "dev")
    world.apply(spec("chat-api"), insecure_dev=True)
    assert world.password("chat-api") == "chat-api-dev-insecure-dev"
    assert world.opens("chat-api", "chat-api-dev-insecure-dev")
    assert world.plan(spec("chat-api"), insecure_dev=True).is_empty
    plan, after = world.apply(spec("chat-api"))
    assert "it is the fixed development password" in plan.changes[0].sentence
    assert after.is_empty
    assert not world.opens("chat-api", "chat-api-dev-insecure-dev")
    assert world.opens("chat-api", world.password("chat-api"))


def test_a_server_that_keeps_no_users_is_reported(
    redis_server_factory: Callable[..., RedisServer], clients: AwsClients, server_folder: Path
) -> None:
    """With a configuration file they are kept there; with neither they vanish at a restart."""
    server = redis_server_factory()
    server.stop()
    server.settings["aclfile"] = '""'
    server.settings["user"] = f"master on >{server.admin_password} ~* &* +@all"
    server.start()
    world = World(server, clients, "dev")
    _, after = world.apply(spec("chat-api"))
    assert any("CONFIG REWRITE" in notice.sentence for notice in after.notices)
    written = (server.directory / "redis.conf").read_text("utf-8")
    assert "user chat-api-dev on" in written
    assert world.password("chat-api") not in written


def test_a_saved_plan_fits_only_what_it_was_made_for(world: World) -> None:
    """As for PostgreSQL: the fingerprint covers specs, options and changes."""
    before = world.plan(spec("chat-api"))
    assert world.plan(spec("chat-api")).fingerprint == before.fingerprint
    assert world.plan(spec("chat-api", scan=True)).fingerprint != before.fingerprint
    world.apply(spec("chat-api"))
    assert world.plan(spec("chat-api")).fingerprint != before.fingerprint


def test_an_administrator_without_rights_is_told_so(world: World) -> None:
    """Typed, and nothing is changed."""
    with world.admin() as client:
        client.execute_command("ACL SETUSER", "weak", "on", ">weak-password", "+@all", "-acl", "~*")
    world.server.admin_user, world.server.admin_password = "weak", "weak-password"
    world.announce()
    with pytest.raises(ProvisionError, match="inspect the users: NOPERM"):
        world.plan(spec("chat-api"))


def test_a_server_that_is_down_is_told_so(world: World) -> None:
    """And one with another certificate; neither changes a secret."""
    world.server.stop()
    with pytest.raises(ServerUnavailable):
        world.apply(spec("chat-api"))
    assert world.payload("chat-api") is None


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_step_and_run_again_it_converges(
    secure_world: Callable[..., World],
    monkeypatch: pytest.MonkeyPatch,
    after: bool,
) -> None:
    """At each change of Redis and of AWS; what a restart brings back is right too, and no live password is lost."""
    world = secure_world(users=[OPEN_DEFAULT])
    server = world.server
    step = 0
    while True:
        step += 1
        service = f"s{step}-{'after' if after else 'before'}"
        with world.admin() as client:
            client.execute_command("ACL SETUSER", "default", *OPEN_DEFAULT.split()[1:])
        finished = False
        with knife_at_work(monkeypatch, Knife(at=step, after=after)) as knife:
            try:
                world.apply(spec(service))
                finished = True
            except Killed:
                pass
        if finished:
            break
        left = world.apply(spec(service))[1]
        assert left.is_empty, knife.changes
        assert world.opens(service, world.password(service)), knife.changes
        assert world.payload(service, "AWSPENDING") is None or world.password(service, "AWSPENDING") == world.password(
            service
        )
        saved = acl_file(server)
        assert f"user {service}-mirror on" in saved, knife.changes
        assert password_hash(world.password(service)) in saved, knife.changes
        assert "user default off" in saved, knife.changes
        with world.admin() as client:
            assert client.keys("{soa-db}*") == []
        plan, _ = world.apply(spec(service))
        assert plan.is_empty, knife.changes
    assert step > 10, "the knife did not find the changes"
