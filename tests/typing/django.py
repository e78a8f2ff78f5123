"""``soa_db.django``: what its back ends raise beyond Django's own errors."""

from __future__ import annotations

from soa_db.django import DatabaseFailure, SettingsError

kinds: tuple[type[Exception], ...] = (DatabaseFailure, SettingsError)
