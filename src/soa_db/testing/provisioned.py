"""What the throw-away Redis and MongoDB have in common: provisioned once, emptied after each test."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from soa_db.errors import ConfigurationError
from soa_db.testing.server import the_spec

if TYPE_CHECKING:
    from soa_db.access.spec import Spec, SpecSet
    from soa_db.local.environment import LocalEnvironment

__all__ = ["ProvisionedServer"]


class ProvisionedServer(ABC):
    """A local environment's dev server of one engine, with the users of some specs.

    Args:
        environment: the environment, which runs.
        specs: what is provisioned.
    """

    __test__ = False  # the names of its kinds begin with what pytest collects
    engine: ClassVar[Literal["redis", "mongo"]]

    def __init__(self, environment: LocalEnvironment, specs: SpecSet) -> None:
        self.specs = specs
        self._environment = environment

    @property
    def admin_url(self) -> str:
        """The administrator's way in: for assertions, not for what is tested. Holds the password."""
        return self._environment.server("dev", self.engine).admin_url

    def prepare(self) -> None:
        """Provision. The process's environment must have the local environment's exports.

        Raises:
            ConfigurationError: no spec has a part for the engine.
        """
        from soa_db.access import apply

        if all(getattr(spec, self.engine) is None for spec in self.specs.specs):
            services = ", ".join(self.specs.by_service)
            raise ConfigurationError(f"no spec has a `{self.engine}` part (known are {services})", hint=self._hint)
        apply(self.specs, env="dev", engines=(self.engine,))

    @abstractmethod
    def reset(self) -> None:
        """Delete what every service has stored, and end what they have under way."""

    def _spec(self, service: str | None) -> Spec:
        """Return a service's spec, which has a part for the engine.

        Raises:
            ConfigurationError: it has none, the service is left out and there are several, or there is no such service.
        """
        spec = the_spec(self.specs, service)
        if getattr(spec, self.engine) is None:
            raise ConfigurationError(f"the spec of {spec.service} has no `{self.engine}` part", hint=self._hint)
        return spec

    @property
    def _hint(self) -> str:
        return f"`{self.engine}: {{}}` in its db-access.yaml declares what a service usually has"
