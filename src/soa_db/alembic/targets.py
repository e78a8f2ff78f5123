"""What is to be migrated: a service's databases, and what Alembic is told of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from soa_db import names
from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import MetaData

    from soa_db.access.spec import Spec

    Metadata = MetaData | Sequence[MetaData] | None

__all__ = ["Target", "targets_of"]


@dataclass(frozen=True, slots=True)
class Target:
    """One database to migrate.

    Attributes:
        db_id: its id.
        metadata: what autogeneration compares it with.
        schema: where the version table stands; None for the first on the search path.
        engine_name: what the functions of a revision are named by, ``upgrade_{engine_name}``; None where there is one
            database, and so plain ``upgrade``.
    """

    db_id: str | None
    metadata: Metadata
    schema: str | None
    engine_name: str | None

    def configure(self, context: Any, how: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        """Tell Alembic of it; ``options``, which are the user's, win."""
        own: dict[str, Any] = {"target_metadata": self.metadata}
        if self.schema is not None:
            own["version_table_schema"] = self.schema
        context.configure(**{**how, **own, **options})

    def migrate(self, context: Any) -> None:
        """Run the revisions."""
        named = {} if self.engine_name is None else {"engine_name": self.engine_name}
        with context.begin_transaction():
            context.run_migrations(**named)


def targets_of(
    spec: Spec | None, metadata: Metadata | Mapping[str, Metadata], db_id: str | None, chosen: str | None
) -> list[Target]:
    """Return the databases to migrate, in order.

    Args:
        spec: the service's, for the schemas.
        metadata: what autogeneration compares with; a mapping names several databases.
        db_id: the one database, where ``metadata`` is no mapping.
        chosen: what ``-x db=`` says.

    Raises:
        ConfigurationError: the mapping is empty, is given beside ``db_id``, or does not name ``chosen``.
    """
    if not isinstance(metadata, Mapping):
        wanted = names.normal_db_id(chosen if chosen is not None else db_id)
        return [Target(wanted, metadata, _version_schema(spec, wanted), None)]
    if db_id is not None:
        raise ConfigurationError(
            "db_id is for one database, and target_metadata is a mapping of several", hint="leave one of them out"
        )
    if not metadata:
        raise ConfigurationError("target_metadata names no database", hint='e.g. {"main": Base.metadata}')
    found = [
        Target(names.normal_db_id(name), one, _version_schema(spec, name), name.replace("-", "_"))
        for name, one in metadata.items()
    ]
    if chosen is None:
        return found
    picked = [target for target in found if target.db_id == names.normal_db_id(chosen)]
    if not picked:
        raise ConfigurationError(f"-x db={chosen} names no database of these: {', '.join(metadata)}")
    return picked


def _version_schema(spec: Spec | None, db_id: str | None) -> str | None:
    """The spec's first schema where the owner has no `public`; otherwise what the search path gives."""
    if spec is None or spec.postgres is None:
        return None
    database = spec.postgres.database(db_id or "main")
    if database is None or "public" in database.schemas:
        return None
    return database.schemas[0]
