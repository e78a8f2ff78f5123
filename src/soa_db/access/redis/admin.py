"""The administrator of a self-run Redis: where its coordinates come from, and its connections to every node."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from soa_db._sync.credentials import redis_credentials
from soa_db.access.redis.inspect import info
from soa_db.access.redis.session import Session, login
from soa_db.config import RedisConfig, SecretAuth, TlsConfig
from soa_db.errors import ConfigurationError, SecretMalformed, ServerUnavailable
from soa_db.names import REDIS_PORT, Env, redis_admin_secret_ssm_path, redis_endpoint_ssm_path
from soa_db.sources import read_port
from soa_db.sources.fields import read_endpoint

if TYPE_CHECKING:
    from soa_db.aws import AwsClients

__all__ = ["AdminServer", "admin_config", "endpoint_config"]


def endpoint_config(env: Env, *, aws: AwsClients) -> RedisConfig:
    """How an environment's Redis is reached, with nobody's credentials: the endpoint of SSM, TLS unless in dev.

    Raises:
        ParameterNotFound: there is no endpoint.
        ConfigurationError: it is not ``host`` or ``host:port``.
    """
    path = redis_endpoint_ssm_path(env)
    endpoint = read_endpoint(aws.parameters([path])[path].strip())
    if endpoint is None:
        raise ConfigurationError(f"the SSM parameter {path} does not hold host or host:port", env=env)
    host, port = endpoint
    return RedisConfig(
        instance_name=f"redis-{env}", host=host, port=port or REDIS_PORT, tls=None if env == "dev" else TlsConfig()
    )


def admin_config(env: Env, *, aws: AwsClients | None = None, admin_url: str | None = None) -> RedisConfig:
    """Work out how to reach a self-run Redis as its administrator.

    By ``admin_url``, else by the parameters and the secret of DESIGN section 2.

    Raises:
        ConfigurationError: the URL cannot be used, or there is neither URL nor AWS access.
        CredentialError: AWS did not give the parameters or the secret.
    """
    if admin_url is not None:
        return RedisConfig.from_url(admin_url, instance_name=f"admin-{env}")
    if aws is None:
        raise ConfigurationError(
            "neither an administrator's URL of Redis nor AWS access was given",
            hint="give --admin-url, set SOA_DB_ADMIN_URL, or configure AWS",
            env=env,
        )
    path = redis_admin_secret_ssm_path(env)
    secret_id = aws.parameters([path])[path].strip()
    payload = aws.secret(secret_id)
    host, port, user = payload.get("host"), payload.get("port"), payload.get("username")
    if not isinstance(user, str) or not user:
        raise SecretMalformed("the administrator's secret has no usable 'username'", secret=secret_id)
    # A whole set of coordinates in the secret: the administrator may come in by another way than services do.
    if isinstance(host, str) and host:
        base = RedisConfig(instance_name=f"admin-{env}", host=host, tls=None if env == "dev" else TlsConfig())
    else:
        base = endpoint_config(env, aws=aws)
    number = base.port if port is None else read_port(port)
    if number is None:
        raise SecretMalformed("the administrator's secret has no usable 'port'", secret=secret_id)
    auth = SecretAuth(secret_id=secret_id, aws=aws.target)
    return base.model_copy(
        update={"instance_name": f"admin-{env}", "port": number, "user": user, "auth": auth},
    )


@dataclass(frozen=True, slots=True)
class AdminServer:
    """One Redis with its replicas, or all nodes of a cluster, as the administrator.

    Attributes:
        config: how to reach it (the primary, when it has replicas), or one node of the cluster.
        aws: what reads the administrator's secret.
    """

    config: RedisConfig
    aws: AwsClients | None = None

    @property
    def address(self) -> str:
        """``host:port``, for people and fingerprints."""
        return f"{self.config.host}:{self.config.port}"

    @property
    def user(self) -> str:
        """Who logs in."""
        return self.config.user or "default"

    def connect(self, node: RedisConfig | None = None) -> Session:
        """Log in, to the server itself or to another node of it.

        Raises:
            ConnectionFailed: it was not reached or refused.
            CredentialError: AWS did not give the password.
        """
        target = node or self.config
        named = self.config.host if self.config.dial is None else self.config.dial.host
        if target.tls is None and _is_loopback(named) and not _is_loopback(target.host):
            # Through a tunnel, what a server calls its replicas is for another network than this one: somebody else
            # may answer here, and would be told the password.
            raise ServerUnavailable(
                "not asked: without TLS the administrator's password would go out of the tunnel in the clear",
                hint="use TLS, or run this where the server's network is",
                host=f"{target.host}:{target.port}",
            )
        return login(target, redis_credentials(self.config, aws=self.aws))

    def node(self, address: str) -> RedisConfig:
        """How a node is reached: the server itself as it was named, another one at the address it announces.

        Args:
            address: ``host:port``.
        """
        if address == self.address:
            return self.config
        host, _, port = address.rpartition(":")
        return self.config.model_copy(update={"host": host, "port": int(port), "dial": None})

    def cluster_nodes(self, session: Session) -> dict[str, str]:
        """The nodes of its cluster but those gone for good: ``ip:port`` → ``host:port``; none when it is in no cluster.

        Raises:
            CommandRefused: the administrator may not ask.
        """
        if info(str(session.call("INFO", "cluster"))).get("cluster_enabled") != "1":
            return {}
        return _addresses(str(session.call("CLUSTER", "NODES")), self.config.host)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _addresses(nodes: str, own_host: str) -> dict[str, str]:
    """What each line of CLUSTER NODES says: ``id ip:port@bus[,hostname] flags …``."""
    found = {}
    for line in nodes.splitlines():
        _, address, flags, *_ = line.split()
        if {"noaddr", "handshake"} & set(flags.split(",")):
            continue
        place, *names = address.split(",")
        host, _, port = place.partition("@")[0].rpartition(":")
        # The name a node announces is what its certificate is for; a node that knows no address of its own says none.
        name = next((name for name in names if name and "=" not in name), "")
        found[f"{host or own_host}:{port}"] = f"{name or host or own_host}:{port}"
    return dict(sorted(found.items()))
