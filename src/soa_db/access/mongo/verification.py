"""What ``verify`` asks about one MongoDB, as some of the services' users see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from soa_db.access.aws.rights import AppTier
from soa_db.errors import SoaDbError
from soa_db.names import ENVS, mongo_secret_name

if TYPE_CHECKING:
    from soa_db.access.aws.rights import Rights
    from soa_db.access.engine import Part, Request
    from soa_db.access.mongo.admin import AdminServer
    from soa_db.access.mongo.expect import UserAccess
    from soa_db.aws import AwsClients

__all__ = ["MongoVerification"]


@dataclass(frozen=True, slots=True)
class MongoVerification:
    """The users of some services.

    Attributes:
        request: the specs, the environment, and whose AWS rights the administrator's are.
        services: whose users.
        rights: whose AWS rights the services' are.
    """

    request: Request
    services: frozenset[str]
    rights: Rights

    @property
    def home(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """User → where it is at home."""
        return tuple(
            (spec.mongo_user(), (spec.mongo_database(),))
            for spec in self.request.specs.specs
            if spec.mongo is not None and spec.service in self.services
        )

    def parts(self) -> list[Part]:
        """Everything there is to ask; opens nothing yet."""
        from soa_db.access.mongo.probe import mongo_parts

        return mongo_parts(
            self.request.specs,
            self.request.env,
            clients_of=self._clients_of,
            assumes=self.rights.assumes,
            only=self.services,
            administration=self._administration,
            passwords_elsewhere=self._passwords_elsewhere,
        )

    def end(self) -> None:
        """Do nothing: each command of a probe has a deadline of its own."""

    def _clients_of(self, service: str) -> AwsClients:
        return self.rights.of(AppTier(service))

    def _administration(self) -> AdminServer:
        from soa_db.access.mongo.admin import admin_server

        return admin_server(self.request.env, aws=self.request.aws, admin_url=self.request.admin_url)

    def _passwords_elsewhere(self, user: UserAccess) -> Mapping[str, str]:
        """A user's passwords in the other environments that are in the same account, where the caller may read them."""
        found: dict[str, str] = {}
        for env in ENVS:
            if env == self.request.env:
                continue
            try:
                payload = self.request.aws.secret(mongo_secret_name(env, user.service))
            except SoaDbError:
                continue
            password = payload.get("password")
            if isinstance(password, str) and password:
                found[env] = password
        return found
