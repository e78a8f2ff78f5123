"""Everything the clients ask of AWS, blocking and uncoordinated; who may ask when is the shells' affair."""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from soa_db._aws.cache import Cache
from soa_db._aws.failures import NO_PARAMETER_HINT
from soa_db._aws.json_api import call_json
from soa_db._aws.sts import caller_identity
from soa_db._core.refresh import Policy
from soa_db.errors import AccessDenied, ConfigurationError, ParameterNotFound, SecretMalformed

if TYPE_CHECKING:
    from soa_db._aws.session import AwsSession
    from soa_db._runtime.clock import Clock
    from soa_db.credentials import AwsCredentials, CallerIdentity

__all__ = ["Backend", "Payload"]

Payload = Mapping[str, object]

# botocore renews temporary credentials itself once they have 15 minutes left: asked earlier it gives the same ones.
_CREDENTIALS = Policy(lifetime=3600, ahead=14 * 60, margin=120, jitter=0.0, retry=30)
# A secret has no end: it is valid until the server refuses it. Read again hourly, as AWS's own caching clients do.
_SECRET = Policy(lifetime=3600, jitter=0.25, retry=30)
_BATCH = 10  # names a GetParameters call takes


class Backend:
    """One target's session, calls and caches, in one process."""

    def __init__(self, session: AwsSession, clock: Clock) -> None:
        self.pid = os.getpid()
        self.session = session
        self._clock = clock
        self._lock = threading.Lock()
        self._secrets: dict[tuple[str, str], Cache[Payload]] = {}
        self.credentials = Cache(
            "the AWS credentials", self._credentials, kind="aws", source="aws", policy=_CREDENTIALS, clock=clock
        )

    def _credentials(self) -> tuple[AwsCredentials, float]:
        found = self.session.credentials()
        left = found.expires_at - self._clock.wall()
        return found, math.inf if math.isinf(left) else self._clock.monotonic() + left

    def renew_credentials(self) -> AwsCredentials:
        """Resolve the AWS credentials anew, from the very source."""
        return self.credentials.force(before=self.session.forget_credentials)

    def secret(self, secret_id: str, stage: str) -> Cache[Payload]:
        """Return the cache of one stage of one secret."""
        key = (secret_id, stage)
        with self._lock:
            cache = self._secrets.get(key)
            if cache is None:

                def fetch() -> tuple[Payload, float]:
                    return self._read_secret(secret_id, stage), math.inf

                what = f"secret {secret_id}"
                cache = Cache(what, fetch, kind="secret", source=secret_id, policy=_SECRET, clock=self._clock)
                self._secrets[key] = cache
            return cache

    def _read_secret(self, secret_id: str, stage: str) -> Payload:
        arguments: dict[str, object] = {"SecretId": secret_id, "VersionStage": stage}
        answer = call_json(self.session.http, "secretsmanager", "GetSecretValue", arguments, resource=secret_id)
        return payload(answer.get("SecretString"), secret_id)

    def parameters(self, names: Iterable[str]) -> dict[str, str]:
        """Return the values of SSM parameters, decrypted; raises ParameterNotFound naming every missing one."""
        wanted = tuple(dict.fromkeys(names))
        if not all(wanted):
            raise ConfigurationError("the name of an SSM parameter is empty")
        found: dict[str, str] = {}
        for start in range(0, len(wanted), _BATCH):
            found |= self._batch(wanted[start : start + _BATCH])
        missing = [name for name in wanted if name not in found]
        if missing:
            raise ParameterNotFound(
                f"there is no SSM parameter {', '.join(missing)}",
                hint=NO_PARAMETER_HINT,
                action="ssm:GetParameters",
                region=self.session.region(),
            )
        return {name: found[name] for name in wanted}

    def _batch(self, names: tuple[str, ...]) -> dict[str, str]:
        arguments: dict[str, object] = {"Names": names, "WithDecryption": True}
        try:
            answer = call_json(self.session.http, "ssm", "GetParameters", arguments, resource=", ".join(names))
        except AccessDenied as error:
            if error.context.get("action") != "ssm:GetParameters":
                # The role was refused: no other call is made as it either.
                raise
            # The batch is denied as a whole, also to those who may ssm:GetParameter each name; so ask one by one,
            # and let that error tell which one is denied.
            return {name: value for name in names if (value := self._single(name)) is not None}
        return {
            key: str(one.get("Value", ""))
            for one in answer.get("Parameters", ())
            for key in (one.get("Name"), one.get("ARN"))
            if key in names
        }

    def _single(self, name: str) -> str | None:
        try:
            arguments: dict[str, object] = {"Name": name, "WithDecryption": True}
            answer = call_json(self.session.http, "ssm", "GetParameter", arguments, resource=name)
        except ParameterNotFound:
            return None
        return str(answer.get("Parameter", {}).get("Value", ""))

    def caller_identity(self) -> CallerIdentity:
        """Ask STS who is asking."""
        return caller_identity(self.session.http)

    def close(self) -> None:
        """Close every connection to AWS."""
        self.session.close()


def payload(text: Any, secret_id: str) -> Payload:
    """Return a secret's payload, a JSON object; raises SecretMalformed without quoting any of it."""
    hint = 'the contract wants a JSON object in SecretString, e.g. {"username": …, "password": …}'
    if not isinstance(text, str):
        raise SecretMalformed(f"the secret {secret_id} has no SecretString", hint=hint)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        # Not from its cause: a decoding error quotes the document.
        raise SecretMalformed(f"the secret {secret_id} is not JSON", hint=hint) from None
    if not isinstance(found, dict):
        raise SecretMalformed(f"the secret {secret_id} is JSON, but not an object", hint=hint)
    return MappingProxyType(found)
