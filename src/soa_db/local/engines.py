"""The engines a local environment runs: what each calls its folder, and how one left behind is cleared away.

A further engine is a line here and in ``supervisor.RUNNERS``, and a runner of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, get_args

from soa_db.errors import ConfigurationError
from soa_db.local.home import remove_server
from soa_db.local.mongo import remove_mongo
from soa_db.local.redis import remove_redis
from soa_db.names import ENVS, Env

__all__ = ["ENGINES", "FOLDERS", "RESTORED", "Engine", "check_engine", "folder_name", "sweep"]

Engine = Literal["postgres", "redis", "mongo"]
ENGINES: tuple[Engine, ...] = get_args(Engine)
_REMOVE: Mapping[Engine, Callable[[Path], None]] = {
    "postgres": remove_server,
    "redis": remove_redis,
    "mongo": remove_mongo,
}


# What mirror has of prod's after its daily refresh: a cache starts empty.
RESTORED: tuple[Engine, ...] = ("postgres", "mongo")


def check_engine(engine: str) -> Engine:
    """Return ``engine`` typed, or raise ConfigurationError."""
    for known in ENGINES:
        if engine == known:
            return known
    raise ConfigurationError(f"unknown engine {engine!r}", hint=f"use one of {', '.join(ENGINES)}")


def folder_name(engine: Engine, env: Env) -> str:
    """What the folder of a server is called."""
    return env if engine == "postgres" else f"{env}-{engine}"


FOLDERS = tuple(folder_name(engine, env) for engine in ENGINES for env in ENVS)


def sweep(directory: Path) -> None:
    """Delete the folders of all servers, and the servers that still live in them."""
    for engine in ENGINES:
        for env in ENVS:
            folder = directory / folder_name(engine, env)
            if folder.is_dir():
                _REMOVE[engine](folder)
