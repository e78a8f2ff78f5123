"""Our own MongoDB servers and replica sets: what they give, and how they live and die."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient, WriteConcern
from pymongo.errors import AutoReconnect, NetworkTimeout, OperationFailure, ServerSelectionTimeoutError
from tests.support.orphans import check_orphans
from tests.support.postgres import eventually

from soa_db.errors import ConfigurationError, ServerUnavailable
from soa_db.local import processes
from soa_db.local.mongo import MongoServer
from soa_db.local.tls import ServerTls

if TYPE_CHECKING:
    from tests.conftest import MongoServerFactory

    from soa_db.local.mongo_set import MongoReplicaSet

PATIENT: dict[str, Any] = {"serverSelectionTimeoutMS": 5000}
QUICK: dict[str, Any] = {"serverSelectionTimeoutMS": 500, "directConnection": True}


def nobody(server: MongoServer, **options: Any) -> MongoClient[dict[str, Any]]:
    """A client that does not log in, and does not wait long."""
    return MongoClient(server.host, server.port, **{**QUICK, **options})


def test_master_may_do_everything_and_nobody_nothing(mongo_server: MongoServer, unique_name: str) -> None:
    """Also from this very machine: the localhost exception is off, and was from the first start on."""
    with mongo_server.admin() as master:
        status = master.admin.command("connectionStatus", showPrivileges=True)["authInfo"]
        assert [user["user"] for user in status["authenticatedUsers"]] == ["master"]
        assert {role["role"] for role in status["authenticatedUserRoles"]} == {"root"}
        assert master.admin.command("usersInfo", "master")["users"][0]["mechanisms"] == ["SCRAM-SHA-256"]
        parameters = master.admin.command("getParameter", enableLocalhostAuthBypass=1)
        assert parameters["enableLocalhostAuthBypass"] is False
        assert not master[unique_name].list_collection_names()
    with nobody(mongo_server) as client:
        for database, command in (("admin", "listDatabases"), (unique_name, "listCollections")):
            with pytest.raises(OperationFailure) as caught:
                client[database].command(command)
            assert caught.value.code == 13
        with pytest.raises(OperationFailure) as caught:
            client.admin.command("createUser", "me", pwd="me", roles=["root"])
        assert caught.value.code == 13


def test_no_admin_can_be_made_before_there_is_one(server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is quicker than we at the very first start of a server is refused too."""
    refused: list[int | None] = []

    class _Overtaken(MongoServer):
        def _settle(self, deadline: float) -> None:
            with nobody(self) as client, pytest.raises(OperationFailure) as caught:
                client.admin.command("createUser", "me", pwd="me", roles=["root"])
            refused.append(caught.value.code)
            super()._settle(deadline)

    server = _Overtaken(server_folder / "mongo-overtaken")
    try:
        server.start()
    finally:
        server.remove()
    assert refused == [13]


def test_a_user_has_its_roles_and_its_password_stands_nowhere(mongo_server_factory: MongoServerFactory) -> None:
    """Files are their owner's alone; the command line names a file; the log keeps quiet."""
    server = mongo_server_factory()
    secret = "a-pass/word:of@this test"
    server.create_user("al", secret, database="al_db")
    with MongoClient[dict[str, Any]](server.url("al", secret, database="al_db", auth_source="al_db")) as al:
        al.get_default_database().things.insert_one({"_id": 1})
        with pytest.raises(OperationFailure) as caught:
            al.bo_db.things.find_one()
        assert caught.value.code == 13
    server.stop()
    key = (server.directory / "key").read_text("utf-8")
    files = [path for path in server.directory.rglob("*") if path.is_file()]
    assert server.log_file in files
    for path in files:
        assert path.stat().st_mode & 0o077 == 0, path
        content = path.read_bytes()
        assert secret.encode() not in content, path
        assert server.admin_password.encode() not in content, path
        assert path.name == "key" or key.encode() not in content, path
    assert server.directory.stat().st_mode & 0o777 == 0o700
    server.start()
    assert server.pid is not None
    assert not {secret, server.admin_password, key} & set(processes.command_line(server.pid))
    assert not list(Path("/tmp").glob(f"mongodb-{server.port}.sock"))


def test_without_auth_anybody_may(mongo_server_factory: MongoServerFactory, unique_name: str) -> None:
    """As some run it in dev; the administrator's URL then has no user."""
    server = mongo_server_factory(auth=False, parameters={"ttlMonitorSleepSecs": 7})
    assert "@" not in server.admin_url
    with MongoClient[dict[str, Any]](server.admin_url, **QUICK) as client:
        client[unique_name].things.insert_one({"_id": 1})
        port = server.port
        server.restart()
        assert server.port == port
        assert client[unique_name].things.find_one() == {"_id": 1}
        assert client.admin.command("getParameter", ttlMonitorSleepSecs=1)["ttlMonitorSleepSecs"] == 7


def test_data_and_users_outlive_a_restart_and_another_port(
    mongo_server_factory: MongoServerFactory, server_tls: ServerTls
) -> None:
    """Another object for the folder finds all of it, also where the set knew the server elsewhere."""
    server = mongo_server_factory(tls=server_tls, replica_set="saga-rs")
    with server.admin() as master:
        master.a.things.insert_one({"_id": 1})
        assert master.admin.command("hello")["setName"] == "saga-rs"
    server.kill()
    again = MongoServer(server.directory, tls=server_tls, replica_set="saga-rs", admin_password=server.admin_password)
    try:
        again.start()
        with again.admin() as master:
            assert master.a.things.find_one() == {"_id": 1}
            assert master.admin.command("hello")["hosts"] == [f"localhost:{again.port}"]
    finally:
        again.stop()


def test_one_that_was_killed_half_made_begins_anew(server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its first answer and its administrator."""
    server = MongoServer(server_folder / "mongo-half", replica_set="saga-rs")

    def interrupt(self: MongoServer, name: str) -> None:
        raise KeyboardInterrupt

    try:
        with monkeypatch.context() as patch:
            patch.setattr(MongoServer, "_set_configuration", interrupt)
            with pytest.raises(KeyboardInterrupt):
                server.start()
        assert not server.is_running
        server.start()
        with server.admin() as master:
            assert master.admin.command("ping")["ok"]
    finally:
        server.remove()
    assert not server.directory.exists()


def test_kill_ends_it_and_what_is_in_its_journal_is_there_again(mongo_server_factory: MongoServerFactory) -> None:
    """kill -9; then it comes back on the same port, with its journal."""
    server = mongo_server_factory()
    with server.admin(timeout=0.5) as master:
        # Without j a standalone acknowledges what it has not in its journal yet.
        master.a.get_collection("things", write_concern=WriteConcern(j=True)).insert_one({"_id": 1})
        pid = server.pid
        assert pid is not None
        server.kill()
        assert processes.find(pid) is None
        assert not server.is_running
        with pytest.raises((AutoReconnect, ServerSelectionTimeoutError)):
            master.a.things.find_one()
        server.start()
        eventually(lambda: _found(master))


def _found(client: MongoClient[dict[str, Any]]) -> bool:
    try:
        return client.a.things.find_one() == {"_id": 1}
    except (AutoReconnect, ServerSelectionTimeoutError):
        return False


def test_a_paused_server_answers_nothing_until_resumed_and_can_be_stopped(
    mongo_server_factory: MongoServerFactory,
) -> None:
    """The connection stays open."""
    server = mongo_server_factory()
    with MongoClient[dict[str, Any]](server.admin_url, socketTimeoutMS=300, **QUICK) as master:
        master.admin.command("ping")
        server.pause()
        with pytest.raises(NetworkTimeout):
            master.admin.command("ping")
        server.resume()
        eventually(lambda: bool(master.admin.command("ping")["ok"]))
        server.pause()
        server.stop()
    assert not server.is_running


def test_a_taken_port_is_left_for_another_unless_it_was_asked_for(
    mongo_server: MongoServer, server_folder: Path
) -> None:
    """Two that look for a port at once can find the same; the loser takes the next."""
    server = MongoServer(server_folder / "mongo-taken")
    server._port = mongo_server.port
    try:
        server.start()
        assert server.port != mongo_server.port
        server.stop()
        wanted = MongoServer(server_folder / "mongo-taken", port=mongo_server.port)
        with pytest.raises(ServerUnavailable, match="is taken"):
            wanted.start()
    finally:
        server.remove()


def test_what_does_not_start_says_why(server_folder: Path, server_tls: ServerTls) -> None:
    """The server's own words; and what cannot work is refused before."""
    server = MongoServer(server_folder / "mongo-broken", parameters={"noSuchParameter": 1})
    try:
        with pytest.raises(ServerUnavailable, match="noSuchParameter"):
            server.start()
    finally:
        server.remove()
    with pytest.raises(ConfigurationError, match="CA of its certificate"):
        MongoServer(server_folder / "mongo-never", tls=ServerTls(server_tls.cert_pem, server_tls.key_pem))


def test_with_tls_it_speaks_nothing_else(mongo_tls_server: MongoServer, ca_file: Path) -> None:
    """Verified by its CA under both names; who speaks plainly or has other roots gets nothing."""
    for host in ("localhost", "127.0.0.1"):
        login: dict[str, Any] = {"username": "master", "password": mongo_tls_server.admin_password, "tls": True}
        with MongoClient[dict[str, Any]](
            host, mongo_tls_server.port, tlsCAFile=str(ca_file), **QUICK, **login
        ) as client:
            assert client.admin.command("ping")["ok"]
    for options in ({}, {"tls": True}):
        with nobody(mongo_tls_server, **options) as client, pytest.raises(ServerSelectionTimeoutError):
            client.admin.command("ping")


def test_where_client_certificates_are_demanded_one_needs_one(
    mongo_server_factory: MongoServerFactory, server_tls: ServerTls, ca_file: Path
) -> None:
    """Our own administrator shows the server's."""
    demanding = ServerTls(server_tls.cert_pem, server_tls.key_pem, server_tls.ca_pem, server_tls.ca_pem)
    server = mongo_server_factory(tls=demanding)
    with server.admin() as master:
        assert master.admin.command("ping")["ok"]
    bare = nobody(server, tls=True, tlsCAFile=str(ca_file))
    with bare, pytest.raises(ServerSelectionTimeoutError):
        bare.admin.command("ping")


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_it_ends_with_its_parent_even_when_that_is_killed(server_folder: Path) -> None:
    """And what is left behind all the same is found by the next one in that folder."""
    check_orphans(MongoServer, server_folder)


def test_a_set_elects_another_primary_and_loses_nothing_acknowledged(
    mongo_set: MongoReplicaSet, unique_name: str
) -> None:
    """Three members over TLS; the one that was killed follows when it comes back."""
    with mongo_set.admin(timeout=20) as client:
        things = client[unique_name].things
        things.insert_one({"_id": 1})
        victim = mongo_set.primary()
        assert victim is not None
        assert len(mongo_set.secondaries()) == 2
        victim.kill()
        try:
            things.insert_one({"_id": 2})
            assert [document["_id"] for document in things.find().sort("_id")] == [1, 2]
            mongo_set.wait()
            assert mongo_set.primary() not in {None, victim}
        finally:
            victim.start()
            mongo_set.wait()
        assert mongo_set.is_running
        assert len(mongo_set.secondaries()) == 2


def test_a_set_is_whole_again_after_a_restart(mongo_set: MongoReplicaSet, unique_name: str) -> None:
    """It keeps its data, hangs and wakes as one."""
    with mongo_set.admin() as client:
        client[unique_name].things.insert_one({"_id": 1})
    mongo_set.restart()
    mongo_set.pause()
    mongo_set.resume()
    mongo_set.wait()
    with mongo_set.admin() as client:
        assert client[unique_name].things.find_one() == {"_id": 1}


@pytest.mark.parametrize("interrupted", ["stop", "_prepare", None])
def test_one_is_restored_from_another_and_interrupted_anywhere_the_next_run_ends_it(
    mongo_tls_server: MongoServer,
    mongo_server_factory: MongoServerFactory,
    unique_name: str,
    monkeypatch: pytest.MonkeyPatch,
    interrupted: str | None,
) -> None:
    """Data, users and passwords are the other's then, the address its own; the other takes writes as before."""
    mongo_tls_server.create_user(unique_name, "of-the-other", database=unique_name)
    with mongo_tls_server.admin() as other:
        other[unique_name].things.create_index("x")
        other[unique_name].things.insert_one({"_id": 1})
        # As a copy leaves it that was ended before it could undo it.
        other.admin.command("fsync", lock=True)
    server = mongo_server_factory(tls=mongo_tls_server.tls, replica_set="saga-rs")
    port = server.port

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    if interrupted is not None:
        with monkeypatch.context() as patch:
            patch.setattr(MongoServer, interrupted, interrupt)
            with pytest.raises(KeyboardInterrupt):
                server.restore(mongo_tls_server)
    server.restore(mongo_tls_server)
    server.set_admin_password("of its own")
    assert server.port == port
    url = server.url(unique_name, "of-the-other", database=unique_name, auth_source=unique_name)
    with MongoClient[dict[str, Any]](url, **PATIENT) as user:
        assert user[unique_name].things.find_one() == {"_id": 1}
        assert "x_1" in user[unique_name].things.index_information()
        assert user.admin.command("hello")["hosts"] == [f"localhost:{port}"]
    with server.admin() as master, mongo_tls_server.admin() as other:
        assert master.admin.command("ping")["ok"]
        other[unique_name].things.insert_one({"_id": 2})
    assert not (server.directory / "copy").exists()


def test_what_cannot_be_copied_leaves_the_other_as_it_was(
    mongo_server_factory: MongoServerFactory, unique_name: str
) -> None:
    """A server that is down is no source."""
    source, server = mongo_server_factory(), mongo_server_factory()
    with server.admin() as master:
        master[unique_name].things.insert_one({"_id": 1})
        source.kill()
        with pytest.raises(ServerUnavailable, match="cannot be copied: it does not run"):
            server.restore(source)
        assert master[unique_name].things.find_one() == {"_id": 1}
