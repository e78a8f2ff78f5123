"""What pydantic found wrong → sentences with positions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from soa_db.access.spec.faults import RULES, nearest, suggestion

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from soa_db.access.spec.document import Document, Path, Problem

__all__ = ["problems_of"]

# Keys people try that have no place in a spec, which is the same for every environment and public in the team.
_COORDINATES = {
    "account", "account_id", "arn", "auth", "ca", "connection_string", "credentials", "dsn", "endpoint", "host",
    "hostname", "hosts", "master_secret_arn", "passwd", "password", "passwords", "port", "region", "secret",
    "secret_arn", "secret_id", "token", "uri", "url",
}  # fmt: skip


def problems_of(error: ValidationError, document: Document, model: type[BaseModel]) -> Iterator[Problem]:
    """Each fault of a validation, at its place in the document."""
    details = error.errors(include_url=False, include_input=True)
    # A required key that is there but misspelt is told once, as misspelt.
    misspelt = {
        (*path[:-1], nearest(str(path[-1]), _keys_at(model, path[:-1])))
        for path in (detail["loc"] for detail in details if detail["type"] == "extra_forbidden")
    }
    for detail in details:
        if detail["type"] == RULES:
            for fault in detail["ctx"]["faults"]:
                yield document.problem((*detail["loc"], *fault.path), fault.text, at_key=fault.at_key)
        elif detail["type"] != "missing" or detail["loc"] not in misspelt:
            yield _problem(detail, document, model)


def _problem(detail: ErrorDetails, document: Document, model: type[BaseModel]) -> Problem:
    path: Path = detail["loc"]
    if path and path[-1] == "[key]":
        return document.problem(path[:-1], f"unknown key `{_short(path[-2])}`: {_expected(detail)}", at_key=True)
    match detail["type"]:
        case "extra_forbidden":
            return document.problem(path, _unknown_key(str(path[-1]), _keys_at(model, path[:-1])), at_key=True)
        case "missing":
            return document.problem(path[:-1], f"`{path[-1]}` is missing")
        case _:
            return document.problem(path, _expected(detail))


def _unknown_key(key: str, known: list[str]) -> str:
    if key.lower() in _COORDINATES:
        return f"`{key}` has no place here: hosts, accounts, ARNs and passwords never stand in a spec"
    return f"unknown key `{_short(key)}`" + (suggestion(key, known) or f": one of {', '.join(known)} is meant")


def _short(key: str | int) -> str:
    text = str(key)
    return text if len(text) <= 60 else f"{text[:57]}..."


_EXPECTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping (`key: value`)",
    "model_type": "a mapping (`key: value`)",
}


def _expected(detail: ErrorDetails) -> str:
    match detail["type"]:
        case "literal_error":
            return _not_known(detail["input"], detail["ctx"]["expected"].replace("'", ""))
        case "value_error":
            return detail["msg"].removeprefix("Value error, ")
        case kind if kind in _EXPECTED:
            return f"{_EXPECTED[kind]} is expected, not {_kind(detail['input'])}"
        case _:
            return detail["msg"]


def _not_known(word: object, expected: str) -> str:
    if not isinstance(word, str):
        return f"one of {expected} is expected, not {_kind(word)}"
    return f"{_short(repr(word))} is not known: {expected}" + suggestion(word, re.split(", | or ", expected))


def _kind(value: object) -> str:
    match value:
        case None:
            return "nothing (null)"
        case bool():
            return f"the boolean {str(value).lower()}"
        case int() | float():
            return f"the number {value}: put it in quotes if it is a name"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "a mapping"


def _keys_at(model: type[BaseModel], path: Path) -> list[str]:
    """The keys that are known where ``path`` leads, by the fields' types."""
    here: Any = model
    for part in path:
        if isinstance(part, str):
            here = _model_in(here.model_fields[part].annotation)
    return list(here.model_fields)


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part)) is not None), None)
