"""Files and folders → specs, with every fault of every file in one error."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from soa_db.access.spec.across import conflicts
from soa_db.access.spec.document import MAX_BYTES, Document, Position, Problem, parse
from soa_db.access.spec.file_rules import file_problems, unknown_version
from soa_db.access.spec.messages import problems_of
from soa_db.access.spec.models import Spec
from soa_db.access.spec.spec_set import SpecSet
from soa_db.errors import SpecError

__all__ = ["find_specs", "load_spec", "load_specs"]

_SUFFIXES = (".db-access.yaml", ".db-access.yml")
_NAMES = ("db-access.yaml", "db-access.yml")
# Folders that hold other people's copies.
_SKIPPED = {"node_modules", "site-packages", "__pycache__", "venv"}


def load_spec(path: str | os.PathLike[str]) -> Spec:
    """Read one ``db-access.yaml``.

    Raises:
        SpecError: everything that is wrong with it, each with file, line and column.
    """
    return load_specs([path]).specs[0]


def load_specs(paths: Sequence[str | os.PathLike[str]]) -> SpecSet:
    """Read the specs of several services.

    Args:
        paths: files, taken whatever their name, and folders, searched with all their subfolders for
            ``db-access.yaml`` and ``*.db-access.yaml`` (also ``.yml``). Hidden folders, ``node_modules``, ``venv``,
            ``site-packages`` and ``__pycache__`` are passed over, links to folders not followed. A file found twice
            is read once.

    Raises:
        SpecError: everything that is wrong, in all files at once, each with file, line and column.
    """
    problems: list[Problem] = []
    read: list[tuple[Spec, Document]] = []
    for path in find_specs(paths, problems):
        document = _read(path)
        spec, found = _check(document)
        problems += found
        if spec is not None:
            read.append((spec, document))
    problems += [read[index][1].problem(path, text) for index, path, text in conflicts([spec for spec, _ in read])]
    if problems:
        raise SpecError([str(problem) for problem in sorted(set(problems))])
    places = {spec.service: document.place(("service",)) for spec, document in read}
    return SpecSet(tuple(spec for spec, _ in read), places)


def _check(document: Document) -> tuple[Spec | None, list[Problem]]:
    """The spec of a document; None, and why, when it has faults."""
    problems = list(document.problems)
    if document.data is None:
        return None, problems
    if (version := unknown_version(document)) is not None:
        return None, [*problems, version]
    problems += file_problems(document)
    try:
        spec = Spec.model_validate(document.data)
    except ValidationError as error:
        # What isn't YAML as it should be has been reported in that place already.
        told = {problem.position for problem in problems}
        problems += [found for found in problems_of(error, document, Spec) if found.position not in told]
        return None, problems
    return (None if problems else spec), problems


def find_specs(paths: Iterable[str | os.PathLike[str]], problems: list[Problem]) -> tuple[Path, ...]:
    """The files ``load_specs`` reads, in order; what can't be found goes to ``problems``."""
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        files = list(_search(path)) if path.is_dir() else [path]
        if not files:
            problems.append(Problem(str(path), Position(), "no db-access.yaml in this folder or below it"))
        for file in files:
            # Not resolve(): that raises for names no file can have, which reading reports.
            found.setdefault(Path(os.path.realpath(file)) if file.exists() else file, file)
    if not found and not problems:
        problems.append(Problem("--specs", Position(), "no file or folder was named"))
    return tuple(found.values())


def _search(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED and not name.startswith("."))
        for name in sorted(files):
            if name in _NAMES or name.endswith(_SUFFIXES):
                yield Path(parent) / name


def _read(path: Path) -> Document:
    name = str(path)
    try:
        if path.exists() and not path.is_file():
            raise OSError("not a regular file")
        with path.open("rb") as file:
            return parse(name, file.read(MAX_BYTES + 1))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return Document(name, None, {}, {}, (Problem(name, Position(), f"cannot be read: {reason}"),))
