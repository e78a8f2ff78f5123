"""The ``mongo`` part of a spec, and the rules within it."""

from __future__ import annotations

from typing import Annotated

from soa_db.access.spec.fields import NOT_EMPTY, ServiceId, SpecModel

__all__ = ["MongoRead", "MongoShare", "MongoSpec", "RetiredUser"]


class MongoRead(SpecModel):
    """Collections of another service's database this one wants to read; the other side must share them."""

    service: ServiceId
    """The service that owns the collections."""
    collections: Annotated[tuple[str, ...], NOT_EMPTY]
    """Their names."""


class MongoShare(SpecModel):
    """Collections this service lets another read."""

    service: ServiceId
    """The service that may read."""
    collections: Annotated[tuple[str, ...], NOT_EMPTY]
    """Their names."""


class RetiredUser(SpecModel):
    """A MongoDB user to be removed (with `--prune` only)."""

    user: str
    """The user on the server."""


class MongoSpec(SpecModel):
    """What the service has on MongoDB."""

    database: str | None = None
    """The name on the server; `{service}_db`, with `_` for `-`, when left out."""
    roles: tuple[str, ...] = ("readWrite",)
    """Built-in roles of its user on that database."""
    reads: tuple[MongoRead, ...] = ()
    """What this service wants to read of others."""
    shared_with: tuple[MongoShare, ...] = ()
    """What this service lets others read."""
    retire: tuple[RetiredUser, ...] = ()
    """Users of the past, removed with `--prune`."""
