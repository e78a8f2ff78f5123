"""What a service's AWS role needs for Redis, as statements of an IAM policy. Pure.

Only the ``app`` tier has a Redis user. Resources are exact but for the six characters Secrets Manager ends an ARN in
(``access/aws/policy.py``). ``elasticache:Connect`` is needed on the user and on the cache both ("Authenticating with
IAM", Amazon ElastiCache User Guide).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from soa_db.errors import ConfigurationError
from soa_db.names import (
    elasticache_arn,
    redis_endpoint_ssm_path,
    redis_secret_name,
    redis_user,
    redis_user_group,
    secret_arn_pattern,
    ssm_parameter_arn,
)

if TYPE_CHECKING:
    from soa_db.access.aws.policy import Place
    from soa_db.access.spec import Spec
    from soa_db.names import Env

__all__ = ["redis_statements"]


def redis_statements(
    spec: Spec,
    env: Env,
    *,
    place: Place,
    iam: bool = False,
) -> list[dict[str, Any]]:
    """The statements for one service's ``app`` tier; none without a ``redis`` part.

    Args:
        spec: the service's spec.
        env: the environment.
        place: account and region; with ``iam``, the caches too.
        iam: whether its user logs in by IAM token (mirror and prod): it then needs no secret.

    Raises:
        ConfigurationError: ``iam``, and no cache is known.
    """
    if spec.redis is None:
        return []
    in_place = {"region": place.region, "account": place.account, "partition": place.partition}
    statements = [
        {
            "Sid": "ReadRedisEndpoint",
            "Effect": "Allow",
            "Action": ["ssm:GetParameter", "ssm:GetParameters"],
            "Resource": [ssm_parameter_arn(redis_endpoint_ssm_path(env), **in_place)],
        }
    ]
    if not iam:
        secret = secret_arn_pattern(redis_secret_name(env, spec.service), **in_place)
        statements.append(
            {
                "Sid": "ReadRedisPassword",
                "Effect": "Allow",
                "Action": ["secretsmanager:GetSecretValue"],
                "Resource": [secret],
            }
        )
        return statements
    if not place.caches:
        raise ConfigurationError(
            f"elasticache:Connect names the cache, and the user group {redis_user_group(env)} is attached to none",
            hint="`soa-db provision` makes the group; attach it to the cache, then write the policies",
            service=spec.service,
        )
    resources = [
        *(
            elasticache_arn("serverlesscache" if cache.serverless else "replicationgroup", cache.name, **in_place)
            for cache in place.caches
        ),
        elasticache_arn("user", redis_user(spec.service, env), **in_place),
    ]
    connect = {"Sid": "ConnectToRedis", "Effect": "Allow", "Action": ["elasticache:Connect"], "Resource": resources}
    return [*statements, connect]
