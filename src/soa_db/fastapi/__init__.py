"""FastAPI: a lifespan that opens a service's databases, dependencies, health routes, and 503 for what is not there."""

from soa_db.databases import Databases, OpenOptions, open_databases
from soa_db.errors import MissingExtra

try:
    from soa_db.fastapi.dependencies import (
        MongoDatabase,
        OpenDatabases,
        PostgresConnection,
        PostgresTransaction,
        Redis,
        connection_to,
        transaction_on,
    )
    from soa_db.fastapi.errors import add_error_handlers
    from soa_db.fastapi.health import add_health_routes
    from soa_db.fastapi.state import get_databases, lifespan
except ModuleNotFoundError as error:
    if error.name not in {"fastapi", "starlette"}:
        raise
    raise MissingExtra("FastAPI is not installed", hint="pip install 'soa-db[fastapi]'") from error

__all__ = [
    "Databases",
    "MongoDatabase",
    "OpenDatabases",
    "OpenOptions",
    "PostgresConnection",
    "PostgresTransaction",
    "Redis",
    "add_error_handlers",
    "add_health_routes",
    "connection_to",
    "get_databases",
    "lifespan",
    "open_databases",
    "transaction_on",
]
