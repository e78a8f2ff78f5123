"""Where a config's values come from: a secret's payload, a URL, the environment. Pure functions, a module per engine.

No error quotes a value: any of them may be, or hold, a password.
"""

from __future__ import annotations

from soa_db.sources.fields import Payload, host_and_port, is_local, read_port
from soa_db.sources.postgres import SecretFields, read_environment, read_payload, read_url

__all__ = [
    "Payload",
    "SecretFields",
    "host_and_port",
    "is_local",
    "read_environment",
    "read_payload",
    "read_port",
    "read_url",
]
