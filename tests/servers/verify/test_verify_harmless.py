"""``verify`` does no harm: not when everything is permitted, not when it is disturbed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tests.servers.verify.conftest import PasswordLogins, verify_with

from soa_db.access.report import Outcome
from soa_db.access.settings import Settings
from soa_db.access.spec import SpecSet
from soa_db.access.verify import verify
from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.verify.conftest import World

    from soa_db.access.spec import PostgresIdentity
    from soa_db.config import PostgresConfig

_EVERYTHING = """
SELECT json_build_object(
    'rows', (SELECT array_agg(u ORDER BY u.id) FROM public.users u),
    'next', (SELECT json_build_array(last_value, is_called) FROM public.users_id_seq),
    'written', (SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables),
    'classes', (SELECT array_agg(oid::int8 ORDER BY oid) FROM pg_class),
    'acls', (SELECT array_agg(relacl::text ORDER BY oid) FROM pg_class),
    'routines', (SELECT array_agg(oid::int8 ORDER BY oid) FROM pg_proc WHERE oid >= 16384),
    'types', (SELECT array_agg(oid::int8 ORDER BY oid) FROM pg_type WHERE oid >= 16384),
    'schemas', (SELECT array_agg(nspname::text ORDER BY oid) FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp'),
    'objects', (SELECT array_agg(oid::int8 ORDER BY oid) FROM pg_largeobject_metadata),
    'roles', (SELECT array_agg(r::text ORDER BY r.oid) FROM pg_authid r WHERE rolname LIKE '{tag}%%'),
    'members', (SELECT array_agg(m::text ORDER BY m::text) FROM pg_auth_members m),
    'databases', (SELECT array_agg(datname::text ORDER BY oid) FROM pg_database),
    'settings', (SELECT array_agg(s::text ORDER BY s::text) FROM pg_db_role_setting s)
)::text
""".replace("%%", "%")


def test_a_run_in_which_everything_is_permitted_changes_nothing(world: World) -> None:
    """With a superuser among the identities every attempt succeeds, and still no row, object or right is different."""
    world.run("postgres", "ALTER ROLE {tag}_alpha_app SUPERUSER")
    try:
        before = world.fetch("{tag}_alpha", _EVERYTHING)
        report = world.verify()
        after = world.fetch("{tag}_alpha", _EVERYTHING)
    finally:
        world.run("postgres", "ALTER ROLE {tag}_alpha_app NOSUPERUSER")
    assert after == before
    said = "\n".join(str(check) for check in report.violations)
    for power in (
        "has SUPERUSER",
        "create a role: it is permitted",
        "create a database: it is permitted",
        "run programs on the server: it is permitted",
        "read files of the server: it is permitted",
        "write files on the server: it is permitted",
        "turn triggers off: it is permitted",
        "make itself a superuser: it is permitted",
        "join pg_read_all_data: it is permitted",
        "create a temporary table: it is permitted",
        "DELETE on 1 relations: permitted on public.audit_log",
    ):
        assert f"{world.tag}_alpha_app" in said
        assert power in said


def test_a_table_that_is_locked_leaves_the_question_open_and_the_lock_alone(world: World) -> None:
    """A probe gives up after its lock timeout: inconclusive, exit code 5, the lock's holder undisturbed."""
    conninfo = world.server.superuser_conninfo.replace("dbname=postgres", f"dbname={world.beta}")
    with psycopg.connect(conninfo) as holder:
        holder.execute("LOCK TABLE public.reports IN ACCESS EXCLUSIVE MODE")
        report = world.verify(only=[f"{world.tag}-beta"])
        holder.execute("SELECT 1")
    assert [str(check) for check in report.violations] == []
    assert report.exit_code == 5
    assert {check.probe.database for check in report.inconclusive} == {world.beta}
    assert all("55P03" in check.detail for check in report.inconclusive)


class _Breaking(PasswordLogins):
    """Logins whose connections the server ends as soon as they are made, for one database."""

    def __init__(self, world: World) -> None:
        super().__init__(world.server.port)
        self.world = world

    def connect(self, config: PostgresConfig) -> psycopg.Connection[Any]:
        connection = super().connect(config)
        if config.database == self.world.beta:
            self.world.run("postgres", f"SELECT pg_terminate_backend({connection.info.backend_pid}, 5000)")
        return connection


def test_connections_that_break_half_way_are_inconclusive_and_never_count_as_refusals(world: World) -> None:
    """The server ends the sessions in one database: what was asked there is open, the rest is decided."""
    report = verify_with(world.specs, _Breaking(world))
    assert [str(check) for check in report.violations] == []
    assert report.exit_code == 5
    assert {check.probe.database for check in report.inconclusive} == {world.beta}


class _Nowhere(PasswordLogins):
    """Logins to a port on which nothing listens."""

    def __init__(self) -> None:
        super().__init__(1)


def test_a_server_that_is_down_is_inconclusive_throughout(world: World) -> None:
    """Nothing is proved by a server that does not answer."""
    report = verify_with(world.specs, _Nowhere())
    assert report.violations == ()
    assert report.exit_code == 5
    decided = [check for check in report.checks if check.outcome is Outcome.OK]
    assert decided == []


def test_only_the_services_asked_for_are_probed_against_what_all_specs_say(world: World) -> None:
    """With ``only``, no identity of another service logs in, but reads agreed with it still count as declared."""
    tried: set[str] = set()

    class Watching(PasswordLogins):
        def config(self, identity: PostgresIdentity, database: str) -> PostgresConfig:
            tried.add(identity.service)
            return super().config(identity, database)

    report = verify_with(world.specs, Watching(world.server.port), only=[f"{world.tag}-beta"])
    assert report.exit_code == 0
    # The server's catalogs are read by the first identity that gets in, whoever it is.
    beta = {check.probe.identity for check in report.checks if check.probe.how == "login"}
    assert not any(f"{world.tag}_alpha" in user for user in beta)
    with pytest.raises(ConfigurationError, match="no spec is given for nobody"):
        verify(world.specs, env="dev", only=["nobody"])


def test_progress_is_told_once_for_each_part_in_the_callers_thread(world: World) -> None:
    """The counts run up to the total, and the callback needs no lock."""
    seen: list[tuple[int, int, str]] = []
    threads: set[int] = set()

    def progress(done: int, total: int, name: str) -> None:
        seen.append((done, total, name))
        threads.add(threading.get_ident())

    world.verify(progress=progress, jobs=3)
    assert [done for done, _, _ in seen] == list(range(1, seen[-1][1] + 1))
    assert f"{world.tag}_pii_app" in {name for _, _, name in seen}
    assert threads == {threading.get_ident()}


def test_an_error_in_progress_ends_the_run_at_once(world: World) -> None:
    """Ctrl-C and the like come through, and what has not begun is not begun."""

    def interrupt(done: int, total: int, name: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.verify(progress=interrupt, jobs=1)


@pytest.mark.parametrize("jobs", [0, -1])
def test_a_senseless_number_of_jobs_is_refused(jobs: int) -> None:
    """It says so before it logs in anywhere."""
    with pytest.raises(ConfigurationError, match="jobs"):
        verify(SpecSet(()), env="dev", jobs=jobs, settings=Settings())


def test_a_killed_run_leaves_nothing_and_the_next_one_is_clean(worlds: Callable[[int], World]) -> None:
    """The session of a run that has made its objects is ended by force: they are gone, and the next run is green."""
    world = worlds(16)

    world.run(
        world.main,
        "CREATE FUNCTION public.die() RETURNS event_trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); END';"
        "CREATE EVENT TRIGGER {tag}_die ON ddl_command_start WHEN TAG IN ('CREATE VIEW') EXECUTE FUNCTION public.die()",
    )
    try:
        report = world.verify()
    finally:
        world.run(world.main, "DROP EVENT TRIGGER {tag}_die; DROP FUNCTION public.die()")
    assert "later" in {check.probe.aspect for check in report.inconclusive}
    for database in (world.main, world.pii, world.beta):
        left = world.fetch(database, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'soa_db_probe%'")
        left += world.fetch(database, "SELECT relname FROM pg_class WHERE relname LIKE 'soa_db_probe%'")
        assert left == []
    assert world.verify().exit_code == 0
