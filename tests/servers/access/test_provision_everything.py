"""Every feature of the spec's postgres part at once: provisioned, used by real logins, run again, verified."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tests.servers.access.provisioning import PASSWORD, run, specs

from soa_db.access import apply, verify
from soa_db.access.settings import Settings
from soa_db.aws import AwsClients
from soa_db.local.binaries import SUPPORTED
from soa_db.postgres import connect, load_postgres_config_from_aws

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.aws_kit import CountingAws

    from soa_db.access import ApplyResult
    from soa_db.access.spec import SpecSet
    from soa_db.local.postgres import PostgresServer
    from soa_db.names import Role

SHOP = """
service: shop-api
postgres:
  databases:
    - {id: main, database: shop_db, schemas: [public, stock], grants: {app: [select, insert, update, delete, truncate]}}
    - id: pii
      isolated: true
      identities: {owner: pii_owner, app: pii_app, ro: null}
      grants: {app: [select, insert, update]}
    - {id: archive, schemas: [old_years], identities: {app: archive_app, ro: null}}
  extra_grants:
    - {to: app, on: public.audit_log, revoke: [update, delete, truncate]}
    - {to: ro, on: "public.refresh_*()", privileges: [execute]}
    - {to: ro, on: public.customers, revoke: [select]}
    - {to: ro, on: public.customers, privileges: [select], columns: [id, name]}
    - {to: app, on: "stock.price_*", revoke: [update]}
    - {to: app, on: stock.price_list, privileges: [update], columns: [price]}
    - {to: app, db: archive, on: old_years.sales, revoke: [delete]}
  reads:
    - {service: mail-api, tables: [public.bounces], to: [app]}
  shared_with:
    - {service: mail-api, tables: [public.customers], columns: [id, mail]}
    - {service: mail-api, tables: ["public.news_*"]}
  retire: [{role: saga_shop, reassign_to: owner}]
"""
MAIL = """
service: mail-api
postgres:
  reads:
    - {service: shop-api, tables: [public.customers, public.news_2026]}
  shared_with:
    - {service: shop-api, tables: [public.bounces]}
"""
TABLES = """
    CREATE TABLE public.customers (id serial PRIMARY KEY, name text, mail text, card text);
    CREATE TABLE public.audit_log (id bigint GENERATED ALWAYS AS IDENTITY, what text);
    CREATE TABLE public.news_2026 (id int);
    CREATE TABLE public.news_2025 (id int);
    CREATE TABLE stock.price_list (id int, price int);
    CREATE TABLE stock.price_old (id int, price int);
    CREATE TABLE stock.moves (at date) PARTITION BY RANGE (at);
    CREATE TABLE stock.moves_all PARTITION OF stock.moves DEFAULT;
    CREATE FUNCTION public.refresh_all() RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION public.other() RETURNS int LANGUAGE sql AS 'SELECT 1';
"""


class Everything:
    """The two services on one server, and logins as each of their users by the loader services use."""

    def __init__(self, server: PostgresServer, wanted: SpecSet, aws: AwsClients) -> None:
        self.server, self.wanted, self.aws = server, wanted, aws

    def apply(self, *, prune: bool = False) -> ApplyResult:
        """Provision in dev, as the master."""
        url = f"postgresql://master:{PASSWORD}@127.0.0.1:{self.server.port}/postgres?sslmode=disable"
        return apply(self.wanted, env="dev", aws=self.aws, admin_url=url, settings=Settings(), prune=prune)

    @contextmanager
    def login(self, user: str, database: str | None = None) -> Iterator[psycopg.Connection[Any]]:
        """A session of a declared user, with the password from its parity secret, in its own or another database."""
        identity = next(one for one in self.wanted.postgres_identities() if one.user == user)
        role: Role = identity.role
        config = load_postgres_config_from_aws(
            env="dev", service=identity.service, role=role, db_id=identity.db_ids[0], user=user, aws=self.aws
        )
        assert config.user == user
        assert config.database == identity.databases[0]
        if database is not None:
            config = config.model_copy(update={"database": database})
        with connect(config, aws=self.aws) as connection:
            yield connection

    def can(self, user: str, database: str, *statements: str) -> None:
        """Each statement is done, and undone."""
        with self.login(user, database) as connection:
            for statement in statements:
                with connection.transaction(force_rollback=True):
                    connection.execute(statement.encode())

    def cannot(self, user: str, database: str, *statements: str) -> None:
        """Each is refused for want of a privilege."""
        with self.login(user, database) as connection:
            for statement in statements:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement.encode())

    def stays_out(self, user: str, database: str) -> None:
        """It may not even connect."""
        with pytest.raises(Exception, match="permission denied for database"), self.login(user, database):
            pass


@pytest.fixture(params=SUPPORTED)
def everything(
    request: pytest.FixtureRequest,
    pg_server_factory: Callable[..., PostgresServer],
    aws: CountingAws,
    tmp_path: Path,
) -> Iterator[Everything]:
    """A server of each version; a role of the past owns a table in the shop's database, which is there already."""
    server = pg_server_factory(version=request.param, settings={"autovacuum": "off"})
    run(server, "postgres", "SET ROLE master; CREATE ROLE saga_shop LOGIN")
    run(server, "postgres", "CREATE DATABASE shop_db")
    run(server, "postgres", "ALTER DATABASE shop_db OWNER TO master; GRANT CREATE ON DATABASE shop_db TO saga_shop")
    run(server, "shop_db", "CREATE TABLE public.relic (id int); ALTER TABLE public.relic OWNER TO saga_shop")
    with AwsClients() as clients:
        yield Everything(server, specs(tmp_path, SHOP, MAIL), clients)


def test_all_of_it_together(everything: Everything, aws: CountingAws) -> None:
    """What each identity can and cannot do, now and later; not one write the second time; verify agrees."""
    it, server = everything, everything.server
    it.apply(prune=True)
    assert not run(server, "postgres", "SELECT 1 FROM pg_roles WHERE rolname = 'saga_shop'")
    with it.login("shop_api_owner") as owner:
        owner.execute("DROP TABLE public.relic")  # what was the retired role's is the owner's
        owner.execute(TABLES.encode())
    with it.login("pii_owner") as owner:
        owner.execute("CREATE TABLE public.people (id int)")
    with it.login("shop_api_owner", "shop_api_archive_db") as owner:
        owner.execute("CREATE TABLE old_years.sales (id int)")
    with it.login("mail_api_owner") as owner:
        owner.execute("CREATE TABLE public.bounces (id int); CREATE TABLE public.letters (id int)")
    it.apply(prune=True)  # exceptions follow the objects they name

    it.can(
        "shop_api_app",
        "shop_db",
        "INSERT INTO public.customers (name) VALUES ('ann')",
        "UPDATE public.customers SET name = ''; DELETE FROM public.customers; TRUNCATE public.customers",
        "INSERT INTO public.audit_log (what) VALUES ('x')",
        "INSERT INTO stock.moves VALUES ('2026-01-01'); SELECT FROM stock.moves_all",
        "UPDATE stock.price_list SET price = 1",
        "SELECT public.refresh_all(), public.other()",
    )
    it.cannot(
        "shop_api_app",
        "shop_db",
        "UPDATE public.audit_log SET what = ''",
        "DELETE FROM public.audit_log",
        "TRUNCATE public.audit_log",
        "UPDATE stock.price_list SET id = 1",
        "UPDATE stock.price_old SET price = 1",
        "CREATE TABLE public.mine ()",
        "CREATE TEMP TABLE mine ()",
        "CREATE SCHEMA mine",
    )
    it.can("shop_api_ro", "shop_db", "SELECT id, name FROM public.customers", "SELECT public.refresh_all()")
    it.can("shop_api_ro", "shop_db", "SELECT FROM public.audit_log, stock.moves, stock.price_old")
    it.cannot(
        "shop_api_ro",
        "shop_db",
        "SELECT card FROM public.customers",
        "SELECT public.other()",
        "INSERT INTO public.news_2026 VALUES (1)",
    )
    it.can("pii_app", "shop_api_pii_db", "INSERT INTO public.people VALUES (1)", "UPDATE public.people SET id = 1")
    it.cannot("pii_app", "shop_api_pii_db", "DELETE FROM public.people", "TRUNCATE public.people")
    it.can("archive_app", "shop_api_archive_db", "INSERT INTO old_years.sales VALUES (1)")
    it.cannot("archive_app", "shop_api_archive_db", "DELETE FROM old_years.sales", "CREATE TABLE public.mine ()")
    for user in ("mail_api_app", "mail_api_ro"):
        it.can(user, "shop_db", "SELECT id, mail FROM public.customers", "SELECT FROM public.news_2026")
        it.cannot(
            user,
            "shop_db",
            "SELECT name FROM public.customers",
            "SELECT FROM public.news_2025",
            "SELECT FROM stock.price_old",
            "DELETE FROM public.news_2026",
        )
    it.can("shop_api_app", "mail_api", "SELECT FROM public.bounces")
    it.cannot("shop_api_app", "mail_api", "SELECT FROM public.letters", "DELETE FROM public.bounces")
    for user, database in (
        *((user, "shop_api_pii_db") for user in ("shop_api_owner", "shop_api_app", "shop_api_ro", "archive_app")),
        *((user, "shop_api_archive_db") for user in ("shop_api_app", "shop_api_ro", "pii_app", "mail_api_app")),
        *((user, "shop_db") for user in ("pii_owner", "pii_app", "archive_app", "mail_api_owner")),
        *((user, "mail_api") for user in ("shop_api_ro", "shop_api_owner", "pii_app")),
    ):
        it.stays_out(user, database)

    written = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"
    before = run(server, "postgres", written)
    aws.seen.clear()
    assert it.apply(prune=True).applied == ()
    assert run(server, "postgres", written) == before
    assert set(aws.seen) <= {"BatchGetSecretValue", "GetParameters"}, "it reads, and writes nothing"

    report = verify(it.wanted, env="dev", aws=it.aws, settings=Settings())
    assert [str(check) for check in (*report.violations, *report.inconclusive)] == []
