"""Our own PostgreSQL servers: what they give, and how they live and die."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trustme
from tests.conftest import MASTER_PASSWORD, ServerFactory

from soa_db.errors import ServerUnavailable
from soa_db.local import binaries, processes
from soa_db.local.binaries import Binaries, copy_binaries, find_binaries, server_account
from soa_db.local.postgres import PostgresServer
from soa_db.local.tls import ServerTls


def test_the_server_is_of_the_version_asked_for_and_master_is_what_rds_gives(
    pg: PostgresServer, unique_name: str
) -> None:
    """A non-superuser that may create roles and databases and grant rds_iam."""
    with psycopg.connect(pg.master_conninfo, autocommit=True) as connection:
        assert connection.info.server_version // 10_000 == pg.version
        row = connection.execute(
            "select rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls from pg_roles"
            " where rolname = current_user"
        ).fetchone()
        assert row == (False, True, True, False, False)
        connection.execute(f"create role {unique_name} login")
        connection.execute(f"grant rds_iam to {unique_name}")
        connection.execute(f"drop role {unique_name}")


def test_a_wrong_password_is_refused(pg: PostgresServer) -> None:
    """TCP is SCRAM, never trust."""
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(pg.conninfo("master", "wrong"))


def test_the_master_password_is_not_in_the_log(pg_server_factory: ServerFactory) -> None:
    """Not even when every statement is logged: the verifier is computed on our side."""
    server = pg_server_factory(settings={"log_statement": "all"})
    log = server.log_file.read_text("utf-8")
    assert "CREATE ROLE" in log
    assert MASTER_PASSWORD not in log


def test_restart_keeps_port_and_data(pg_server_factory: ServerFactory) -> None:
    """Clients find the same server again."""
    server = pg_server_factory()
    port = server.port
    with psycopg.connect(server.superuser_conninfo, autocommit=True) as connection:
        connection.execute("create table kept as select 1 as a")
    server.restart()
    assert server.port == port
    with psycopg.connect(server.superuser_conninfo) as connection:
        assert connection.execute("select a from kept").fetchone() == (1,)


def test_kill_ends_every_process_and_keeps_acknowledged_writes(pg_server_factory: ServerFactory) -> None:
    """kill -9 of the whole tree, then recovery."""
    server = pg_server_factory()
    with psycopg.connect(server.superuser_conninfo, autocommit=True) as connection:
        connection.execute("create table kept as select 1 as a")
        assert server.pid is not None
        family = (server.pid, *processes.tree(server.pid))
        assert connection.info.backend_pid in family
        server.kill()
        assert not [pid for pid in family if processes.find(pid)]
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    assert not server.is_running
    server.start()
    with psycopg.connect(server.superuser_conninfo) as connection:
        assert connection.execute("select a from kept").fetchone() == (1,)


def test_a_paused_server_answers_nothing_until_resumed(pg_server_factory: ServerFactory) -> None:
    """The connection stays open and the answer comes late."""
    server = pg_server_factory()
    with psycopg.connect(server.superuser_conninfo, autocommit=True) as connection:
        server.pause()
        connection.pgconn.send_query(b"select 1")
        connection.pgconn.flush()
        time.sleep(0.2)
        connection.pgconn.consume_input()
        assert connection.pgconn.is_busy()
        server.resume()
        result = connection.pgconn.get_result()
        assert result is not None
        assert result.get_value(0, 0) == b"1"
        assert connection.pgconn.get_result() is None


def test_a_paused_server_can_be_stopped(pg_server_factory: ServerFactory) -> None:
    """Clearing up after a test that failed half-way."""
    server = pg_server_factory()
    server.pause()
    server.stop()
    assert not server.is_running


def test_a_taken_port_is_left_for_another(pg_servers: Callable[[int], PostgresServer], server_folder: Path) -> None:
    """Two that look for a port at once can find the same; the loser takes the next."""
    other = pg_servers(17)
    server = PostgresServer(server_folder / "taken", version=17, master_password=MASTER_PASSWORD)
    server._port = other.port
    try:
        server.start()
        assert server.port != other.port
    finally:
        server.remove()


def test_a_fixed_port_that_is_taken_is_an_error(
    pg_servers: Callable[[int], PostgresServer], server_folder: Path
) -> None:
    """Whoever asked for a port gets that one or none."""
    server = PostgresServer(
        server_folder / "fixed", version=17, master_password=MASTER_PASSWORD, port=pg_servers(17).port
    )
    try:
        with pytest.raises(ServerUnavailable, match="is taken"):
            server.start()
        assert not server.is_running
    finally:
        server.remove()


def test_a_server_that_does_not_start_says_why(server_folder: Path) -> None:
    """The last lines of its log are in the error."""
    server = PostgresServer(
        server_folder / "broken", version=17, master_password=MASTER_PASSWORD, settings={"shared_buffers": "lots"}
    )
    try:
        with pytest.raises(ServerUnavailable, match="shared_buffers"):
            server.start()
    finally:
        server.remove()


def test_the_server_dies_with_its_parent_and_the_next_start_takes_over(server_folder: Path) -> None:
    """kill -9 of whoever runs it: PostgreSQL shuts down, the data stays, the folder is usable at once."""
    folder = server_folder / "orphan"
    script = f"""
        import time
        from pathlib import Path
        from soa_db.local.postgres import PostgresServer
        server = PostgresServer(Path({str(folder)!r}), version=17, master_password="x")
        server.start()
        print(server.pid, flush=True)
        time.sleep(60)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, env=environment
    ) as parent:
        assert parent.stdout is not None
        postmaster = int(parent.stdout.readline())
        assert processes.find(postmaster)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while processes.find(postmaster) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert processes.find(postmaster) is None
    server = PostgresServer(folder, version=17, master_password="x")
    try:
        server.start()
        with psycopg.connect(server.master_conninfo) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
    finally:
        server.remove()
    assert not folder.exists()


def test_a_postmaster_left_running_is_replaced(server_folder: Path) -> None:
    """Where nothing tells a server that its parent died, the next start ends it first."""
    left = PostgresServer(server_folder / "left", version=17, master_password=MASTER_PASSWORD)
    left.start()
    postmaster = left.pid
    assert postmaster is not None
    server = PostgresServer(server_folder / "left", version=17, master_password=MASTER_PASSWORD)
    try:
        server.start()
        assert server.pid != postmaster
        assert processes.find(postmaster) is None
        with psycopg.connect(server.master_conninfo) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
    finally:
        left.kill()
        server.remove()


def test_a_data_folder_made_half_way_is_made_anew(server_folder: Path) -> None:
    """Killed between initdb and the first roles."""
    server = PostgresServer(server_folder / "half", version=17, master_password=MASTER_PASSWORD)
    try:
        server.start()
        server.kill()
        (server.home / "bootstrapped").unlink()
        server.start()
        with psycopg.connect(server.master_conninfo) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
    finally:
        server.remove()


def test_programs_that_the_server_s_user_cannot_reach_are_copied(server_folder: Path) -> None:
    """A virtual environment under a 0700 folder, as root's home is."""
    found = find_binaries(17)
    if found.root is None:
        found = next(item for item in binaries._candidates() if item.root is not None)
    locked = server_folder / "locked"
    copied = copy_binaries(found, locked)
    locked.chmod(0o700)
    server = PostgresServer(
        server_folder / "of-locked",
        binaries=Binaries(copied.version, copied.directory, locked, found.parts),
        master_password=MASTER_PASSWORD,
    )
    try:
        server.start()
        with psycopg.connect(server.master_conninfo) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
    finally:
        server.remove()


def test_tls_of_the_server_s_own_with_client_certificates(pg_server_factory: ServerFactory) -> None:
    """Where no gate stands in front."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    server = pg_server_factory(
        tls=ServerTls(
            certificate.cert_chain_pems[0].bytes(), certificate.private_key_pem.bytes(), authority.cert_pem.bytes()
        ),
        hba=["local all postgres trust", "hostssl all all 127.0.0.1/32 scram-sha-256"],
    )
    assert "PRIVATE" not in repr(server.tls)
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(server.master_conninfo, sslmode="disable")
    with (
        authority.cert_pem.tempfile() as roots,
        psycopg.connect(
            server.master_conninfo, host="localhost", sslmode="verify-full", sslrootcert=roots
        ) as connection,
    ):
        assert connection.pgconn.ssl_in_use


def test_the_server_s_user_cannot_lead_our_writes_elsewhere(pg_server_factory: ServerFactory, tmp_path: Path) -> None:
    """Links planted by whoever is nobody too: root would overwrite and give away the file they lead to."""
    server = pg_server_factory()
    precious = tmp_path / "precious"
    precious.write_text("root's own")
    precious.chmod(0o600)
    server.stop()
    account = server_account()
    own: dict[str, Any] = {"user": account.uid, "group": account.gid, "extra_groups": []} if os.geteuid() == 0 else {}
    planted: list[Path] = []
    for folder in (server.home, server.data_directory, server.socket_directory):
        for name in (*(path.name for path in folder.iterdir()), "pg_hba.conf.new", "programs", "server.key"):
            command = f"{{ test ! -e {name} || mv {name} moved; }} && ln -sT {precious} {name}; rm -rf moved"
            subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, check=False, **own)
            planted += [folder / name] if (folder / name).is_symlink() else []
    if own:
        assert {path.parent for path in planted} == {server.data_directory, server.socket_directory}
        with suppress(ServerUnavailable):
            server.start()
    assert precious.read_text() == "root's own"
    assert precious.stat().st_uid == os.geteuid()


def test_a_home_that_somebody_else_took_is_not_used(server_folder: Path, tmp_path: Path) -> None:
    """The system's temporary folder is everybody's: after a reboot the name of ours may be a link of theirs."""
    folder = server_folder / ("long-" * 15)
    server = PostgresServer(folder, version=17, master_password=MASTER_PASSWORD)
    home = server.home
    assert home.parent == Path(tempfile.gettempdir())
    shutil.rmtree(home)
    theirs = tmp_path / "theirs"
    (theirs / "data").mkdir(parents=True)
    home.symlink_to(theirs)
    try:
        again = PostgresServer(folder, version=17, master_password=MASTER_PASSWORD)
        assert again.home != home
        mine = again.home
        again.remove()
        assert not mine.exists()
        assert (theirs / "data").is_dir()
    finally:
        home.unlink()


def test_a_server_never_started_has_no_port_and_nothing_to_stop(server_folder: Path) -> None:
    """Stopping, killing and pausing are harmless then; as a context manager it starts and stops."""
    server = PostgresServer(server_folder / "idle", version=17, master_password=MASTER_PASSWORD)
    assert MASTER_PASSWORD not in repr(server)
    with pytest.raises(ServerUnavailable, match="has not been started"):
        _ = server.port
    for harmless in (server.stop, server.kill, server.pause, server.resume):
        harmless()
    with server:
        server.start()
        assert server.is_running
    assert not server.is_running
    server.remove()


@pytest.mark.parametrize("version", [15, 18])
def test_one_is_restored_from_another_and_interrupted_the_next_run_ends_it(
    version: int,
    pg_servers: Callable[[int], PostgresServer],
    pg_server_factory: ServerFactory,
    unique_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Databases, roles and passwords are the other's then, the address its own; the other serves on."""
    source, server = pg_servers(version), pg_server_factory(version=version, master_password="its own")
    port = server.port
    with psycopg.connect(source.superuser_conninfo, autocommit=True) as other:
        other.execute(f"create role {unique_name} login password 'of the other'")
        other.execute(f"create database {unique_name} owner {unique_name}")

        def interrupt(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(PostgresServer, "_write_configuration", interrupt)
            with pytest.raises(KeyboardInterrupt):
                server.restore(source)
        server.restore(source)
        assert other.execute("select 1").fetchone() == (1,)
    with psycopg.connect(server.master_conninfo.replace("its own", MASTER_PASSWORD)) as master:
        assert master.execute("select current_user::text").fetchone() == ("master",)
    server.set_master_password("another")
    with psycopg.connect(server.master_conninfo) as master:
        assert master.info.port == port
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.conninfo("master", MASTER_PASSWORD))
    with psycopg.connect(server.conninfo(unique_name, "of the other", unique_name)) as user:
        assert user.info.dbname == unique_name
    assert "another" not in server.log_file.read_text("utf-8")
    with psycopg.connect(source.superuser_conninfo, autocommit=True) as other:
        other.execute(f"drop database {unique_name}")
        other.execute(f"drop role {unique_name}")


def test_what_cannot_be_copied_leaves_the_other_as_it_was(pg_server_factory: ServerFactory) -> None:
    """A server that is down is no source: pg_basebackup's own words."""
    source, server = pg_server_factory(), pg_server_factory()
    source.kill()
    with psycopg.connect(server.superuser_conninfo) as connection:
        with pytest.raises(ServerUnavailable, match="pg_basebackup of PostgreSQL 17 failed"):
            server.restore(source)
        assert connection.execute("select 1").fetchone() == (1,)
