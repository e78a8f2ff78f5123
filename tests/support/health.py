"""What a client of any framework is answered by the health pages of a service with one database."""

from __future__ import annotations

from typing import Any

__all__ = ["BEARER", "PAGES", "TOKEN", "expect", "seen"]

TOKEN = "token-of-the-tests"
PAGES = ("/health", "/health/live", "/health/ready", "/health/details")
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def seen(client: Any) -> dict[str, Any]:
    """What a client of any framework gets: status and document by page, HEAD and POST of one."""
    found = {path: client.get(path, headers=BEARER) for path in PAGES}
    assert client.get("/health/details").status_code == 401
    assert client.post("/health/ready").status_code == 405
    assert client.head("/health/ready").status_code == 200
    return {path: (answer.status_code, answer.json()) for path, answer in found.items()}


def expect(found: dict[str, Any]) -> None:
    """The same of all frameworks."""
    details = found["/health/details"][1]
    assert found["/health/live"] == (200, {"status": "ok"})
    assert found["/health"][1].items() >= {"status": "ok", "service": "chat-api"}.items()
    ready = {"db": {"ready": True, "status": "healthy", "detail": "connected"}}
    assert found["/health/ready"] == (200, {"status": "ready", "checks": ready})
    assert details["dependencies"]["db"]["stats"]["pool_size"] >= 1
