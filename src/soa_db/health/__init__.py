"""Health checks over providers, and ``/health``, ``/health/live``, ``/health/ready``, ``/health/details`` over HTTP.

An ASGI app, a WSGI app and Django URLs; no framework is needed, and no driver is loaded.
"""

from soa_db._async.health import AsyncHealthChecks
from soa_db._core.health import CheckError, CheckResult, HealthCheck, HealthReport, HealthStatus
from soa_db._sync.health import HealthChecks
from soa_db.health.asgi import AsgiHealthApp
from soa_db.health.django import django_urls
from soa_db.health.pages import DetailsGuard
from soa_db.health.wsgi import WsgiHealthApp

__all__ = [
    "AsgiHealthApp",
    "AsyncHealthChecks",
    "CheckError",
    "CheckResult",
    "DetailsGuard",
    "HealthCheck",
    "HealthChecks",
    "HealthReport",
    "HealthStatus",
    "WsgiHealthApp",
    "django_urls",
]
