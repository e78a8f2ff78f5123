"""IAM policy evaluation: the rules of the IAM User Guide, and closed where something is not understood."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soa_db.local.policy import Decision, Question, evaluate, trusts

READ = "secretsmanager:GetSecretValue"
ARN = "arn:aws:secretsmanager:us-west-2:111111111111:secret:dev/chat/app-AbCdEf"


def statement(**parts: Any) -> dict[str, object]:
    """A document of one statement, allowing the reading of everything unless told otherwise."""
    return {"Statement": [{"Effect": "Allow", "Action": READ, "Resource": "*", **parts}]}


def decide(document: dict[str, object], action: str = READ, resource: str = ARN, **context: str) -> Decision:
    """What one document says; underscores in context keys stand for colons."""
    return evaluate([document], Question(action, resource, {key.replace("_", ":"): v for key, v in context.items()}))


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("*", True),
        (ARN, True),
        ("arn:aws:secretsmanager:us-west-2:111111111111:secret:dev/chat/app-??????", True),
        ("arn:aws:secretsmanager:us-west-2:111111111111:secret:dev/chat/app-?????", False),
        ("arn:aws:secretsmanager:us-west-2:111111111111:secret:dev/chat/*", True),
        ("arn:aws:secretsmanager:us-west-2:111111111111:secret:dev/chat/app", False),
        ("arn:aws:secretsmanager:us-west-2:222222222222:secret:dev/chat/app-??????", False),
        (ARN.upper(), False),
        (["nothing", ARN], True),
        ([], False),
    ],
)
def test_resources_match_by_wildcard_and_case(pattern: object, matches: bool) -> None:
    """``*`` is any text, ``?`` any one character; case counts."""
    assert (decide(statement(Resource=pattern)) is Decision.ALLOWED) == matches
    assert (decide({"Statement": statement(Resource=pattern)["Statement"][0]}) is Decision.ALLOWED) == matches  # type: ignore[index]  # object in the annotation


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [("*", True), ("secretsmanager:*", True), ("SecretsManager:getsecretvalue", True), ("secretsmanager:Get*", True),
     ("secretsmanager:Put*", False), ("ssm:*", False), ("secretsmanager", False)],
)  # fmt: skip
def test_actions_match_without_regard_to_case(pattern: str, matches: bool) -> None:
    """As IAM does."""
    assert (decide(statement(Action=pattern)) is Decision.ALLOWED) == matches
    denied = decide({"Statement": [{"Effect": "Allow", "NotAction": pattern, "Resource": "*"}]})
    assert (denied is Decision.ALLOWED) != matches


def test_not_resource_is_everything_else() -> None:
    """It allows what it does not name."""
    document: dict[str, object] = {"Statement": {"Effect": "Allow", "Action": "*", "NotResource": ARN}}
    assert decide(document) is Decision.NOT_ALLOWED
    assert decide(document, resource="arn:other") is Decision.ALLOWED


def test_an_explicit_deny_wins_wherever_it_stands() -> None:
    """In any order, in any document."""
    allow, deny = statement(), statement(Effect="Deny")
    assert evaluate([allow, deny], Question(READ, ARN)) is Decision.DENIED
    assert evaluate([deny, allow], Question(READ, ARN)) is Decision.DENIED
    assert evaluate([], Question(READ, ARN)) is Decision.NOT_ALLOWED


@pytest.mark.parametrize(
    ("condition", "context", "holds"),
    [
        ({"StringEquals": {"sts:ExternalId": "a"}}, {"sts_externalid": "a"}, True),
        ({"StringEquals": {"sts:ExternalId": ["b", "a"]}}, {"sts_externalid": "a"}, True),
        ({"StringEquals": {"sts:ExternalId": "a"}}, {"sts_externalid": "A"}, False),
        ({"StringEquals": {"sts:ExternalId": "a"}}, {}, False),
        ({"StringEqualsIgnoreCase": {"k": "A"}}, {"k": "a"}, True),
        ({"StringNotEquals": {"k": "a"}}, {"k": "b"}, True),
        ({"StringNotEquals": {"k": ["a", "b"]}}, {"k": "b"}, False),
        ({"StringNotEquals": {"k": "a"}}, {}, True),
        ({"StringLike": {"k": "chat-*"}}, {"k": "chat-api"}, True),
        ({"StringNotLike": {"k": "chat-*"}}, {"k": "chat-api"}, False),
        ({"StringLikeIfExists": {"k": "x"}}, {}, True),
        ({"StringEqualsIfExists": {"k": "x"}}, {"k": "y"}, False),
        ({"ArnLike": {"k": "arn:aws:iam::1:role/*"}}, {"k": "arn:aws:iam::1:role/a"}, True),
        ({"ArnLike": {"k": "arn:aws:iam:*:role/a"}}, {"k": "arn:aws:iam::1:role/a"}, False),
        ({"ArnNotEquals": {"k": "arn:aws:iam::1:role/a"}}, {"k": "arn:aws:iam::2:role/a"}, True),
        ({"Bool": {"aws:SecureTransport": False}}, {"aws_securetransport": "false"}, True),
        ({"Null": {"k": "true"}}, {}, True),
        ({"Null": {"k": "false"}}, {}, False),
        ({"StringEquals": {"k": "a", "j": "b"}}, {"k": "a"}, False),
        ({"StringEquals": {"k": "${aws:username}"}}, {"k": "me", "aws_username": "me"}, True),
        ({"StringEquals": {"k": "${aws:username}"}}, {"k": "me"}, False),
    ],
)  # fmt: skip
def test_conditions(condition: dict[str, object], context: dict[str, str], holds: bool) -> None:
    """All operators and keys must hold; of several values one."""
    assert (decide(statement(Condition=condition), **context) is Decision.ALLOWED) == holds


@pytest.mark.parametrize(
    "parts",
    [
        {"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}},
        {"Condition": {"StringEquals": "x"}},
        {"Condition": ["x"]},
        {"Condition": {"StringEquals": {"k": {"a": 1}}}},
        {"Resource": {"a": 1}},
        {"Resource": "arn:${aws:unknown}"},
        {"Resource": "${*}"},
        {"Action": None},
        {"Action": 3},
    ],
)
def test_what_is_not_understood_never_allows(parts: dict[str, object]) -> None:
    """An Allow does not match; a Deny does."""
    assert decide(statement(**parts), aws_sourceip="10.1.1.1") is Decision.NOT_ALLOWED
    if parts != {"Action": 3}:
        assert decide(statement(Effect="Deny", **parts)) is Decision.DENIED


@pytest.mark.parametrize("missing", ["Action", "Resource", "Effect"])
def test_a_statement_that_lacks_a_part_allows_nothing(missing: str) -> None:
    """Nor does one with an effect of its own invention."""
    whole = {"Effect": "Allow", "Action": READ, "Resource": "*"}
    del whole[missing]
    assert decide({"Statement": [whole]}) is Decision.NOT_ALLOWED
    assert decide(statement(Effect="Permit")) is Decision.NOT_ALLOWED


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["Allow", READ, "*"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Statement", "Effect", "Action", "Principal", "Condition", "StringEquals", "Null", "AWS"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["Statement", "Version"]), json_values, max_size=2))
def test_no_document_breaks_the_evaluation(document: dict[str, object]) -> None:
    """Whatever JSON somebody writes into a policy, there is a decision; without a Resource it is never an allow."""
    assert evaluate([document], Question(READ, ARN)) is not Decision.ALLOWED
    assert trusts(document, Question("sts:AssumeRole", ARN), ["nobody"]) in Decision


@pytest.mark.parametrize(
    ("principal", "trusted"),
    [
        ({"AWS": "arn:aws:iam::111111111111:root"}, True),
        ({"AWS": "111111111111"}, True),
        ({"AWS": ["222222222222", "arn:aws:iam::111111111111:role/chat"]}, True),
        ({"AWS": "*"}, True),
        ("*", True),
        ({"AWS": "222222222222"}, False),
        ({"Service": "ec2.amazonaws.com"}, False),
        ({"AWS": "arn:aws:iam::111111111111:role/*"}, False),
        (None, False),
    ],
)
def test_trust_names_principals_exactly(principal: object, trusted: bool) -> None:
    """Account, root, role or everybody; IAM has no wildcards within an ARN here."""
    document: dict[str, object] = {"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal}}
    names = ["arn:aws:iam::111111111111:role/chat", "111111111111", "arn:aws:iam::111111111111:root"]
    assert (trusts(document, Question("sts:AssumeRole", ""), names) is Decision.ALLOWED) == trusted
