"""What ``verify`` asks about a MongoDB: nothing yet, which is said of every user and is never green."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from soa_db.access.report import Check, Outcome, Probe

if TYPE_CHECKING:
    from soa_db.access.engine import Part
    from soa_db.access.spec import SpecSet
    from soa_db.names import Env

__all__ = ["MongoVerification"]


@dataclass(frozen=True, slots=True)
class MongoVerification:
    """The users of some services.

    Attributes:
        specs: the specs.
        env: the environment.
        services: whose users.
    """

    specs: SpecSet
    env: Env
    services: frozenset[str]

    @property
    def home(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """User → where it is at home."""
        return tuple(
            (spec.mongo_user(), (spec.mongo_database(),))
            for spec in self.specs.specs
            if spec.mongo is not None and spec.service in self.services
        )

    def parts(self) -> list[Part]:
        """Nothing was asked: inconclusive."""
        probes = [
            Probe(user, databases[0], "rights", "has what its spec says", "is", "catalog")
            for user, databases in self.home
        ]
        mend = "there are no probes for MongoDB yet"
        return [("MongoDB", lambda: [Check(probe, Outcome.INCONCLUSIVE, "it was not asked", mend) for probe in probes])]

    def end(self) -> None:
        """Do nothing: there is nothing to end."""
