"""What an identity's AWS role must not read of PostgreSQL: the secrets of others, the administrator's whereabouts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from soa_db.access.aws.probe import probe_unreadable
from soa_db.names import dev_secret_name, password_secret_name, postgres_admin_secret_ssm_path

if TYPE_CHECKING:
    from soa_db.access.report import Check
    from soa_db.access.spec import PostgresIdentity
    from soa_db.aws import AwsClients
    from soa_db.names import Env

__all__ = ["probe_postgres_aws"]


def probe_postgres_aws(
    aws: AwsClients, identity: PostgresIdentity, others: Iterable[PostgresIdentity], *, env: Env
) -> Iterator[Check]:
    """Try to read what belongs to others.

    Args:
        aws: the AWS rights of the identity's service and role.
        identity: whose rights they are.
        others: every identity; those of the same service and role share the AWS role and are passed over.
        env: the environment.
    """
    strangers = [other for other in others if (other.service, other.role) != (identity.service, identity.role)]
    if env == "dev":
        names = {dev_secret_name(other.service, other.role, db) for other in strangers for db in other.db_ids}
    else:
        names = {
            password_secret_name(env, other.service, db)
            for other in strangers
            if other.service != identity.service
            for db in other.db_ids
        }
    return probe_unreadable(
        aws,
        identity.user,
        secrets=names,
        of="secrets of other identities",
        parameter=postgres_admin_secret_ssm_path(env),
        administrator="the administrator's secret",
    )
