"""``db-access.yaml`` version 1: models, reader, and several specs taken together."""

from soa_db.access.spec.load import load_spec, load_specs
from soa_db.access.spec.models import Spec
from soa_db.access.spec.mongo import MongoRead, MongoShare, MongoSpec, RetiredUser
from soa_db.access.spec.pattern import ObjectKind, ObjectPattern
from soa_db.access.spec.postgres import (
    ExtraGrant,
    PostgresDatabase,
    PostgresRead,
    PostgresShare,
    PostgresSpec,
    Privilege,
    RetiredRole,
    TablePrivilege,
)
from soa_db.access.spec.redis import RedisSpec
from soa_db.access.spec.spec_set import AgreedRead, PendingRead, PostgresIdentity, SpecSet

__all__ = [
    "AgreedRead",
    "ExtraGrant",
    "MongoRead",
    "MongoShare",
    "MongoSpec",
    "ObjectKind",
    "ObjectPattern",
    "PendingRead",
    "PostgresDatabase",
    "PostgresIdentity",
    "PostgresRead",
    "PostgresShare",
    "PostgresSpec",
    "Privilege",
    "RedisSpec",
    "RetiredRole",
    "RetiredUser",
    "Spec",
    "SpecSet",
    "TablePrivilege",
    "load_spec",
    "load_specs",
]
