"""IAM policies per service and tier: whom it may log in as, and the exact secrets and parameters it may read. Pure.

Each role of a service has an AWS role of its own, ``{service}-owner``, ``{service}-app``, ``{service}-ro``, and each
AWS role may connect as the database users of that one role.

Wildcards stand in two places only. Secrets Manager ends every ARN in a hyphen and six random characters, which a policy
written by name has to match with ``-??????`` (User Guide, "IAM policy examples for Secrets Manager"). In mirror, the
database is restored daily and gets a new DbiResourceId, so users there are named as ``dbuser:*/{user}``; in prod with
the exact id. (Specs take no user that a policy would read as a pattern.)

Secrets under the account's default key (``aws/secretsmanager``) need no ``kms:Decrypt``.
"""

from __future__ import annotations

import json
import string
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from soa_db.access.mongo.policy import mongo_statements
from soa_db.access.redis.policy import redis_statements
from soa_db.errors import ConfigurationError
from soa_db.names import (
    ROLES,
    Env,
    Role,
    dev_secret_name,
    iam_host_ssm_path,
    iam_port_ssm_path,
    password_secret_name,
    rds_db_user_arn,
    redis_user,
    secret_arn_pattern,
    ssm_parameter_arn,
)

if TYPE_CHECKING:
    from soa_db.access.spec import PostgresIdentity, Spec, SpecSet

__all__ = ["ROLE_NAME", "Place", "RolePolicy", "policy", "policy_name", "role_name", "undeclared"]

ROLE_NAME = "{service}-{role}"
"""How AWS roles are named; a template may hold ``{service}``, ``{role}`` and ``{env}``."""

_MAX_POLICY = 10_240  # characters of all inline policies of a role, white space not counted (IAM and STS quotas)
_MAX_ROLE_NAME = 64
_ROLE_CHARACTERS = frozenset(string.ascii_letters + string.digits + "_+=,.@-")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the databases of an environment are.

    Attributes:
        account: AWS account id.
        region: AWS region.
        partition: ``aws``, ``aws-us-gov`` or ``aws-cn``.
        resource_id: the database's DbiResourceId (``db-…``, ``cluster-…`` or ``prx-…``), for prod.
        mongo_ca_secret: name or ARN of the secret with MongoDB's CA, for mirror and prod.
    """

    account: str
    region: str
    partition: str = "aws"
    resource_id: str | None = None
    mongo_ca_secret: str | None = None


@dataclass(frozen=True, slots=True)
class RolePolicy:
    """One inline policy of one AWS role.

    Attributes:
        service: whose it is.
        role: which tier.
        role_name: the AWS role it belongs on.
        name: its name there.
        users: the database users it lets the role connect as; in dev, whose passwords it lets it read.
        document: the policy.
    """

    service: str
    role: Role
    role_name: str
    name: str
    users: tuple[str, ...]
    document: dict[str, Any]

    def as_json(self) -> str:
        """The policy as people and IAM read it."""
        return json.dumps(self.document, indent=2)


def policy_name(env: Env) -> str:
    """The name of the inline policy on every AWS role: one for each environment."""
    return f"soa-db-{env}"


def role_name(template: str, *, service: str, role: Role, env: Env) -> str:
    """The name of the AWS role of one tier.

    Raises:
        ConfigurationError: the template, or the name it gives, cannot be used.
    """
    try:
        fields = {field for _, field, _, _ in string.Formatter().parse(template) if field is not None}
        name = template.format(service=service, role=role, env=env)
    except (ValueError, KeyError, IndexError) as error:
        raise ConfigurationError(
            f"{template!r} is no template of role names: {error}", hint=f"e.g. {ROLE_NAME}"
        ) from error
    if not {"service", "role"} <= fields:
        raise ConfigurationError(
            f"the template of role names {template!r} gives several tiers one name",
            hint=f"it must hold {{service}} and {{role}}, e.g. {ROLE_NAME}",
        )
    if len(name) > _MAX_ROLE_NAME or not _ROLE_CHARACTERS.issuperset(name):
        raise ConfigurationError(f"{name!r} is no name for an AWS role", hint="64 letters, digits and _+=,.@- at most")
    return name


def policy(
    specs: SpecSet,
    *,
    env: Env,
    place: Place,
    services: Collection[str] | None = None,
    password_services: Collection[str] = (),
    role_template: str = ROLE_NAME,
) -> tuple[RolePolicy, ...]:
    """Render the policy of every service and tier that has a user, in the order of the specs.

    Args:
        specs: the declared services.
        env: the environment.
        place: where its databases are.
        services: only these; all when left out.
        password_services: services not yet on IAM; their app tier may read the password secrets of mirror or prod.
        role_template: how AWS roles are named.

    Raises:
        ConfigurationError: a service is not among the specs, prod's resource id or the secret of MongoDB's CA is
            missing, or a policy is larger than IAM takes.
    """
    known = specs.by_service
    for name in (*(services or ()), *password_services):
        if name not in known:
            raise ConfigurationError(
                f"there is no service {name!r} among the specs", hint=f"known are {', '.join(sorted(known))}"
            )
    if env == "prod" and not place.resource_id and specs.postgres_identities():
        raise ConfigurationError("policies for prod name the database exactly, and its resource id is not known")
    found = _tiers(specs)
    names: dict[str, tuple[str, Role]] = {}
    for tier in found:
        name = role_name(role_template, service=tier[0], role=tier[1], env=env)
        if (other := names.setdefault(name, tier)) != tier:
            raise ConfigurationError(
                f"the template {role_template!r} gives one name, {name}, to {' '.join(other)} and {' '.join(tier)}",
                hint=f"it must hold {{service}} and {{role}} whole, e.g. {ROLE_NAME}",
            )
    return tuple(
        RolePolicy(
            service,
            role,
            role_name(role_template, service=service, role=role, env=env),
            policy_name(env),
            (*(one.user for one in identities), *_other_users(known[service], role, env)),
            _document(
                known[service],
                role,
                env,
                place,
                identities,
                with_password=role == "app" and service in password_services,
            ),
        )
        for (service, role), identities in found.items()
        if services is None or service in services
    )


def _tiers(specs: SpecSet) -> dict[tuple[str, Role], list[PostgresIdentity]]:
    """Every service and role that has a user somewhere, in the order of the specs, with its PostgreSQL users."""
    found: dict[tuple[str, Role], list[PostgresIdentity]] = {}
    for spec in specs.specs:
        for identity in specs.postgres_identities():
            if identity.service == spec.service:
                found.setdefault((spec.service, identity.role), []).append(identity)
        if spec.redis is not None or spec.mongo is not None:
            found.setdefault((spec.service, "app"), [])
    return found


def _other_users(spec: Spec, role: Role, env: Env) -> Iterator[str]:
    """The users of a tier beside those of PostgreSQL: Redis and MongoDB have one for each service."""
    if role == "app" and spec.redis is not None:
        yield redis_user(spec.service, env)
    if role == "app" and spec.mongo is not None:
        yield spec.mongo_user()


def undeclared(
    specs: SpecSet, *, env: Env, services: Collection[str] | None = None, role_template: str = ROLE_NAME
) -> tuple[str, ...]:
    """The AWS roles that have no tier behind them any more (``ro: null``), among the services of the specs."""
    declared = _tiers(specs)
    return tuple(
        role_name(role_template, service=spec.service, role=role, env=env)
        for spec in specs.specs
        if services is None or spec.service in services
        for role in ROLES
        if (spec.service, role) not in declared
    )


def _document(
    spec: Spec, role: Role, env: Env, place: Place, identities: list[PostgresIdentity], *, with_password: bool
) -> dict[str, Any]:
    statements = _postgres_statements(env, place, identities, with_password=with_password) if identities else []
    if role == "app":
        statements += redis_statements(spec, env, place=place)
        statements += mongo_statements(spec, env, place=place)
    document = {"Version": "2012-10-17", "Statement": statements}
    size = policy_size(document)
    if size > _MAX_POLICY:
        raise ConfigurationError(
            f"the policy of {spec.service}'s {role} role has {size} characters; IAM takes {_MAX_POLICY} in all inline "
            "policies of a role",
            hint="let databases share a user, or split the service",
        )
    return document


def _postgres_statements(
    env: Env, place: Place, identities: list[PostgresIdentity], *, with_password: bool
) -> list[dict[str, Any]]:
    in_place = {"region": place.region, "account": place.account, "partition": place.partition}
    users, parameters, secrets = list[str](), list[str](), list[str]()
    if env == "dev":
        secrets += [
            secret_arn_pattern(dev_secret_name(identity.service, identity.role, db_id), **in_place)
            for identity in identities
            for db_id in identity.db_ids
        ]
    else:
        resource_id = place.resource_id if env == "prod" and place.resource_id else "*"
        users += [rds_db_user_arn(user=identity.user, resource_id=resource_id, **in_place) for identity in identities]
        parameters += [ssm_parameter_arn(path(env), **in_place) for path in (iam_host_ssm_path, iam_port_ssm_path)]
        if with_password:
            secrets += [
                secret_arn_pattern(password_secret_name(env, identity.service, db_id), **in_place)
                for identity in identities
                for db_id in identity.db_ids
            ]
    return [
        *_statement("ConnectAsUser", ("rds-db:connect",), users),
        # The loader reads in one batch, and one by one where the batch is denied.
        *_statement("ReadCoordinates", ("ssm:GetParameter", "ssm:GetParameters"), parameters),
        *_statement("ReadPassword", ("secretsmanager:GetSecretValue",), secrets),
    ]


def policy_size(document: dict[str, Any]) -> int:
    """Its size as IAM counts it: characters without white space."""
    return len("".join(json.dumps(document, separators=(",", ":"), ensure_ascii=False).split()))


def _statement(sid: str, actions: Iterable[str], resources: list[str]) -> Iterator[dict[str, Any]]:
    if resources:
        yield {"Sid": sid, "Effect": "Allow", "Action": [*actions], "Resource": sorted(set(resources))}
