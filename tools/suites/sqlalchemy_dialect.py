"""What SQLAlchemy's suite, which takes nothing but a URL, needs besides our URL form: two more dialects.

``soa_db+suite_provider://SERVICE`` has all its engines on one provider's pool; ``soa_db+bare://host:port/database`` is
SQLAlchemy's own psycopg dialect, but that the password is asked for at AWS, so that no command line holds it.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from soa_db.aws import AwsClients
from soa_db.config import PoolConfig
from soa_db.postgres import PostgresProvider, connect
from soa_db.sqlalchemy.dialect import ProviderDialect
from soa_db.sqlalchemy.driver import set_up
from soa_db.sqlalchemy.pool import LendingPool

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

OWNER = "dev/postgres-shared/suite/owner"


@cache
def provider() -> PostgresProvider:
    """The one provider, connected; it lives as long as the process."""
    made = PostgresProvider.from_aws(env="dev", service="suite", role="owner", pool=PoolConfig(max_size=20, timeout=10))
    made.connect()
    return made


class SuitePool(LendingPool):
    """The provider's pool, where SQLAlchemy makes the pool itself."""

    def __init__(self, creator: Any, **options: Any) -> None:  # noqa: ARG002 - SQLAlchemy's
        allowed = ("echo", "pre_ping", "logging_name", "reset_on_return", "events", "dialect", "_dispatch")
        super().__init__(provider(), **{name: value for name, value in options.items() if name in allowed})


class SuiteProviderDialect(ProviderDialect):
    """Engines on that provider."""

    supports_statement_cache = True

    def connect(self, *_: object, **__: object) -> Any:
        """What tests with a pool of their own get: one connection of the same kind, outside of the provider's pool."""
        conn = connect(provider().config)
        set_up(conn, self)
        return conn

    @classmethod
    def get_dialect_pool_class(cls, url: URL) -> type[SuitePool]:  # noqa: ARG003 - SQLAlchemy's
        """The provider's pool."""
        return SuitePool


class BareDialect(PGDialect_psycopg):
    """SQLAlchemy's own."""

    supports_statement_cache = True

    def create_connect_args(self, url: URL) -> Any:
        """The owner's user and password."""
        with AwsClients() as aws:
            secret = aws.secret(OWNER)
        return super().create_connect_args(  # type: ignore[no-untyped-call]
            url.set(username=str(secret["username"]), password=str(secret["password"]))
        )


def adopt_hooks() -> None:
    """Have the suite treat `soa_db+…` as `postgresql+…`: it chooses some of what it does by the URL."""
    from sqlalchemy.testing import provision

    importlib.import_module("sqlalchemy.dialects.postgresql.provision")  # its hooks
    for hook in vars(provision).values():
        if isinstance(hook, provision.register) and "postgresql" in hook.fns:
            hook.fns["soa_db"] = hook.fns["postgresql"]


registry.register("soa_db", "soa_db.sqlalchemy.dialect", "UrlDialect")
registry.register("soa_db.suite_provider", __name__, "SuiteProviderDialect")
registry.register("soa_db.bare", __name__, "BareDialect")
