"""Whatever somebody changes by hand on a provisioned server is seen, said and put right, on every PostgreSQL."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import pytest
from tests.servers.access.provisioning import may, provision, provisioner, run, specs

from soa_db.local.binaries import SUPPORTED

if TYPE_CHECKING:
    from soa_db.access.spec import SpecSet
    from soa_db.local.postgres import PostgresServer

TABLES = """
    CREATE TABLE rooms (id serial PRIMARY KEY, name text, secret text);
    CREATE TABLE "audit.log ""%s" (id int GENERATED ALWAYS AS IDENTITY);
    CREATE TABLE parts (id int) PARTITION BY RANGE (id);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (1) TO (10);
    CREATE VIEW named AS SELECT name FROM rooms;
    CREATE FUNCTION "refresh %"(integer, text[]) RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE PROCEDURE nothing(INOUT a int) LANGUAGE sql AS 'SELECT 1';
    CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int);
    CREATE TYPE mood AS ENUM ('fine');
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE TYPE pair AS (a int, b int);
"""

# What somebody does by hand as a superuser; {n} is the service, its roles are {n}_owner, {n}_app, {n}_ro.
DRIFT = {
    "attributes": "ALTER ROLE \"{n}_app\" NOLOGIN NOINHERIT CREATEROLE CONNECTION LIMIT 0 VALID UNTIL '2020-01-01'",
    "createdb": 'ALTER ROLE "{n}_app" CREATEDB',
    "comment": 'COMMENT ON ROLE "{n}_ro" IS NULL',
    "setting": 'ALTER ROLE "{n}_app" SET statement_timeout = 5',
    "setting in a database": 'ALTER ROLE "{n}_app" IN DATABASE "{n}" SET search_path = pg_temp',
    "iam": 'REVOKE rds_iam FROM "{n}_app" GRANTED BY master',
    "public may connect": 'GRANT CONNECT, TEMPORARY ON DATABASE "{n}" TO PUBLIC',
    "app may make temporary tables": 'GRANT TEMPORARY, CREATE ON DATABASE "{n}" TO "{n}_app"',
    "ro cannot connect": 'REVOKE CONNECT ON DATABASE "{n}" FROM "{n}_ro"',
    "admin cannot connect": 'REVOKE CONNECT ON DATABASE "{n}" FROM master',
    "database owner": 'ALTER DATABASE "{n}" OWNER TO master',
    "public schema": "GRANT CREATE, USAGE ON SCHEMA public TO PUBLIC",
    "schema privileges": 'REVOKE USAGE ON SCHEMA public FROM "{n}_app"; GRANT CREATE ON SCHEMA public TO "{n}_ro"',
    "schema owner": "ALTER SCHEMA extra OWNER TO master",
    "schema gone": "DROP SCHEMA extra",
    "table": 'REVOKE SELECT ON rooms FROM "{n}_app"; GRANT TRUNCATE ON rooms TO "{n}_ro"',
    "hostile name": 'REVOKE ALL ON "audit.log ""%s" FROM "{n}_app"',
    "owner's own": 'REVOKE INSERT ON rooms FROM "{n}_owner"',
    "partition": 'REVOKE SELECT ON parts_1 FROM "{n}_ro"; REVOKE SELECT ON parts FROM "{n}_app"',
    "view": "GRANT ALL ON named TO PUBLIC",
    "sequence": 'REVOKE USAGE ON SEQUENCE rooms_id_seq FROM "{n}_app"; GRANT UPDATE ON SEQUENCE rooms_id_seq TO PUBLIC',
    "routines": "GRANT EXECUTE ON ALL ROUTINES IN SCHEMA public TO PUBLIC; "
    'REVOKE EXECUTE ON ALL ROUTINES IN SCHEMA public FROM "{n}_app"',
    "types": 'GRANT USAGE ON TYPE mood, pair TO PUBLIC; REVOKE USAGE ON DOMAIN positive FROM "{n}_ro"',
    "columns": 'GRANT SELECT (secret), UPDATE (name) ON rooms TO "{n}_ro"',
    "grant option": 'GRANT SELECT ON rooms TO "{n}_app" WITH GRANT OPTION',
    "handed on": 'GRANT SELECT ON rooms TO "{n}_app" WITH GRANT OPTION; SET ROLE "{n}_app"; '
    "GRANT SELECT ON rooms TO PUBLIC",
    "default privileges": 'ALTER DEFAULT PRIVILEGES FOR ROLE "{n}_owner" IN SCHEMA public '
    'REVOKE SELECT ON TABLES FROM "{n}_app"; '
    'ALTER DEFAULT PRIVILEGES FOR ROLE "{n}_owner" GRANT SELECT ON TABLES TO PUBLIC; '
    'ALTER DEFAULT PRIVILEGES FOR ROLE "{n}_owner" GRANT EXECUTE ON FUNCTIONS TO PUBLIC',
    "new schema for all": 'ALTER DEFAULT PRIVILEGES FOR ROLE "{n}_owner" GRANT USAGE ON SCHEMAS TO PUBLIC',
    "made by master": "DROP TABLE IF EXISTS stray; CREATE TABLE stray (id serial); ALTER TABLE stray OWNER TO master",
}


Provisioned = tuple["PostgresServer", str, "SpecSet"]


@pytest.fixture(scope="module")
def services(
    pg_servers: Callable[[int], PostgresServer], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Provisioned]:
    """On each version one provisioned service with objects of every kind, shared by these tests: each mends it."""

    @cache
    def make(version: int) -> Provisioned:
        server, name = pg_servers(version), f"t{secrets.token_hex(5)}"
        found = specs(
            tmp_path_factory.mktemp("specs"), f"service: {name}\npostgres:\n  databases: [{{schemas: [public, extra]}}]"
        )
        provision(server, found)
        run(server, name, TABLES, f"{name}_owner")
        assert provisioner(server, found).plan().is_empty
        return server, name, found

    return make


@pytest.mark.parametrize("drift", DRIFT.values(), ids=DRIFT.keys())
@pytest.mark.parametrize("version", [min(SUPPORTED), max(SUPPORTED)])
def test_drift_is_put_right(services: Callable[[int], Provisioned], version: int, drift: str) -> None:
    """One thing changed by hand: there is a plan, carrying it out mends it, the next plan is empty."""
    server, name, wanted = services(version)
    run(server, name, drift.replace("{n}", name))

    plan = provision(server, wanted)

    assert plan.changes
    assert not [notice for notice in plan.notices if notice.level in {"unreachable", "error"}]
    assert may(server, name, f"{name}_app", "rooms", "SELECT")
    assert not may(server, name, f"{name}_ro", "rooms", "TRUNCATE")
    assert not may(server, name, "public", "rooms", "SELECT")


@pytest.mark.parametrize("version", SUPPORTED)
def test_everything_at_once_is_put_right(services: Callable[[int], Provisioned], version: int) -> None:
    """All of it together, in one run."""
    server, name, wanted = services(version)
    for drift in DRIFT.values():
        run(server, name, drift.replace("{n}", name))

    assert len(provision(server, wanted).changes) > 20
