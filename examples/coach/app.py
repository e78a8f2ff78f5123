"""The coach service over HTTP: sessions in PostgreSQL, counted in Redis, notes in MongoDB, events in a second database.

SOA_ENV=mirror uvicorn app:app --app-dir examples/coach
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from psycopg import AsyncConnection, DataError
from psycopg.rows import class_row
from psycopg.types.json import Jsonb
from pydantic import BaseModel, Field
from pymongo.errors import ConnectionFailure

from soa_db.fastapi import (
    MongoDatabase,
    OpenDatabases,
    PostgresConnection,
    PostgresTransaction,
    Redis,
    add_error_handlers,
    add_health_routes,
    connection_to,
    lifespan,
)

SERVICE = "coach"

app = FastAPI(
    title=SERVICE,
    lifespan=lifespan(SERVICE, os.environ.get("SOA_ENV", "dev"), specs=Path(__file__).parent / "db-access.yaml"),
)
add_error_handlers(app, retry_after=1, also=(ConnectionFailure,))
add_health_routes(app, optional={"redis"}, deadline=1.0)


@app.exception_handler(DataError)
async def not_storable(_request: Request, _error: DataError) -> JSONResponse:
    """Tell a client that what it sent cannot be stored: PostgreSQL's texts hold no NUL, for one."""
    return JSONResponse({"detail": "a value cannot be stored"}, 422)


@app.exception_handler(RequestValidationError)
async def not_valid(_request: Request, error: RequestValidationError) -> JSONResponse:
    """Tell a client what is wrong, but not with which value: half a surrogate pair, for one, fits into no answer."""
    told = [{key: one[key] for key in ("type", "loc", "msg")} for one in error.errors()]
    return JSONResponse({"detail": told}, 422)


EventsConnection = Annotated[AsyncConnection[Any], connection_to("events")]


class Session(BaseModel):
    """A coach's session with a student."""

    coach: str = Field(min_length=1, max_length=200)
    student: str = Field(min_length=1, max_length=200)
    held_at: datetime = Field(default_factory=lambda: datetime.now(UTC))


class Count(BaseModel):
    """How many sessions a coach has held."""

    coach: str
    sessions: int


class Note(BaseModel):
    """What a coach wants to remember of a session."""

    text: str = Field(max_length=10_000)


@app.put("/sessions/{session_id}", status_code=201)
async def put_session(session_id: UUID, session: Session, conn: PostgresTransaction) -> Session:
    """Record a session. The client names it: after a 503 it may send it again, and it is recorded once."""
    await conn.execute(
        "insert into sessions (id, coach, student, held_at) values (%s, %s, %s, %s) on conflict (id) do nothing",
        (session_id, session.coach, session.student, session.held_at),
    )
    return await _session(session_id, conn)


@app.get("/sessions/{session_id}")
async def get_session(session_id: UUID, conn: PostgresConnection) -> Session:
    """Return a session."""
    return await _session(session_id, conn)


async def _session(session_id: UUID, conn: AsyncConnection[Any]) -> Session:
    async with conn.cursor(row_factory=class_row(Session)) as cursor:
        await cursor.execute("select coach, student, held_at from sessions where id = %s", (session_id,))
        found = await cursor.fetchone()
    if found is None:
        raise HTTPException(404, "there is no such session")
    return found


@app.get("/coaches/{coach}/sessions")
async def count_sessions(coach: str, databases: OpenDatabases, cache: Redis) -> Count:
    """Count a coach's sessions, as of ten seconds ago at most; without Redis it is counted each time."""

    async def count() -> int:
        async with databases.postgres.connection() as conn:
            row = await (await conn.execute("select count(*) from sessions where coach = %s", (coach,))).fetchone()
            return int(row[0]) if row else 0

    return Count(coach=coach, sessions=await cache.cached_call(f"coach:sessions:{coach}", count, ttl=10))


@app.put("/sessions/{session_id}/note", status_code=204)
async def put_note(session_id: UUID, note: Note, mongo: MongoDatabase) -> None:
    """Keep a note, in place of the one there was."""
    await mongo["notes"].replace_one({"_id": str(session_id)}, {"text": note.text}, upsert=True)


@app.get("/sessions/{session_id}/note")
async def get_note(session_id: UUID, mongo: MongoDatabase) -> Note:
    """Return the note of a session."""
    found = await mongo["notes"].find_one({"_id": str(session_id)})
    if found is None:
        raise HTTPException(404, "there is no such note")
    return Note(text=found["text"])


@app.post("/events", status_code=202)
async def add_event(payload: dict[str, Any], conn: EventsConnection) -> None:
    """Record that something happened."""
    await conn.execute("insert into events (happened_at, payload) values (now(), %s)", (Jsonb(payload),))
