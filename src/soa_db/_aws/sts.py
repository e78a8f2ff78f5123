"""The two calls of STS we need, in its own protocol: a form goes out, XML comes back.

API: https://docs.aws.amazon.com/STS/latest/APIReference/; protocol: AWS Query,
https://smithy.io/2.0/aws/protocols/aws-query-protocol.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

from soa_db._aws.failures import Answer
from soa_db._aws.http import Call, SignedHttp, not_aws
from soa_db.credentials import CallerIdentity
from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    from soa_db.errors import CredentialError

__all__ = ["assume_role", "caller_identity"]

_VERSION = "2011-06-15"
# What AssumeRole accepts. We look first: its own refusal of a wrong one repeats the value.
_ROLE_ARN = re.compile(r"arn:[\w-]+:iam::\d+:role/\S{1,1600}")
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)


def assume_role(http: SignedHttp, role_arn: str, external_id: str | None) -> dict[str, str]:
    """Return credentials of a role, in the form botocore's refreshing credentials want.

    Args:
        http: as whom to ask.
        role_arn: the role.
        external_id: what the role's trust policy may demand.

    Raises:
        ConfigurationError: one of the two cannot be what it is given as.
    """
    if not _ROLE_ARN.fullmatch(role_arn):
        raise ConfigurationError(f"{role_arn!r} is not a RoleArn", hint="arn:aws:iam::<account>:role/<name>")
    arguments = {"RoleArn": role_arn, "RoleSessionName": "soa-db"}
    if external_id is not None:
        if not _EXTERNAL_ID.fullmatch(external_id):
            raise ConfigurationError(
                "this is no ExternalId", hint="2 to 1224 of letters, digits and + = , . @ : / _ -", resource=role_arn
            )
        arguments["ExternalId"] = external_id
    call = _call("AssumeRole", arguments, resource=role_arn)
    root = _parsed(http.send(call))
    found = {
        ours: text
        for ours, theirs in (
            ("access_key", "AccessKeyId"),
            ("secret_key", "SecretAccessKey"),
            ("token", "SessionToken"),
            ("expiry_time", "Expiration"),
        )
        if (text := _text(root, f"Credentials/{{*}}{theirs}"))
    }
    try:
        end = datetime.fromisoformat(found["expiry_time"])
    except (KeyError, ValueError):
        raise _no_answer(http, call) from None
    if len(found) < 4:
        raise _no_answer(http, call)
    return found | {"expiry_time": (end if end.tzinfo else end.replace(tzinfo=UTC)).isoformat()}


def caller_identity(http: SignedHttp) -> CallerIdentity:
    """Ask who is asking."""
    call = _call("GetCallerIdentity", {}, resource="")
    root = _parsed(http.send(call))
    account, arn = (_text(root, f"GetCallerIdentityResult/{{*}}{name}") for name in ("Account", "Arn"))
    if not account or not arn:
        raise _no_answer(http, call)
    return CallerIdentity(account, arn)


def _call(operation: str, arguments: dict[str, str], *, resource: str) -> Call:
    body = urlencode({"Action": operation, "Version": _VERSION, **arguments}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    return Call("sts", operation, resource, headers, body, _fault)


def _parsed(content: bytes) -> ET.Element | None:
    try:
        # Nobody's but AWS's, over TLS; and expat itself stops entities that blow up.
        return ET.fromstring(content)  # noqa: S314
    except ET.ParseError:
        return None


def _text(root: ET.Element | None, path: str) -> str:
    return "" if root is None else (root.findtext(f".//{{*}}{path}") or "").strip()


def _fault(status: int, headers: Mapping[str, str], content: bytes) -> Answer:  # noqa: ARG001 - the code is in the body
    """Read an error answer; one that is not XML is known by its status alone."""
    root = _parsed(content)
    return Answer(status, _text(root, "Code"), _text(root, "Message"))


def _no_answer(http: SignedHttp, call: Call) -> CredentialError:
    return not_aws(f"its answer to {call.operation} says nothing", http.about(call))
