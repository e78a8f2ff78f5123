"""Signature Version 4 at a given time: IAM tokens of RDS and ElastiCache, and signed JSON calls.

https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.Connecting.html
https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/auth-iam.html
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

if TYPE_CHECKING:
    from soa_db.credentials import AwsCredentials

__all__ = ["TOKEN_SECONDS", "elasticache_token", "rds_token", "sign_request"]

TOKEN_SECONDS = 900


class _Signer:
    """botocore's signing with the time as an argument and without its DEBUG log.

    The log would hold the canonical request and the signature: session token and database token in plain text.
    """

    when: datetime

    def add_auth(self: Any, request: AWSRequest) -> None:
        request.context["timestamp"] = self.when.strftime(SIGV4_TIMESTAMP)
        self._modify_request_before_signing(request)
        to_sign = self.string_to_sign(request, self.canonical_request(request))
        self._inject_signature_to_request(request, self.signature(to_sign, request))


class _HeaderSigner(_Signer, SigV4Auth):
    pass


class _QuerySigner(_Signer, SigV4QueryAuth):
    pass


def _read_only(credentials: AwsCredentials) -> ReadOnlyCredentials:
    # An empty session token (AWS_SESSION_TOKEN set to nothing) must not be signed as one.
    return ReadOnlyCredentials(credentials.access_key, credentials.secret_key, credentials.token or None)


def rds_token(credentials: AwsCredentials, *, host: str, port: int, user: str, region: str, now: float) -> str:
    """Return the token that ``user`` gives as password to the RDS database at ``host`` and ``port``.

    Pure: nothing is asked of AWS. The token is good for 900 s from ``now`` while the credentials live, and only for
    this host and port, whatever is dialled.

    Args:
        credentials: as whom to sign; they need ``rds-db:connect``.
        host: the endpoint of the instance, cluster or proxy.
        port: its port.
        user: the database user.
        region: the region of the database.
        now: wall-clock seconds since the epoch.
    """
    address = f"[{host}]" if ":" in host else host
    what = {"Action": "connect", "DBUser": user}
    return _token(credentials, f"{address}:{port}", what, service="rds-db", region=region, now=now)


def elasticache_token(
    credentials: AwsCredentials, *, cache_name: str, serverless: bool, user: str, region: str, now: float
) -> str:
    """Return the token that ``user`` gives as password to a cache of ElastiCache.

    Pure: nothing is asked of AWS. The token is good for 900 s from ``now`` while the credentials live.

    Args:
        credentials: as whom to sign; they need ``elasticache:Connect`` on the cache and on the user.
        cache_name: the name of the replication group or serverless cache; not the endpoint.
        serverless: it is a serverless cache.
        user: the ElastiCache user, whose user id and user name are the same.
        region: the region of the cache.
        now: wall-clock seconds since the epoch.
    """
    what = {"Action": "connect", "User": user}
    if serverless:
        what["ResourceType"] = "ServerlessCache"
    # ElastiCache keeps names in lower case, and compares the one that was signed with its own.
    return _token(credentials, cache_name.lower(), what, service="elasticache", region=region, now=now)


def _token(
    credentials: AwsCredentials, address: str, what: dict[str, str], *, service: str, region: str, now: float
) -> str:
    """Return a presigned URL without its scheme."""
    request = AWSRequest(method="GET", url=f"https://{address}/", params=what)
    signer = _QuerySigner(_read_only(credentials), service, region, expires=TOKEN_SECONDS)
    signer.when = datetime.fromtimestamp(now, UTC)
    signer.add_auth(request)
    return str(request.url).removeprefix("https://")


def sign_request(request: AWSRequest, credentials: AwsCredentials, *, service: str, region: str, now: float) -> None:
    """Sign ``request`` for ``service`` in its headers."""
    signer = _HeaderSigner(_read_only(credentials), service, region)
    signer.when = datetime.fromtimestamp(now, UTC)
    signer.add_auth(request)
