"""Real frameworks: what uvicorn, Django, Flask and OpenTelemetry log or add comes out like everything else."""

from __future__ import annotations

import json
import sys
import types
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from tests.support.logs import configured, run

from soa_db.logging import get_logger

if TYPE_CHECKING:
    import pytest


def records(text: str) -> list[dict[str, Any]]:
    """Each line as JSON."""
    return [json.loads(line) for line in text.splitlines()]


def test_uvicorns_records_come_out_alike_with_secrets_of_urls_masked() -> None:
    """uvicorn sets its own handlers up before it imports the application; that then takes them over."""
    ran = run(
        """
        import logging, sys, threading, time, urllib.request
        import uvicorn

        async def app(scope, receive, send):
            assert scope["type"] == "http"
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        config = uvicorn.Config(app, port=0, lifespan="off")
        from soa_db.logging import configure_logging
        configure_logging()
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        urllib.request.urlopen(f"http://127.0.0.1:{port}/reset?token=c4nary&email=c4nary&page=2").read()
        server.should_exit = True
        thread.join()
        """
    )
    found = records(ran.stdout)
    assert {record["logger"] for record in found} == {"uvicorn.error", "uvicorn.access"}
    access = next(record for record in found if record["logger"] == "uvicorn.access")
    assert "GET /reset?token=***&email=***&page=2 HTTP/1.1" in access["event"]
    assert all("color_message" not in record for record in found)
    assert ran.stderr == ""


_DJANGO = """
    import logging
    import django
    from django.conf import settings
    {before}
    settings.configure(SECRET_KEY="c4nary", DEBUG=True, ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], {settings})
    from django.urls import path
    statuses = []
    urlpatterns = [path("there", lambda request: None)]
    django.setup()
    {after}
    from wsgiref.util import setup_testing_defaults
    from django.core.handlers.wsgi import WSGIHandler
    request = {{"PATH_INFO": "/missing", "QUERY_STRING": "token=c4nary"}}
    setup_testing_defaults(request)
    WSGIHandler()(request, lambda status, headers: statuses.append(status))
    assert statuses == ["404 Not Found"]
    logging.getLogger("django.server").info("served")
    logging.getLogger("django.db.backends").debug("sql", extra={{"params": {{"email": "c4nary"}}}})
    """


def _is_djangos(ran: Any) -> None:
    found = records(ran.stdout)
    assert [record["logger"] for record in found] == ["django.request", "django.server", "django.db.backends"]
    assert found[0]["event"] == "Not Found: /missing"
    assert found[0]["status_code"] == 404
    assert "token=***" in found[0]["request"]
    assert found[2]["params"] == {"email": "[redacted]"}
    assert "c4nary" not in ran.stdout + ran.stderr
    assert ran.stderr == ""


def test_djangos_records_come_out_alike_when_the_service_configures() -> None:
    """In its settings, with Django's own configuration off (`LOGGING_CONFIG = None`)."""
    before = "from soa_db.logging import configure_logging; configure_logging(level='DEBUG')"
    _is_djangos(run(_DJANGO.format(before=before, settings="LOGGING_CONFIG=None", after="")))


def test_djangos_records_come_out_alike_when_it_is_configured_after_django() -> None:
    """Django's own handlers on the terminal are taken over."""
    after = "from soa_db.logging import configure_logging; configure_logging(level='DEBUG', levels={'django': 'DEBUG'})"
    _is_djangos(run(_DJANGO.format(before="", settings="", after=after)))


def test_djangos_own_logging_setting_can_name_our_parts() -> None:
    """Formatter and handler by their dotted names, as `LOGGING` has them."""
    logging_setting = """LOGGING={
        "version": 1, "disable_existing_loggers": False,
        "formatters": {"json": {"()": "soa_db.logging.JsonFormatter"}},
        "handlers": {"out": {"()": "soa_db.logging.LineHandler", "formatter": "json"}},
        "root": {"handlers": ["out"], "level": "DEBUG"},
        "loggers": {"django": {"handlers": [], "level": "DEBUG", "propagate": True},
                    "django.server": {"handlers": [], "propagate": True}},
    }"""
    settings = " ".join(logging_setting.split())
    _is_djangos(run(_DJANGO.format(before="", settings=settings, after="")))


def test_flasks_records_come_out_alike() -> None:
    """Its own handler is only added where there is none."""
    ran = run(
        """
        from flask import Flask
        from soa_db.logging import configure_logging
        configure_logging()
        app = Flask("shop")
        @app.get("/")
        def index():
            app.logger.warning("careful", extra={"user": {"name": "c4nary"}})
            raise RuntimeError("postgres://u:c4nary@h")
        assert app.test_client().get("/").status_code == 500
        """
    )
    found = records(ran.stdout)
    assert [record["logger"] for record in found] == ["shop", "shop"]
    assert found[0]["user"] == {"name": "[redacted]"}
    assert "RuntimeError: postgres://u:***@h" in found[1]["exception"]
    assert "c4nary" not in ran.stdout + ran.stderr


def test_ids_of_the_current_span_are_in_every_record() -> None:
    """As W3C Trace Context writes them; outside of a span there are none."""
    import logging

    tracer = TracerProvider().get_tracer("x")
    with configured() as lines:
        with tracer.start_as_current_span("work") as span:
            get_logger("x").info("a")
            logging.getLogger("lib").info("b")
        get_logger("x").info("c")
    context = span.get_span_context()
    for record in lines.records[:2]:
        assert record["trace_id"] == trace.format_trace_id(context.trace_id)
        assert record["span_id"] == trace.format_span_id(context.span_id)
    assert "trace_id" not in lines.records[2]


def test_records_are_not_lost_while_opentelemetry_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """In another thread: the module is known then, and has nothing in it."""
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", types.ModuleType("opentelemetry.trace"))
    with configured() as lines:
        get_logger("x").info("a")
    assert lines.last["event"] == "a"


def test_opentelemetry_is_not_imported_for_logging() -> None:
    """Who does not use it pays nothing."""
    ran = run(
        """
        import sys
        from soa_db.logging import configure_logging, get_logger
        configure_logging()
        get_logger("x").info("a")
        assert not any(name.startswith("opentelemetry") for name in sys.modules)
        """
    )
    assert records(ran.stdout)[0]["event"] == "a"
