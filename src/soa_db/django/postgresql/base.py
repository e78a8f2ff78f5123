"""The back end: Django's for PostgreSQL, whose connections are made as the service's role, with credentials of now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from soa_db.errors import MissingExtra

try:
    import psycopg
    import psycopg_pool as _psycopg_pool  # noqa: F401 - whether it is there
except ModuleNotFoundError as error:
    raise MissingExtra(f"{error.name} is not installed", hint="pip install 'soa-db[django]'") from error

from django.conf import settings
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import base as django_base
from django.db.backends.postgresql.psycopg_any import get_adapters_template
from django.db.utils import DEFAULT_DB_ALIAS
from django.utils.asyncio import async_unsafe
from psycopg import sql

from soa_db._psycopg.failures import is_standby
from soa_db._psycopg.fork import detach
from soa_db._runtime import fork
from soa_db._sync.postgres.connector import round_trip
from soa_db.django.errors import SettingsError, database_errors
from soa_db.django.postgresql.client import DatabaseClient
from soa_db.django.postgresql.creation import DatabaseCreation
from soa_db.django.postgresql.pool import CHECK_TIMEOUT, Pool
from soa_db.django.settings import read_settings
from soa_db.django.target import Target, target_of

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["DatabaseWrapper"]

_MAINTENANCE_DATABASE = "postgres"


class DatabaseWrapper(django_base.DatabaseWrapper):
    """One thread's connection to one alias of DATABASES."""

    client_class = DatabaseClient
    creation_class = DatabaseCreation

    connection: Connection[Any] | None
    # Django's, by alias: shared by all threads, and emptied by ``close_pool``.
    _connection_pools: dict[str, Pool]
    _configure_connection: Callable[[Connection[Any]], object]

    def __init__(self, settings_dict: dict[str, Any], alias: str = DEFAULT_DB_ALIAS) -> None:
        super().__init__(settings_dict, alias)
        self._made_on_standby = False
        fork.watch(self)

    # --- where to

    @property
    def target(self) -> Target:
        """Where the alias leads; the first of the process to ask asks AWS.

        Raises:
            SettingsError: the settings cannot be used.
            DatabaseFailure: AWS did not give the configuration.
        """
        with database_errors(self.alias):
            return target_of(read_settings(self.settings_dict))

    @property
    def database(self) -> str:
        """The database's name: NAME, else what the secret or the naming contract says."""
        name: str | None = self.settings_dict["NAME"]
        # None is how Django asks for a database that is always there, to create others from.
        return _MAINTENANCE_DATABASE if name is None else name or self.target.config.database

    def get_connection_params(self) -> dict[str, Any]:
        """Return what a connection is made with, but for where to and as whom."""
        options: Mapping[str, Any] = self.settings_dict["OPTIONS"]
        binding = options.get("server_side_binding") is True
        default = django_base.ServerBindingCursor if binding else django_base.Cursor
        return {
            "client_encoding": "UTF8",
            "cursor_factory": options.get("cursor_factory", default),
            "context": get_adapters_template(settings.USE_TZ, self.timezone),
            "prepare_threshold": options.get("prepare_threshold"),
        }

    # --- connections

    @async_unsafe
    def get_new_connection(self, conn_params: dict[str, Any]) -> Connection[Any]:
        """Return a connection that is logged in, from the pool if there is one.

        Raises:
            SettingsError: the settings cannot be used.
            DatabaseFailure: there is none; it says why, and is Django's OperationalError.
        """
        level = self._read_isolation_level()
        with database_errors(self.alias):
            pool = self.pool
            if pool is not None:
                connection: Connection[Any] = pool.take()
            else:
                connection = self.target.connector(self.database, self._driver_options(conn_params)).connect(
                    psycopg.Connection[Any]
                )
        if level is not None:
            connection.isolation_level = level
        self._made_on_standby = is_standby(connection)
        return connection

    def _configure_role(self, connection: Connection[Any]) -> bool:
        # Django's asks for a second connection to quote the role's name; of a pool that is full that one never comes.
        role = self.settings_dict["OPTIONS"].get("assume_role")
        if role:
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Literal(role)))
        return bool(role)

    def _read_isolation_level(self) -> psycopg.IsolationLevel | None:
        value = self.settings_dict["OPTIONS"].get("isolation_level")
        try:
            level = None if value is None else psycopg.IsolationLevel(value)
        except ValueError as error:
            # Django's words.
            raise SettingsError(
                f"Invalid transaction isolation level {value} specified. Use one of the psycopg.IsolationLevel values."
            ) from error
        # Django's own, for those who look at it.
        self.isolation_level = psycopg.IsolationLevel.READ_COMMITTED if level is None else level
        return level

    def _driver_options(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        # Behind a proxy that moves transactions between sessions a prepared statement is not found again.
        return {**params, "prepare_threshold": None} if self.target.config.session.proxy else params

    @property
    def pool(self) -> Pool | None:
        """The alias's pool, shared by all threads; None unless OPTIONS has one."""
        wanted = self.settings_dict["OPTIONS"].get("pool")
        if self.alias == NO_DB_ALIAS or not wanted:
            return None
        pools = self._connection_pools
        found = pools.get(self.alias)
        if found is not None and (found.inherited or found.made_for != self.settings_dict["NAME"]):
            # The second: tests put the name of their database into the settings, and it must not be the real one's
            # connections that they get.
            pools.pop(self.alias, None)
            if not found.inherited:
                found.close()
            found = None
        # Of threads that find none, the first to put one there wins; the others' were never opened.
        return found if found is not None else pools.setdefault(self.alias, self._make_pool(wanted))

    def _make_pool(self, wanted: object) -> Pool:
        if self.settings_dict["CONN_MAX_AGE"] != 0:
            # Django's words.
            raise SettingsError("Pooling doesn't support persistent connections.")
        if wanted is not True and not isinstance(wanted, Mapping):
            raise SettingsError(f"OPTIONS['pool'] is a {type(wanted).__name__}", hint="give True, or {'max_size': …}")
        with database_errors(self.alias):
            options = self._driver_options(self.get_connection_params())
            return Pool(
                self.target.connector(self.database, options, self._configure_connection),
                check_each=self.settings_dict["CONN_HEALTH_CHECKS"],
                options={} if wanted is True else wanted,
                made_for=self.settings_dict["NAME"],
            )

    def is_usable(self) -> bool:
        """Whether the connection answers in time, and does not lead to a primary that has become a standby."""
        connection = self.connection
        if connection is None:
            return False
        try:
            round_trip(connection, CHECK_TIMEOUT)
        except psycopg.Error:
            usable = False
        else:
            usable = self._made_on_standby or not is_standby(connection)
        if not usable and (pool := self.pool) is not None:
            # Its neighbours were made when it was.
            pool.distrust(connection)
            connection.close()
        return usable

    def after_fork_in_child(self) -> None:
        """Leave the connection to the parent: two processes cannot talk on one socket."""
        connection = self.connection
        if connection is None:
            return
        detach([connection])
        connection.close()
        if self.in_atomic_block:
            # The transaction is the parent's; what is left of the block here can only be rolled back.
            self.closed_in_transaction = True
            self.needs_rollback = True
        else:
            self.connection = None
