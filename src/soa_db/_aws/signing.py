"""Signature Version 4 at a given time: RDS IAM tokens and signed JSON calls.

https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.Connecting.html
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

if TYPE_CHECKING:
    from soa_db.credentials import AwsCredentials

__all__ = ["RDS_TOKEN_SECONDS", "rds_token", "sign_request"]

RDS_TOKEN_SECONDS = 900


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
    request = AWSRequest(method="GET", url=f"https://{address}:{port}/", params={"Action": "connect", "DBUser": user})
    signer = _QuerySigner(_read_only(credentials), "rds-db", region, expires=RDS_TOKEN_SECONDS)
    signer.when = datetime.fromtimestamp(now, UTC)
    signer.add_auth(request)
    return str(request.url).removeprefix("https://")


def sign_request(request: AWSRequest, credentials: AwsCredentials, *, service: str, region: str, now: float) -> None:
    """Sign ``request`` for ``service`` in its headers."""
    signer = _HeaderSigner(_read_only(credentials), service, region)
    signer.when = datetime.fromtimestamp(now, UTC)
    signer.add_auth(request)
