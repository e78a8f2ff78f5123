"""PostgreSQL as one of the engines. Loads driver and AWS libraries only when something is asked of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from soa_db.access.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Collection

    from soa_db.access.aws.rights import Rights
    from soa_db.access.engine import Provisioner, Request, Selection, Verification
    from soa_db.access.rotate import RotateResult
    from soa_db.access.spec import SpecSet

__all__ = ["POSTGRES"]


def _declared(specs: SpecSet) -> bool:
    return any(spec.postgres is not None for spec in specs.specs)


def _provisioner(request: Request) -> Provisioner:
    from soa_db.access.postgres.admin import admin_server
    from soa_db.access.postgres.desired import desired_state
    from soa_db.access.postgres.passwords import DevelopmentPasswords
    from soa_db.access.postgres.provision import PostgresProvisioner

    desired = desired_state(request.specs, request.env)
    server = admin_server(request.env, aws=request.aws, admin_url=request.admin_url)
    fixed = request.options.insecure_dev
    return PostgresProvisioner(
        desired=desired,
        specs=request.specs_text(),
        server=server,
        options=request.options,
        passwords=DevelopmentPasswords(request.aws, server, desired, fixed) if request.env == "dev" else None,
        progress=request.progress,
    )


def _rotate(request: Request, selection: Selection) -> RotateResult:
    from soa_db.access.postgres.rotate import rotate_postgres

    return rotate_postgres(request, selection)


def _verification(request: Request, services: Collection[str], rights: Rights) -> Verification:
    from soa_db.access.postgres.logins import LoaderLogins
    from soa_db.access.postgres.verification import PostgresVerification

    logins = LoaderLogins(rights)
    return PostgresVerification(request.specs, env=request.env, services=services, logins=logins, rights=rights)


POSTGRES = Engine("postgres", ("postgresql", "postgres"), _declared, _provisioner, _rotate, _verification)
