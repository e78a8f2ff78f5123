"""MongoDB as one of the engines. Loads driver and AWS libraries only when something is asked of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from soa_db.access.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Collection

    from soa_db.access.aws.rights import Rights
    from soa_db.access.engine import Provisioner, Request, Selection, Verification
    from soa_db.access.rotate import RotateResult
    from soa_db.access.spec import SpecSet

__all__ = ["MONGO"]


def _declared(specs: SpecSet) -> bool:
    return any(spec.mongo is not None for spec in specs.specs)


def _provisioner(request: Request) -> Provisioner:
    from soa_db.access.mongo.entry import mongo_provisioner

    return mongo_provisioner(request)


def _rotate(request: Request, selection: Selection) -> RotateResult:
    from soa_db.access.mongo.entry import mongo_passwords
    from soa_db.access.mongo.rotate import rotate_mongo

    return rotate_mongo(mongo_passwords(request), selection, progress=request.progress)


def _verification(request: Request, services: Collection[str], rights: Rights) -> Verification:
    from soa_db.access.mongo.verification import MongoVerification

    return MongoVerification(request, frozenset(services), rights)


MONGO = Engine("mongo", ("mongodb",), _declared, _provisioner, _rotate, _verification)
