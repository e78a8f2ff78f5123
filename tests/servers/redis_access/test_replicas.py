"""A self-run Redis with replicas outside a cluster: their users are their own, and each is given them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from tests.servers.redis_access.test_rotate_redis import finish, rotate
from tests.servers.redis_access.world import World, acl_file, spec

from soa_db.access.redis.access_string import desired_users
from soa_db.access.redis.acl import password_hash
from soa_db.access.redis.probe_users import judge_users
from soa_db.access.redis.session import connect, opens
from soa_db.access.report import Outcome
from soa_db.access.spec import SpecSet

if TYPE_CHECKING:
    from soa_db.access.redis.session import Session
    from soa_db.aws import AwsClients
    from soa_db.local.redis import RedisServer
    from soa_db.local.tls import ServerTls

Servers = Callable[..., "RedisServer"]
OPEN_DEFAULT = "default on nopass ~* &* +@all"


@pytest.fixture
def servers(redis_server_factory: Servers, server_tls: ServerTls) -> Servers:
    """Makes a server with TLS, the replica of another one if that is given; the administrator is the same on all."""

    def make(of: RedisServer | None = None, settings: dict[str, str] | None = None, **keywords: Any) -> RedisServer:
        copied = {
            # Nothing is waited for: the first copy is made at once.
            "repl-diskless-sync-delay": "0",
            "tls-replication": "yes",
            **(settings or {}),
        }
        if of is not None:
            copied |= {"replicaof": f"{of.host} {of.port}", "masteruser": of.admin_user, "masterauth": "the-masters"}
        keywords.setdefault("admin_password", "the-masters")
        server = redis_server_factory(tls=server_tls, settings=copied, **keywords)
        if of is not None:
            _until_copied(server)
        return server

    return make


def _until_copied(server: RedisServer) -> None:
    deadline = time.monotonic() + 60
    with server.admin() as client:
        while client.info("replication")["master_link_status"] != "up":
            assert time.monotonic() < deadline, "the replica did not come up"
            time.sleep(0.02)


def place(world: World, server: RedisServer, service: str = "chat-api") -> Session:
    """A session of a service's user on one of the servers."""
    return connect(world.config(port=server.port), f"{service}-mirror", world.password(service))


def test_every_replica_has_the_users_and_what_differs_there_is_mended(servers: Servers, clients: AwsClients) -> None:
    """One that copies from the primary, and one that copies from that; after a restart too."""
    primary = servers(users=[OPEN_DEFAULT])
    near = servers(primary, users=[OPEN_DEFAULT])
    far = servers(near)
    world = World(primary, clients, "mirror")
    plan, after = world.apply(spec("chat-api"))
    assert after.is_empty
    assert after.notices == ()
    assert [change.sentence.split(":")[0] for change in plan.changes] == [
        "create user chat-api-mirror",
        "issue a password for chat-api-mirror through mirror/redis/chat-api",
        "turn the user default off",
    ]
    with place(world, primary) as session:
        assert session.call("SET", "chat-api:1", "x") == "OK"
    for replica in (near, far):
        place(world, replica).close()
        assert "user chat-api-mirror on" in acl_file(replica)
        with replica.admin() as client:
            assert "user default off" in "\n".join(client.acl_list())

    with far.admin() as client:
        client.execute_command("ACL SETUSER", "chat-api-mirror", "~others:*", "resetpass")
    plan, after = world.apply(spec("chat-api"))
    assert f"(it differs on {far.host}:{far.port})" in plan.changes[0].sentence
    assert f"refuses the secret's password ({far.host}:{far.port})" in plan.changes[1].sentence
    assert [change.destructive for change in plan.changes] == [True, False], "the password that is live stays"
    assert after.is_empty
    place(world, far).close()


def test_a_rotation_is_on_every_replica(servers: Servers, clients: AwsClients) -> None:
    """Two passwords open each of them until it is finished; one that joins meanwhile cuts nobody off."""
    primary = servers()
    replica = servers(primary)
    world = World(primary, clients, "mirror")
    world.apply(spec("chat-api"))
    old = world.password("chat-api")
    rotate(world, spec("chat-api"))
    new = world.password("chat-api")
    for server in (primary, replica):
        for password in (old, new):
            assert opens(world.config(port=server.port), "chat-api-mirror", password)
            assert password_hash(password) in acl_file(server)
    with replica.admin() as client:
        client.acl_deluser("chat-api-mirror")  # as on a replica that is new
    plan, after = world.apply(spec("chat-api"))
    assert plan.destructive == ()
    assert after.is_empty
    assert opens(world.config(), "chat-api-mirror", old), "whoever has not read the new one yet comes in as before"
    assert opens(world.config(), "chat-api-mirror", new)
    place(world, replica).close()
    finish(world, spec("chat-api"))
    for server in (primary, replica):
        assert not opens(world.config(port=server.port), "chat-api-mirror", old)
        place(world, server).close()


def test_a_replica_that_lets_the_administrator_not_in_is_named_and_stops_nothing(
    servers: Servers, clients: AwsClients
) -> None:
    """Nothing about its users is claimed to be proved."""
    primary = servers()
    replica = servers(primary, admin_password="another-one")
    world = World(primary, clients, "mirror")
    _, after = world.apply(spec("chat-api"))
    (notice,) = after.notices
    assert notice.level == "unreachable"
    assert f"the replica {replica.host}:{replica.port} keeps the users it has" in notice.sentence
    assert "WRONGPASS" in notice.sentence
    assert "is a user of it too" in notice.remedy
    place(world, primary).close()
    with replica.admin() as client:
        assert "chat-api-mirror" not in client.acl_users()
    state = world.provisioner(spec("chat-api")).server.inspect()
    checks = list(judge_users(desired_users(SpecSet((spec("chat-api"),)), "mirror"), state, mend="provision"))
    undecided = [check for check in checks if check.outcome is Outcome.INCONCLUSIVE]
    assert [check.probe.what for check in undecided] == [
        f"the users of the replica {replica.host}:{replica.port} are what the specs say"
    ]


def test_a_replica_whose_users_may_not_be_seen_is_named_too(servers: Servers, clients: AwsClients) -> None:
    """The administrator gets in there, and has fewer rights."""
    primary = servers()
    replica = servers(primary)
    with replica.admin() as client:
        client.execute_command("ACL SETUSER", primary.admin_user, "-acl|list")
    world = World(primary, clients, "mirror")
    _, after = world.apply(spec("chat-api"))
    (notice,) = after.notices
    assert f"the replica {replica.host}:{replica.port} keeps" in notice.sentence
    assert "NOPERM" in notice.sentence
    place(world, primary).close()


def test_another_server_at_the_address_of_a_replica_is_left_alone(servers: Servers, clients: AwsClients) -> None:
    """Addresses are the primary's to see: from elsewhere, or through a tunnel, they may be somebody else's."""
    primary, stranger = servers(), servers()
    servers(primary, {"replica-announce-port": str(stranger.port)})
    world = World(primary, clients, "mirror")
    _, after = world.apply(spec("chat-api"))
    (notice,) = after.notices
    assert "what answers there is no copy of this server" in notice.sentence
    with stranger.admin() as client:
        assert client.acl_users() == ["default", "master"]
    place(world, primary).close()


def test_the_administrators_password_leaves_a_tunnel_by_tls_only(
    redis_server_factory: Servers, clients: AwsClients
) -> None:
    """A replica in another network is not even dialled: who answers at its address here is anybody's guess."""
    primary = redis_server_factory()
    redis_server_factory(
        settings={
            "replicaof": f"{primary.host} {primary.port}",
            "masteruser": primary.admin_user,
            "masterauth": primary.admin_password,
            "replica-announce-ip": "192.0.2.1",  # nobody's (RFC 5737)
        }
    )
    deadline = time.monotonic() + 60
    with primary.admin() as client:
        while not client.info("replication")["connected_slaves"]:
            assert time.monotonic() < deadline, "the replica did not come"
            time.sleep(0.02)
    _, after = World(primary, clients, "dev").apply(spec("chat-api"))
    (notice,) = [notice for notice in after.notices if notice.level == "unreachable"]
    assert "the replica 192.0.2.1:" in notice.sentence
    assert "would go out of the tunnel in the clear" in notice.sentence
