"""The field types the models share: service ids, identifiers and how their faults read."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from soa_db.errors import ConfigurationError
from soa_db.names import check_identifier, check_service

__all__ = [
    "AT_LEAST_ONE",
    "NOT_EMPTY",
    "Database",
    "Identifier",
    "SchemaName",
    "ServiceId",
    "SpecModel",
    "User",
    "check_name",
]

T = TypeVar("T")

_RESERVED_DATABASES = {"postgres", "template0", "template1", "rdsadmin"}
# RDS's own roles, where they do not begin with rds_: rdsproxyadmin is what RDS Proxy makes ("RDS Proxy concepts and
# limitations", RDS User Guide), rdswriteforwarduser what Aurora has for write forwarding.
_RESERVED_ROLES = {"public", "none", "postgres", "rdsadmin", "rdsrepladmin", "rdstopmgr", "rdsproxyadmin",
                   "rdswriteforwarduser"}  # fmt: skip


class SpecModel(BaseModel):
    """The base of every part of a spec: frozen, no unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True, validate_default=True
    )


def _service(value: str) -> str:
    try:
        return check_service(value)
    except ConfigurationError as error:
        raise ValueError(f"{error.message}: {error.hint}") from None


def check_name(value: str, what: str) -> str:
    """Return an identifier as PostgreSQL keeps it; ValueError says why it can't be one."""
    try:
        check_identifier(value, what)
    except ConfigurationError as error:
        raise ValueError(error.message + (f": {error.hint}" if error.hint else "")) from None
    # What a terminal or a log would show as something else: C1 controls, line separators, bidirectional marks.
    for char in value:
        if unicodedata.category(char) in {"Cc", "Zl", "Zp"} or unicodedata.bidirectional(char) in _DIRECTIONS:
            raise ValueError(f"the {what} holds the control character U+{ord(char):04X}")
    return value


def _identifier(what: str, refuse: Callable[[str], str | None] | None = None) -> AfterValidator:
    def check(value: str) -> str:
        check_name(value, what)
        if refuse and (why := refuse(value)):
            raise ValueError(why)
        return value

    return AfterValidator(check)


_DIRECTIONS = {"LRE", "LRO", "RLE", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def _refuse_database(name: str) -> str | None:
    return f"{name!r} is a database of the server's own" if name in _RESERVED_DATABASES else None


def _refuse_schema(name: str) -> str | None:
    reserved = name.startswith("pg_") or name == "information_schema"
    return f"{name!r} is a schema of the server's own" if reserved else None


def _refuse_user(name: str) -> str | None:
    if name.startswith(("pg_", "rds_")) or name in _RESERVED_ROLES:
        return f"{name!r} is a role of the server's own"
    # An IAM policy's resource ends in the user's name; there these stand for other users or for variables
    # (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html).
    if any(char in name for char in "*?$"):
        return f"the user {name!r} holds one of * ? $, which an IAM policy takes for a pattern"
    return None


def _not_empty(value: tuple[T, ...]) -> tuple[T, ...]:
    if not value:
        raise ValueError("the list is empty: name at least one, or leave the whole entry out")
    return value


# Not pydantic's min_length: that counts only the items that are valid, and complains twice.
NOT_EMPTY = AfterValidator(_not_empty)
AT_LEAST_ONE = Field(json_schema_extra={"minItems": 1})
# The schema says what it can of the rules; pydantic's own `pattern` would say it in worse words.
_IDENTIFIER = Field(json_schema_extra={"minLength": 1, "maxLength": 63})
ServiceId = Annotated[
    str,
    AfterValidator(_service),
    Field(json_schema_extra={"pattern": "^[a-z][a-z0-9]*(-[a-z0-9]+)*$", "maxLength": 57, "examples": ["iam-api"]}),
]
Identifier = Annotated[str, _identifier("identifier"), _IDENTIFIER]
Database = Annotated[str, _identifier("database", _refuse_database), _IDENTIFIER]
SchemaName = Annotated[str, _identifier("schema", _refuse_schema), _IDENTIFIER]
User = Annotated[str, _identifier("user", _refuse_user), _IDENTIFIER]
