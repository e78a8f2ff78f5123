"""SQLAlchemy on a provider's pool, and engines from a URL such as ``soa_db+psycopg://chat-api/?env=prod&role=app``.

The URL works with SQLAlchemy's own ``create_engine`` and ``create_async_engine``, in any tool that takes one; nothing
needs to be imported for it.
"""

from __future__ import annotations

from soa_db.errors import MissingExtra

try:
    from soa_db.sqlalchemy.engine import create_async_engine_from_provider, create_engine_from_provider
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "sqlalchemy":
        raise
    raise MissingExtra("sqlalchemy is not installed", hint="pip install 'soa-db[sqlalchemy]'") from error

__all__ = ["create_async_engine_from_provider", "create_engine_from_provider"]
