"""How a run behaves: nothing written on a clean system, killed anywhere, several at once, saved plans, no lock-out."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tests.servers.access.provisioning import PASSWORD, may, provision, provisioner, run, specs, superuser

from soa_db.access import ApplyResult, ProgressEvent, apply, load_plan, plan, save_plan
from soa_db.access.postgres.lock import LOCK_KEY, server_lock
from soa_db.access.settings import Settings
from soa_db.errors import ConfigurationError, ConnectionFailed, PlanConflict, ProvisionError

if TYPE_CHECKING:
    from soa_db.access.spec import SpecSet
    from soa_db.local.postgres import PostgresServer

ROOT = Path(__file__).parents[3]
TWO_DATABASES = "service: {name}\npostgres: {{databases: [{{schemas: [public, s]}}, {{id: more}}]}}"


def url(server: PostgresServer) -> str:
    """The administrator's URL."""
    return f"postgresql://master:{PASSWORD}@127.0.0.1:{server.port}/postgres?sslmode=disable"


def applied(server: PostgresServer, wanted: SpecSet, **more: Any) -> ApplyResult:
    """Apply through the public function, as in the mirror."""
    return apply(wanted, env="mirror", admin_url=url(server), settings=Settings(), **more)


def xids(server: PostgresServer) -> int:
    """How many transactions have written, ever; looking does not add one."""
    ((count,),) = run(server, "postgres", "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
    return int(count)


@pytest.mark.parametrize("version", [15, 18])
def test_a_clean_system_sees_no_write(
    pg_server_factory: Callable[..., PostgresServer], tmp_path: Path, version: int
) -> None:
    """Not one transaction is given an id by a second run."""
    server = pg_server_factory(version=version, settings={"autovacuum": "off"})
    wanted = specs(tmp_path, TWO_DATABASES.format(name="quiet"))
    applied(server, wanted)
    before = xids(server)

    result = applied(server, wanted)

    assert result.applied == ()
    assert xids(server) == before
    run(server, "postgres", "CREATE ROLE proof_that_writes_are_counted")
    assert xids(server) > before


KILLED = """
import os, signal, sys
from pathlib import Path
from soa_db.access import apply, load_specs
from soa_db.access.settings import Settings

port, spec, at = sys.argv[1:4]
told = 0

def progress(event):
    global told
    told += 1
    if told == int(at):
        os.kill(os.getpid(), signal.SIGKILL)

apply(load_specs([spec]), env="mirror", admin_url=sys.stdin.read(), settings=Settings(), progress=progress)
"""


def test_killed_at_any_step_the_next_run_finishes(pg_servers: Callable[[int], PostgresServer], tmp_path: Path) -> None:
    """kill -9 before every step in turn: what is there afterwards is completed, and the administrator gets in."""
    server = pg_servers(17)
    script = tmp_path / "killed.py"
    script.write_text(KILLED, "utf-8")
    for step in range(1, 50):
        name = f"kill{step}"
        wanted = specs(tmp_path / name, TWO_DATABASES.format(name=name))
        arguments = [sys.executable, str(script), str(server.port), str(tmp_path / name / "0.yaml"), str(step)]
        ended = subprocess.run(
            arguments, input=url(server).encode(), env={"PYTHONPATH": str(ROOT / "src")}, check=False, timeout=60
        )
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL
        provision(server, wanted)
        assert provisioner(server, wanted).plan().is_empty
    assert step > 10, "there are at least this many steps"


def test_interrupted_at_any_step_nothing_is_under_way_and_the_next_run_finishes(
    pg_servers: Callable[[int], PostgresServer], tmp_path: Path
) -> None:
    """Ctrl-C before every step in turn: the process ends with its sessions and its lock."""
    server = pg_servers(16)
    script = tmp_path / "interrupted.py"
    script.write_text(KILLED.replace("SIGKILL", "SIGINT"), "utf-8")
    for step in range(1, 50):
        name = f"ctrlc{step}"
        wanted = specs(tmp_path / name, TWO_DATABASES.format(name=name))
        arguments = [sys.executable, str(script), str(server.port), str(tmp_path / name / "0.yaml"), str(step)]
        ended = subprocess.run(
            arguments,
            input=url(server).encode(),
            env={"PYTHONPATH": str(ROOT / "src")},
            check=False,
            timeout=60,
            stderr=subprocess.PIPE,
        )
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGINT
        assert ended.stderr.rstrip().endswith(b"KeyboardInterrupt")
        provision(server, wanted)  # waits for the lock: it was let go
    assert step > 10, "there are at least this many steps"


def test_the_locks_session_is_not_closed_under_a_statement(
    pg: PostgresServer, tmp_path: Path, unique_name: str
) -> None:
    """A second Ctrl-C leaves threads behind: libpq's memory must not be freed while one of them uses it."""
    server = provisioner(pg, specs(tmp_path, TWO_DATABASES.format(name=unique_name))).server
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(KeyboardInterrupt), server_lock(server, timeout=5, progress=lambda _: None) as (session, _):
            answer = pool.submit(lambda: session.execute("SELECT 1 FROM pg_sleep(0.3)").fetchone())
            while not session.lock.locked():
                time.sleep(0.001)
            raise KeyboardInterrupt
        assert answer.result() == (1,)
        with pytest.raises(psycopg.OperationalError):
            pool.submit(session.execute, "SELECT 1").result()


def test_eight_runs_at_once_all_end_well(pg: PostgresServer, tmp_path: Path, unique_name: str) -> None:
    """One does the work; the others wait, say so, and find nothing to do."""
    wanted = specs(tmp_path, TWO_DATABASES.format(name=unique_name))
    events: list[ProgressEvent] = []

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: applied(pg, wanted, progress=events.append), range(8)))

    assert sorted(bool(result.applied) for result in results) == [False] * 7 + [True]
    assert any(event.step == "wait" for event in events)


def test_somebody_elses_grant_at_the_same_moment_is_waited_for(
    pg: PostgresServer, tmp_path: Path, unique_name: str
) -> None:
    """PostgreSQL says "tuple concurrently updated"; the transaction is done again."""
    wanted = specs(tmp_path, f"service: {unique_name}\npostgres: {{}}")
    applied(pg, wanted)
    run(pg, "postgres", f"REVOKE CONNECT ON DATABASE {unique_name} FROM {unique_name}_ro")
    with superuser(pg) as other, ThreadPoolExecutor(1) as pool:
        with other.transaction():
            other.execute(f"GRANT CONNECT ON DATABASE {unique_name} TO rds_iam".encode())
            result = pool.submit(applied, pg, wanted)
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
            with superuser(pg) as watch:
                while watch.execute(waiting, [unique_name]).fetchone() == (0,):
                    assert not result.done()
        assert len(result.result().applied) == 1


def test_waiting_for_another_run_can_be_limited(pg: PostgresServer, tmp_path: Path, unique_name: str) -> None:
    """Somebody holds the lock: after the time given, an error that says so, and nothing is changed."""
    wanted = specs(tmp_path, TWO_DATABASES.format(name=unique_name))
    with psycopg.connect(pg.master_conninfo, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
        with pytest.raises(
            ProvisionError, match=r"another run at this server held the lock .*\(process \d+ of master\)"
        ):
            applied(pg, wanted, lock_timeout=0)
    assert not run(pg, "postgres", f"SELECT 1 FROM pg_roles WHERE rolname LIKE '{unique_name}%'")


def test_a_saved_plan_is_carried_out_only_while_it_fits(
    pg_servers: Callable[[int], PostgresServer], tmp_path: Path, unique_name: str
) -> None:
    """Saved for its owner alone, without a secret; refused once the server differs; else exactly it is done."""
    server = pg_servers(16)
    wanted = specs(tmp_path, TWO_DATABASES.format(name=unique_name))
    file = tmp_path / "plan.json"
    save_plan(plan(wanted, env="mirror", admin_url=url(server), settings=Settings(), sources=["a.yaml"]), file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in file.read_text("utf-8")
    saved = load_plan(file)
    assert saved.specs == ("a.yaml",)

    run(server, "postgres", f"CREATE DATABASE {unique_name}")
    with pytest.raises(PlanConflict, match=f"- create database {unique_name}"):
        applied(server, wanted, saved=saved)
    run(server, "postgres", f"DROP DATABASE {unique_name}")
    with pytest.raises(PlanConflict, match="for postgres of mirror"):
        load_plan(file).refuse_unless_fits(plan(wanted, env="prod", admin_url=url(server), settings=Settings()))

    assert len(applied(server, wanted, saved=saved).applied) == len(saved.changes)
    with pytest.raises(PlanConflict):
        applied(server, wanted, saved=saved)


def test_asked_first_a_no_changes_nothing(
    pg_servers: Callable[[int], PostgresServer], tmp_path: Path, unique_name: str
) -> None:
    """The one who is asked sees the plan made under the lock."""
    server = pg_servers(17)
    wanted = specs(tmp_path, TWO_DATABASES.format(name=unique_name))
    before = xids(server)

    result = applied(server, wanted, confirm=lambda shown: not shown.changes)

    assert result.declined
    assert result.applied == ()
    assert xids(server) == before


def test_an_administrator_that_would_be_locked_out_is_not(
    pg_server_factory: Callable[..., PostgresServer], tmp_path: Path
) -> None:
    """A member of the owner role becomes a member of rds_iam, which pg_hba refuses: undone, and said."""
    server = pg_server_factory(
        version=15,
        hba=[
            "local all postgres trust",
            "host all +rds_iam 127.0.0.1/32 reject",
            "host all all 127.0.0.1/32 scram-sha-256",
        ],
    )
    run(server, "postgres", "CREATE ROLE careful_owner; GRANT careful_owner TO master")
    wanted = specs(tmp_path, "service: careful\npostgres: {}")

    with pytest.raises(ProvisionError, match="locked the administrator master out; it was undone"):
        provision(server, wanted)

    psycopg.connect(server.master_conninfo).close()
    assert run(server, "postgres", "SELECT 1 FROM pg_auth_members WHERE roleid = 'rds_iam'::regrole") == []


def test_an_administrator_without_the_rights_is_told_what_is_missing(
    pg_server_factory: Callable[..., PostgresServer], tmp_path: Path
) -> None:
    """No CREATEROLE, no CREATEDB, no rds_iam on the server: all said at once, nothing changed."""
    server = pg_server_factory(version=15)
    run(server, "postgres", "ALTER ROLE master NOCREATEROLE NOCREATEDB; DROP ROLE rds_iam")
    wanted = specs(tmp_path, "service: poor\npostgres: {}")

    with pytest.raises(ProvisionError, match="may not create roles") as caught:
        provision(server, wanted)

    assert "may not create databases" in str(caught.value)
    assert "there is no role rds_iam" in str(caught.value)


def test_a_database_of_somebody_else_is_an_error_with_a_remedy(
    pg: PostgresServer, tmp_path: Path, unique_name: str
) -> None:
    """It belongs to the superuser: a human must give it away first; then all goes well."""
    run(pg, "postgres", f"CREATE DATABASE {unique_name}")
    wanted = specs(tmp_path, f"service: {unique_name}\npostgres: {{}}")
    with pytest.raises(ProvisionError) as caught:
        provision(pg, wanted)
    remedy = f'ALTER DATABASE "{unique_name}" OWNER TO "master"'
    assert remedy in str(caught.value)

    run(pg, "postgres", remedy)
    provision(pg, wanted)


def test_hostile_names_are_only_names(pg: PostgresServer, tmp_path: Path, unique_name: str) -> None:
    """Quotes, percent signs, braces and unicode in users, databases, schemas, tables and columns."""
    odd = f'{unique_name} "; drop'
    quoted = odd.replace('"', '\\"')
    wanted = specs(
        tmp_path,
        f"""
        service: {unique_name}
        postgres:
          databases:
            - database: "{quoted} d%s"
              schemas: ["a \\"b% {{x}} ünï"]
              identities: {{owner: "{quoted} o", app: "{quoted} é%(x)s", ro: "{quoted} 'r"}}
        """,
    )
    provision(pg, wanted)
    owner = f"{odd} o"
    run(pg, f"{odd} d%s", 'CREATE TABLE "a ""b% {x} ünï"."t""%s{0}" ("c%" int)', owner)
    run(
        pg,
        f"{odd} d%s",
        'REVOKE ALL ON "a ""b% {x} ünï"."t""%s{0}" FROM ' + '"' + f"{odd} é%(x)s".replace('"', '""') + '"',
    )

    assert len(provision(pg, wanted).changes) == 1


def test_a_superuser_can_provision_too(pg: PostgresServer, tmp_path: Path, unique_name: str) -> None:
    """As in a development container: what was the superuser's goes to the owner, and a second run finds nothing."""
    boss = f"{unique_name}_boss"
    run(pg, "postgres", f"CREATE ROLE {boss} SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
    run(pg, "postgres", f"CREATE DATABASE {unique_name}")
    run(pg, unique_name, "ALTER SCHEMA public OWNER TO postgres; CREATE TABLE public.t (id int)")
    run(pg, "postgres", f"CREATE ROLE {unique_name}_app SUPERUSER REPLICATION BYPASSRLS")
    wanted = specs(tmp_path, f"service: {unique_name}\npostgres: {{}}")
    its_url = url(pg).replace("//master:", f"//{boss}:")

    apply(wanted, env="mirror", admin_url=its_url, settings=Settings(), reassign=True)

    again = plan(wanted, env="mirror", admin_url=its_url, settings=Settings())
    assert again.is_empty
    assert not again.notices
    assert may(pg, unique_name, f"{unique_name}_app", "public.t", "SELECT")
    assert run(pg, "postgres", f"SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = '{unique_name}_app'") == [
        (False, False)
    ]


def test_the_plan_as_json_holds_sentences_and_no_actions(
    pg_servers: Callable[[int], PostgresServer], tmp_path: Path, unique_name: str
) -> None:
    """What a person reads is what is written."""
    server = pg_servers(18)
    found = plan(
        specs(tmp_path, f"service: {unique_name}\npostgres: {{}}"),
        env="mirror",
        admin_url=url(server),
        settings=Settings(),
    )
    text = json.dumps(found.to_json())
    assert f"create role {unique_name}_app" in text
    (only,) = found.servers
    assert "action" not in only.to_json()["changes"][0]
    assert list(only.grouped()) == ["roles", f"database {unique_name}"]


def test_bad_arguments_are_refused_before_anything_is_opened(tmp_path: Path) -> None:
    """Fixed passwords outside dev, an unknown environment, a URL that is none, a server that is not there."""
    wanted = specs(tmp_path, "service: x\npostgres: {}")
    with pytest.raises(ConfigurationError, match="dev only"):
        plan(wanted, env="prod", insecure_dev=True, settings=Settings())
    with pytest.raises(ConfigurationError, match="unknown environment"):
        plan(wanted, env="staging", settings=Settings())
    with pytest.raises(ConfigurationError):
        plan(wanted, env="mirror", admin_url="postgresql://u:canary@/\0", settings=Settings())
    with pytest.raises(ConnectionFailed):
        plan(wanted, env="mirror", admin_url="postgresql://u:p@127.0.0.1:1/postgres", settings=Settings())
