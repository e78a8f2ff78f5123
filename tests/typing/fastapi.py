"""``soa_db.fastapi``: a service's application."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from soa_db.fastapi import (
    Databases,
    MongoDatabase,
    OpenDatabases,
    OpenOptions,
    PostgresConnection,
    PostgresTransaction,
    Redis,
    add_error_handlers,
    add_health_routes,
    connection_to,
    get_databases,
    lifespan,
    open_databases,
    transaction_on,
)

options: OpenOptions = {}
app = FastAPI(lifespan=lifespan("chat-api", "dev", **options))
add_health_routes(app, prefix="/health", details=True)
add_error_handlers(app, retry_after=3)
others = (Databases, get_databases, open_databases)
Pii = Annotated[AsyncConnection[TupleRow], connection_to("pii", role="ro")]
Strict = Annotated[AsyncConnection[TupleRow], transaction_on(isolation="serializable")]


@app.get("/")
async def root(  # noqa: PLR0917  # FastAPI calls it by name
    conn: PostgresConnection,
    work: PostgresTransaction,
    cache: Redis,
    documents: MongoDatabase,
    databases: OpenDatabases,
    pii: Pii,
    strict: Strict,
) -> dict[str, Any]:
    """Each is what it says."""
    row = await (await conn.execute("select 1")).fetchone()
    await work.execute("select 1")
    await pii.execute("select 1")
    await strict.execute("select 1")
    found = await documents["imports"].find_one({})
    return {"row": row, "cache": await cache.get("k"), "found": found, "up": await databases.postgres.ping()}
