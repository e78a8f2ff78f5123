"""From a request to what provisions a MongoDB and rotates its passwords."""

from __future__ import annotations

from typing import TYPE_CHECKING

from soa_db.access.mongo.admin import admin_server
from soa_db.access.mongo.desired import desired_state
from soa_db.access.mongo.passwords import Passwords
from soa_db.access.mongo.provision import MongoProvisioner

if TYPE_CHECKING:
    from soa_db.access.engine import Request

__all__ = ["mongo_passwords", "mongo_provisioner"]


def mongo_provisioner(request: Request) -> MongoProvisioner:
    """What provisions the MongoDB of an environment.

    Raises:
        ConfigurationError, CredentialError: the coordinates are missing or cannot be used.
    """
    passwords = mongo_passwords(request)
    return MongoProvisioner(
        desired=passwords.desired,
        specs=request.specs_text(),
        server=passwords.server,
        options=request.options,
        passwords=passwords,
        progress=request.progress,
    )


def mongo_passwords(request: Request) -> Passwords:
    """Who looks after the passwords of an environment's users; raises as ``mongo_provisioner`` does."""
    return Passwords(
        request.aws,
        admin_server(request.env, aws=request.aws, admin_url=request.admin_url),
        desired_state(request.specs, request.env),
        request.options.insecure_dev,
    )
