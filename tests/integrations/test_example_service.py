"""The example service, started by uvicorn and driven over HTTP while its PostgreSQL is killed and started again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
import pytest
from tests.support.postgres import superuser

from soa_db.access import apply, load_spec, load_specs
from soa_db.local.ports import free_port
from soa_db.postgres import connect, load_postgres_config_from_aws

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "coach"
MIGRATIONS = {"main": "001_sessions.sql", "events": "events/001_events.sql"}
# Statuses a client may see: done, or not available now.
ALLOWED = {200, 201, 503}


@pytest.fixture
def mirror(local_aws: LocalEnvironment) -> Iterator[LocalEnvironment]:
    """coach in mirror: IAM tokens and TLS for PostgreSQL; with its tables."""
    apply(load_specs([FOLDER]), env="mirror")
    for db_id, file in MIGRATIONS.items():
        as_owner(db_id, (FOLDER / "migrations" / file).read_text())
    yield local_aws
    as_owner("main", "drop table sessions; drop procedure close_old_sessions")
    as_owner("events", "drop table events")


def as_owner(db_id: str, statements: str) -> None:
    """Run something as coach's owner."""
    spec = load_spec(FOLDER)
    owner = load_postgres_config_from_aws(env="mirror", service="coach", role="owner", db_id=db_id, spec=spec)
    with connect(owner) as conn:
        conn.execute(statements.encode())


@dataclass
class Clients:
    """What clients of the service did, and were told."""

    client: httpx.AsyncClient
    statuses: Counter[int] = field(default_factory=Counter)
    acknowledged: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    stopped: bool = False

    async def work(self, number: int) -> None:
        """Record sessions and read them back, until stopped."""
        while not self.stopped:
            session, student = str(uuid4()), f"student {number}"
            body = {"coach": "ada", "student": student}
            if (await self.ask("PUT", f"/sessions/{session}", json=body)).status_code == 201:
                self.acknowledged[session] = student
                found = await self.ask("GET", f"/sessions/{session}")
                if found.status_code == 200 and found.json()["student"] != student:
                    self.wrong.append(found.text)
            await asyncio.sleep(0.005)

    async def ask(self, method: str, path: str, **content: object) -> httpx.Response:
        """Make a request, and look at what is said when it is not answered."""
        response = await self.client.request(method, path, **content)  # type: ignore[arg-type]  # json
        self.statuses[response.status_code] += 1
        if response.status_code == 503 and (
            response.headers.get("retry-after") != "1" or "may or may not" not in response.text
        ):
            self.wrong.append(response.text)
        if response.status_code not in ALLOWED:
            self.wrong.append(f"{method} {path}: {response.status_code} {response.text}")
        return response


async def until_ready(client: httpx.AsyncClient, status: int, *, within: float = 30.0) -> None:
    """Wait until /health/ready answers with a status."""
    deadline = time.monotonic() + within
    last = "nothing"
    while time.monotonic() < deadline:
        try:
            response = await client.get("/health/ready")
        except httpx.ConnectError:
            await asyncio.sleep(0.05)
            continue
        if response.status_code == status:
            return
        last = response.text
        await asyncio.sleep(0.05)
    pytest.fail(f"/health/ready never answered {status}; last: {last}")


async def test_the_service_outlives_a_crash_of_its_database(mirror: LocalEnvironment, tmp_path: Path) -> None:
    """No answer is wrong, no acknowledged write is lost; 503 while the server is away, and all is well after."""
    port, log = free_port(), tmp_path / "service.log"
    variables = {**os.environ, "SOA_ENV": "mirror", "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}
    command = [
        "-W",
        "error::ResourceWarning",
        "-m",
        "uvicorn",
        "app:app",
        "--app-dir",
        str(FOLDER),
        "--port",
        str(port),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, *command], env=variables, stdout=output, stderr=output)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            await until_ready(client, 200)
            clients = Clients(client)
            tasks = [asyncio.create_task(clients.work(number)) for number in range(8)]
            while len(clients.acknowledged) < 20:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(mirror.kill_server, "mirror")
            try:
                await until_ready(client, 503)
            finally:
                await asyncio.to_thread(mirror.start_server, "mirror")
            await until_ready(client, 200)
            before = len(clients.acknowledged)
            async with asyncio.timeout(30):
                while len(clients.acknowledged) < before + 20:
                    await asyncio.sleep(0.01)
            clients.stopped = True
            await asyncio.gather(*tasks)
            await the_rest_works(client)
        found = {str(row[0]): row[1] for row in rows("select id, student from sessions where coach = 'ada'")}
        assert clients.wrong == []
        assert clients.statuses[503] >= 1
        assert {session: found.get(session) for session in clients.acknowledged} == clients.acknowledged
        # Whoever got a 503 may have been recorded all the same; nobody else was.
        assert len(found) <= len(clients.acknowledged) + clients.statuses[503]
    finally:
        process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(process.wait, 20)
    told = log.read_text()
    # uvicorn ends by the signal it was sent, once it has closed everything.
    assert code in {0, -signal.SIGTERM}, told
    assert "Application shutdown complete" in told
    assert "Traceback" not in told
    assert "Warning" not in told
    assert sessions_of_coach(mirror) == 0


async def the_rest_works(client: httpx.AsyncClient) -> None:
    """Redis, MongoDB, the second database, and what is not there."""
    count = await client.get("/coaches/nobody/sessions")
    assert (count.status_code, count.json()) == (200, {"coach": "nobody", "sessions": 0})
    session = uuid4()
    assert (await client.get(f"/sessions/{session}")).status_code == 404
    assert (await client.get(f"/sessions/{session}/note")).status_code == 404
    assert (await client.put(f"/sessions/{session}/note", json={"text": "good"})).status_code == 204
    assert (await client.get(f"/sessions/{session}/note")).json() == {"text": "good"}
    assert (await client.post("/events", json={"kind": "held"})).status_code == 202
    for method, path, sent in (
        ("PUT", f"/sessions/{session}", {"coach": "a\0b", "student": "s"}),
        ("GET", "/coaches/a%00b/sessions", None),
        ("POST", "/events", {"kind": "\0"}),
        ("POST", "/events", {"kind": "\ud800"}),
        ("POST", "/events", {"kind": float("nan")}),
        ("PUT", f"/sessions/{session}", {"coach": "c", "student": "s", "held_at": "9999-12-31T23:59:59-23:00"}),
        ("PUT", f"/sessions/{session}", {"coach": "\ud800", "student": "s"}),
        ("PUT", f"/sessions/{session}/note", {"text": "\ud800"}),
    ):
        # Escaped: httpx itself would send a lone surrogate as it is, and cannot.
        json_type = {"Content-Type": "application/json"}
        answer = await client.request(method, path, content=json.dumps(sent), headers=json_type)
        assert answer.status_code == 422
        assert (
            "a value cannot be stored" in answer.text or "unable to parse raw data as a unicode string" in answer.text
        )
    body = {"coach": "grace", "student": "s", "held_at": "2026-01-01T00:00:00Z"}
    answers = [(await client.put(f"/sessions/{session}", json=body)).json() for _ in range(2)]
    assert answers == [body, body]


def rows(query: str) -> list[tuple[object, ...]]:
    """What coach's owner sees."""
    owner = load_postgres_config_from_aws(env="mirror", service="coach", role="owner", spec=load_spec(FOLDER))
    with connect(owner) as conn:
        return conn.execute(query.encode()).fetchall()


def sessions_of_coach(env: LocalEnvironment) -> int:
    """How many sessions of the service the server still has; given a second to notice that they ended."""
    query = "select count(*) from pg_stat_activity where usename = 'coach_app'"
    deadline = time.monotonic() + 5
    while (left := int(str(superuser(env.server("mirror"), query)[0][0]))) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left
