"""The engines there are, in the order they are worked on, and which of them a run is about."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from soa_db.access.mongo.engine import MONGO
from soa_db.access.plan import Notice
from soa_db.access.postgres.engine import POSTGRES
from soa_db.access.redis.engine import REDIS
from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    from soa_db.access.engine import Engine
    from soa_db.access.plan import PlanOptions
    from soa_db.access.spec import SpecSet

__all__ = ["ENGINES", "ENGINE_NAMES", "chosen_engines", "overlooked"]

ENGINES: tuple[Engine, ...] = (POSTGRES, REDIS, MONGO)
ENGINE_NAMES: tuple[str, ...] = tuple(engine.name for engine in ENGINES)


def chosen_engines(specs: SpecSet, names: Collection[str] | None) -> tuple[Engine, ...]:
    """Return the engines a run is about: those named, else those that some spec has a part for.

    Raises:
        ConfigurationError: there is no such engine.
    """
    if names is None:
        return tuple(engine for engine in ENGINES if engine.declared(specs))
    if unknown := set(names).difference(ENGINE_NAMES):
        raise ConfigurationError(
            f"unknown engine {', '.join(sorted(unknown))}", hint=f"use {' or '.join(ENGINE_NAMES)}"
        )
    return tuple(engine for engine in ENGINES if engine.name in names)


def overlooked(specs: SpecSet, names: Collection[str] | None, options: PlanOptions) -> tuple[Notice, ...]:
    """Say which engines are not looked at although something may be left there to prune.

    A service whose part for an engine was the last one of all specs leaves its users behind there.
    """
    if names is not None or not options.prune:
        return ()
    return tuple(
        Notice(
            "note",
            f"{engine.name} was not looked at: no spec given has a part for it",
            f"what services that had one have left there: `--engine {engine.name} --prune`",
        )
        for engine in ENGINES
        if not engine.declared(specs)
    )
