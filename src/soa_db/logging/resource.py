"""What OTEL_RESOURCE_ATTRIBUTES says of the deployment."""

from __future__ import annotations

import os
from urllib.parse import unquote

__all__ = ["resource_attributes"]

_SHOWN = ("deployment.", "service.")


def resource_attributes() -> dict[str, str]:
    """The attributes of service and deployment, as the environment has them.

    ``key=value,key=value``, values percent-encoded (OpenTelemetry's Resource SDK); ``OTEL_SERVICE_NAME`` wins over
    ``service.name``. What is not of that form is passed over: logging goes on.
    """
    found = {}
    for part in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
        key, equals, value = part.partition("=")
        if equals and key.strip().startswith(_SHOWN):
            found[key.strip()] = unquote(value.strip(), errors="backslashreplace")
    if name := os.environ.get("OTEL_SERVICE_NAME", "").strip():
        found["service.name"] = name
    return found
