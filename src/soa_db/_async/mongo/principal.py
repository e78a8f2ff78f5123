"""Who a MongoDB provider connects as."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from soa_db._async.principal import AsyncPrincipal

if TYPE_CHECKING:
    from soa_db._async.aws import AsyncAwsClients
    from soa_db.config import MongoConfig
    from soa_db.credentials import AsyncCredentialProvider

__all__ = ["AsyncMongoPrincipal"]
