"""IAM policy evaluation, pure: may this principal do this to that, says these documents.

The rules are those of "Policy evaluation logic" in the IAM User Guide: an explicit deny wins, then an allow, else the
request is denied. What is not understood here (an unknown condition operator, a malformed statement) never allows:
an Allow holding it does not match, a Deny does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

__all__ = ["Decision", "Question", "evaluate", "trusts"]


class Decision(Enum):
    """What a set of policies says."""

    ALLOWED = "allowed"
    NOT_ALLOWED = "not allowed"
    DENIED = "explicitly denied"


@dataclass(frozen=True, slots=True)
class Question:
    """One thing somebody wants to do.

    Attributes:
        action: ``service:Action``.
        resource: the ARN, or ``*`` for actions that have no resource.
        context: condition keys with their values.
    """

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


class _Unsupported(Exception):
    """A part of a statement that is not understood."""


@lru_cache(maxsize=4096)
def _pattern(pattern: str, ignore_case: bool) -> re.Pattern[str]:
    text = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern)
    return re.compile(text, re.DOTALL | (re.IGNORECASE if ignore_case else 0))


def _like(pattern: str, value: str, *, ignore_case: bool = False) -> bool:
    return _pattern(pattern, ignore_case).fullmatch(value) is not None


def _arn_like(pattern: str, value: str) -> bool:
    # "Each of the six colon-delimited components of the ARN is checked separately" (IAM, ARN condition operators).
    wanted, found = pattern.split(":", 5), value.split(":", 5)
    return len(wanted) == len(found) and all(_like(one, other) for one, other in zip(wanted, found, strict=True))


def _listed(value: object) -> list[str]:
    match value:
        case str():
            return [value]
        case bool():
            return [str(value).lower()]
        case int() | float():
            return [str(value)]
        case list() if all(isinstance(item, str | int | float) for item in value):
            return [text for item in value for text in _listed(item)]
        case _:
            raise _Unsupported(f"unexpected {type(value).__name__}")


def _substituted(text: str, context: Mapping[str, str]) -> str:
    """Policy variables such as ``${aws:username}``; one without a value makes the whole text match nothing."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name in {"*", "?", "$"}:
            raise _Unsupported("escaped wildcard")
        if name.lower() not in context:
            raise _Unsupported(f"policy variable {name}")
        return context[name.lower()]

    return re.sub(r"\$\{([^}]*)\}", value, text)


_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "stringequals": lambda wanted, found: wanted == found,
    "stringequalsignorecase": lambda wanted, found: wanted.lower() == found.lower(),
    "stringlike": _like,
    "arnequals": _arn_like,
    "arnlike": _arn_like,
    "bool": lambda wanted, found: wanted.lower() == found.lower(),
}
_NEGATED = {
    "stringnotequals": "stringequals",
    "stringnotequalsignorecase": "stringequalsignorecase",
    "stringnotlike": "stringlike",
    "arnnotequals": "arnequals",
    "arnnotlike": "arnlike",
}


def _condition_holds(operator: str, key: str, wanted: Sequence[str], context: Mapping[str, str]) -> bool:
    name = operator.lower()
    found = context.get(key.lower())
    if name == "null":
        return (found is None) == (wanted[0].lower() == "true")
    if name.endswith("ifexists"):
        if found is None:
            return True
        name = name.removesuffix("ifexists")
    negated = name in _NEGATED
    test = _OPERATORS.get(_NEGATED.get(name, name))
    if test is None:
        raise _Unsupported(f"condition operator {operator}")
    if found is None:
        # A missing key makes a positive operator false and a negated one true.
        return negated
    return any(test(_substituted(value, context), found) for value in wanted) != negated


def _conditions_hold(conditions: object, context: Mapping[str, str]) -> bool:
    if conditions is None:
        return True
    if not isinstance(conditions, Mapping):
        raise _Unsupported("Condition")
    for operator, block in conditions.items():
        if not isinstance(block, Mapping):
            raise _Unsupported("Condition")
        for key, wanted in block.items():
            if not _condition_holds(operator, key, _listed(wanted), context):
                return False
    return True


def _action_matches(statement: Mapping[str, object], action: str) -> bool:
    if "Action" in statement:
        return any(_like(pattern, action, ignore_case=True) for pattern in _listed(statement["Action"]))
    if "NotAction" in statement:
        return not any(_like(pattern, action, ignore_case=True) for pattern in _listed(statement["NotAction"]))
    raise _Unsupported("a statement without Action")


def _resource_matches(statement: Mapping[str, object], question: Question) -> bool:
    def any_matches(patterns: object) -> bool:
        return any(_like(_substituted(item, question.context), question.resource) for item in _listed(patterns))

    if "Resource" in statement:
        return any_matches(statement["Resource"])
    if "NotResource" in statement:
        return not any_matches(statement["NotResource"])
    raise _Unsupported("a statement without Resource")


def _principal_matches(statement: Mapping[str, object], principals: Sequence[str]) -> bool:
    principal = statement.get("Principal")
    if principal == "*":
        return True
    if not isinstance(principal, Mapping):
        raise _Unsupported("Principal")
    return any(name in {"*", *principals} for name in _listed(principal.get("AWS", [])))


def _statements(document: Mapping[str, object]) -> list[Mapping[str, object]]:
    statements = document.get("Statement", [])
    if isinstance(statements, Mapping):
        return [statements]
    return [item for item in statements if isinstance(item, Mapping)] if isinstance(statements, list) else []


def _effect(statement: Mapping[str, object], question: Question, principals: Sequence[str] | None) -> Decision:
    denies = statement.get("Effect") == "Deny"
    try:
        matches = _action_matches(statement, question.action) and _conditions_hold(
            statement.get("Condition"), question.context
        )
        if principals is None:
            matches = matches and _resource_matches(statement, question)
        else:
            matches = matches and _principal_matches(statement, principals)
    except _Unsupported:
        matches = denies
    if not matches:
        return Decision.NOT_ALLOWED
    if denies:
        return Decision.DENIED
    return Decision.ALLOWED if statement.get("Effect") == "Allow" else Decision.NOT_ALLOWED


def _combined(decisions: Iterable[Decision]) -> Decision:
    found = set(decisions)
    for decision in (Decision.DENIED, Decision.ALLOWED):
        if decision in found:
            return decision
    return Decision.NOT_ALLOWED


def evaluate(documents: Iterable[Mapping[str, object]], question: Question) -> Decision:
    """What the identity-based policies of one principal say to a question.

    Args:
        documents: the policies, parsed.
        question: keys of its context in lower case.
    """
    return _combined(_effect(item, question, None) for document in documents for item in _statements(document))


def trusts(document: Mapping[str, object], question: Question, principals: Sequence[str]) -> Decision:
    """What a role's trust policy says to somebody who wants to assume it.

    Args:
        document: the trust policy, parsed.
        question: action and context, e.g. ``sts:externalid``.
        principals: every name the policy may call the caller by: its ARN, its role's ARN, its account's id and root.
    """
    return _combined(_effect(item, question, principals) for item in _statements(document))
