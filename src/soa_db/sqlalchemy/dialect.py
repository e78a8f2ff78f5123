"""SQLAlchemy's psycopg dialects, with our view of what means that a server is gone, and our ways to connect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg, PGDialectAsync_psycopg

from soa_db._core.generation import is_suspect
from soa_db._psycopg.failures import refuse_lost_commit, session_failure
from soa_db.errors import ConfigurationError
from soa_db.sqlalchemy.driver import adapter, await_, set_up
from soa_db.sqlalchemy.login import AsyncLogin, Login
from soa_db.sqlalchemy.url import loader_keywords, parameters

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

__all__ = ["AsyncProviderDialect", "AsyncUrlDialect", "ProviderDialect", "UrlDialect"]


def _native(connection: Any) -> Any:
    """psycopg's connection below SQLAlchemy's wrappers, of which a blocking one need have none."""
    return getattr(connection, "driver_connection", connection)


class _OurView:
    """What an error means, the same as in a provider."""

    def is_disconnect(self, e: Exception, connection: Any, cursor: Any) -> bool:
        """Whether the connection is of no use any more: it broke, or what it leads to is gone or demoted."""
        if super().is_disconnect(e, connection, cursor):  # type: ignore[misc]  # SQLAlchemy's dialect is beside this
            return True
        # None where connecting failed. SQLAlchemy asks of the driver's errors only.
        return connection is not None and is_suspect(session_failure(e, _native(connection)))

    def do_commit(self, dbapi_connection: Any) -> None:
        """Commit; raises InFailedSqlTransaction where COMMIT would roll back without a word."""
        refuse_lost_commit(_native(dbapi_connection))
        super().do_commit(dbapi_connection)  # type: ignore[misc]


class _OnProvider:
    """The dialect of an engine on a provider: its pool brings the connections."""

    def create_connect_args(self, url: URL) -> tuple[tuple[()], dict[str, Any]]:  # noqa: ARG002 - SQLAlchemy's
        """Nothing: SQLAlchemy itself connects to nothing."""
        return (), {}

    def connect(self, *_: object, **__: object) -> NoReturn:
        """Refuse: there is no provider to take a connection from."""
        raise ConfigurationError(
            "soa_db+provider:// is no URL to connect to",
            hint="call soa_db.sqlalchemy.create_engine_from_provider, or use soa_db+psycopg://SERVICE/?env=…&role=…",
        )


class ProviderDialect(_OnProvider, _OurView, PGDialect_psycopg):
    """Of ``create_engine_from_provider``."""

    supports_statement_cache = True

    @classmethod
    def get_async_dialect_cls(cls, url: URL) -> type[AsyncProviderDialect]:  # noqa: ARG003 - SQLAlchemy's
        """What ``create_async_engine`` uses."""
        return AsyncProviderDialect


class _Terminating:
    """An asynchronous connection can be closed anywhere, the garbage collector included: that is no I/O."""

    has_terminate = True

    def do_terminate(self, dbapi_connection: Any) -> None:
        """Close at once."""
        _native(dbapi_connection).pgconn.finish()


class AsyncProviderDialect(_OnProvider, _Terminating, _OurView, PGDialectAsync_psycopg):
    """Of ``create_async_engine_from_provider``."""

    supports_statement_cache = True


class _OfUrl:
    """The dialect of ``soa_db+psycopg://``: each physical connection is made with fresh credentials."""

    @classmethod
    def get_async_dialect_cls(cls, url: URL) -> type[AsyncUrlDialect]:  # noqa: ARG003 - SQLAlchemy's
        """What ``create_async_engine`` uses."""
        return AsyncUrlDialect

    def create_connect_args(self, url: URL) -> tuple[tuple[()], dict[str, Any]]:
        """The URL's parameters; raises ConfigurationError for those that cannot be used."""
        if getattr(self, "client_encoding", None) is not None:
            raise ConfigurationError("client_encoding cannot be set", hint="sessions speak UTF-8")
        found = parameters(url)
        loader_keywords(found)
        return (), found


class UrlDialect(_OfUrl, _OurView, PGDialect_psycopg):
    """Of ``soa_db+psycopg://`` in ``create_engine``."""

    supports_statement_cache = True

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)  # type: ignore[no-untyped-call]
        self._login = Login()

    def connect(self, *_: object, **found: Any) -> Any:
        """Return a connection, with autocommit off as SQLAlchemy wants it."""
        conn = self._login.connect(found)
        set_up(conn, self)
        return conn


class AsyncUrlDialect(_OfUrl, _Terminating, _OurView, PGDialectAsync_psycopg):
    """Of ``soa_db+psycopg://`` in ``create_async_engine``, and of ``soa_db+psycopg_async://``."""

    supports_statement_cache = True

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)  # type: ignore[no-untyped-call]
        self._login = AsyncLogin()

    def connect(self, *_: object, **found: Any) -> Any:
        """Return a connection in SQLAlchemy's adapter, with autocommit off."""
        conn = await_(self._login.connect(found))
        set_up(conn, self)
        return adapter(self, conn)
