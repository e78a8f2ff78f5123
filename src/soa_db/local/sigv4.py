"""Signature Version 4, verified from first principles: signed requests and presigned tokens.

Written against "Create a signed AWS API request" in the IAM User Guide and not on botocore, so that it is a check of
what botocore and we sign. Pure: the time is an argument.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import parse_qsl, quote

__all__ = ["Fault", "Keys", "Scope", "SignedRequest", "scope_of", "verify_presigned", "verify_request"]

ALGORITHM = "AWS4-HMAC-SHA256"
EMPTY_HASH = hashlib.sha256(b"").hexdigest()
MAX_SKEW = 300.0  # seconds; AWS refuses what is more than five minutes off
_AUTHORIZATION = re.compile(rf"{ALGORITHM} Credential=(\S+?),\s*SignedHeaders=(\S+?),\s*Signature=([0-9a-f]{{64}})")
_CREDENTIAL = re.compile(r"([\w]{16,128})/(\d{8})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request")


class Fault(Exception):
    """A signature that does not hold.

    Attributes:
        kind: ``malformed``, ``unknown key``, ``token``, ``signature``, ``expired`` or ``clock``.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Scope:
    """The credential scope: which key, which day, where and for what."""

    access_key: str
    date: str
    region: str
    service: str

    @property
    def text(self) -> str:
        """The scope as it stands in the string to sign."""
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


@dataclass(frozen=True, slots=True)
class Keys:
    """What belongs to an access key; long-lived keys have no token."""

    secret_key: str
    token: str | None

    def __repr__(self) -> str:
        return "Keys(…)"


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """An HTTP request with names of headers in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


def _digest(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


@lru_cache(maxsize=1024)
def _signing_key(secret_key: str, date: str, region: str, service: str) -> bytes:
    key = _digest(b"AWS4" + secret_key.encode(), date)
    return _digest(_digest(_digest(key, region), service), "aws4_request")


def _signature(keys: Keys, scope: Scope, timestamp: str, canonical: str) -> str:
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"{ALGORITHM}\n{timestamp}\n{scope.text}\n{hashed}"
    key = _signing_key(keys.secret_key, scope.date, scope.region, scope.service)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _canonical_query(pairs: Sequence[tuple[str, str]]) -> str:
    encoded = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


def _canonical(request: SignedRequest, query: str, signed: Sequence[str], payload: str) -> str:
    lines = "".join(f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in signed)
    return "\n".join(
        (request.method, quote(request.path or "/", safe="/-_.~"), query, lines, ";".join(signed), payload)
    )


def scope_of(credential: str) -> Scope:
    """Parse ``key/date/region/service/aws4_request``.

    Raises:
        Fault: it is something else.
    """
    match = _CREDENTIAL.fullmatch(credential)
    if match is None:
        raise Fault("malformed", "the credential scope is malformed")
    return Scope(*match.groups())


def _moment(timestamp: str) -> float:
    try:
        return datetime.strptime(timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise Fault("malformed", "X-Amz-Date is malformed") from error


def _check(keys: Keys | None, token: str | None) -> Keys:
    if keys is None:
        raise Fault("unknown key", "there is no such access key")
    if (keys.token or "") != (token or ""):
        raise Fault("token", "the session token does not belong to the access key")
    return keys


def verify_request(request: SignedRequest, lookup: Callable[[str], Keys | None], now: float) -> Scope:
    """Check a request signed in its Authorization header.

    Args:
        request: what came in.
        lookup: gives the keys of an access key id, None when there is no such key.
        now: Unix time.

    Raises:
        Fault: the signature does not hold.
    """
    header = request.headers.get("authorization", "")
    match = _AUTHORIZATION.fullmatch(header)
    if match is None:
        raise Fault("malformed", "the Authorization header is missing or malformed")
    scope = scope_of(match[1])
    signed = match[2].split(";")
    timestamp = request.headers.get("x-amz-date", "")
    keys = _check(lookup(scope.access_key), request.headers.get("x-amz-security-token"))
    if not {"host", "x-amz-date"} <= set(signed) or not timestamp.startswith(scope.date):
        raise Fault("malformed", "host and x-amz-date must be signed")
    query = _canonical_query(parse_qsl(request.query, keep_blank_values=True))
    payload = hashlib.sha256(request.body).hexdigest()
    expected = _signature(keys, scope, timestamp, _canonical(request, query, signed, payload))
    if not hmac.compare_digest(expected, match[3]):
        raise Fault("signature", "the signature does not match")
    if abs(now - _moment(timestamp)) > MAX_SKEW:
        raise Fault("clock", "the request was signed more than five minutes ago, or ahead")
    return scope


def verify_presigned(
    token: str, *, host: str, lookup: Callable[[str], Keys | None], now: float, expected: Mapping[str, str | None]
) -> Scope:
    """Check a presigned URL without its scheme, as RDS and ElastiCache take it for a password.

    Args:
        token: ``host:port/?Action=connect&…&X-Amz-Signature=…``.
        host: what it must be signed for: RDS's ``host:port``, ElastiCache's cache name.
        lookup: gives the keys of an access key id.
        now: Unix time.
        expected: query parameters that must be exactly these, e.g. ``{"Action": "connect", "DBUser": "…"}``; None for
            one that must not be there.

    Raises:
        Fault: it does not hold.
    """
    place, separator, query = token.partition("/?")
    pairs = parse_qsl(query, keep_blank_values=True)
    values = dict(pairs)
    if not separator or len(values) != len(pairs) or values.get("X-Amz-Algorithm") != ALGORITHM:
        raise Fault("malformed", "the token is no presigned URL")
    if place != host:
        raise Fault("malformed", f"the token is for {place}, not for {host}")
    for name, value in expected.items():
        if values.get(name) != value:
            raise Fault("malformed", f"the token's {name} is not {value}")
    scope = scope_of(values.get("X-Amz-Credential", ""))
    keys = _check(lookup(scope.access_key), values.get("X-Amz-Security-Token"))
    timestamp = values.get("X-Amz-Date", "")
    if values.get("X-Amz-SignedHeaders") != "host" or not timestamp.startswith(scope.date):
        raise Fault("malformed", "exactly the host must be signed")
    canonical_query = _canonical_query([pair for pair in pairs if pair[0] != "X-Amz-Signature"])
    request = SignedRequest("GET", "/", "", {"host": host}, b"")
    expected_signature = _signature(keys, scope, timestamp, _canonical(request, canonical_query, ["host"], EMPTY_HASH))
    if not hmac.compare_digest(expected_signature, values.get("X-Amz-Signature", "")):
        raise Fault("signature", "the signature does not match")
    try:
        lifetime = int(values.get("X-Amz-Expires", ""))
    except ValueError as error:
        raise Fault("malformed", "X-Amz-Expires is malformed") from error
    signed_at = _moment(timestamp)
    if signed_at - now > MAX_SKEW:
        raise Fault("clock", "the token was signed ahead of time")
    # RDS and ElastiCache: "Each token has a lifetime of 15 minutes", whatever it says itself.
    if now >= signed_at + min(lifetime, 900):
        raise Fault("expired", "the token has expired")
    return scope
