"""What a config's ``auth`` says, as credentials at connect time. One provider object per principal and target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from soa_db._core.redis.endpoint import cache_endpoint
from soa_db._runtime import telemetry
from soa_db._runtime._async import SharedCall
from soa_db._runtime.clock import Clock
from soa_db.config import IamAuth, NoAuth, PasswordAuth, SecretAuth
from soa_db.credentials import AsyncCredentialProvider, Credentials
from soa_db.errors import ConfigurationError, CredentialError, SecretMalformed, SecretNotFound
from soa_db.sources import Payload, read_payload

if TYPE_CHECKING:
    from collections.abc import Callable

    from soa_db._async.aws import AsyncAwsClients
    from soa_db._runtime.telemetry import Renewal
    from soa_db.config import PostgresConfig, RedisConfig
    from soa_db.config.mongo import MongoConfig
    from soa_db.credentials import AwsCredentials

__all__ = [
    "AsyncFixedCredentials",
    "AsyncIamCredentials",
    "AsyncSecretCredentials",
    "mongo_credentials",
    "postgres_credentials",
    "redis_credentials",
]

_TOKEN_MARGIN = 60.0
# Seconds the two clocks may drift apart before a token is signed anew: AWS goes by the wall clock, which is set, and
# which alone runs on while a machine is suspended.
_CLOCK_DRIFT = 30.0


def postgres_credentials(
    config: PostgresConfig, *, aws: AsyncAwsClients | None = None, clock: Clock | None = None
) -> AsyncCredentialProvider:
    """Return the credential provider that a config's ``auth`` describes. Nothing is asked of AWS yet.

    Args:
        config: the config; host and port are what IAM tokens are signed for, whatever is dialled.
        aws: the clients to ask, as whoever they are; new ones for the config's target when left out. The caller
            closes those it gave; to have them closed, give them.
        clock: the clocks, for tests.
    """
    match config.auth:
        case IamAuth() as auth:
            user = _user(config)

            def sign(credentials: AwsCredentials, now: float) -> str:
                from soa_db._aws.signing import rds_token

                return rds_token(
                    credentials, host=config.host, port=config.port, user=user, region=auth.region, now=now
                )

            return AsyncIamCredentials(sign, user=user, source="rds-iam", aws=aws or _clients(auth), clock=clock)
        case other:
            return _credentials(other, config.user, aws)


def redis_credentials(
    config: RedisConfig, *, aws: AsyncAwsClients | None = None, clock: Clock | None = None
) -> AsyncCredentialProvider:
    """Return the credential provider that a config's ``auth`` describes. Nothing is asked of AWS yet.

    Args:
        config: the config; IAM tokens are signed for its ``auth.cache_name``, or for the cache that the host names.
        aws: likewise.
        clock: the clocks, for tests.

    Raises:
        ConfigurationError: neither ``auth`` nor the host says which cache the tokens are for.
    """
    match config.auth:
        case IamAuth() as auth:
            user = _user(config)
            endpoint = cache_endpoint(config.host)
            name = auth.cache_name or (endpoint.cache_name if endpoint is not None else None)
            if name is None:
                hint = "give the replication group's or serverless cache's name as cache_name"
                raise ConfigurationError("the host does not say which cache it is", hint=hint, host=config.host)
            said = endpoint is not None and endpoint.serverless
            serverless = said if auth.serverless is None else auth.serverless

            def sign(credentials: AwsCredentials, now: float) -> str:
                from soa_db._aws.signing import elasticache_token

                return elasticache_token(
                    credentials, cache_name=name, serverless=serverless, user=user, region=auth.region, now=now
                )

            source = "elasticache-iam"
            return AsyncIamCredentials(sign, user=user, source=source, aws=aws or _clients(auth), clock=clock)
        case other:
            return _credentials(other, config.user, aws)


def mongo_credentials(config: MongoConfig, *, aws: AsyncAwsClients | None = None) -> AsyncCredentialProvider:
    """Return the credential provider that a config's ``auth`` describes. Nothing is asked of AWS yet.

    Args:
        config: the config.
        aws: likewise.
    """
    # The model knows no IamAuth: MongoDB has no such thing outside Atlas.
    assert not isinstance(config.auth, IamAuth)
    return _credentials(config.auth, config.user, aws)


def _user(config: PostgresConfig | RedisConfig) -> str:
    if config.user is None:
        raise ConfigurationError("IAM authentication needs a user", hint="give the config a user")
    return config.user


def _credentials(
    auth: PasswordAuth | SecretAuth | NoAuth, user: str | None, aws: AsyncAwsClients | None
) -> AsyncCredentialProvider:
    match auth:
        case PasswordAuth(password=password):
            return AsyncFixedCredentials(Credentials(user, password.get_secret_value()))
        case NoAuth():
            return AsyncFixedCredentials(Credentials(user, "", source="none"))
        case SecretAuth():
            return AsyncSecretCredentials(auth, user=user, aws=aws or _clients(auth))


def _clients(auth: SecretAuth | IamAuth) -> AsyncAwsClients:
    from soa_db._async.aws import AsyncAwsClients

    return AsyncAwsClients.from_target(auth.aws)


class AsyncFixedCredentials:
    """A password the config knows, or none at all. Once refused, there is no other."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def get(self) -> Credentials:
        """Return them."""
        return self._credentials

    async def refresh(self, rejected: Credentials) -> Credentials | None:  # noqa: ARG002 - the protocol's
        """Return None."""
        return None


class AsyncSecretCredentials:
    """User and password of a secret: AWSCURRENT, or AWSPENDING while a rotation is between server and promotion.

    Args:
        auth: which secret.
        user: who logs in; None lets the payload's ``username`` decide.
        aws: the clients whose cache holds the secret.
    """

    def __init__(self, auth: SecretAuth, *, user: str | None, aws: AsyncAwsClients) -> None:
        self._secret_id = auth.secret_id
        self._user = user
        self._aws = aws
        # While AWSCURRENT still has the password on the left, the server wants the credentials on the right.
        self._pending: tuple[str, Credentials] | None = None
        # The password refused last, and what was found instead.
        self._replaced: tuple[str, Credentials] | None = None
        self._searches: SharedCall[Credentials | None] = SharedCall()

    async def get(self) -> Credentials:
        """Return the credentials the server took last, as far as the secret still says so."""
        found = self._taken(self._from(await self._aws.secret(self._secret_id)))
        if self._replaced is not None and self._replaced[0] == found.secret:
            # It is back: should it be refused again, what replaced it then says nothing.
            self._replaced = None
        return found

    async def refresh(self, rejected: Credentials) -> Credentials | None:
        """Read the secret again after a refusal; return what differs from ``rejected``, or None.

        All who were refused with one password share the reads, those who come late included; a search that found
        nothing is made anew, rate-limited.
        """
        replaced = self._replaced
        if replaced is not None and replaced[0] == rejected.secret:
            return replaced[1]
        return await self._searches.run(rejected.secret, lambda: self._search(rejected))

    async def _search(self, rejected: Credentials) -> Credentials | None:
        found = await self._other_than(rejected)
        if found is not None:
            # Of one password only: after a rotation that is rolled back, the one refused now is the one found then.
            self._replaced = (rejected.secret, found)
        return found

    async def _other_than(self, rejected: Credentials) -> Credentials | None:
        current = self._from(await self._aws.secret(self._secret_id, force=True))
        if current.secret != rejected.secret:
            self._pending = None
            return current
        try:
            pending = self._from(await self._aws.secret(self._secret_id, stage="AWSPENDING", force=True))
        except (SecretNotFound, SecretMalformed):
            # No rotation is under way. Or it ended between the two reads: then AWSCURRENT has the password now.
            current = self._from(await self._aws.secret(self._secret_id, force=True))
            return current if current.secret != rejected.secret else None
        if pending.secret == rejected.secret:
            return None
        self._pending = (current.secret, pending)
        return pending

    def _taken(self, current: Credentials) -> Credentials:
        """Return what the server took while AWSCURRENT was ``current``."""
        pending = self._pending
        if pending is None:
            return current
        if pending[0] == current.secret:
            return pending[1]
        self._pending = None
        return current

    def _from(self, payload: Payload) -> Credentials:
        found = read_payload(payload, self._secret_id)
        user = self._user or found.user
        if user is None:
            raise SecretMalformed(
                f"the secret {self._secret_id} has no field 'username', and the config names no user",
                hint="put the user into the secret or the config",
            )
        return Credentials(user, found.password, source=self._secret_id)


@dataclass(frozen=True, slots=True)
class _Minted:
    """A token, the AWS credentials that signed it, and how far the two clocks were apart then."""

    token: Credentials
    signed_by: AwsCredentials
    apart: float

    def is_good(self, monotonic: float, wall: float) -> bool:
        """Whether it may be used at these times."""
        return monotonic < self.token.expires_at and abs(wall - monotonic - self.apart) < _CLOCK_DRIFT


class AsyncIamCredentials:
    """IAM tokens, minted in place from cached AWS credentials: some 0.1 ms, and nothing is asked of AWS.

    Args:
        sign: makes a token good for 900 s from AWS credentials and the wall-clock time; it asks nobody.
        user: the database user.
        source: what messages call the tokens: ``rds-iam``, ``elasticache-iam``.
        aws: the clients that resolve the AWS credentials.
        clock: the clocks.
    """

    def __init__(
        self,
        sign: Callable[[AwsCredentials, float], str],
        *,
        user: str,
        source: str,
        aws: AsyncAwsClients,
        clock: Clock | None = None,
    ) -> None:
        self._sign = sign
        self._user = user
        self._source = source
        self._aws = aws
        self._clock = clock or Clock()
        self._minted: _Minted | None = None

    async def get(self) -> Credentials:
        """Return a token that is good for a new connection now."""
        minted = self._minted
        if minted is not None and minted.is_good(self._clock.monotonic(), self._clock.wall()):
            return minted.token
        return await self._mint("initial" if minted is None else "expired")

    async def refresh(self, rejected: Credentials) -> Credentials | None:
        """Return a token that another has minted meanwhile, or one of fresh AWS credentials; None when there is none.

        A token is refused when the right to connect is missing, which no new token changes; but also when the AWS
        credentials that signed it were revoked.
        """
        minted = self._minted
        if minted is not None and minted.token.secret != rejected.secret:
            return await self.get()
        current = await self._aws.credentials()
        if minted is not None and current == minted.signed_by:
            try:
                current = await self._aws.credentials(force=True)
            except CredentialError:
                return None
            if current == minted.signed_by:
                return None
        return await self._mint("forced")

    async def _mint(self, why: Renewal) -> Credentials:
        credentials = await self._aws.credentials()
        # botocore is loaded once credentials are there; an import here costs nothing then.
        from soa_db._aws.signing import TOKEN_SECONDS

        # Both clocks before signing: a pause after it shortens the token's use and never lengthens it.
        monotonic, wall = self._clock.monotonic(), self._clock.wall()
        minted = self._minted
        if minted is not None and minted.signed_by == credentials and minted.is_good(monotonic, wall):
            # One of the many who waited for the AWS credentials has signed with them: a token for each would hold
            # up the event loop.
            return minted.token
        text = self._sign(credentials, wall)
        left = min(TOKEN_SECONDS, credentials.expires_at - wall) - _TOKEN_MARGIN
        token = Credentials(self._user, text, expires_at=monotonic + left, source=self._source)
        self._minted = _Minted(token, credentials, wall - monotonic)
        telemetry.refreshed("token", self._source, why)
        return token
