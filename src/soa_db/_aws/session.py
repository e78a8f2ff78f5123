"""One principal at AWS: region, credentials, endpoints, botocore clients. Blocking and thread-safe."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.credentials import CredentialProvider, CredentialResolver, DeferredRefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError
from botocore.loaders import Loader, create_loader
from botocore.session import Session

from soa_db._aws.failures import translate
from soa_db._runtime.imports import no_collection
from soa_db._version import __version__
from soa_db.credentials import AwsCredentials
from soa_db.errors import ConfigurationError
from soa_db.names import DEFAULT_REGION

if TYPE_CHECKING:
    from botocore.client import BaseClient

__all__ = ["USER_AGENT", "AwsSession"]

USER_AGENT = f"soa-db/{__version__}"
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
        source: whose credentials assume the role; those of the process or profile when left out.
    """

    def __init__(
        self,
        *,
        region: str | None,
        profile: str | None,
        role_arn: str | None,
        external_id: str | None,
        endpoint_url: str | None,
        source: AwsSession | None = None,
    ) -> None:
        self._source = source
        self._region = region
        self._profile = profile
        self._role_arn = role_arn
        self._external_id = external_id
        self._endpoint_url = endpoint_url
        self._lock = threading.RLock()
        self._session: Session | None = None
        self._clients: dict[str, BaseClient] = {}

    def botocore(self) -> Session:
        """Return the session whose credentials are the target's; raises ConfigurationError for a bad profile."""
        with self._lock:
            if self._session is None:
                session = self._new()
                if self._role_arn is not None:
                    provider = _RoleProvider(
                        partial(self._assume_role, self._source.botocore() if self._source else session)
                    )
                    session = self._new()
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
        try:
            with self._lock:
                found = session.get_credentials()
            if found is None:
                raise NoCredentialsError
            frozen = found.get_frozen_credentials()
        except (BotoCoreError, ClientError) as error:
            raise translate(error, resource=self._role_arn or "") from error
        if not frozen.access_key or not frozen.secret_key:
            raise translate(NoCredentialsError())
        # botocore offers no public reading of when temporary credentials end; tests/unit holds it to this name.
        end = getattr(found, "_expiry_time", None)
        ends_at = float("inf") if end is None else float(end.timestamp())
        return AwsCredentials(frozen.access_key, frozen.secret_key, frozen.token, ends_at)

    def forget_credentials(self) -> None:
        """Resolve the credentials anew when next needed: AWS says these have expired."""
        with self._lock:
            # Dropped, not closed: others may be using them.
            self._clients.clear()
            self._session = None

    def _assume_role(self, base: Session) -> dict[str, str]:
        """Ask STS for credentials of the role, in the form botocore's refreshing credentials want."""
        role = str(self._role_arn)
        arguments = {"RoleArn": role, "RoleSessionName": "soa-db"}
        if self._external_id is not None:
            arguments["ExternalId"] = self._external_id
        client = self._create(base, "sts")
        try:
            answer = client.assume_role(**arguments)["Credentials"]
        except ParamValidationError as error:
            raise translate(error, action="sts:AssumeRole") from None
        except (BotoCoreError, ClientError) as error:
            raise translate(error, action="sts:AssumeRole", resource=role, region=self.region()) from error
        finally:
            client.close()
        return {
            "access_key": answer["AccessKeyId"],
            "secret_key": answer["SecretAccessKey"],
            "token": answer["SessionToken"],
            "expiry_time": answer["Expiration"].isoformat(),
        }

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
        session = self.botocore()
        with self._lock:
            client = self._clients.get(service)
            if client is None:
                try:
                    client = self._clients[service] = self._create(session, service)
                except (BotoCoreError, ValueError) as error:
                    raise translate(error, region=self.region()) from error
            return client

    def call(self, service: str, operation: str, parameters: Mapping[str, object]) -> dict[str, Any]:
        """Make one API call with a botocore client; raises our typed errors."""
        client = self.client(service)
        name = client.meta.method_to_api_mapping.get(operation)
        if name is None:
            raise ConfigurationError(f"{service} has no operation {operation!r}", hint="e.g. 'get_secret_value'")
        resource = next((str(parameters[key]) for key in _RESOURCES if key in parameters), "")
        try:
            answer: dict[str, Any] = getattr(client, operation)(**parameters)
        except ParamValidationError as error:
            raise translate(error, action=f"{service}:{name}") from None
        except (BotoCoreError, ClientError) as error:
            raise translate(error, action=f"{service}:{name}", resource=resource, region=self.region()) from error
        answer.pop("ResponseMetadata", None)
        return answer

    def endpoint(self, service: str, config_name: str) -> str:
        """Return the URL of a service as botocore would: argument, environment, configuration file, partition.

        Args:
            service: the host's first label, e.g. ``secretsmanager``.
            config_name: what the configuration calls it, e.g. ``secrets_manager``.
        """
        if self._endpoint_url:
            return self._endpoint_url
        session = self.botocore()
        if not session.get_config_variable("ignore_configured_endpoint_urls"):
            scoped = session.get_scoped_config()
            section = session.full_config.get("services", {}).get(scoped.get("services"), {}).get(config_name, {})
            configured = (
                os.environ.get(f"AWS_ENDPOINT_URL_{config_name.upper()}"),
                os.environ.get("AWS_ENDPOINT_URL"),
                section.get("endpoint_url"),
                scoped.get("endpoint_url"),
            )
            for url in configured:
                if url:
                    return str(url)
        dual = bool(session.get_config_variable("use_dualstack_endpoint"))
        fips = "-fips" if session.get_config_variable("use_fips_endpoint") else ""
        suffix = session.get_component("data_loader").load_data("partitions")
        outputs = _partition(suffix["partitions"], self.region())
        domain = outputs["dualStackDnsSuffix" if dual else "dnsSuffix"]
        return f"https://{service}{fips}.{self.region()}.{domain}"

    def close(self) -> None:
        """Close what is open; whoever asks again opens it again."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()


def _partition(partitions: list[dict[str, Any]], region: str) -> dict[str, Any]:
    """Return the outputs of the partition a region is in: by name, by pattern, else the first (``aws``)."""
    import re

    for partition in partitions:
        if region in partition["regions"]:
            return dict(partition["outputs"])
    for partition in partitions:
        if re.match(partition["regionRegex"], region):
            return dict(partition["outputs"])
    return dict(partitions[0]["outputs"])
