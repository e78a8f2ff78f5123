"""Django: a PostgreSQL back end (``soa_db.django.postgresql``) and a Redis cache (``soa_db.django.cache.RedisCache``).

Both are named in the settings and never imported by hand; what is here are the errors they raise.
"""

from __future__ import annotations

from soa_db.errors import MissingExtra

try:
    import django as _django  # noqa: F401 - whether it is there
except ModuleNotFoundError as error:
    raise MissingExtra("django is not installed", hint="pip install 'soa-db[django]'") from error

from soa_db.django.errors import DatabaseFailure, SettingsError

__all__ = ["DatabaseFailure", "SettingsError"]
