"""``soa_db.health``: checks, their report, and the apps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, assert_type

from soa_db.health import (
    AsgiHealthApp,
    AsyncHealthChecks,
    CheckError,
    CheckResult,
    DetailsGuard,
    HealthCheck,
    HealthChecks,
    HealthReport,
    HealthStatus,
    WsgiHealthApp,
    django_urls,
)
from soa_db.postgres import AsyncPostgresProvider, PostgresProvider
from soa_db.redis import RedisConnectionManager


def guard(headers: Mapping[str, str]) -> bool:
    """Who may see details."""
    return headers.get("x-internal") == "yes"


def blocking(chat: PostgresProvider, cache: RedisConnectionManager) -> None:
    """Over providers and functions."""
    checks = HealthChecks(
        service="chat-api",
        checks=[HealthCheck("database", chat), HealthCheck("cache", cache, deadline=1.0, critical=False)],
    )
    report = checks.run()
    assert_type(report, HealthReport)
    assert_type(report.ready, bool)
    status: HealthStatus = report.status
    wanted: Literal["healthy", "degraded", "unhealthy"] = status
    del wanted
    for result in report.results.values():
        assert_type(result, CheckResult)
        assert_type(result.latency, float | None)
        assert_type(result.error, CheckError | None)
    details: DetailsGuard = guard
    WsgiHealthApp(checks=checks, details=details)
    urls = [*django_urls(checks)]
    del urls
    HealthCheck("x", 42)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def asynchronous(chat: AsyncPostgresProvider) -> None:
    """With ``async``."""
    checks = AsyncHealthChecks(service="chat-api", checks=(HealthCheck("database", chat),))
    assert_type(await checks.run(), HealthReport)
    AsgiHealthApp(checks=checks, prefix="/status", details="token")
    WsgiHealthApp(checks=checks)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
