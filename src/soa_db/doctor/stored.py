"""SSM parameters and secrets, one by one: there, denied, empty, of the wrong shape. No value of a secret is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from soa_db.doctor.chain import failure
from soa_db.doctor.report import Finding, Status
from soa_db.errors import SoaDbError
from soa_db.sources import read_port

if TYPE_CHECKING:
    from soa_db.doctor.report import Target
    from soa_db.doctor.surroundings import Surroundings

__all__ = [
    "Parameter",
    "Payload",
    "Secret",
    "contradictions",
    "look_at_parameters",
    "look_at_secret",
    "no_port",
]

Payload = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter that is wanted.

    Attributes:
        name: its path.
        fault: what is wrong with a value, None where nothing is; it quotes nothing of it.
        example: what it is to hold.
    """

    name: str
    fault: Callable[[str], str | None]
    example: str


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret that is wanted.

    Attributes:
        name: its name or ARN.
        check: raises SecretMalformed; gives warnings, each a sentence about a field and what to do.
        made_by: who makes it: the whole command, in place of the bare one that the error names.
        missing: what to do when it is not there, besides what the error says.
        rotates: whether ``rotate`` gives it new versions.
    """

    name: str
    check: Callable[[Payload], list[tuple[str, str]]]
    made_by: str
    missing: str = ""
    rotates: bool = True


def no_port(value: str) -> str | None:
    """What is wrong with a parameter that is to hold a port."""
    return None if read_port(value) is not None else "does not hold a port from 1 to 65535"


def contradictions(
    name: str, target: Target, user: str | None, database: str | None, *, command: str
) -> list[tuple[str, str]]:
    """Warn of user and database in a secret that are others than the target's.

    Args:
        name: the secret's.
        target: who at what.
        user: the secret's; None where it has none.
        database: likewise.
        command: the command that puts the right ones there.
    """
    # Not what stands there: in a secret that is out of shape it may be anything.
    return [
        (
            f"in the secret {name} the field {field!r} is not {wants!r}, which the spec and the contract say",
            f"{command}; or say so in db-access.yaml",
        )
        for field, has, wants in (("username", user, target.user), ("database", database, target.database))
        if has is not None and has != wants
    ]


def look_at_parameters(around: Surroundings, wanted: tuple[Parameter, ...], found: dict[str, str]) -> Iterator[Finding]:
    """Read parameters and put those that are good into ``found``."""
    for one in wanted:

        def read(name: str = one.name) -> str:
            return around.aws.parameters([name])[name]

        try:
            value = around.memo.once(("parameter", id(around.aws), one.name), read).strip()
        except SoaDbError as error:
            yield failure(error, "parameters", subject=one.name)
            continue
        fault = one.fault(value) if value else "is empty"
        if fault is not None:
            hint = f"`aws ssm put-parameter --overwrite --name {one.name} --value {one.example}`"
            yield Finding("parameters", Status.FAILED, f"the SSM parameter {one.name} {fault}", hint, one.name)
            continue
        found[one.name] = value
        yield Finding("parameters", Status.OK, f"{one.name} is {value}", subject=one.name)


def look_at_secret(
    around: Surroundings, wanted: Secret, found: dict[str, Payload], *, command: str
) -> Iterator[Finding]:
    """Read a secret, put its payload into ``found`` and look at its shape.

    Args:
        around: the run.
        wanted: which, and what it must hold.
        found: the payloads by the secrets' names.
        command: the command that ends a rotation.
    """
    name = wanted.name
    try:
        payload = found[name] = around.memo.once(("secret", id(around.aws), name), lambda: around.aws.secret(name))
        warnings = wanted.check(payload)
    except SoaDbError as error:
        told = failure(error, "secret", subject=name)
        hint = told.hint.replace("`soa-db provision`", wanted.made_by)
        yield replace(told, hint="; ".join(part for part in (hint, wanted.missing) if part))
        return
    if wanted.rotates and (unfinished := _unfinished(around, name, payload)):
        warnings = [*warnings, (unfinished, f"finish it: {command}")]
    for sentence, hint in warnings:
        yield Finding("secret", Status.WARNING, sentence, hint, name)
    if not warnings:
        yield Finding("secret", Status.OK, f"{name} holds what it must", subject=name)


def _unfinished(around: Surroundings, name: str, payload: Payload) -> str:
    """Say that a rotation was begun and not finished: a version waits that is not the one in use."""
    # Where it cannot be read nothing is known, and a service that is denied it does without it.
    with suppress(SoaDbError):
        if around.aws.secret(name, stage="AWSPENDING") != payload:
            return f"{name} has a version in AWSPENDING: a rotation was begun and not finished"
    return ""
