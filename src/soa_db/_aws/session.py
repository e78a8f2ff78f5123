"""One principal at AWS: region, credentials, endpoints, botocore clients. Blocking and thread-safe."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.credentials import CredentialProvider, CredentialResolver, DeferredRefreshableCredentials
from botocore.exceptions import BotoCoreError, NoCredentialsError
from botocore.loaders import Loader, create_loader
from botocore.session import Session

from soa_db._aws.endpoints import Endpoint, find_endpoint
from soa_db._aws.failures import translate, typed
from soa_db._aws.http import USER_AGENT, SignedHttp
from soa_db._aws.sts import assume_role
from soa_db._runtime.imports import no_collection
from soa_db.credentials import AwsCredentials
from soa_db.errors import ConfigurationError
from soa_db.names import DEFAULT_REGION

if TYPE_CHECKING:
    from botocore.client import BaseClient

    from soa_db._runtime.clock import Clock

__all__ = ["AwsSession"]

# Parameters of API calls that name what a call is about; never one that holds a secret.
_RESOURCES = ("SecretId", "Name", "Names", "RoleArn", "RoleName", "UserId", "UserGroupId", "DBInstanceIdentifier")


@cache
def _loader(data_path: str | None) -> Loader:
    """What reads botocore's models: one for the process, since parsing them is half of what a principal costs."""
    return create_loader(data_path)


class _RoleProvider(CredentialProvider):
    """Gives botocore the credentials of an assumed role, renewed by botocore ahead of their end."""

    METHOD = "soa-db-assume-role"
    CANONICAL_NAME = "custom-soa-db-assume-role"

    def __init__(self, assume: Callable[[], dict[str, str]]) -> None:
        super().__init__()
        self._assume = assume

    def load(self) -> DeferredRefreshableCredentials:
        return DeferredRefreshableCredentials(self._assume, self.METHOD)


class AwsSession:
    """A botocore session for one target, made when first needed and again after a fork.

    Args:
        region: AWS region; AWS_REGION, botocore's own configuration and then us-west-2 when left out.
        profile: profile of the shared AWS configuration.
        role_arn: role to assume.
        external_id: external id that the role's trust policy may demand.
        endpoint_url: endpoint of every service.
        clock: the clocks.
        source: whose credentials assume the role; those of the process or profile when left out.

    Attributes:
        http: the calls that need no botocore client.
    """

    def __init__(
        self,
        *,
        region: str | None,
        profile: str | None,
        role_arn: str | None,
        external_id: str | None,
        endpoint_url: str | None,
        clock: Clock,
        source: AwsSession | None = None,
    ) -> None:
        self._region = region
        self._profile = profile
        self._role_arn = role_arn
        self._external_id = external_id
        self._endpoint_url = endpoint_url
        self._lock = threading.RLock()
        self._session: Session | None = None
        self._given: AwsCredentials | None = None
        self._clients: dict[str, BaseClient] = {}
        self.http = SignedHttp(self, clock)
        # Who assumes the role is a principal of its own: when its credentials have expired, those are renewed, not the
        # role's, which are being made at that moment.
        self._own_base = None
        if role_arn is not None and source is None:
            self._own_base = AwsSession(
                region=region, profile=profile, role_arn=None, external_id=None, endpoint_url=endpoint_url, clock=clock
            )
        self._base = source or self._own_base

    def botocore(self) -> Session:
        """Return the session whose credentials are the target's; raises ConfigurationError for a bad profile."""
        with self._lock:
            if self._session is None:
                session = self._new()
                if self._base is not None:
                    provider = _RoleProvider(self._assume_role)
                    session.register_component("credential_provider", CredentialResolver([provider]))
                self._session = session
            return self._session

    def _new(self) -> Session:
        session = Session(profile=self._profile)
        try:
            session.get_scoped_config()
            session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
        except BotoCoreError as error:
            raise translate(error) from error
        return session

    def region(self) -> str:
        """Return the region: the one given, else the process's, else the default of the contract."""
        # AWS_REGION is what Lambda, ECS and every other SDK use; botocore alone knows only AWS_DEFAULT_REGION.
        found = self._region or os.environ.get("AWS_REGION") or self.botocore().get_config_variable("region")
        region = str(found or DEFAULT_REGION)
        if not region.replace("-", "").isalnum() or not region.isascii():
            raise ConfigurationError(f"{region!r} is not an AWS region", hint="e.g. us-west-2")
        return region

    def credentials(self) -> AwsCredentials:
        """Return the credentials to sign with now; botocore resolves and renews them, once for all threads."""
        session = self.botocore()
        given = typed(lambda: self._resolve(session), resource=self._role_arn or "")
        with self._lock:
            if self._session is session:
                self._given = given
        return given

    def _resolve(self, session: Session) -> AwsCredentials:
        with self._lock:
            found = session.get_credentials()
        frozen = found and found.get_frozen_credentials()
        if not frozen or not frozen.access_key or not frozen.secret_key:
            raise NoCredentialsError
        # botocore offers no public reading of when temporary credentials end; tests/unit holds it to this name.
        end = getattr(found, "_expiry_time", None)
        ends_at = float("inf") if end is None else float(end.timestamp())
        source = str(getattr(found, "method", None) or "")
        return AwsCredentials(frozen.access_key, frozen.secret_key, frozen.token, ends_at, source)

    def forget_credentials(self, refused: AwsCredentials | None = None) -> None:
        """Resolve the credentials anew when next needed.

        Args:
            refused: the ones AWS says have expired; nothing is done when others have been resolved since. When left
                out, those that assume a role are resolved anew too.
        """
        with self._lock:
            if refused is not None and refused != self._given:
                return
            # Dropped, not closed: others may be using them.
            self._clients.clear()
            self._session = self._given = None
        if refused is None and self._base is not None:
            self._base.forget_credentials()

    def _assume_role(self) -> dict[str, str]:
        assert self._base is not None
        return assume_role(self._base.http, str(self._role_arn), self._external_id)

    def _create(self, session: Session, service: str) -> Any:
        # "standard" retries throttling with jitter and a quota; a mode the user configured stays.
        mode = session.get_config_variable("retry_mode")
        retries = {} if mode not in {None, "legacy"} else {"retries": {"mode": "standard"}}
        config = Config(user_agent_extra=USER_AGENT, **retries)  # type: ignore[arg-type]  # the stubs want a TypedDict
        with no_collection():
            return session.create_client(
                service, region_name=self.region(), endpoint_url=self._endpoint_url, config=config
            )

    def client(self, service: str) -> Any:
        """Return the botocore client of a service, one for all threads."""
        # Session and client under one lock: a client of credentials forgotten meanwhile must not be kept.
        with self._lock:
            client = self._clients.get(service)
            if client is None:
                session = self.botocore()
                client = typed(lambda: self._create(session, service), region=self.region())
                self._clients[service] = client
            return client

    def call(self, service: str, operation: str, parameters: Mapping[str, object]) -> dict[str, Any]:
        """Make one API call with a botocore client; raises our typed errors."""
        client = self.client(service)
        name = client.meta.method_to_api_mapping.get(operation)
        if name is None:
            raise ConfigurationError(f"{service} has no operation {operation!r}", hint="e.g. 'get_secret_value'")
        resource = next((str(parameters[key]) for key in _RESOURCES if key in parameters), "")
        answer: dict[str, Any] = typed(
            lambda: getattr(client, operation)(**parameters),
            action=f"{service}:{name}",
            resource=resource,
            region=self.region(),
        )
        answer.pop("ResponseMetadata", None)
        return answer

    def endpoint(self, service: str) -> Endpoint:
        """Return where a service answers: argument, environment, configuration file, botocore's rules."""
        session, region = self.botocore(), self.region()
        return typed(lambda: find_endpoint(session, service, region, given=self._endpoint_url), region=region)

    def close(self) -> None:
        """Close what is open; whoever asks again opens it again."""
        self.http.close()
        if self._own_base is not None:
            self._own_base.close()
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()
