"""``soa_db.alembic``: what an ``env.py`` says."""

from __future__ import annotations

from pathlib import Path

from alembic import context
from sqlalchemy import MetaData

from soa_db.alembic import run_migrations

run_migrations(context, service="chat-api", spec=Path("db-access.yaml"), env="dev", target_metadata=MetaData())
run_migrations(context, target_metadata={"main": MetaData(), "pii": MetaData()}, wait=10.0)
