"""How to authenticate, as data: a tagged field of every config."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from soa_db.config.model import Model

__all__ = ["Auth", "AwsTarget", "IamAuth", "NoAuth", "PasswordAuth", "SecretAuth"]


class AwsTarget(Model, frozen=True):
    """Where and as whom AWS is asked; every field left out follows the configuration of the process.

    Attributes:
        region: AWS region.
        profile: profile of the shared AWS configuration.
        role_arn: role to assume.
        external_id: external id that the role's trust policy may demand.
        endpoint_url: another endpoint for every service (the local environment, VPC endpoints).
    """

    region: str | None = None
    profile: str | None = None
    role_arn: str | None = None
    external_id: str | None = None
    endpoint_url: str | None = None


class PasswordAuth(Model, frozen=True):
    """A password known to the configuration."""

    kind: Literal["password"] = "password"
    # An empty one makes libpq look for another, in PGPASSWORD and ~/.pgpass.
    password: Annotated[SecretStr, Field(min_length=1)]


class SecretAuth(Model, frozen=True):
    """A password read from Secrets Manager at connect time, and re-read when the server refuses it.

    Attributes:
        secret_id: name or ARN of the secret; its payload holds ``password`` and may hold ``username``.
        aws: where and as whom to read it.
    """

    kind: Literal["secret"] = "secret"
    secret_id: str = Field(min_length=1)
    aws: AwsTarget = AwsTarget()


class IamAuth(Model, frozen=True):
    """An IAM token, minted at every physical connect: for RDS signed for host and port, for ElastiCache for the cache.

    Attributes:
        region: the region the database lives in; part of the signature.
        aws: as whom to sign.
        cache_name: ElastiCache only: the name of the replication group or serverless cache; what the host's name says
            when left out.
        serverless: ElastiCache only: the cache is a serverless one; what the host's name says when left out.
    """

    kind: Literal["iam"] = "iam"
    region: str = Field(min_length=1)
    aws: AwsTarget = AwsTarget()
    cache_name: Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z][A-Za-z0-9-]*$")] | None = None
    serverless: bool | None = None


class NoAuth(Model, frozen=True):
    """No credentials of ours: trust, peer or a client certificate."""

    kind: Literal["none"] = "none"


Auth = Annotated[PasswordAuth | SecretAuth | IamAuth | NoAuth, Field(discriminator="kind")]
