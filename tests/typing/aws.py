"""``soa_db.aws``: shared clients, and what they give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_type

from soa_db.aws import AsyncAwsClients, AwsClients, AwsCredentials, CallerIdentity


def blocking() -> None:
    """Blocking."""
    with AwsClients(region="us-west-2", profile="p", role_arn="r", external_id="e", endpoint_url="u") as aws:
        assert_type(aws, AwsClients)
        assert_type(aws.region(), str)
        assert_type(aws.parameters(["/a"]), dict[str, str])
        assert_type(aws.secret("s", stage="AWSPENDING", force=True), Mapping[str, object])
        assert_type(aws.credentials(), AwsCredentials)
        assert_type(aws.credentials().token, str | None)
        identity = aws.caller_identity()
        assert_type(identity, CallerIdentity)
        assert_type(identity.account, str)
        assert_type(aws.call("rds", "describe_db_instances", MaxRecords=20), dict[str, Any])
        assert_type(aws.assume("arn"), AwsClients)
        assert_type(AwsClients.from_target(aws.target), AwsClients)


async def asynchronous() -> None:
    """The same, awaited."""
    async with AsyncAwsClients() as aws:
        assert_type(aws, AsyncAwsClients)
        assert_type(await aws.parameters(("/a",)), dict[str, str])
        assert_type(await aws.secret("s"), Mapping[str, object])
        assert_type(await aws.credentials(force=True), AwsCredentials)
        assert_type(await aws.caller_identity(), CallerIdentity)
        assert_type(await aws.region(), str)
    AsyncAwsClients("us-west-2")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
