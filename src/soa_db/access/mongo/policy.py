"""What a service's AWS role needs for MongoDB, as statements of an IAM policy. Pure.

Only the ``app`` tier has a MongoDB user. In dev its secret says everything; in mirror and prod the loader also reads
where the members are, the replica set's name and the CA, whose secret all services share. Resources are exact but for
the six characters Secrets Manager ends an ARN in (``access/aws/policy.py``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from soa_db.errors import ConfigurationError
from soa_db.names import (
    mongo_ca_secret_ssm_path,
    mongo_endpoint_ssm_path,
    mongo_hosts_ssm_path,
    mongo_port_ssm_path,
    mongo_replica_set_ssm_path,
    mongo_secret_name,
    secret_arn_pattern,
    ssm_parameter_arn,
)

if TYPE_CHECKING:
    from soa_db.access.aws.policy import Place
    from soa_db.access.spec import Spec
    from soa_db.names import Env

__all__ = ["mongo_statements"]

# What a secret's name may hold: CreateSecret, API reference.
_NAME = re.compile(r"[A-Za-z0-9/_+=.@-]+")
_ARN = re.compile(rf"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{{12}}:secret:{_NAME.pattern}")
_ENDING = re.compile(r"-[A-Za-z0-9]{6}\Z")


def mongo_statements(spec: Spec, env: Env, *, place: Place) -> list[dict[str, Any]]:
    """The statements for one service's ``app`` tier; none without a ``mongo`` part.

    Args:
        spec: the service's spec.
        env: the environment.
        place: account and region; in mirror and prod also which secret holds the CA.

    Raises:
        ConfigurationError: the secret of the CA is not known, or what SSM says of it is no secret's name or ARN.
    """
    if spec.mongo is None:
        return []
    in_place = {"region": place.region, "account": place.account, "partition": place.partition}
    secrets = [secret_arn_pattern(mongo_secret_name(env, spec.service), **in_place)]
    if env == "dev":
        return [_allow("ReadMongoPassword", ["secretsmanager:GetSecretValue"], secrets)]
    if not place.mongo_ca_secret:
        raise ConfigurationError("policies name the secret of MongoDB's CA exactly, and it is not known", env=env)
    secrets.append(_secret_arn(place.mongo_ca_secret, in_place, env))
    hosts = (mongo_endpoint_ssm_path(), mongo_port_ssm_path()) if env == "mirror" else (mongo_hosts_ssm_path(env),)
    paths = (*hosts, mongo_replica_set_ssm_path(env), mongo_ca_secret_ssm_path(env))
    return [
        # The loader reads in one batch, and one by one where the batch is denied.
        _allow(
            "ReadMongoCoordinates",
            ["ssm:GetParameter", "ssm:GetParameters"],
            [ssm_parameter_arn(path, **in_place) for path in paths],
        ),
        _allow("ReadMongoPassword", ["secretsmanager:GetSecretValue"], secrets),
    ]


def _secret_arn(found: str, in_place: dict[str, str], env: Env) -> str:
    """The resource of a secret that a parameter names; what is no name, a pattern say, would let in more."""
    if _NAME.fullmatch(found):
        return secret_arn_pattern(found, **in_place)
    if not _ARN.fullmatch(found):
        raise ConfigurationError(
            f"the SSM parameter {mongo_ca_secret_ssm_path(env)} holds no name or ARN of a secret: {found!r}",
            hint="the ARN of the secret with MongoDB's CA, as Secrets Manager shows it",
            env=env,
        )
    # Secrets Manager finds a secret by an ARN without the characters it ended it in; a policy does not.
    return found if _ENDING.search(found) else f"{found}-??????"


def _allow(sid: str, actions: list[str], resources: list[str]) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": sorted(resources)}
