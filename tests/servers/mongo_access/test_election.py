"""Provisioning a replica set whose primary steps down meanwhile, and what that can do to a single command."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from tests.servers.mongo_access.world import World, spec

from soa_db.access.mongo.session import Session, connect
from soa_db.errors import ProvisionError, ServerUnavailable, SoaDbError

if TYPE_CHECKING:
    from soa_db.aws import AwsClients
    from soa_db.config import MongoConfig
    from soa_db.local.mongo_set import MongoReplicaSet


@pytest.fixture
def set_world(mongo_set: MongoReplicaSet, clients: AwsClients) -> World:
    """Prod, with three members."""
    return World(mongo_set, clients, "prod", shared=True)


def step_down(members: MongoReplicaSet) -> None:
    """Have the primary become a secondary, and another one elected."""
    primary = members.primary()
    assert primary is not None
    with primary.system() as client:
        client.admin.command({"replSetStepDown": 30, "secondaryCatchUpPeriodSecs": 10})


def test_an_election_amid_a_run_loses_nothing_that_was_acknowledged(
    set_world: World, mongo_set: MongoReplicaSet, unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run goes on with the new primary, or ends with a typed error and is finished by the next."""
    specs = (spec(f"{unique_name}-a"), spec(f"{unique_name}-b"))
    act = Session.command
    made: list[str] = []

    def command(self: Session, database: str, body: dict[str, Any], *, what: str) -> Any:
        made.append(next(iter(body)))
        if made == ["createUser", "createUser"]:
            step_down(mongo_set)
        return act(self, database, body, what=what)

    with (
        monkeypatch.context() as patch,
        suppress(ServerUnavailable),
        set_world.provisioner(*specs).locked(60) as locked,
    ):
        plan = locked.plan()
        patch.setattr(Session, "command", command)
        locked.carry_out(plan)
    assert made[:2] == ["createUser", "createUser"]
    assert set_world.user(f"{unique_name}_a_app", f"{unique_name}_a_db") is not None
    assert set_world.apply(*specs)[1].is_empty
    for one in specs:
        assert set_world.opens(one.service, set_world.password(one.service))


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ({"closeConnection": True}, "could not create user chat_api_app"),
        (
            {"writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}},
            "no majority of the members acknowledged it: waiting for replication timed out",
        ),
    ],
    ids=["connection lost", "no majority"],
)
def test_what_an_election_can_do_to_a_change_is_a_typed_error_and_the_next_run_converges(
    dev_world: World, failure: dict[str, Any], message: str
) -> None:
    """Whether the change was made or not; it stops the run: the others would meet the same."""
    fail_once(dev_world, {"failCommands": ["createUser"], **failure})
    with pytest.raises(ServerUnavailable, match=message) as caught:
        dev_world.apply(spec("chat-api"), spec("jobs-api"))
    assert caught.value.hint
    assert dev_world.user("jobs_api_app", "jobs_api_db") is None
    assert dev_world.apply(spec("chat-api"), spec("jobs-api"))[1].is_empty


def test_a_lock_whose_answer_is_lost_is_let_go(dev_world: World) -> None:
    """It may have been taken all the same."""
    fail_once(dev_world, {"failCommands": ["findAndModify"], "writeConcernError": {"code": 64, "errmsg": "time-out"}})
    with pytest.raises(SoaDbError, match="could not take the lock"):
        dev_world.apply(spec("chat-api"))
    with dev_world.provisioner(spec("chat-api")).locked(0) as locked:
        assert locked.plan().changes


def fail_once(world: World, data: dict[str, Any]) -> None:
    """Have the server fail a command once (https://github.com/mongodb/mongo/wiki/The-failCommand-fail-point)."""
    with world.server.admin() as client:
        client.admin.command({"configureFailPoint": "failCommand", "mode": {"times": 1}, "data": data})


def test_a_secondary_is_refused_with_the_remedy(set_world: World, mongo_set: MongoReplicaSet) -> None:
    """Through a tunnel to one member that is not the primary: users are made on the primary."""
    secondary = mongo_set.secondaries()[0]
    provisioner = set_world.provisioner(spec("chat-api"))
    config: MongoConfig = provisioner.server.config
    tunnelled = config.model_copy(update={"dial": config.hosts[0].model_copy(update={"port": secondary.port})})
    with (
        connect(tunnelled, set_world.server.admin_user, set_world.server.admin_password) as session,
        pytest.raises((ServerUnavailable, ProvisionError)) as caught,
    ):
        session.command("x_db", {"createUser": "x", "pwd": "x", "roles": []}, what="create user x")
    assert "could not create user x" in caught.value.message
    assert "election" in caught.value.hint
