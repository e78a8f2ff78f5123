"""The calls every cold start makes of SSM and Secrets Manager, as signed JSON over HTTP.

Protocol: AWS JSON 1.1, https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from soa_db._aws.failures import Answer
from soa_db._aws.http import Call, SignedHttp, not_aws

__all__ = ["call_json"]

# What stands before the operation in X-Amz-Target.
_PREFIXES = {"ssm": "AmazonSSM", "secretsmanager": "secretsmanager"}


def call_json(
    http: SignedHttp, service: str, operation: str, arguments: dict[str, object], *, resource: str
) -> dict[str, Any]:
    """Make one call and return the decoded answer; raises our typed errors.

    Args:
        http: who calls.
        service: ``ssm`` or ``secretsmanager``.
        operation: e.g. ``GetParameters``.
        arguments: the call's members.
        resource: what it is about, for messages.
    """
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"{_PREFIXES[service]}.{operation}"}
    call = Call(service, operation, resource, headers, json.dumps(arguments).encode(), _fault)
    answer = _object(http.send(call))
    if answer is None:
        raise not_aws("its answer is not a JSON object", http.about(call))
    return answer


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(content)
    except ValueError:
        # Swallowed, never a cause: a decoding error quotes the document.
        return None
    return found if isinstance(found, dict) else None


def _fault(status: int, headers: Mapping[str, str], content: bytes) -> Answer:
    """Read an error answer; one that is not JSON (a proxy's, an emulator's) is known by its status alone."""
    body = _object(content) or {}
    # "namespace#Code:uri" are the forms the protocol allows.
    code = str(headers.get("x-amzn-errortype") or body.get("__type") or body.get("code") or "")
    code = code.partition(":")[0].rpartition("#")[2]
    return Answer(status, code, str(body.get("message") or body.get("Message") or ""))
