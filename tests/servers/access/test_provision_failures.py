"""When something cannot be done: all of it is named, nothing is half done, the next run goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from tests.servers.access.provisioning import PASSWORD, provision, provisioner, run, specs

from soa_db.access import Plan, ProgressEvent, ServerPlan, apply, load_plan, plan, save_plan
from soa_db.access.postgres.lock import LOCK_KEY
from soa_db.access.settings import Settings
from soa_db.aws import AwsClients
from soa_db.errors import ProvisionError, ServerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.servers.aws_kit import CountingAws

    from soa_db.local.postgres import PostgresServer

# From now on the owner of a database grants nothing there.
REFUSING = """
    CREATE FUNCTION public.refuse() RETURNS event_trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'not in %', current_database(); END $$;
    CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('GRANT') EXECUTE FUNCTION public.refuse();
"""


def test_every_database_that_fails_is_named_and_stops_no_other(
    pg: PostgresServer, tmp_path: Path, unique_name: str
) -> None:
    """Of three databases with one owner, and one with another, three fail: all three are told, the fourth is done."""
    wanted = specs(
        tmp_path,
        f"""
        service: {unique_name}
        postgres:
          databases:
            - {{id: a}}
            - {{id: b}}
            - {{id: c}}
            - {{id: d, identities: {{owner: {unique_name}_do, app: {unique_name}_da, ro: null}}}}
        """,
    )
    provision(pg, wanted)
    names = {key: f"{unique_name}_{key}_db" for key in "abcd"}
    for key, name in names.items():
        owner = f"{unique_name}_do" if key == "d" else f"{unique_name}_owner"
        app = f"{unique_name}_da" if key == "d" else f"{unique_name}_app"
        run(pg, name, f"CREATE TABLE t (id int); REVOKE SELECT ON t FROM {app}", owner)
        if key != "b":
            run(pg, name, REFUSING)

    with pytest.raises(ProvisionError) as caught:
        provision(pg, wanted)

    assert len(caught.value.problems) == 3
    for problem, key in zip(caught.value.problems, "acd", strict=True):
        assert problem.startswith(f"{names[key]}: could not grant SELECT on table t")
        assert f"not in {names[key]}" in problem
        assert problem in str(caught.value)
    assert {change.database for change in provisioner(pg, wanted).plan().changes} == {names[key] for key in "acd"}

    for key in "acd":
        run(pg, names[key], "DROP EVENT TRIGGER refuse; DROP FUNCTION public.refuse")
    provision(pg, wanted)


def test_one_failure_is_told_as_itself(pg: PostgresServer, tmp_path: Path, unique_name: str) -> None:
    """Without a list of one."""
    wanted = specs(tmp_path, f"service: {unique_name}\npostgres: {{}}")
    provision(pg, wanted)
    run(pg, unique_name, f"CREATE TABLE t (id int); REVOKE SELECT ON t FROM {unique_name}_app", f"{unique_name}_owner")
    run(pg, unique_name, REFUSING)

    with pytest.raises(ProvisionError, match=r"^could not grant SELECT on table t") as caught:
        provision(pg, wanted)

    assert caught.value.problems == (caught.value.message,)


def marked(plan: ServerPlan) -> set[str]:
    """The destructive changes as sentences."""
    return {change.sentence for change in plan.destructive}


def test_taking_over_a_role_that_was_there_is_marked(pg: PostgresServer, tmp_path: Path, unique_name: str) -> None:
    """It logs in with a password and may do things: a person must see that this ends. The role made here is no news."""
    app, ro = f"{unique_name}_app", f"{unique_name}_ro"
    run(pg, "postgres", f"CREATE ROLE {app} LOGIN CREATEROLE PASSWORD 'x'; COMMENT ON ROLE {app} IS 'of the old days'")
    if pg.version >= 16:
        run(pg, "postgres", f"GRANT {app} TO master WITH ADMIN OPTION")
    wanted = specs(tmp_path, f"service: {unique_name}\npostgres: {{}}")

    plan = provision(pg, wanted)

    assert marked(plan) == {
        f"take over role {app}, which soa-db did not make: its password and rights become the spec's",
        f"alter role {app}: NOCREATEROLE",
        f"grant membership in rds_iam to {app}",
    }
    run(pg, "postgres", f"REVOKE rds_iam FROM {ro}" + (" GRANTED BY master" if pg.version >= 16 else ""))
    # A role of ours is not taken over; but whoever took it out of rds_iam did so that it may log in with its password.
    assert marked(provision(pg, wanted)) == {f"grant membership in rds_iam to {ro}"}


@pytest.mark.parametrize("what", ["objects in database", "database"])
def test_a_retired_role_with_something_in_an_undeclared_database_is_left_whole(
    pg: PostgresServer, tmp_path: Path, unique_name: str, what: str
) -> None:
    """Said in the plan with and without prune, before anything is changed; mended, the role goes."""
    old, elsewhere = f"{unique_name}_old", f"{unique_name}_elsewhere"
    keep = f"service: {unique_name}\npostgres: {{}}"
    provision(pg, specs(tmp_path / "before", keep))
    run(pg, "postgres", f"SET ROLE master; CREATE ROLE {old}")
    run(pg, "postgres", f"CREATE DATABASE {elsewhere}")
    run(pg, "postgres", f"ALTER DATABASE {elsewhere} OWNER TO master")
    run(pg, unique_name, f"CREATE TABLE relic (id int); ALTER TABLE relic OWNER TO {old}")
    if what == "database":
        run(pg, elsewhere, f"ALTER DATABASE {elsewhere} OWNER TO {old}")
    else:
        run(pg, elsewhere, f"CREATE TABLE t (id int); ALTER TABLE t OWNER TO {old}")
    wanted = specs(tmp_path / "after", f"service: {unique_name}\npostgres: {{retire: [{{role: {old}}}]}}")
    said = f"retired role {old} owns {what} {elsewhere}, which no spec declares: it cannot be dropped"

    for prune, level in ((False, "note"), (True, "error")):
        (notice,) = (one for one in provisioner(pg, wanted, prune=prune).plan().notices if one.sentence == said)
        assert (notice.level, notice.database) == (level, elsewhere)
        assert f'REASSIGN OWNED BY "{old}"' in notice.remedy
    with pytest.raises(ProvisionError, match=f"nothing was changed.*\n.*{said}"):
        provision(pg, wanted, prune=True)
    relic = "SELECT tableowner FROM pg_tables WHERE tablename = 'relic'"
    assert run(pg, unique_name, relic) == [(old,)], "nothing is half done"

    run(pg, elsewhere, f"REASSIGN OWNED BY {old} TO master")
    provision(pg, wanted, prune=True)
    assert run(pg, unique_name, relic) == [(f"{unique_name}_owner",)]
    assert not run(pg, "postgres", f"SELECT 1 FROM pg_roles WHERE rolname = '{old}'")


def test_a_retired_role_out_of_reach_in_one_database_is_left_as_it_is_in_all(
    pg: PostgresServer, tmp_path: Path, unique_name: str
) -> None:
    """It was granted something by a superuser: what it owns elsewhere is not given away meanwhile."""
    old, elsewhere = f"{unique_name}_old", f"{unique_name}_elsewhere"
    provision(pg, specs(tmp_path / "before", f"service: {unique_name}\npostgres: {{}}"))
    run(pg, "postgres", f"SET ROLE master; CREATE ROLE {old}")
    run(pg, "postgres", f"CREATE DATABASE {elsewhere}")
    run(pg, elsewhere, f"CREATE TABLE t (id int); GRANT SELECT ON t TO {old}")
    run(pg, unique_name, f"CREATE TABLE relic (id int); ALTER TABLE relic OWNER TO {old}")
    wanted = specs(tmp_path / "after", f"service: {unique_name}\npostgres: {{retire: [{{role: {old}}}]}}")

    plan = provision(pg, wanted, prune=True)

    assert not any("retired role" in change.sentence for change in plan.changes)
    assert any(
        notice.level == "unreachable" and notice.database == elsewhere and f"database {elsewhere}" in notice.sentence
        for notice in plan.notices
    )
    assert run(pg, unique_name, "SELECT tableowner FROM pg_tables WHERE tablename = 'relic'") == [(old,)]


def url(server: PostgresServer) -> str:
    """The administrator's URL."""
    return f"postgresql://master:{PASSWORD}@127.0.0.1:{server.port}/postgres?sslmode=disable"


def test_a_password_the_server_does_not_take_is_typed(
    pg_servers: Callable[[int], PostgresServer], aws: CountingAws, tmp_path: Path, unique_name: str
) -> None:
    """The role slips out of the administrator's hands before its password is set; back again, the next run finishes."""
    server, app = pg_servers(17), f"{unique_name}_app"
    wanted = specs(tmp_path, f"service: {unique_name}\npostgres: {{}}")

    def slip(event: ProgressEvent) -> None:
        if event.step == "passwords":
            run(server, "postgres", f"ALTER ROLE {app} SUPERUSER")

    with AwsClients() as clients:
        with pytest.raises(ProvisionError, match=f"the password of {app} could not be set"):
            apply(wanted, env="dev", aws=clients, admin_url=url(server), settings=Settings(), progress=slip)
        run(server, "postgres", f"ALTER ROLE {app} NOSUPERUSER")
        apply(wanted, env="dev", aws=clients, admin_url=url(server), settings=Settings())
        assert plan(wanted, env="dev", aws=clients, admin_url=url(server), settings=Settings()).is_empty


def test_a_session_that_ends_while_it_waits_for_the_lock_is_typed(
    pg_servers: Callable[[int], PostgresServer], tmp_path: Path, unique_name: str
) -> None:
    """The server is shut down, or somebody ends the session."""
    server = pg_servers(17)
    wanted = specs(tmp_path, f"service: {unique_name}\npostgres: {{}}")

    def end(event: ProgressEvent) -> None:
        if event.step == "wait":
            run(
                server,
                "postgres",
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'soa-db provision'",
            )

    with psycopg.connect(server.master_conninfo, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
        with pytest.raises(ServerUnavailable, match="before its lock was had"):
            apply(wanted, env="mirror", admin_url=url(server), settings=Settings(), progress=end)


def test_without_the_lock_no_step_is_begun(
    pg_servers: Callable[[int], PostgresServer], tmp_path: Path, unique_name: str
) -> None:
    """The session that holds it is ended in the middle of a run: another run may have taken it since."""
    server = pg_servers(17)
    wanted = specs(tmp_path, f"service: {unique_name}\npostgres: {{}}")

    def end(event: ProgressEvent) -> None:
        if event.step == "database":
            holder = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1"
            run(server, "postgres", f"SELECT pg_terminate_backend(pid, 60000) FROM ({holder}) AS holder")

    with pytest.raises(ServerUnavailable, match=r"the session that holds the lock ended .* not begun"):
        apply(wanted, env="mirror", admin_url=url(server), settings=Settings(), progress=end)

    owner = f"SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '{unique_name}'"
    assert run(server, "postgres", owner) == [("master",)]
    provision(server, wanted)


def test_what_is_seen_only_on_the_way_is_asked_about_too(
    pg_servers: Callable[[int], PostgresServer], tmp_path: Path, unique_name: str
) -> None:
    """A database that had shut the administrator out: neither a yes nor a saved plan covers what is found in it."""
    server = pg_servers(17)
    wanted = specs(tmp_path, f"service: {unique_name}\npostgres: {{}}")
    provision(server, wanted)
    run(server, unique_name, "CREATE TABLE t (id int)", f"{unique_name}_owner")
    run(server, unique_name, f"GRANT DELETE ON t TO {unique_name}_ro")
    taken = f"SELECT NOT has_table_privilege('{unique_name}_ro', 't', 'DELETE')"
    asked: list[list[str]] = []

    def answer(shown: Plan) -> bool:
        asked.append([change.sentence for change in shown.changes])
        return len(asked) == 1

    shut = f"REVOKE CONNECT ON DATABASE {unique_name} FROM master"
    run(server, "postgres", shut)
    before = plan(wanted, env="mirror", admin_url=url(server), settings=Settings())
    assert any("is not seen: master may not connect" in notice.sentence for notice in before.notices)
    save_plan(before, tmp_path / "plan.json")
    with pytest.raises(ProvisionError, match=r"1 changes more.*\n  revoke DELETE on table t"):
        apply(wanted, env="mirror", admin_url=url(server), settings=Settings(), confirm=answer)
    assert [len(sentences) for sentences in asked] == [1, 1]
    assert run(server, unique_name, taken) == [(False,)]

    run(server, "postgres", shut)
    saved = load_plan(tmp_path / "plan.json")
    with pytest.raises(ProvisionError, match="1 changes more"):
        apply(wanted, env="mirror", admin_url=url(server), settings=Settings(), saved=saved)
    assert run(server, unique_name, taken) == [(False,)]

    run(server, "postgres", shut)
    result = apply(wanted, env="mirror", admin_url=url(server), settings=Settings(), confirm=lambda _: True)
    assert len(result.applied) == 2
    assert run(server, unique_name, taken) == [(True,)]


def test_nobody_is_asked_about_what_cannot_be_done(
    pg_servers: Callable[[int], PostgresServer], tmp_path: Path, unique_name: str
) -> None:
    """The error comes first."""
    server = pg_servers(17)
    run(server, "postgres", f"CREATE DATABASE {unique_name}")
    wanted = specs(tmp_path, f"service: {unique_name}\npostgres: {{}}")

    with pytest.raises(ProvisionError, match="nothing was changed"):
        apply(wanted, env="mirror", admin_url=url(server), settings=Settings(), confirm=lambda _: pytest.fail("asked"))
