"""Who AWS says we are, with whose credentials, and what time it is there."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from soa_db.doctor.chain import Broken, Overdue, Step, bounded
from soa_db.doctor.report import Finding, Status
from soa_db.doctor.surroundings import judge_clock

if TYPE_CHECKING:
    from soa_db.doctor.surroundings import Surroundings

__all__ = ["AwsExamination"]

# What botocore calls its sources, and the one of ours.
_SOURCES = {
    "assume-role": "a role assumed by the profile",
    "assume-role-with-web-identity": "a web identity (AWS_WEB_IDENTITY_TOKEN_FILE)",
    "config-file": "the AWS configuration file",
    "container-role": "the container's role",
    "custom-process": "the profile's credential_process",
    "env": "the environment variables AWS_ACCESS_KEY_ID …",
    "iam-role": "the instance's role",
    "login": "`aws login`",
    "shared-credentials-file": "the shared credentials file",
    "soa-db-assume-role": "the role_arn of soa-db.toml",
    "sso": "AWS SSO",
}
_SOON = 900.0


class AwsExamination:
    """The steps that all targets share.

    Args:
        around: the run.
    """

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        # AWS's clock and ours at that moment, from the last answer whatever it was.
        self._clocks: tuple[float, float] | None = None

    def steps(self) -> list[Step]:
        """Credentials, identity, clock."""
        late = "AWS does not answer: check network, proxy, VPC endpoints, region and AWS_ENDPOINT_URL"
        return [
            Step("credentials", self._credentials, late="the source of the AWS credentials does not answer"),
            Step("identity", self._identity, needs=("credentials",), late=late),
            Step("clock", self._clock, needs=("credentials",)),
        ]

    def _credentials(self) -> Iterator[Finding]:
        found, region = self._around.aws.credentials(), self._around.aws.region()
        source = _SOURCES.get(found.source, found.source or "an unknown source")
        left = found.expires_at - self._around.wall()
        if math.isinf(left):
            yield Finding("credentials", Status.OK, f"from {source}; region {region}")
            return
        end = f"{datetime.fromtimestamp(found.expires_at, UTC):%Y-%m-%d %H:%M} UTC"
        if left < _SOON:
            hint = "log in again (`aws sso login`) if nothing renews them"
            yield Finding("credentials", Status.WARNING, f"from {source}; region {region}; they end at {end}", hint)
            return
        yield Finding("credentials", Status.OK, f"from {source}, until {end}; region {region}")

    def _identity(self) -> Iterator[Finding]:
        around = self._around
        expected = around.settings.environment(around.env).account
        try:
            account, arn = bounded(self._ask, around.timeout * 0.9)
        except _NotReachedError as error:
            if expected is not None:
                raise Broken(f"{error}, so that the account is not known; it must be {expected}", _STS_HINT) from error
            # A network may have no way to STS and yet one to what services use.
            yield Finding("identity", Status.WARNING, f"{error}: who is asking is not known", _STS_HINT)
            return
        except Overdue as error:
            told = "AWS STS does not answer"
            if expected is not None:
                raise Broken(f"{told}, so that the account is not known; it must be {expected}", _STS_HINT) from error
            yield Finding("identity", Status.WARNING, f"{told}: who is asking is not known", _STS_HINT)
            return
        if expected is not None and account != expected:
            source = around.settings.source
            raise Broken(
                f"{around.env} is AWS account {expected}, but the caller is in account {account}",
                f"use credentials of account {expected}, or mend [environments.{around.env}] in {source}",
                f"the caller is {arn}",
            )
        told = ", as soa-db.toml expects" if expected is not None else ""
        yield Finding("identity", Status.OK, f"{arn}, account {account}{told}")

    def _ask(self) -> tuple[str, str]:
        from botocore import exceptions as boto

        from soa_db._aws.failures import typed

        client = self._around.aws.client("sts")

        def call() -> dict[str, Any]:
            begun = self._around.wall()
            try:
                answer: dict[str, Any] = client.get_caller_identity()
            except boto.ClientError as error:
                self._note(error.response.get("ResponseMetadata", {}), begun)
                raise
            self._note(answer.get("ResponseMetadata", {}), begun)
            return answer

        try:
            answer = typed(call, action="sts:GetCallerIdentity", region=self._around.aws.region())
        except Exception as error:
            if isinstance(error.__cause__, boto.ConnectionError | boto.HTTPClientError):
                raise _NotReachedError("AWS STS is not reached") from error
            raise
        return str(answer.get("Account", "")), str(answer.get("Arn", ""))

    def _note(self, metadata: Any, begun: float) -> None:
        try:
            # A whole second stands for any moment within it.
            theirs = parsedate_to_datetime(metadata["HTTPHeaders"]["date"]).timestamp() + 0.5
        except (KeyError, TypeError, ValueError):
            return
        self._clocks = theirs, (begun + self._around.wall()) / 2

    def _clock(self) -> Iterator[Finding]:
        if self._clocks is None:
            yield Finding("clock", Status.NOT_APPLICABLE, "AWS has not said what time it is")
            return
        yield judge_clock("AWS", *self._clocks)


_STS_HINT = "check network, proxy, VPC endpoint (sts), region and AWS_ENDPOINT_URL"


class _NotReachedError(Exception):
    """There is no way to STS."""
