"""Provisioning a MongoDB: real servers, emulated AWS, an administrator with no more than it needs."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pymongo.errors
import pytest
from tests.servers.knife import Killed, Knife
from tests.servers.mongo_access.world import ADMIN_PASSWORD, World, knife_at_work, reads, shares, spec

from soa_db._mongo.options import client_options
from soa_db.access.mongo.admin import admin_server
from soa_db.access.mongo.session import Session, connect
from soa_db.access.spec import RetiredUser, Spec
from soa_db.errors import AuthenticationFailed, ConfigurationError, PlanConflict, ProvisionError, ServerUnavailable
from soa_db.mongo import MongoProvider, load_mongo_config_from_aws
from soa_db.names import MONGO_LOCK_DATABASE

if TYPE_CHECKING:
    from collections.abc import Callable

    from soa_db.aws import AwsClients
    from soa_db.local.mongo import MongoServer

SHARING = spec("chat-api", shared_with=shares("reports-api", "rooms", "users"))
READING = spec("reports-api", reads=reads("chat-api", "rooms"))


def test_a_service_gets_a_user_a_password_and_a_secret_that_the_loader_reads(world: World) -> None:
    """Logged in with what Secrets Manager holds, in its own database and nobody else's."""
    told: list[str] = []
    plan, after = world.apply(spec("chat-api"), spec("jobs-api", roles=("read",)), told=told)
    secret = "/mirror/current/{}-mongo-password"
    assert [change.sentence for change in plan.changes] == [
        "create user chat_api_app in chat_api_db: readWrite on chat_api_db",
        "create user jobs_api_app in jobs_api_db: read on jobs_api_db",
        *(
            f"issue a password for {snake}_app in {snake}_db through {secret.format(name)}: new secret "
            + secret.format(name)
            for name, snake in (("chat-api", "chat_api"), ("jobs-api", "jobs_api"))
        ),
    ]
    assert plan.destructive == ()
    assert after.is_empty
    assert [notice.sentence for notice in after.notices if "master" not in notice.sentence] == []
    payload = world.payload("chat-api")
    assert payload is not None
    password = payload.pop("password")
    assert payload == {"username": "chat_api_app"}
    with MongoProvider(load_mongo_config_from_aws(env="mirror", service="chat-api", aws=world.aws)) as chat:
        chat.database["rooms"].insert_one({"_id": 1})
        with pytest.raises(pymongo.errors.OperationFailure) as refused:
            chat.client["jobs_api_db"]["jobs"].find_one()
        assert refused.value.code == 13
    user = world.user("chat_api_app", "chat_api_db")
    assert user is not None
    assert user["mechanisms"] == ["SCRAM-SHA-256"]
    assert user["customData"] == {"soa_db": {"service": "chat-api"}}
    assert password not in "\n".join([*told, json.dumps(plan.to_json()), repr(plan), repr(world.provisioner(SHARING))])


def test_no_password_is_logged(
    world: World, secure_server: MongoServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither here, with the driver at its most talkative, nor by the server. (botocore logs whatever it sends.)"""
    for name in ("soa_db", "pymongo"):
        caplog.set_level(logging.DEBUG, name)
    seen = []
    act = Session.command

    def command(self: Session, database: str, body: dict[str, object], *, what: str) -> dict[str, object]:
        seen.extend([body["pwd"]] if "pwd" in body else [])
        return act(self, database, body, what=what)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "command", command)
        world.apply(spec("chat-api"))
        world.rotate(spec("chat-api"))
    assert len(set(seen)) == 3, "the one nobody knows, the first and the second"
    told = caplog.text + secure_server.log_file.read_text("utf-8") + "".join(capfd.readouterr())
    assert "createUser" in told
    for password in (*map(str, seen), ADMIN_PASSWORD):
        assert password not in told


def test_the_second_run_writes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither to MongoDB (but for the lock) nor to AWS; planning takes no lock."""
    world.apply(SHARING, READING)
    with knife_at_work(monkeypatch, Knife()) as knife:
        assert world.plan(SHARING, READING).is_empty
        plan, _ = world.apply(SHARING, READING)
    assert plan.is_empty
    assert knife.changes == []


def test_a_service_reads_the_collections_of_another_that_both_name_and_no_others(world: World) -> None:
    """By a role in the owner's database; it writes nothing there, and does not see what else there is."""
    world.apply(SHARING, READING)
    with world.server.admin() as admin:
        for name in ("rooms", "users", "secrets"):
            admin["chat_api_db"][name].insert_one({"_id": name})
    with MongoProvider(load_mongo_config_from_aws(env="mirror", service="reports-api", aws=world.aws)) as reports:
        theirs = reports.client["chat_api_db"]
        assert theirs["rooms"].find_one() == {"_id": "rooms"}
        assert theirs["rooms"].count_documents({}) == 1
        for refused in (
            theirs["users"].find_one,
            theirs["secrets"].find_one,
            lambda: theirs["rooms"].insert_one({}),
            lambda: theirs["rooms"].delete_one({}),
            lambda: theirs["rooms"].create_index("x"),
            lambda: theirs.command("listCollections"),
            lambda: theirs["rooms"].aggregate([{"$lookup": {"from": "users", "pipeline": [], "as": "x"}}]).to_list(),
            lambda: theirs["rooms"].aggregate([{"$out": "copy"}]),
        ):
            with pytest.raises(pymongo.errors.OperationFailure) as error:
                refused()
            assert error.value.code == 13
    plan, after = world.apply(SHARING, spec("reports-api"))
    assert [change.destructive for change in plan.changes] == [True, True]
    assert after.is_empty
    with (
        MongoProvider(load_mongo_config_from_aws(env="mirror", service="reports-api", aws=world.aws)) as reports,
        pytest.raises(pymongo.errors.OperationFailure),
    ):
        reports.client["chat_api_db"]["rooms"].find_one()


def test_drift_is_named_and_put_right(world: World) -> None:
    """Roles, mechanisms, restrictions, the mark, another password; of the role, more and less than was agreed."""
    world.apply(SHARING, READING)
    password = world.password("chat-api")
    user, role = "chat_api_app", "soa-db-read-for-reports-api"
    for command, told, destructive in (
        ({"grantRolesToUser": user, "roles": ["dbOwner"]}, "revoke dbOwner on chat_api_db", True),
        ({"grantRolesToUser": user, "roles": [{"role": "root", "db": "admin"}]}, "revoke root on admin", True),
        ({"revokeRolesFromUser": user, "roles": ["readWrite"]}, "grant readWrite on chat_api_db", False),
        ({"updateUser": user, "pwd": password, "mechanisms": ["SCRAM-SHA-1", "SCRAM-SHA-256"]}, "SCRAM-SHA-1", True),
        (
            {"updateUser": user, "pwd": password, "mechanisms": ["SCRAM-SHA-1"]},
            "it cannot log in by SCRAM-SHA-256",
            True,
        ),
        ({"updateUser": user, "authenticationRestrictions": [{"clientSource": ["10.0.0.0/8"]}]}, "lift its", False),
        ({"updateUser": user, "customData": {"theirs": 1}}, "take over user chat_api_app", True),
        ({"updateUser": user, "pwd": "something-else", "mechanisms": ["SCRAM-SHA-256"]}, "the server refuses", True),
        ({"dropUser": user}, "create user chat_api_app", False),
        ({"grantPrivilegesToRole": role, "privileges": [_privilege("users", "find")]}, "no more: users", True),
        ({"grantPrivilegesToRole": role, "privileges": [_privilege("rooms", "insert")]}, "no more: insert on", True),
        ({"grantRolesToRole": role, "roles": ["readWrite"]}, "no more: the role readWrite on chat_api_db", True),
        ({"updateRole": role, "privileges": []}, "it reads rooms", False),
        ({"dropRole": role}, "create role soa-db-read-for-reports-api", False),
    ):
        world.run("chat_api_db", command)
        plan, after = world.apply(SHARING, READING)
        assert told in plan.changes[0].sentence, command
        assert bool(plan.destructive) == destructive, command
        assert after.is_empty, command
        assert world.password("chat-api") == password, command
        assert world.opens("chat-api", password), command
    found = world.user(user, "chat_api_db")
    assert found is not None
    assert (found["mechanisms"], found["authenticationRestrictions"]) == (["SCRAM-SHA-256"], [])


def _privilege(collection: str, action: str) -> dict[str, object]:
    return {"resource": {"db": "chat_api_db", "collection": collection}, "actions": [action]}


def test_a_user_that_was_there_is_taken_over_with_its_password_and_its_other_data(world: World) -> None:
    """As the original made it: its clients go on."""
    world.run(
        "chat_api_db",
        {"createUser": "chat_api_app", "pwd": "of-old", "roles": ["readWrite"], "customData": {"team": "chat"}},
    )
    world.write_secret("/mirror/current/chat-api-mongo-password", {"username": "chat_api_app", "password": "of-old"})
    plan, after = world.apply(spec("chat-api"))
    assert [change.sentence.partition(":")[0] for change in plan.destructive] == [
        "take over user chat_api_app in chat_api_db, which soa-db did not make",
        "alter user chat_api_app in chat_api_db",
    ]
    assert after.is_empty
    assert world.opens("chat-api", "of-old")
    user = world.user("chat_api_app", "chat_api_db")
    assert user is not None
    assert user["customData"] == {"team": "chat", "soa_db": {"service": "chat-api"}}


def test_a_user_or_database_of_another_service_is_not_taken(world: World) -> None:
    """Two repositories, two runs: whoever claims the other's is refused, and nothing changes."""
    world.apply(spec("chat-api"))
    before = world.user("chat_api_app", "chat_api_db")
    with pytest.raises(ProvisionError, match="belongs to service chat-api"):
        world.apply(spec("thief", database="chat_api_db"))
    assert world.user("thief_app", "chat_api_db") is None
    with pytest.raises(ProvisionError, match="which belongs to service chat-api"):
        world.apply(spec("thief", database="thief_db", retire=[RetiredUser(user="x")]), _stealing(), prune=True)
    assert world.user("chat_api_app", "chat_api_db") == before


def _stealing() -> Spec:
    """It retires a user that another service has, in the database they share by mistake."""
    return spec("other", retire=[RetiredUser(user="chat_api_app")], database="chat_api_db")


def test_taking_a_database_that_is_in_use_is_destructive_and_what_was_left_of_it_goes_with_prune(world: World) -> None:
    """Whoever names it in a spec gets at what is in it: seen by an administrator with no more than it needs."""
    with world.server.admin() as admin:
        admin["legacy_db"]["things"].insert_one({"_id": 1})
    world.run("legacy_db", {"createUser": "old", "pwd": "x", "roles": ["readWrite"]})
    reading = spec("reports-api", reads=reads("chat-api", "things"))
    old = spec("chat-api", database="legacy_db", shared_with=shares("reports-api", "things"))
    plan, after = world.apply(old, reading)
    assert [change.sentence for change in plan.destructive] == [
        (
            "create user chat_api_app in legacy_db: readWrite on legacy_db; it takes over the database, in which there "
            "is somebody's data, the user old in legacy_db"
        )
    ]
    assert after.is_empty
    with pytest.raises(
        ProvisionError, match="there is a database legacy_db, so that MongoDB takes no data into Legacy"
    ):
        world.apply(spec("chat-api", database="Legacy_db"))
    moved = spec("chat-api", shared_with=shares("reports-api", "things"))
    plan, after = world.apply(moved, reading, prune=True)
    assert "drop role soa-db-read-for-reports-api in legacy_db, which the specs do not agree on" in [
        change.sentence for change in plan.destructive
    ]
    assert after.is_empty
    with world.server.admin() as admin:
        assert [role["db"] for role in admin.admin["system.roles"].find()] == ["chat_api_db"]


def test_undeclared_users_are_reported_and_removed_on_request_only_if_they_are_services(world: World) -> None:
    """By their marks; strangers stay whatever is asked for."""
    world.apply(spec("chat-api"), spec("old-api"))
    world.run("admin", {"createUser": "monitoring", "pwd": "x", "roles": ["clusterMonitor"]})
    world.run("chat_api_db", {"createUser": "batch", "pwd": "x", "roles": ["read"]})
    gone = Spec(version=1, service="old-api")
    plan, _ = world.apply(spec("chat-api"), prune=True)
    assert plan.is_empty, "the spec of old-api is not given: it may be another repository's"
    said = "\n".join(notice.sentence for notice in plan.notices)
    assert "user old_api_app in old_api_db is of the service old-api, whose spec is not given" in said
    assert "user monitoring in admin is not managed here" in said
    assert "user batch in chat_api_db is not managed here: it is no service's by its mark; it has read on" in said
    assert world.apply(spec("chat-api"), gone)[0].is_empty
    plan, after = world.apply(spec("chat-api", retire=[RetiredUser(user="batch")]), gone, prune=True)
    assert len(plan.destructive) == len(plan.changes) == 2
    assert after.is_empty
    assert world.user("old_api_app", "old_api_db") is None
    assert world.user("batch", "chat_api_db") is None
    assert world.user("monitoring", "admin") is not None


def test_names_of_any_kind_are_values(world: World) -> None:
    """Collections and users that would mean something in a string."""
    names = ['ro"oms', "a'; db.dropDatabase(); '", "{}", "é.ü", "a.b.c"]
    wanted = (
        spec("chat-api", shared_with=shares("reports-api", *names), retire=[RetiredUser(user='x"}, {"y": 1')]),
        spec("reports-api", reads=reads("chat-api", *names)),
    )
    world.run("chat_api_db", {"createUser": 'x"}, {"y": 1', "pwd": "x", "roles": []})
    _, after = world.apply(*wanted, prune=True)
    assert after.is_empty
    assert world.user('x"}, {"y": 1', "chat_api_db") is None
    with world.server.admin() as admin:
        for name in names:
            admin["chat_api_db"][name].insert_one({"_id": name})
    with MongoProvider(load_mongo_config_from_aws(env="mirror", service="reports-api", aws=world.aws)) as reports:
        for name in names:
            assert reports.client["chat_api_db"][name].find_one() == {"_id": name}


def test_in_dev_the_secret_says_where_the_server_is(dev_world: World) -> None:
    """A standalone without TLS; the fixed passwords, in dev only, are replaced when the option is left out."""
    world = dev_world
    world.apply(spec("chat-api"), insecure_dev=True)
    payload = world.payload("chat-api")
    assert payload == {
        "username": "chat_api_app",
        "password": "chat_api_app-insecure-dev",
        "hosts": f"localhost:{world.server.hosts[0][1]}",
        "database": "chat_api_db",
    }
    assert world.plan(spec("chat-api"), insecure_dev=True).is_empty
    with MongoProvider(load_mongo_config_from_aws(env="dev", service="chat-api", aws=world.aws)) as chat:
        assert chat.ping()
    plan, after = world.apply(spec("chat-api"))
    assert "it is the fixed development password" in plan.changes[0].sentence
    assert after.is_empty
    assert not world.opens("chat-api", "chat_api_app-insecure-dev")
    assert world.opens("chat-api", world.password("chat-api"))


def test_a_url_wins_over_what_aws_says(dev_world: World) -> None:
    """The administrator's; secrets name the hosts that SSM does."""
    world = dev_world
    world.announce(password="not-the-password-any-more")
    with pytest.raises(AuthenticationFailed):
        world.plan(spec("chat-api"))
    _, port = world.server.hosts[0]
    with world.provisioner(spec("chat-api"), url=_tunnel(world)).locked(60) as locked:
        assert locked.carry_out(locked.plan()).is_empty
    payload = world.payload("chat-api")
    assert payload is not None
    assert payload["hosts"] == f"localhost:{port}"


def _tunnel(world: World) -> str:
    _, port = world.server.hosts[0]
    return f"mongodb://{world.server.admin_user}:{world.server.admin_password}@127.0.0.1:{port}/"


def test_an_administrator_that_does_not_log_in_is_refused(world: World, dev_world: World) -> None:
    """The localhost exception is never used; a server of dev that knows no users is another thing."""
    with pytest.raises(ConfigurationError, match="names no user"):
        world.plan(spec("chat-api"), url="mongodb://localhost:1/")
    _, port = dev_world.server.hosts[0]
    with pytest.raises(ConfigurationError, match="as plain text"):
        world.plan(spec("chat-api"), url="mongodb://master:c4nary@db.example:1/")
    with pytest.raises(ConfigurationError, match="as plain text"):
        world.plan(spec("chat-api"), url="mongodb://master:c4nary@localhost:1,db.example:1/")
    with pytest.raises(ProvisionError, match="the administrator may not"):
        dev_world.plan(spec("chat-api"), url=f"mongodb://localhost:{port}/")


@pytest.mark.parametrize("rest", ["", "?replicaSet=rs", "?directConnection=true"])
def test_without_tls_nothing_but_the_tunnel_is_dialled(clients: AwsClients, rest: str) -> None:
    """The member at its end names the others: pymongo would go on there, past the tunnel and in the clear."""
    server = admin_server("prod", aws=clients, admin_url=f"mongodb://master:x@localhost:27999/{rest}")
    with client_options(server.config) as options:
        assert options["directConnection"]
        assert "replicaSet" not in options
        assert options["host"] == ["localhost:27999"]


def test_an_administrator_without_rights_is_told_which(world: World) -> None:
    """To look, and to take the lock; nothing is changed."""
    world.run("admin", {"createUser": "weak", "pwd": "weak", "roles": ["clusterMonitor"]})
    world.announce("weak", "weak")
    with pytest.raises(ProvisionError, match="could not inspect the users") as caught:
        world.plan(spec("chat-api"))
    assert "userAdminAnyDatabase" in caught.value.hint
    world.run("admin", {"updateUser": "weak", "roles": ["userAdminAnyDatabase"]})
    assert world.plan(spec("chat-api")).changes
    with pytest.raises(ProvisionError, match="could not take the lock") as caught:
        world.apply(spec("chat-api"))
    assert f"readWrite on the database {MONGO_LOCK_DATABASE}" in caught.value.hint
    assert world.user("chat_api_app", "chat_api_db") is None


def test_one_user_that_fails_stops_no_other_and_nothing_is_dropped_then(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each that failed is named; the next run does the rest."""
    world.run("chat_api_db", {"createUser": "old_app", "pwd": "x", "roles": []})
    act = Session.command

    def command(self: Session, database: str, body: dict[str, object], *, what: str) -> dict[str, object]:
        if body.get("createUser") in {"a_app", "b_app"}:
            body = {**body, "roles": [{"role": "no-such-role", "db": database}]}
        return act(self, database, body, what=what)

    specs = (spec("a"), spec("b"), spec("chat-api", retire=[RetiredUser(user="old_app")]))
    with monkeypatch.context() as patch:
        patch.setattr(Session, "command", command)
        with pytest.raises(ProvisionError, match="2 users or roles failed") as caught:
            world.apply(*specs, prune=True)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["a_app in a_db", "b_app in b_db"]
    assert world.opens("chat-api", world.password("chat-api"))
    assert world.payload("a") is None
    assert world.user("old_app", "chat_api_db") is not None
    assert world.apply(*specs, prune=True)[1].is_empty
    assert world.user("old_app", "chat_api_db") is None


def test_a_secret_of_anothers_stops_no_other_user(world: World) -> None:
    """Malformed, it is written anew; scheduled for deletion, it is taken back."""
    world.apply(spec("chat-api"), spec("jobs-api"))
    password = world.password("jobs-api")
    world.write_secret("/mirror/current/chat-api-mongo-password", {"user": "x"})
    world.aws.call("secretsmanager", "delete_secret", SecretId="/mirror/current/jobs-api-mongo-password")
    _, after = world.apply(spec("chat-api"), spec("jobs-api"))
    assert after.is_empty
    assert world.opens("chat-api", world.password("chat-api"))
    assert world.password("jobs-api") == password


@pytest.mark.parametrize("password", ["bell\x07", "unassigned\u0221", "\u06271", "\u00ad"])
def test_a_password_that_no_user_can_have_stops_no_other_and_is_replaced(world: World, password: str) -> None:
    """SASLprep refuses it, in the driver: for rotation it opens nothing; as an administrator's it is named as such."""
    specs = (spec("chat-api"), spec("jobs-api"))
    world.apply(*specs)
    other = world.password("jobs-api")
    world.write_secret("/mirror/current/chat-api-mongo-password", {"username": "chat_api_app", "password": password})
    with pytest.raises(ConfigurationError, match="no password stored for chat_api_app"):
        world.rotate(*specs, services=["chat-api"])
    plan, after = world.apply(*specs)
    assert [change.sentence.partition(": ")[2] for change in plan.destructive] == [
        "no user can have the secret's password by SCRAM-SHA-256"
    ]
    assert after.is_empty
    assert world.opens("chat-api", world.password("chat-api"))
    assert world.password("jobs-api") == other
    world.announce(password=password)
    with pytest.raises(AuthenticationFailed, match="cannot be one of SCRAM-SHA-256") as caught:
        world.plan(*specs)
    assert password not in str(caught.value)
    assert caught.value.hint


def test_a_saved_plan_fits_only_what_it_was_made_for(world: World) -> None:
    """The fingerprint covers specs, options and changes."""
    before = world.plan(spec("chat-api"))
    assert world.plan(spec("chat-api")).fingerprint == before.fingerprint
    assert world.plan(spec("chat-api", roles=("read",))).fingerprint != before.fingerprint
    world.apply(spec("chat-api"))
    with pytest.raises(PlanConflict):
        before.refuse_unless_fits(world.plan(spec("chat-api")))


def test_a_server_without_access_control_is_provisioned_and_reported(
    mongo_server_factory: Callable[..., MongoServer], clients: AwsClients
) -> None:
    """In dev, by a URL without a user."""
    server = mongo_server_factory(auth=False)
    world = World(server, clients, "dev")
    ((_, port),) = server.hosts
    with world.provisioner(spec("chat-api"), url=f"mongodb://localhost:{port}/").locked(60) as locked:
        after = locked.carry_out(locked.plan())
    assert after.is_empty
    assert any("has no access control" in notice.sentence for notice in after.notices)
    assert world.opens("chat-api", world.password("chat-api"))


def test_a_server_that_is_down_is_told_so(
    mongo_server_factory: Callable[..., MongoServer], clients: AwsClients
) -> None:
    """No secret is written."""
    server = mongo_server_factory()
    world = World(server, clients, "dev")
    server.stop()
    provisioner = world.provisioner(spec("chat-api"))
    config = provisioner.server.config
    quick = config.model_copy(update={"options": config.options.model_copy(update={"server_selection_timeout": 0.3})})
    with pytest.raises(ServerUnavailable):
        connect(quick, "x", "y")
    assert world.payload("chat-api") is None


def test_killed_after_any_step_and_run_again_it_converges(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each change of MongoDB and of AWS: nothing is left to do, no live password is lost."""
    world.run("x_db", {"createUser": "stranger", "pwd": "x", "roles": []})
    step = 0
    while True:
        step += 1
        owner, reader = f"s{step}", f"r{step}"
        specs = (
            spec(owner, shared_with=shares(reader, "a"), retire=[RetiredUser(user="old")]),
            spec(reader, reads=reads(owner, "a")),
        )
        world.run(f"{owner}_db", {"createUser": "old", "pwd": "x", "roles": []})
        world.run(f"{reader}_db", {"createUser": f"{reader}_app", "pwd": "x", "roles": []})
        finished = False
        with knife_at_work(monkeypatch, Knife(at=step, after=True)) as knife:
            try:
                world.apply(*specs, prune=True)
                finished = True
            except Killed:
                pass
        if finished:
            break
        assert world.apply(*specs, prune=True)[1].is_empty, knife.changes
        assert world.opens(reader, world.password(reader)), knife.changes
        for service in (owner, reader):
            pending = world.payload(service, "AWSPENDING")
            assert pending is None or pending["password"] == world.password(service), knife.changes
    assert step > 8, "the knife did not find the changes"
