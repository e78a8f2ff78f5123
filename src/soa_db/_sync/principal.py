# Generated from src/soa_db/_async/principal.py by tools/generate_sync.py: edit that file, then run `make generate`.

"""Who a provider connects as: its configuration, loaded when it is first needed, and the credentials for it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from soa_db.credentials import CredentialInUse
from soa_db.errors import NotConnectedError

if TYPE_CHECKING:
    from soa_db._sync.aws import AwsClients
    from soa_db.config import IamAuth, NoAuth, PasswordAuth, SecretAuth
    from soa_db.credentials import CredentialProvider, Credentials

__all__ = ["Principal"]


class _Config(Protocol):
    @property
    def instance_name(self) -> str: ...

    @property
    def auth(self) -> PasswordAuth | SecretAuth | IamAuth | NoAuth: ...


ConfigT = TypeVar("ConfigT", bound=_Config)
LoaderT = TypeVar("LoaderT", bound=Mapping[str, Any])


class _Remembered:
    """The credentials of a principal, and which of them were given last, and since when."""

    def __init__(self, credentials: CredentialProvider) -> None:
        self._credentials = credentials
        self._last: tuple[Credentials, float] | None = None

    def get(self) -> Credentials:
        return self._note(self._credentials.get())

    def refresh(self, rejected: Credentials) -> Credentials | None:
        found = self._credentials.refresh(rejected)
        return found if found is None else self._note(found)

    def _note(self, found: Credentials) -> Credentials:
        if self._last is None or self._last[0].secret != found.secret:
            self._last = (found, time.monotonic())
        return found

    def in_use(self) -> CredentialInUse | None:
        if self._last is None:
            return None
        (credentials, since), now = self._last, time.monotonic()
        return CredentialInUse(credentials.source, now - since, credentials.expires_at - now)


class Principal(ABC, Generic[ConfigT, LoaderT]):
    """One user of one database; an engine says how it is loaded. Give ``config``, or ``loader`` with which to load it.

    Args:
        config: the configuration.
        loader: the keywords of the loader.
        aws: shared AWS clients; made when needed, and then closed with the principal.
    """

    def __init__(
        self, *, config: ConfigT | None = None, loader: LoaderT | None = None, aws: AwsClients | None = None
    ) -> None:
        self._config = config
        self._loader = loader
        self._aws = aws
        self._own_aws: AwsClients | None = None
        # Kept from one connect() to the next: it knows which password the server took last.
        self._credentials: _Remembered | None = None

    # Both import what they call: the models these modules need take longer to import than a driver does.

    @abstractmethod
    def _load(self, loader: LoaderT, aws: AwsClients) -> ConfigT:
        """Return the configuration, from AWS."""

    @abstractmethod
    def _credentials_of(self, config: ConfigT, aws: AwsClients | None) -> CredentialProvider:
        """Return who gives the credentials that ``auth`` describes."""

    @property
    def name(self) -> str:
        """What messages call it."""
        if self._config is not None:
            return self._config.instance_name
        assert self._loader is not None
        return str(self._loader.get("instance_name") or self._loader["service"])

    @property
    def config(self) -> ConfigT:
        """The configuration; raises NotConnectedError as long as it has not been loaded."""
        if self._config is None:
            raise NotConnectedError(
                "the configuration is loaded from AWS by connect()", hint="call connect() first", instance=self.name
            )
        return self._config

    def resolve(self) -> tuple[ConfigT, CredentialProvider]:
        """Return the configuration, loaded if it has to be, and who gives the credentials."""
        config = self._config
        if config is None:
            assert self._loader is not None
            config = self._config = self._load(self._loader, self._clients_to_load(self._loader))
        if self._credentials is None:
            self.use(self._credentials_of(config, self._clients_for(config)))
            assert self._credentials is not None
        return config, self._credentials

    def use(self, credentials: CredentialProvider) -> None:
        """Have the credentials from ``credentials`` from now on, whatever ``auth`` describes."""
        self._credentials = _Remembered(credentials)

    @property
    def credential(self) -> CredentialInUse | None:
        """What may be told of the credentials asked for last; None before there are any."""
        return self._credentials.in_use() if self._credentials is not None else None

    def _clients_to_load(self, loader: LoaderT) -> AwsClients:
        from soa_db._sync.aws import AwsClients

        if self._aws is None and self._own_aws is None:
            # The same for loading and for connecting: the secret is then read once.
            self._own_aws = AwsClients(region=loader.get("region"))
        clients = self._aws or self._own_aws
        assert clients is not None
        return clients

    def _clients_for(self, config: ConfigT) -> AwsClients | None:
        auth = config.auth
        if self._aws is None and self._own_aws is None and (auth.kind == "secret" or auth.kind == "iam"):  # noqa: PLR1714 - mypy narrows by ==
            from soa_db._sync.aws import AwsClients

            self._own_aws = AwsClients.from_target(auth.aws)
        return self._aws or self._own_aws

    def close(self) -> None:
        """Close the AWS clients, if they are its own."""
        if self._own_aws is not None:
            self._own_aws.close()
