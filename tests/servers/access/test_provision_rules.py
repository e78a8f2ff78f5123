"""What specs can say beyond the default: reads, shares, exceptions, isolation, retirement; and what nobody declared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql
from tests.servers.access.provisioning import may, provision, provisioner, refused, run, specs

from soa_db.errors import ProvisionError

if TYPE_CHECKING:
    from soa_db.access.plan import ServerPlan
    from soa_db.access.spec import SpecSet
    from soa_db.local.postgres import PostgresServer

TABLES = """
    CREATE TABLE users (id int, name text, secret text);
    CREATE TABLE audit_log (id int);
    CREATE FUNCTION refresh_all() RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION other() RETURNS int LANGUAGE sql AS 'SELECT 1';
"""


def may_column(server: PostgresServer, database: str, role: str, column: str, privilege: str) -> bool:
    """What the server says a role may do with a column of ``users``."""
    ((answer,),) = run(server, database, f"SELECT has_column_privilege('{role}', 'users', '{column}', '{privilege}')")
    return bool(answer)


def may_connect(server: PostgresServer, database: str, role: str) -> bool:
    """What the server says about a role's right to connect."""
    ((answer,),) = run(server, "postgres", f"SELECT has_database_privilege('{role}', '{database}', 'CONNECT')")
    return bool(answer)


def told(plan: ServerPlan, level: str) -> str:
    """The notices of one level, as one text."""
    return "\n".join(notice.sentence for notice in plan.notices if notice.level == level)


def test_exceptions_add_and_take_away(pg: PostgresServer, tmp_path: Path, unique_name: str) -> None:
    """Extra grants: a table without update and delete, a routine for ro, columns instead of the whole table."""
    wanted = specs(
        tmp_path,
        f"""
        service: {unique_name}
        postgres:
          databases: [{{grants: {{ro: []}}}}]
          extra_grants:
            - {{to: app, on: public.audit_log, revoke: [update, delete]}}
            - {{to: ro, on: "public.refresh_*()", privileges: [execute]}}
            - {{to: ro, on: public.users, privileges: [select], columns: [id, name]}}
            - {{to: app, on: public.users, revoke: [update]}}
            - {{to: app, on: public.users, privileges: [update], columns: [name]}}
        """,
    )
    app, ro = f"{unique_name}_app", f"{unique_name}_ro"
    provision(pg, wanted)
    run(pg, unique_name, TABLES, f"{unique_name}_owner")

    plan = provision(pg, wanted)

    assert any("grant SELECT (id, name) on table users" in change.sentence for change in plan.changes)
    assert may(pg, unique_name, app, "audit_log", "INSERT")
    assert not may(pg, unique_name, app, "audit_log", "UPDATE")
    assert run(pg, unique_name, "SELECT refresh_all()", ro) == [(1,)]
    assert refused(pg, unique_name, "SELECT other()", ro)
    run(pg, unique_name, "SELECT id, name FROM public.users", ro)
    assert refused(pg, unique_name, "SELECT secret FROM public.users", ro)
    assert may_column(pg, unique_name, app, "name", "UPDATE")
    assert not may_column(pg, unique_name, app, "secret", "UPDATE")


def test_a_read_is_granted_when_both_sides_agree(pg: PostgresServer, tmp_path: Path, unique_name: str) -> None:
    """One side alone grants nothing and is reported; with both, exactly the shared columns can be read."""
    reader, target = f"{unique_name}-a", f"{unique_name}-b"
    database, app = f"{unique_name}_b", f"{unique_name}_a_app"
    wants = f"service: {reader}\npostgres: {{reads: [{{service: {target}, tables: [public.users]}}]}}"
    share = f"service: {reader}, tables: [public.users], columns: [name]"
    shares = f"service: {target}\npostgres: {{shared_with: [{{{share}}}]}}"
    alone = provision(pg, specs(tmp_path / "alone", wants))
    assert "wants to read" in told(alone, "pending")

    both = specs(tmp_path / "both", wants, shares)
    provision(pg, both)
    run(pg, database, TABLES, f"{unique_name}_b_owner")
    provision(pg, both)

    run(pg, database, "SELECT name FROM public.users", app)
    assert refused(pg, database, "SELECT secret FROM public.users", app)
    assert refused(pg, database, "SELECT * FROM public.audit_log", app)
    assert may_connect(pg, database, app)

    alone = provision(pg, specs(tmp_path / "owner alone", shares), prune=True)
    assert alone.is_empty, "pruning does not cut off a reader whose own spec is in another repository"
    assert f"role {app}, of service {reader}, whose spec is not given, has" in told(alone, "note")
    run(pg, database, "SELECT name FROM public.users", app)
    provision(pg, specs(tmp_path / "no share", f"service: {target}\npostgres: {{}}"), prune=True)
    assert refused(pg, database, "SELECT name FROM public.users", app)
    assert not may_connect(pg, database, app)
    provision(pg, both)

    provision(
        pg, specs(tmp_path / "withdrawn", f"service: {reader}\npostgres: {{}}", f"service: {target}\npostgres: {{}}")
    )
    assert refused(pg, database, "SELECT name FROM public.users", app)
    assert not may_connect(pg, database, app)


def test_an_isolated_database_is_reached_by_its_own_identities_only(
    pg: PostgresServer, tmp_path: Path, unique_name: str
) -> None:
    """The service's other users cannot even connect; a role the spec leaves out does not exist."""
    pii = f"{unique_name}_pii"
    wanted = specs(
        tmp_path,
        f"""
        service: {unique_name}
        postgres:
          databases:
            - id: main
            - id: pii
              database: {pii}
              isolated: true
              identities: {{owner: {pii}_o, app: {pii}_a, ro: null}}
              grants: {{app: [select, insert]}}
        """,
    )
    provision(pg, wanted)
    run(pg, pii, TABLES, f"{pii}_o")

    assert may_connect(pg, pii, f"{pii}_a")
    assert not may_connect(pg, pii, f"{unique_name}_app")
    assert not may_connect(pg, unique_name, f"{pii}_a")
    assert may(pg, pii, f"{pii}_a", "users", "INSERT")
    assert not may(pg, pii, f"{pii}_a", "users", "DELETE")
    assert run(pg, "postgres", f"SELECT count(*) FROM pg_roles WHERE rolname LIKE '{pii}%'") == [(2,)]


def test_what_nobody_declared_is_reported_and_taken_away_with_prune_only(
    pg: PostgresServer, tmp_path: Path, unique_name: str
) -> None:
    """Another role's privileges, default privileges, membership, and managed rights in an undeclared schema."""
    wanted = specs(tmp_path, f"service: {unique_name}\npostgres: {{}}")
    provision(pg, wanted)
    run(pg, unique_name, TABLES, f"{unique_name}_owner")
    stranger = f"{unique_name}_stranger"
    run(
        pg,
        unique_name,
        f"""
        CREATE ROLE {stranger} LOGIN; GRANT CONNECT ON DATABASE {unique_name} TO {stranger};
        GRANT SELECT ON users TO {stranger} WITH GRANT OPTION; GRANT USAGE ON SCHEMA public TO {stranger};
        SET ROLE {stranger}; GRANT SELECT ON users TO PUBLIC; RESET ROLE;
        ALTER DEFAULT PRIVILEGES FOR ROLE {unique_name}_owner GRANT SELECT ON TABLES TO {stranger};
        SET ROLE master; GRANT {unique_name}_ro TO {stranger}; RESET ROLE;
        CREATE SCHEMA hidden AUTHORIZATION {unique_name}_owner; GRANT USAGE ON SCHEMA hidden TO {unique_name}_app;
        """.replace("SET ROLE master;", "SET SESSION AUTHORIZATION master;").replace(
            f"TO {stranger}; RESET ROLE;\n        CREATE SCHEMA",
            f"TO {stranger}; RESET SESSION AUTHORIZATION;\n        CREATE SCHEMA",
        ),
    )

    plan = provisioner(pg, wanted).plan()
    assert plan.is_empty, [change.sentence for change in plan.changes]
    notes = told(plan, "note")
    assert f"role {stranger}, which no spec declares, has" in notes
    assert "SELECT on table users" in notes
    assert "makes later" in notes
    assert f"is a member of {unique_name}_ro" in notes
    assert "schema hidden" in notes
    assert "handed on to PUBLIC" in told(plan, "unreachable")

    pruned = provision(pg, wanted, prune=True)
    assert pruned.destructive
    assert not provisioner(pg, wanted).plan().notices
    assert not may_connect(pg, unique_name, stranger)
    assert run(pg, "postgres", f"SELECT 1 FROM pg_roles WHERE rolname = '{stranger}'"), "the role itself stays"


def test_what_public_loses_is_destructive_where_somebody_uses_it(
    pg: PostgresServer, tmp_path: Path, unique_name: str
) -> None:
    """A database that was there before, with a stranger's table in it: taking CONNECT from PUBLIC is marked."""
    run(pg, "postgres", f"CREATE ROLE {unique_name}_old")
    for name in (unique_name, f"{unique_name}_unused"):
        with psycopg.connect(pg.master_conninfo, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    run(pg, unique_name, f"CREATE TABLE public.t (id int); ALTER TABLE public.t OWNER TO {unique_name}_old")
    wanted = specs(
        tmp_path,
        f"service: {unique_name}\npostgres: {{databases: [{{}}, {{id: u, database: {unique_name}_unused}}]}}",
    )

    marks = {
        change.database: change.destructive
        for change in provisioner(pg, wanted).plan().changes
        if change.sentence.startswith("revoke CONNECT")
    }

    assert marks == {unique_name: True, f"{unique_name}_unused": False}


def test_objects_of_others_are_reported_and_reassigned_on_request(
    pg: PostgresServer, tmp_path: Path, unique_name: str
) -> None:
    """Tables, views, sequences, routines, types made by the master: theirs until --reassign."""
    wanted = specs(tmp_path, f"service: {unique_name}\npostgres: {{}}")
    provision(pg, wanted)
    run(pg, unique_name, "GRANT CREATE ON SCHEMA public TO master")
    with psycopg.connect(pg.master_conninfo, dbname=unique_name, autocommit=True) as connection:
        connection.execute("SET search_path = public")
    run(
        pg,
        unique_name,
        """
        CREATE TABLE a (id serial, other int GENERATED ALWAYS AS IDENTITY); CREATE VIEW v AS SELECT 1 AS one;
        CREATE MATERIALIZED VIEW m AS SELECT 1 AS one; CREATE SEQUENCE s;
        CREATE FUNCTION f(int, text) RETURNS int LANGUAGE sql AS 'SELECT 1';
        CREATE PROCEDURE p(INOUT x int) LANGUAGE sql AS 'SELECT 1';
        CREATE TYPE e AS ENUM ('x'); CREATE DOMAIN d AS int; CREATE TYPE c AS (x int);
        CREATE TYPE r AS RANGE (subtype = int);
        ALTER TABLE a OWNER TO master; ALTER VIEW v OWNER TO master; ALTER MATERIALIZED VIEW m OWNER TO master;
        ALTER SEQUENCE s OWNER TO master; ALTER ROUTINE f OWNER TO master; ALTER ROUTINE p OWNER TO master;
        ALTER TYPE e OWNER TO master; ALTER DOMAIN d OWNER TO master; ALTER TYPE c OWNER TO master;
        ALTER TYPE r OWNER TO master; REVOKE CREATE ON SCHEMA public FROM master
        """,
    )

    plan = provision(pg, wanted)
    assert "left as it is: make" in told(plan, "note")
    assert may(pg, unique_name, f"{unique_name}_app", "a", "SELECT"), "declared privileges are given all the same"

    provision(pg, wanted, reassign=True)
    assert not provisioner(pg, wanted).plan().notices
    run(pg, unique_name, "DROP TABLE a; DROP FUNCTION f; DROP PROCEDURE p; DROP TYPE c", f"{unique_name}_owner")


def test_a_retired_role_is_dropped_from_every_database(pg: PostgresServer, tmp_path: Path, unique_name: str) -> None:
    """With prune only: what it owns goes to the owner, its rights go, in undeclared databases too."""
    old, elsewhere = f"{unique_name} old", f"{unique_name}_elsewhere"
    keep = f"service: {unique_name}\npostgres: {{}}"
    provision(pg, specs(tmp_path / "before", keep))
    with psycopg.connect(pg.master_conninfo, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(old)))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(elsewhere)))
    run(pg, elsewhere, f'CREATE TABLE t (id int); ALTER TABLE t OWNER TO master; GRANT SELECT ON t TO "{old}"')
    run(pg, unique_name, f'CREATE TABLE relic (id int); ALTER TABLE relic OWNER TO "{old}"')
    run(pg, "postgres", f'GRANT CONNECT ON DATABASE {unique_name} TO "{old}"')
    if pg.version >= 16:
        handed = f'SET SESSION AUTHORIZATION "{old}"; GRANT {unique_name}_ro TO {unique_name}_friend'
        run(pg, "postgres", f"CREATE ROLE {unique_name}_friend")
        run(pg, "postgres", f'GRANT {unique_name}_ro TO "{old}" WITH ADMIN OPTION; {handed}')
    wanted = specs(tmp_path / "after", f'service: {unique_name}\npostgres: {{retire: [{{role: "{old}"}}]}}')

    assert "is retired" in told(provision(pg, wanted), "note")
    assert run(pg, "postgres", f"SELECT 1 FROM pg_roles WHERE rolname = '{old}'")
    plan = provision(pg, wanted, prune=True)

    assert any(change.sentence.startswith("drop retired role") and change.destructive for change in plan.changes)
    assert not run(pg, "postgres", f"SELECT 1 FROM pg_roles WHERE rolname = '{old}'")
    assert run(pg, unique_name, "SELECT tableowner FROM pg_tables WHERE tablename = 'relic'") == [
        (f"{unique_name}_owner",)
    ]


@pytest.mark.parametrize("member", ["pg_read_all_data", "the owner"])
def test_a_membership_nobody_declared_is_ended_or_said_to_be_out_of_reach(
    pg: PostgresServer, tmp_path: Path, unique_name: str, member: str
) -> None:
    """A managed role is a member of rds_iam and of nothing else. Since 16 a grant is its grantor's to take back."""
    wanted: SpecSet = specs(tmp_path, f"service: {unique_name}\npostgres: {{}}")
    provision(pg, wanted)
    role = f"{unique_name}_owner" if member == "the owner" else member
    run(pg, "postgres", f"GRANT {role} TO {unique_name}_app")

    plan = provisioner(pg, wanted).plan()

    if pg.version >= 16:
        assert plan.is_empty
        (notice,) = (notice for notice in plan.notices if notice.level == "unreachable")
        assert notice.remedy == f'a superuser must run: REVOKE "{role}" FROM "{unique_name}_app" GRANTED BY "postgres"'
        run(pg, "postgres", notice.remedy.partition(": ")[2])
        assert not provisioner(pg, wanted).plan().notices
    else:
        provision(pg, wanted)
        assert not run(pg, "postgres", f"SELECT 1 WHERE pg_has_role('{unique_name}_app', '{role}', 'MEMBER')")


def test_a_role_somebody_else_made_needs_a_human_first(pg: PostgresServer, tmp_path: Path, unique_name: str) -> None:
    """Since 16 the master cannot manage it: nothing is changed, and the error says what a superuser must run."""
    wanted = specs(tmp_path, f"service: {unique_name}\npostgres: {{}}")
    run(pg, "postgres", f"CREATE ROLE {unique_name}_app NOLOGIN")

    if pg.version < 16:
        provision(pg, wanted)
        return
    with pytest.raises(ProvisionError, match=f'GRANT "{unique_name}_app" TO "master" WITH ADMIN OPTION'):
        provision(pg, wanted)
    assert not run(pg, "postgres", f"SELECT 1 FROM pg_roles WHERE rolname = '{unique_name}_owner'")
    run(pg, "postgres", f"GRANT {unique_name}_app TO master WITH ADMIN OPTION")
    provision(pg, wanted)


def test_an_upgraded_public_schema_is_reported_honestly(pg: PostgresServer, tmp_path: Path, unique_name: str) -> None:
    """Owned by postgres and open to all, as after pg_upgrade: the master cannot close it, and says who can."""
    wanted = specs(tmp_path, f"service: {unique_name}\npostgres: {{}}")
    provision(pg, wanted)
    run(pg, unique_name, "ALTER SCHEMA public OWNER TO postgres; GRANT ALL ON SCHEMA public TO PUBLIC")

    plan = provision(pg, wanted)

    assert plan.is_empty
    assert "revoke CREATE, USAGE on schema public" in told(plan, "unreachable")
    assert "belongs to postgres" in told(plan, "unreachable")
