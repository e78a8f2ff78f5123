"""The ``redis`` part of a spec, and the rules within it."""

from __future__ import annotations

from typing import Literal

from pydantic import StrictBool

from soa_db.access.spec.fields import SpecModel

__all__ = ["RedisSpec"]


class RedisSpec(SpecModel):
    """What the service has on Redis."""

    keys: tuple[str, ...] = ()
    """Key patterns it reads and writes; `{service}:*` when left out."""
    read_only_keys: tuple[str, ...] = ()
    """Key patterns it only reads."""
    channels: tuple[str, ...] = ()
    """Channel patterns it publishes and subscribes to; `{service}:*` when left out."""
    profile: Literal["app", "readonly", "queue"] = "app"
    """What kind of commands it uses."""
    scan: StrictBool = False
    """True lets clear_by_prefix work; key names of others can then be listed."""
