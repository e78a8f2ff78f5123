"""Provisioning from nothing on every supported PostgreSQL, as a CREATEROLE master that is no superuser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers.access.provisioning import may, provision, provisioner, refused, run, specs

if TYPE_CHECKING:
    from soa_db.local.postgres import PostgresServer

TABLES = """
    CREATE TABLE rooms (id serial PRIMARY KEY, name text);
    CREATE TABLE parts (id int) PARTITION BY RANGE (id);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (1) TO (10);
    CREATE VIEW named AS SELECT name FROM rooms;
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM rooms;
    CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE PROCEDURE nothing(INOUT a int) LANGUAGE sql AS 'SELECT 1';
    CREATE TYPE mood AS ENUM ('fine');
"""


def test_a_service_gets_its_roles_database_and_privileges(pg: PostgresServer, tmp_path: Path, unique_name: str) -> None:
    """From nothing: owner, app and ro may do what the design says, now and with what the owner makes later."""
    wanted = specs(tmp_path, f"service: {unique_name}\npostgres: {{}}")
    owner, app, ro = (f"{unique_name}_{role}" for role in ("owner", "app", "ro"))

    provision(pg, wanted)
    run(pg, unique_name, TABLES, owner)

    assert provisioner(pg, wanted).plan().is_empty, "what the owner makes later has its privileges at once"
    for table in ("rooms", "parts", "parts_1", "named", "counted"):
        assert may(pg, unique_name, app, table, "SELECT")
        assert may(pg, unique_name, app, table, "INSERT, UPDATE, DELETE")
        assert not may(pg, unique_name, app, table, "TRUNCATE")
        assert may(pg, unique_name, ro, table, "SELECT")
        assert not may(pg, unique_name, ro, table, "INSERT")
    run(pg, unique_name, "INSERT INTO rooms (name) VALUES ('a')", app)
    assert run(pg, unique_name, "SELECT one()", app) == [(1,)]
    assert refused(pg, unique_name, "SELECT one()", ro)
    assert refused(pg, unique_name, "CREATE TABLE mine (id int)", app)
    assert refused(pg, unique_name, "CREATE TEMP TABLE mine (id int)", app)
    ((comment,),) = run(
        pg, "postgres", f"SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = '{app}'"
    )
    assert unique_name in comment
    assert run(pg, "postgres", f"SELECT pg_has_role('{app}', 'rds_iam', 'MEMBER')") == [(True,)]
    ((public,),) = run(
        pg,
        "postgres",
        f"SELECT datacl::text LIKE '%{{=%' OR datacl::text LIKE '%,=%' FROM pg_database "
        f"WHERE datname = '{unique_name}'",
    )
    assert not public
