"""The local environment as a whole: what it publishes, and how it lives and dies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
import redis
from pymongo import MongoClient

from soa_db import names
from soa_db.errors import ConfigurationError, ServerUnavailable
from soa_db.local import processes
from soa_db.local.engines import ENGINES, Engine
from soa_db.local.environment import LocalEnvironment, Status
from soa_db.local.state import read_state
from soa_db.names import ENVS, Env


def everything(status: Status) -> bool:
    """Whether all of its servers run."""
    return all(up for servers in status.up.values() for up in servers.values())


def client(environment: LocalEnvironment, service: str, env: Env = "dev") -> Any:
    """A boto3 client of the environment's account, prod's through the role its soa-db.toml names."""
    exports = environment.exports()
    keys = {
        "aws_access_key_id": exports["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": exports["AWS_SECRET_ACCESS_KEY"],
    }
    place = {"endpoint_url": exports["AWS_ENDPOINT_URL"], "region_name": exports["AWS_REGION"]}
    if env == "prod":
        role = {"RoleArn": "arn:aws:iam::222222222222:role/soa-db-admin", "ExternalId": "soa-db-local"}
        assumed = boto3.client("sts", **keys, **place).assume_role(**role, RoleSessionName="tests")["Credentials"]
        keys = {
            "aws_access_key_id": assumed["AccessKeyId"],
            "aws_secret_access_key": assumed["SecretAccessKey"],
            "aws_session_token": assumed["SessionToken"],
        }
    return boto3.client(service, **keys, **place)


@pytest.mark.parametrize("env", ENVS)
def test_the_master_gets_in_with_what_is_published(local_env: LocalEnvironment, env: Env) -> None:
    """SSM names host, port and secret; the secret holds user and password; mirror and prod verify TLS."""
    ssm = client(local_env, "ssm", env)
    paths = [
        names.postgres_admin_endpoint_ssm_path(env),
        names.postgres_admin_port_ssm_path(env),
        names.postgres_admin_secret_ssm_path(env),
    ]
    values = {item["Name"]: item["Value"] for item in ssm.get_parameters(Names=paths)["Parameters"]}
    host, port, arn = (values[path] for path in paths)
    secret = json.loads(client(local_env, "secretsmanager", env).get_secret_value(SecretId=arn)["SecretString"])
    assert (secret["host"], str(secret["port"])) == (host, port)
    tls: dict[str, Any] = (
        {} if env == "dev" else {"sslmode": "verify-full", "sslrootcert": local_env.exports()["SOA_DB_CA_FILE"]}
    )
    with psycopg.connect(
        host=host, port=port, user=secret["username"], password=secret["password"], dbname="postgres", **tls
    ) as connection:
        assert connection.pgconn.ssl_in_use == (env != "dev")
        row = connection.execute("select current_user, rolsuper from pg_roles where rolname = current_user").fetchone()
        assert row == ("master", False)


def test_the_instances_of_mirror_and_prod_tell_their_resource_ids(local_env: LocalEnvironment) -> None:
    """DescribeDBInstances names the address really published; each id is its own."""
    ids = set()
    for env in ("mirror", "prod"):
        server = local_env.server(env)
        (instance,) = client(local_env, "rds", env).describe_db_instances(DBInstanceIdentifier=f"{env}-postgres")[
            "DBInstances"
        ]
        assert instance["Endpoint"] == {"Address": server.host, "Port": server.port}
        assert instance["DbiResourceId"] == server.resource_id
        assert instance["IAMDatabaseAuthenticationEnabled"]
        ids.add(server.resource_id)
    assert len(ids) == 2


def test_the_files_with_secrets_are_their_owners_alone(local_env: LocalEnvironment) -> None:
    """And no process names a secret among its arguments."""
    for name in ("state.json", "soa-db.toml", "supervisor.log", "ca.pem"):
        assert stat.S_IMODE((local_env.directory / name).stat().st_mode) == 0o600
    exports = local_env.exports()
    every = " ".join(" ".join(processes.command_line(pid)) for pid in processes.table())
    assert exports["AWS_SECRET_ACCESS_KEY"] not in every
    state = read_state(local_env.directory)
    assert state is not None
    assert state.control_token not in every
    assert exports["AWS_SECRET_ACCESS_KEY"] not in repr(state)
    for env in ENVS:
        without_socket: tuple[Engine, ...] = ("redis", "mongo")
        for engine in without_socket:
            url = local_env.server(env, engine).admin_url
            assert url.split("@")[0].rsplit(":", 1)[1] not in every


def test_up_finds_what_runs_and_down_leaves_nothing(server_folder: Path) -> None:
    """No process and no file but the locks."""
    environment = LocalEnvironment(server_folder / "updown")
    told: list[str] = []
    first = environment.up(progress=told.append)
    assert len(told) == len(ENGINES) * len(ENVS)
    assert first.running
    assert everything(first)
    again = LocalEnvironment(server_folder / "updown").up()
    assert again == first
    assert first.pid is not None
    family = (first.pid, *processes.tree(first.pid))
    assert environment.down()
    assert not [pid for pid in family if processes.find(pid)]
    assert {path.name for path in environment.directory.iterdir()} <= {"up.lock", "supervisor.lock"}
    assert not environment.down()
    assert not environment.status().running
    with pytest.raises(ServerUnavailable, match="no local environment runs"):
        environment.exports()


def test_two_run_side_by_side(local_env: LocalEnvironment, server_folder: Path) -> None:
    """Other ports, other keys, other passwords; ending one leaves the other alone."""
    with LocalEnvironment(server_folder / "beside") as other:
        ports = [
            environment.server(env, engine).port
            for environment in (local_env, other)
            for env in ENVS
            for engine in ENGINES
        ]
        assert len(set(ports)) == 2 * len(ENGINES) * len(ENVS)
        assert other.exports()["AWS_ACCESS_KEY_ID"] != local_env.exports()["AWS_ACCESS_KEY_ID"]
    assert everything(local_env.status())


@pytest.mark.parametrize("what", ["up", "down"])
def test_a_killed_environment_is_put_right(server_folder: Path, what: str) -> None:
    """kill -9 of the supervisor: nothing of it lives on, and the next up or down starts from clean ground."""
    environment = LocalEnvironment(server_folder / f"killed-{what}")
    status = environment.up()
    assert status.pid is not None
    family = (status.pid, *processes.tree(status.pid))
    os.kill(status.pid, signal.SIGKILL)
    _until(lambda: not environment.status().running)
    (environment.directory / "state.json").write_text('{"pid": 1, "half')
    try:
        if what == "up":
            fresh = environment.up()
            assert fresh.pid != status.pid
            assert everything(fresh)
        else:
            environment.down()
        assert not [pid for pid in family if processes.find(pid)]
    finally:
        environment.down()
    assert {path.name for path in environment.directory.iterdir()} <= {"up.lock", "supervisor.lock"}


@pytest.mark.parametrize("deep", [False, True])
def test_an_environment_whose_folder_is_deleted_ends(server_folder: Path, deep: bool) -> None:
    """`rm -rf`, or `make clean`: nothing lives on, and one made there meanwhile is left alone."""
    # Deep: too long a path for the sockets, so that homes stand elsewhere.
    environment = LocalEnvironment(server_folder / ("deep-" * 15 if deep else "wiped"))
    status = environment.up()
    assert status.pid is not None
    family = (status.pid, *processes.tree(status.pid))
    homes = {Path(server.log_file).parent for server in status.servers["postgres"].values()}
    shutil.rmtree(environment.directory)
    fresh = environment.up()
    try:
        _until(lambda: not [pid for pid in family if processes.find(pid)])
        assert environment.status() == fresh
        assert everything(fresh)
        for env in ENVS:
            with psycopg.connect(environment.server(env).superuser_conninfo) as connection:
                assert connection.execute("select 1").fetchone() == (1,)
            with redis.Redis.from_url(environment.server(env, "redis").admin_url) as administrator:
                assert administrator.ping()
            with MongoClient[dict[str, Any]](environment.server(env, "mongo").admin_url) as mongo:
                assert mongo.admin.command("ping")["ok"]
        assert not deep or not [home for home in homes if home.exists()]
    finally:
        environment.down()


def test_killed_while_starting_is_put_right(server_folder: Path) -> None:
    """The supervisor is killed between initdb and readiness; `down` leaves nothing."""
    environment = LocalEnvironment(server_folder / "early")
    told: list[str] = []

    def kill_supervisor(message: str) -> None:
        if not told:
            pid = next(
                pid
                for pid in processes.table()
                if {"soa_db.local.supervisor", str(environment.directory)} <= set(processes.command_line(pid))
            )
            os.kill(pid, signal.SIGKILL)
        told.append(message)

    with pytest.raises(ServerUnavailable, match="did not start"):
        environment.up(progress=kill_supervisor)
    assert environment.up().running
    assert environment.down()


def test_an_interrupted_up_leaves_no_process(server_folder: Path) -> None:
    """Ctrl-C while it starts."""
    environment = LocalEnvironment(server_folder / "interrupted")

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        environment.up(progress=interrupt)
    assert not environment.status().running
    mark = str(environment.directory)
    assert not [pid for pid in processes.table() if any(mark in part for part in processes.command_line(pid))]
    environment.down()


def test_the_environment_of_a_with_block_ends_with_its_process(server_folder: Path) -> None:
    """A test run or demo that is killed leaves no servers behind."""
    folder = server_folder / "follow"
    script = f"""
        import time
        from soa_db.local.environment import LocalEnvironment
        with LocalEnvironment({str(folder)!r}) as environment:
            print(environment.status().pid, flush=True)
            time.sleep(60)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, env=environment
    ) as parent:
        assert parent.stdout is not None
        supervisor = int(parent.stdout.readline())
        family = (supervisor, *processes.tree(supervisor))
        parent.kill()
    _until(lambda: not [pid for pid in family if processes.find(pid)])


def test_a_server_that_is_killed_comes_back_on_its_port(local_env: LocalEnvironment) -> None:
    """Through the supervisor, whose child it stays."""
    before = local_env.server("mirror")
    local_env.kill_server("mirror")
    assert local_env.status().up["postgres"] == {"dev": True, "mirror": False, "prod": True}
    local_env.start_server("mirror")
    after = local_env.server("mirror")
    assert after.port == before.port
    assert after.pid != before.pid
    assert local_env.status().up["postgres"]["mirror"]


def test_a_server_is_paused_stopped_and_restarted_on_request(local_env: LocalEnvironment) -> None:
    """Paused it hangs, stopped it is gone, restarted it is another process on the same port."""
    first = local_env.server("prod")
    local_env.pause_server("prod")
    assert local_env.status().up["postgres"]["prod"]
    local_env.resume_server("prod")
    with psycopg.connect(first.superuser_conninfo) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    local_env.stop_server("prod")
    assert not local_env.status().up["postgres"]["prod"]
    local_env.start_server("prod")
    local_env.restart_server("prod")
    assert local_env.server("prod").backend_port == first.backend_port
    assert local_env.server("prod").pid != first.pid


@pytest.mark.parametrize(
    ("request_line", "answer"),
    [
        (b"nonsense\n", "malformed"),
        (b"\n", "malformed"),
        (b"{}\n", "malformed"),
        (b"[" * 50_000 + b"\n", "malformed"),
        (b'{"token": "wrong", "engine": "redis", "env": "dev", "command": "kill"}\n', "refused"),
        (b'{"token": "TOKEN", "engine": "redis", "env": "moon", "command": "kill"}\n', "unknown environment"),
        (b'{"token": "TOKEN", "engine": "oracle", "env": "dev", "command": "kill"}\n', "unknown engine"),
        (b'{"token": "TOKEN", "engine": "redis", "env": "dev", "command": "dance"}\n', "unknown command"),
    ],
)
def test_the_supervisor_obeys_only_those_who_may_read_its_state(
    local_env: LocalEnvironment, request_line: bytes, answer: str
) -> None:
    """And survives what it does not understand."""
    state = read_state(local_env.directory)
    assert state is not None
    with socket.create_connection(("127.0.0.1", state.control_port), timeout=20) as control:
        control.sendall(request_line.replace(b"TOKEN", state.control_token.encode()))
        assert answer in json.loads(control.makefile("rb").readline())["error"]
    assert local_env.status().up["postgres"]["dev"]


def test_a_command_that_fails_says_why(local_env: LocalEnvironment) -> None:
    """The supervisor's words reach the caller."""
    with pytest.raises(ServerUnavailable, match="unknown command 'dance'"):
        local_env._command("dev", "dance")
    with pytest.raises(ServerUnavailable, match="unknown command 'dance'"):
        local_env._command("dev", "dance", "redis")


def test_several_ups_at_once_make_one_environment(server_folder: Path) -> None:
    """The first starts it, the others find it."""
    folder = server_folder / "race"
    try:
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(lambda _: LocalEnvironment(folder).up(), range(3)))
        assert len({status.pid for status in found}) == 1
        assert all(status.running for status in found)
    finally:
        LocalEnvironment(folder).down()


def test_an_environment_that_cannot_start_says_why(server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason comes from the supervisor, and nothing is left."""
    monkeypatch.setenv("SOA_DB_POSTGRES_BIN", "/nonexistent")
    environment = LocalEnvironment(server_folder / "broken")
    with pytest.raises(ServerUnavailable, match="/nonexistent holds no postgres"):
        environment.up()
    assert not environment.status().running


def test_a_folder_of_somebody_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A folder that holds a `dev` nobody of ours made is neither used nor cleaned."""
    precious = tmp_path / "dev" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("years of work")
    environment = LocalEnvironment(tmp_path)
    for act in (environment.up, environment.down):
        with pytest.raises(ConfigurationError, match="which no local environment made"):
            act()
    assert precious.read_text() == "years of work"
    assert [path.name for path in tmp_path.iterdir()] == ["dev"]


def test_a_folder_where_others_may_write_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands there says what is killed, deleted and, by `eval "$(soa-db local env)"`, run."""
    environment = LocalEnvironment(tmp_path)
    acts: list[Callable[[], object]] = [environment.up, environment.down, environment.status, environment.exports]
    tmp_path.chmod(0o1777)
    for act in acts:
        with pytest.raises(ConfigurationError, match="everybody may write there"):
            act()
    tmp_path.chmod(0o755)
    assert not environment.status().running
    somebody = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: somebody)
    for act in acts:
        with pytest.raises(ConfigurationError, match="belongs to another user"):
            act()
    assert not list(tmp_path.iterdir())


def test_down_deletes_only_what_up_made(tmp_path: Path) -> None:
    """Other folders in the state directory stay, e.g. the demo's own environment."""
    (tmp_path / "supervisor.lock").touch()
    other = tmp_path / "demo" / "state.json"
    other.parent.mkdir()
    other.write_text("{}")
    (tmp_path / "state.json").write_text("{}")
    assert LocalEnvironment(tmp_path).down() is False
    assert other.exists()
    assert not (tmp_path / "state.json").exists()


def _until(condition: Any, timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
