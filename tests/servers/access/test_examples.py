"""The examples' migrations on real servers: an owner without special rights applies them, in every version."""

from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from soa_db.access.spec import load_spec
from soa_db.local.postgres import PostgresServer

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
FOLDERS = sorted(path.parent.name for path in EXAMPLES.glob("*/db-access.yaml"))


@pytest.mark.parametrize("folder", FOLDERS)
def test_an_owner_applies_the_migrations_and_every_exact_name_in_the_spec_exists(
    pg: PostgresServer, folder: str, unique_name: str
) -> None:
    """A grant in an example's spec names something real."""
    spec = load_spec(EXAMPLES / folder / "db-access.yaml")
    assert spec.postgres
    for database in spec.postgres.databases:
        name = f"{unique_name}_{database.id}"
        with psycopg.connect(pg.superuser_conninfo, autocommit=True) as admin:
            admin.execute(sql.SQL("create role {} login password 'x'").format(sql.Identifier(name)))
            admin.execute(sql.SQL("create database {} owner {}").format(sql.Identifier(name), sql.Identifier(name)))
        try:
            with psycopg.connect(pg.conninfo(name, "x", name), autocommit=True) as owner:
                where = EXAMPLES / folder / "migrations" / ("" if database.id == "main" else database.id)
                for file in sorted(where.glob("*.sql")):
                    with owner.transaction():
                        owner.execute(file.read_bytes())
                patterns = [grant.pattern for grant in spec.postgres.extra_grants if grant.db == database.id]
                for share in spec.postgres.shared_with:
                    patterns += share.patterns if share.db == database.id else ()
                relations = owner.execute("select relnamespace::regnamespace::text, relname from pg_class").fetchall()
                routines = owner.execute("select pronamespace::regnamespace::text, proname from pg_proc").fetchall()
                for pattern in patterns:
                    objects = relations if pattern.kind == "relation" else routines
                    assert any(pattern.matches(*each) for each in objects), str(pattern)
        finally:
            with psycopg.connect(pg.superuser_conninfo, autocommit=True) as admin:
                admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
                admin.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))
