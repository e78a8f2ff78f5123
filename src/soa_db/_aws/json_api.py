"""The three calls every cold start makes, as signed JSON over HTTP.

A botocore client parses the service's whole model first: 60 to 90 ms for SSM, against under 1 ms for this. Credentials,
signing and the HTTP connection (proxies, CA bundle) are botocore's own; only the retries are ours.

Protocol: AWS JSON 1.1, https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError, SSLError
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies

from soa_db._aws.failures import Answer, Kind, classify, describe, translate
from soa_db._aws.session import USER_AGENT, AwsSession
from soa_db._aws.signing import sign_request
from soa_db._core.backoff import full_jitter
from soa_db.errors import ConfigurationError, CredentialError

if TYPE_CHECKING:
    from soa_db._runtime.clock import Clock

__all__ = ["JsonApi"]

# Service: (prefix of X-Amz-Target, name in the AWS configuration).
_SERVICES = {"ssm": ("AmazonSSM", "ssm"), "secretsmanager": ("secretsmanager", "secrets_manager")}
_CONNECT_SECONDS, _READ_SECONDS = 5, 20


class JsonApi:
    """Signed calls of SSM and Secrets Manager for one session; thread-safe."""

    def __init__(self, session: AwsSession, clock: Clock) -> None:
        self._session = session
        self._clock = clock
        self._lock = threading.Lock()
        self._http: dict[str, URLLib3Session] = {}

    def call(self, service: str, operation: str, arguments: dict[str, object], *, resource: str) -> dict[str, Any]:
        """Make one call, again when throttled, unreachable or failing; return the decoded answer.

        Args:
            service: ``ssm`` or ``secretsmanager``.
            operation: e.g. ``GetParameters``.
            arguments: the call's members.
            resource: what it is about, for messages.
        """
        about = {"action": f"{service}:{operation}", "resource": resource, "region": self._session.region()}
        attempts = self._attempts()
        renewed = False
        for attempt in range(1, attempts + 1):
            last = attempt == attempts
            try:
                answer, date, content = self._post(service, operation, arguments)
            except CredentialError as error:
                # AWS credentials that cannot be had say nothing of what they were wanted for.
                error.context = {name: text for name, text in about.items() if text} | error.context
                raise
            except BotoCoreError as error:
                if last or isinstance(error, SSLError):
                    raise translate(error, **about) from error
            else:
                if answer is None:
                    return _decoded(content, about)
                kind = classify(answer)
                if kind is Kind.EXPIRED and not renewed and not last:
                    # They were good when resolved: a new login or a new instance role may be there by now.
                    renewed = True
                    self._session.forget_credentials()
                    continue
                if last or kind not in {Kind.THROTTLED, Kind.SERVER}:
                    raise describe(answer, server_date=date, **about)
            time.sleep(full_jitter(attempt, base=0.5, cap=20.0, rng=random.random))
        raise AssertionError("unreachable")  # pragma: no cover - the last attempt returns or raises

    def _attempts(self) -> int:
        """How often to try, as botocore's own configuration says (AWS_MAX_ATTEMPTS); 3 unless it does."""
        session = self._session.botocore()
        try:
            return max(1, int(session.get_config_variable("max_attempts") or 3))
        except ValueError as error:
            raise ConfigurationError("AWS_MAX_ATTEMPTS is not a number") from error

    def _post(self, service: str, operation: str, arguments: dict[str, object]) -> tuple[Answer | None, str, bytes]:
        prefix, config_name = _SERVICES[service]
        url = self._session.endpoint(service, config_name)
        request = AWSRequest(
            method="POST",
            url=url.rstrip("/") + "/",
            data=json.dumps(arguments).encode(),
            headers={
                "Content-Type": "application/x-amz-json-1.1",
                "User-Agent": USER_AGENT,
                "X-Amz-Target": f"{prefix}.{operation}",
            },
        )
        region = self._session.region()
        sign_request(request, self._session.credentials(), service=service, region=region, now=self._clock.wall())
        response = self._connection(url).send(request.prepare())
        date = str(response.headers.get("date", ""))
        if response.status_code < 300:
            return None, date, response.content
        return _fault(response.status_code, dict(response.headers), response.content), date, b""

    def _connection(self, url: str) -> URLLib3Session:
        with self._lock:
            connection = self._http.get(url)
            if connection is None:
                verify = self._session.botocore().get_config_variable("ca_bundle")
                connection = self._http[url] = URLLib3Session(
                    verify=verify or os.environ.get("REQUESTS_CA_BUNDLE") or True,  # type: ignore[arg-type]  # a path or a flag, which the stubs do not know
                    proxies=get_environ_proxies(url),
                    timeout=(_CONNECT_SECONDS, _READ_SECONDS),  # type: ignore[arg-type]  # botocore takes the pair, its stubs do not
                )
            return connection

    def close(self) -> None:
        """Close the HTTP connections; the next call opens new ones."""
        with self._lock:
            for connection in self._http.values():
                connection.close()
            self._http.clear()


def _decoded(content: bytes, about: dict[str, str]) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        # Not from its cause: a decoding error quotes the document.
        hint = "see whether a proxy or AWS_ENDPOINT_URL leads to something other than AWS"
        raise CredentialError("what answered is not AWS: its answer is not a JSON object", hint=hint, **about)
    return answer


def _fault(status: int, headers: dict[str, str], content: bytes) -> Answer:
    """Read an error answer; one that is not JSON (a proxy's, an emulator's) is known by its status alone."""
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        body = {}
    lower = {name.lower(): value for name, value in headers.items()}
    # "namespace#Code:uri" are the forms the protocol allows.
    code = str(lower.get("x-amzn-errortype") or body.get("__type") or body.get("code") or "")
    code = code.partition(":")[0].rpartition("#")[2]
    return Answer(status, code, str(body.get("message") or body.get("Message") or ""))
