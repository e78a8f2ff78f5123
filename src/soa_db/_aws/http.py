"""Signed calls over HTTP, tried again when throttled, unreachable or failing.

A botocore client parses the service's whole model first, 60 to 90 ms for SSM, and the first client of a process the
table of all endpoints too, in one call that lets no other thread run; here a call takes under 1 ms. Credentials,
endpoint rules, signing and the HTTP connection (proxies, CA bundle) are botocore's own; only the retries are ours.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.exceptions import BotoCoreError, SSLError
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies

from soa_db._aws.failures import Answer, Kind, classify, describe, translate
from soa_db._aws.signing import sign_request
from soa_db._core.backoff import full_jitter
from soa_db._version import __version__
from soa_db.errors import ConfigurationError, CredentialError, SoaDbError

if TYPE_CHECKING:
    from botocore.session import Session

    from soa_db._aws.endpoints import Endpoint
    from soa_db._runtime.clock import Clock
    from soa_db.credentials import AwsCredentials

__all__ = ["USER_AGENT", "Call", "Principal", "SignedHttp", "not_aws"]

USER_AGENT = f"soa-db/{__version__}"
_CONNECT_SECONDS, _READ_SECONDS = 5, 20


@dataclass(frozen=True, slots=True)
class Call:
    """One call in the protocol of its service.

    Attributes:
        service: ``ssm``, ``secretsmanager`` or ``sts``.
        operation: e.g. ``GetParameters``.
        resource: what it is about, for messages.
        headers: those of the protocol.
        body: the request; never shown.
        fault: reads an error answer: its status, headers (names in small letters) and content.
    """

    service: str
    operation: str
    resource: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    fault: Callable[[int, Mapping[str, str], bytes], Answer]


class Principal(Protocol):
    """Who calls, and what is configured for it."""

    def botocore(self) -> Session: ...
    def region(self) -> str: ...
    def endpoint(self, service: str) -> Endpoint: ...
    def credentials(self) -> AwsCredentials: ...
    def forget_credentials(self, refused: AwsCredentials | None = None) -> None: ...


class SignedHttp:
    """Signed calls of one principal; thread-safe."""

    def __init__(self, principal: Principal, clock: Clock) -> None:
        self._principal = principal
        self._clock = clock
        self._lock = threading.Lock()
        self._connections: dict[str, URLLib3Session] = {}

    def about(self, call: Call) -> dict[str, str]:
        """Return what the errors of a call name."""
        action = f"{call.service}:{call.operation}"
        return {"action": action, "resource": call.resource, "region": self._principal.region()}

    def send(self, call: Call) -> bytes:
        """Make one call and return the content of the answer; raises our typed errors."""
        about = self.about(call)
        endpoint, attempts = self._principal.endpoint(call.service), self._attempts()
        attempt, renewed = 1, False
        while True:
            credentials = self._credentials(about)
            cause: Exception | None = None
            try:
                response = self._post(call, endpoint, credentials)
            except BotoCoreError as error:
                failure: SoaDbError = translate(error, **about)
                cause, passes = error, not isinstance(error, SSLError)
            else:
                if response.status_code < 300:
                    return response.content
                headers = {name.lower(): value for name, value in response.headers.items()}
                answer = call.fault(response.status_code, headers, response.content)
                kind = classify(answer)
                if kind is Kind.EXPIRED and not renewed:
                    # They were good when resolved: a new login or a new instance role may be there by now.
                    renewed = True
                    self._principal.forget_credentials(credentials)
                    continue
                failure = describe(answer, server_date=headers.get("date", ""), **about)
                passes = kind in {Kind.THROTTLED, Kind.SERVER}
            if not passes or attempt >= attempts:
                raise failure from cause
            time.sleep(full_jitter(attempt, base=0.5, cap=20.0, rng=random.random))
            attempt += 1

    def _credentials(self, about: dict[str, str]) -> AwsCredentials:
        try:
            return self._principal.credentials()
        except CredentialError as error:
            # AWS credentials that cannot be had say nothing of what they were wanted for.
            error.context = {name: text for name, text in about.items() if text} | error.context
            raise

    def _attempts(self) -> int:
        """How often to try, as botocore's own configuration says (AWS_MAX_ATTEMPTS); 3 unless it does."""
        try:
            return max(1, int(self._principal.botocore().get_config_variable("max_attempts") or 3))
        except ValueError as error:
            raise ConfigurationError("AWS_MAX_ATTEMPTS is not a number") from error

    def _post(self, call: Call, endpoint: Endpoint, credentials: AwsCredentials) -> AWSResponse:
        request = AWSRequest(
            method="POST",
            url=endpoint.url.rstrip("/") + "/",
            data=call.body,
            headers={"User-Agent": USER_AGENT, **call.headers},
        )
        sign_request(request, credentials, service=call.service, region=endpoint.region, now=self._clock.wall())
        return self._connection(endpoint.url).send(request.prepare())

    def _connection(self, url: str) -> URLLib3Session:
        with self._lock:
            connection = self._connections.get(url)
            if connection is None:
                verify = self._principal.botocore().get_config_variable("ca_bundle")
                connection = self._connections[url] = URLLib3Session(
                    verify=verify or os.environ.get("REQUESTS_CA_BUNDLE") or True,  # type: ignore[arg-type]  # a path or a flag, which the stubs do not know
                    proxies=get_environ_proxies(url),
                    timeout=(_CONNECT_SECONDS, _READ_SECONDS),  # type: ignore[arg-type]  # botocore takes the pair, its stubs do not
                )
            return connection

    def close(self) -> None:
        """Close the HTTP connections; the next call opens new ones."""
        with self._lock:
            for connection in self._connections.values():
                connection.close()
            self._connections.clear()


def not_aws(what: str, about: dict[str, str]) -> CredentialError:
    """Return the error for a successful answer that cannot be AWS's, a captive portal's for one."""
    hint = "see whether a proxy or AWS_ENDPOINT_URL leads to something other than AWS"
    return CredentialError(f"what answered is not AWS: {what}", hint=hint, **about)
