"""A plan as a file: what ``plan --out`` saves and ``provision FILE`` carries out."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soa_db.access.plan import PLAN_FORMAT, Change, Notice, Plan, PlanOptions, ServerPlan
from soa_db.errors import ConfigurationError
from soa_db.names import check_env

if TYPE_CHECKING:
    from soa_db.names import Env

__all__ = ["load_plan", "save_plan"]


def save_plan(plan: Plan, path: str | os.PathLike[str]) -> None:
    """Write a plan to a file only its owner can read, all of it or nothing.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    target = Path(path)
    text = json.dumps(plan.to_json(), indent=2, ensure_ascii=False) + "\n"
    temporary = ""
    try:
        # mkstemp makes the file 0600; the rename makes the content appear at once.
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(target)
    except BaseException as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise ConfigurationError(f"cannot write the plan to {target}: {error.strerror}") from error
        raise


def load_plan(path: str | os.PathLike[str]) -> Plan:
    """Read a plan that was saved.

    Raises:
        ConfigurationError: there is no such file, or it does not hold a plan.
    """
    try:
        data = json.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read the plan {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is not a plan: it is not JSON") from error
    if not isinstance(data, dict) or data.get("format") != PLAN_FORMAT:
        raise ConfigurationError(f"{path} is not a plan of this version", hint="make it anew with `soa-db plan --out`")
    try:
        env = check_env(data["env"])
        return Plan(
            env=env,
            options=PlanOptions(**data["options"]),
            servers=tuple(_server_plan(env, server) for server in data["servers"]),
            specs=tuple(data["specs"]),
            overlooked=_notices(data.get("overlooked", ())),
        )
    except (KeyError, TypeError) as error:
        raise ConfigurationError(f"{path} is not a whole plan", hint="make it anew with `soa-db plan --out`") from error


def _server_plan(env: Env, data: dict[str, Any]) -> ServerPlan:
    return ServerPlan(
        env=env,
        engine=str(data["engine"]),
        server=str(data["server"]),
        changes=tuple(Change(**change) for change in data["changes"]),
        notices=_notices(data["notices"]),
        fingerprint=str(data["fingerprint"]),
    )


def _notices(data: Iterable[dict[str, Any]]) -> tuple[Notice, ...]:
    return tuple(Notice(**notice) for notice in data)
