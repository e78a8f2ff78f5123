"""Alembic: what a service's ``env.py`` calls. Migrations run as the owner role, one run per database at a time.

::

    from alembic import context
    from chat_api.models import Base
    from soa_db.alembic import run_migrations

    run_migrations(context, service="chat-api", target_metadata=Base.metadata)

On the command line, ``-x`` says the rest: ``alembic -x env=mirror upgrade head``.
"""

from __future__ import annotations

from soa_db.alembic.run import run_migrations

__all__ = ["run_migrations"]
