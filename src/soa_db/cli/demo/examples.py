"""The seven services of ``examples/``: their specs and the migrations their owners apply."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import soa_db
from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    from soa_db.access.spec import SpecSet

__all__ = ["examples_folder", "load_examples", "migrations"]


def examples_folder() -> Path:
    """Return where the examples are: inside an installed wheel, else in the repository of an editable install.

    Raises:
        ConfigurationError: they are in neither place.
    """
    package = Path(soa_db.__file__).resolve().parent
    for folder in (package / "data" / "examples", package.parents[1] / "examples"):
        if (folder / "saga-dash" / "db-access.yaml").is_file():
            return folder
    raise ConfigurationError(
        "the demo's seven services are not installed",
        hint="install soa-db from its wheel, or run the demo from a clone of the repository",
    )


@cache
def load_examples() -> tuple[SpecSet, dict[str, Path]]:
    """Return the specs of the examples, and each service's folder."""
    from soa_db.access.spec import load_spec, load_specs

    folder = examples_folder()
    folders = {load_spec(path).service: path.parent for path in sorted(folder.glob("*/db-access.yaml"))}
    return load_specs([folder]), folders


def migrations(folder: Path, db_id: str) -> list[str]:
    """Return the SQL of a service's database in the order it is applied (the layout is in ``examples/README.md``)."""
    place = folder / "migrations" if db_id == "main" else folder / "migrations" / db_id
    return [path.read_text("utf-8") for path in sorted(place.glob("*.sql"))]
