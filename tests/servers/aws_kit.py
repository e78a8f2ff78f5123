"""An emulated AWS that counts what it is asked and can be told to fail, and the two kinds of clients as one."""

from __future__ import annotations

import inspect
import json
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from soa_db.aws import AsyncAwsClients, AwsClients
from soa_db.errors import SecretNotFound
from soa_db.local.aws import EmulatedAws

REGION = "us-west-2"
ACCOUNT = "111111111111"
OTHER_ACCOUNT = "222222222222"


class CountingAws(EmulatedAws):
    """Signatures and policies enforced, as in the local environment; ``faults`` are answered first, one a call."""

    def __init__(self) -> None:
        super().__init__((ACCOUNT, OTHER_ACCOUNT), region=REGION)
        self.seen: Counter[str] = Counter()
        self.faults: list[tuple[int, str]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return self.answer(environ, start_response)

    def answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one call; a method of its own so that a test may stand before it."""
        self.seen[str(environ.get("HTTP_X_AMZ_TARGET", "query")).rpartition(".")[2]] += 1
        if not self.faults:
            return super().__call__(environ, start_response)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        status, body = self.faults.pop(0)
        start_response(f"{status} X", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body.encode()]

    def fail(self, code: str, *, times: int = 1, status: int = 400, message: str = "because") -> None:
        """Answer the next calls with an error."""
        self.faults += [(status, json.dumps({"__type": f"com.amazonaws#{code}", "message": message}))] * times


def allow(*statements: tuple[str, str]) -> dict[str, object]:
    """A policy of (action, resource)."""
    return {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": action, "Resource": resource} for action, resource in statements],
    }


def trust(account: str, external_id: str | None = None) -> dict[str, object]:
    """The trust policy of a role that an account may assume."""
    statement: dict[str, object] = {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
    }
    if external_id is not None:
        statement["Condition"] = {"StringEquals": {"sts:ExternalId": external_id}}
    return {"Version": "2012-10-17", "Statement": [statement]}


def stored_payload(aws: AwsClients, secret: str, stage: str = "AWSCURRENT") -> dict[str, Any] | None:
    """What a stage of a secret holds, past every cache; None when it holds nothing."""
    with suppress(SecretNotFound):
        answer = aws.call("secretsmanager", "get_secret_value", SecretId=secret, VersionStage=stage)
        found: dict[str, Any] = json.loads(answer["SecretString"])
        return found
    return None


Clients = AsyncAwsClients | AwsClients
Make = Callable[..., Clients]


async def settle(value: Any) -> Any:
    """Await what an asynchronous method returned; pass on what a blocking one did."""
    return await value if inspect.isawaitable(value) else value
