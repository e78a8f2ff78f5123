"""The AWS side of policies: where the databases are; inline policies on roles, written where they differ."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from soa_db.access.aws.policy import ROLE_NAME, Place, RolePolicy, policy, policy_name, undeclared
from soa_db.errors import AccessDenied, ConfigurationError, CredentialError, SoaDbError
from soa_db.names import Env, iam_host_ssm_path, iam_port_ssm_path, mongo_ca_secret_ssm_path

if TYPE_CHECKING:
    from soa_db.access.spec import SpecSet
    from soa_db.aws import AwsClients

__all__ = ["PolicyResult", "apply_policies", "find_place", "policies"]


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """What ``apply_policies`` did, or would do.

    Attributes:
        changes: a sentence for each write, in order; empty when everything is as declared.
        stale: a sentence for each policy that has no tier behind it any more and was left there.
        unchanged: how many policies were right already.
    """

    changes: tuple[str, ...]
    stale: tuple[str, ...]
    unchanged: int


def policies(
    specs: SpecSet,
    *,
    env: Env,
    aws: AwsClients,
    services: Collection[str] | None = None,
    password_services: Collection[str] = (),
    role_template: str = ROLE_NAME,
    resource_id: str | None = None,
) -> tuple[RolePolicy, ...]:
    """Render the policies of an environment, for the account and region the caller is in.

    Args:
        specs: the declared services.
        env: the environment.
        aws: who asks; in prod it must be able to find the database, unless ``resource_id`` is given.
        services: only these; all when left out.
        password_services: services not yet on IAM (``auth="password"``).
        role_template: how AWS roles are named.
        resource_id: prod's DbiResourceId, when it is not to be looked up.

    Raises:
        ConfigurationError: something cannot be rendered, or prod's database is not found.
        CredentialError: AWS refused or lacks what was asked.
    """
    place = find_place(
        aws,
        env,
        resource_id=resource_id,
        postgres=bool(specs.postgres_identities()),
        mongo=any(spec.mongo is not None for spec in specs.specs if services is None or spec.service in services),
    )
    return policy(
        specs,
        env=env,
        place=place,
        services=services,
        password_services=password_services,
        role_template=role_template,
    )


def find_place(
    aws: AwsClients, env: Env, *, resource_id: str | None = None, postgres: bool = True, mongo: bool = False
) -> Place:
    """Where an environment's databases are.

    Args:
        aws: who asks.
        env: the environment.
        resource_id: the DbiResourceId, when it is known; looked up in prod, by the endpoint in SSM.
        postgres: whether there is any PostgreSQL to look up.
        mongo: whether the secret of MongoDB's CA is to be looked up, in mirror and prod.
    """
    caller = aws.caller_identity()
    partition = caller.arn.split(":")[1]
    if env == "prod" and resource_id is None and postgres:
        resource_id = _find_resource_id(aws, env)
    ca_path = mongo_ca_secret_ssm_path(env) if mongo and env != "dev" else None
    ca_secret = aws.parameters([ca_path])[ca_path].strip() if ca_path is not None else None
    return Place(caller.account, aws.region(), partition, resource_id, ca_secret)


def _find_resource_id(aws: AwsClients, env: Env) -> str:
    host_path, port_path = iam_host_ssm_path(env), iam_port_ssm_path(env)
    found = aws.parameters([host_path, port_path])
    host, port = found[host_path].strip(), found[port_path].strip()
    denied: AccessDenied | None = None
    for look in (_instances, _clusters, _proxies):
        try:
            for resource, hosts, its_port in look(aws):
                if host in hosts and its_port in {None, port}:
                    return resource
        except AccessDenied as error:
            denied = error  # it may still be found in another way
    hint = "set the parameter to the endpoint RDS gives, or name the resource id (--resource-id db-…)"
    if denied is not None:
        raise AccessDenied(
            f"the database {host} of {env} was not found among what the caller may list: {denied.message}",
            hint="grant the action, or name the resource id (--resource-id db-…)",
        ) from denied
    raise ConfigurationError(
        f"RDS has no instance, cluster or proxy with the endpoint {host}:{port} of {env}", hint=hint
    )


_Found = Iterator[tuple[str, Collection[str | None], str | None]]


def _instances(aws: AwsClients) -> _Found:
    for instance in _pages(aws, "rds", "describe_db_instances", "DBInstances"):
        endpoint = instance.get("Endpoint") or {}  # there is none while it is being made
        yield instance["DbiResourceId"], [endpoint.get("Address")], str(endpoint.get("Port"))


def _clusters(aws: AwsClients) -> _Found:
    for cluster in _pages(aws, "rds", "describe_db_clusters", "DBClusters"):
        hosts = [cluster.get("Endpoint"), cluster.get("ReaderEndpoint"), *cluster.get("CustomEndpoints", [])]
        yield cluster["DbClusterResourceId"], hosts, str(cluster.get("Port"))


def _proxies(aws: AwsClients) -> _Found:
    for proxy in _pages(aws, "rds", "describe_db_proxies", "DBProxies"):
        # "the resource ID of a proxy is the last part of its ARN" (RDS User Guide, RDS Proxy with IAM); it has no port.
        yield proxy["DBProxyArn"].rpartition(":")[2], [proxy.get("Endpoint")], None


def _pages(aws: AwsClients, service: str, operation: str, key: str) -> Iterator[dict[str, Any]]:
    marker: dict[str, str] = {}
    while True:
        answer = aws.call(service, operation, **marker)
        yield from answer.get(key, [])
        if not answer.get("Marker"):
            return
        marker = {"Marker": answer["Marker"]}


def apply_policies(
    specs: SpecSet,
    rendered: Collection[RolePolicy],
    *,
    env: Env,
    aws: AwsClients,
    services: Collection[str] | None = None,
    role_template: str = ROLE_NAME,
    create_roles: bool = False,
    trust: str | Mapping[str, object] | None = None,
    prune: bool = False,
    check: bool = False,
    progress: Callable[[str], None] | None = None,
) -> PolicyResult:
    """Bring the inline policies on the services' AWS roles to what is declared; nothing is written that is right.

    Everything is read before anything is written. Stale policies are looked for on the roles of services among the
    specs, never on those of others, whose specs may be in another repository.

    Args:
        specs: the declared services.
        rendered: what ``policies`` gave for them.
        env: the environment.
        aws: who writes.
        services: what ``rendered`` was narrowed to.
        role_template: how AWS roles are named.
        create_roles: make AWS roles that are missing.
        trust: who may assume a role that is made: the ARN of a principal, or a whole trust policy; unless given, the
            account itself, whose own policies then say who.
        prune: remove stale policies.
        check: write nothing.
        progress: told each change as a sentence when it is done.

    Raises:
        ConfigurationError: AWS roles are missing, and are not to be made.
        CredentialError: AWS refused something.
    """
    steps: list[tuple[str, Callable[[], object]]] = []
    missing: list[str] = []
    unchanged = 0
    for item in rendered:
        held = _read(aws, item.role_name, item.name)
        if held == item.document:
            unchanged += 1
            continue
        if held is None and not _role_exists(aws, item.role_name):
            if not create_roles:
                missing.append(item.role_name)
                continue
            steps.append((f"create AWS role {item.role_name}", _creator(aws, item, _trust(aws, trust))))
        steps.append((_sentence(item, new=held is None), _writer(aws, item)))
    if missing:
        raise ConfigurationError(
            f"there is no AWS role {', '.join(missing)}",
            hint="the services' infrastructure makes them; or let this command make them with --create-roles",
        )
    stale = [
        name
        for name in undeclared(specs, env=env, services=services, role_template=role_template)
        if _read(aws, name, policy_name(env)) is not None
    ]
    left = [
        f"AWS role {name} has the policy {policy_name(env)}, but no database user is declared for it" for name in stale
    ]
    if prune:
        steps += [
            (f"remove policy {policy_name(env)} from AWS role {name}", _remover(aws, name, policy_name(env)))
            for name in stale
        ]
        left = []
    for sentence, take in steps:
        if not check:
            take()
        if progress is not None:
            progress(sentence)
    return PolicyResult(tuple(sentence for sentence, _ in steps), tuple(left), unchanged)


def _sentence(item: RolePolicy, *, new: bool) -> str:
    verb, users = "write" if new else "change", ", ".join(item.users)
    return f"{verb} policy {item.name} on AWS role {item.role_name}: {item.role} of {item.service} ({users})"


def _writer(aws: AwsClients, item: RolePolicy) -> Callable[[], object]:
    return lambda: aws.call(
        "iam",
        "put_role_policy",
        RoleName=item.role_name,
        PolicyName=item.name,
        PolicyDocument=json.dumps(item.document),
    )


def _creator(aws: AwsClients, item: RolePolicy, trust: str) -> Callable[[], object]:
    def create() -> None:
        try:
            aws.call(
                "iam",
                "create_role",
                RoleName=item.role_name,
                AssumeRolePolicyDocument=trust,
                Description=f"{item.service}: connects to its databases as {item.role}",
                Tags=[{"Key": "managed-by", "Value": "soa-db"}, {"Key": "service", "Value": item.service}],
            )
        except CredentialError as error:
            if _code(error) != "EntityAlreadyExists":  # another run was faster
                raise

    return create


def _remover(aws: AwsClients, role: str, name: str) -> Callable[[], object]:
    return lambda: aws.call("iam", "delete_role_policy", RoleName=role, PolicyName=name)


def _trust(aws: AwsClients, trust: str | Mapping[str, object] | None) -> str:
    if isinstance(trust, Mapping):
        return json.dumps(trust)
    if trust is None:
        caller = aws.caller_identity()
        trust = f"arn:{caller.arn.split(':')[1]}:iam::{caller.account}:root"
    statement = {"Effect": "Allow", "Principal": {"AWS": trust}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _read(aws: AwsClients, role: str, name: str) -> object | None:
    """The inline policy of this name; None when there is none, or no such role."""
    try:
        answer = aws.call("iam", "get_role_policy", RoleName=role, PolicyName=name)
    except SoaDbError as error:
        if _code(error) == "NoSuchEntity":
            return None
        raise
    document: object = answer["PolicyDocument"]  # botocore decodes it
    return document


def _role_exists(aws: AwsClients, role: str) -> bool:
    try:
        aws.call("iam", "get_role", RoleName=role)
    except SoaDbError as error:
        if _code(error) == "NoSuchEntity":
            return False
        raise
    return True


def _code(error: SoaDbError) -> str:
    response = getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
