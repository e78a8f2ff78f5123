"""The administrator of a MongoDB: where its coordinates come from, and its connections.

It is any user with ``userAdminAnyDatabase`` (in the database ``admin``) and ``readWrite`` on the database of the lock
(``lock.py``); ``root`` is never needed. It always logs in: the localhost exception is of no use to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from soa_db._sync.credentials import mongo_credentials
from soa_db._sync.mongo.coordinates import read_shared
from soa_db.access.login import log_in
from soa_db.access.mongo.session import Session, address_of, connect
from soa_db.config import Dial, MongoConfig, MongoHost, SecretAuth, TlsConfig
from soa_db.errors import ConfigurationError, ParameterNotFound, SecretMalformed
from soa_db.names import MONGO_PORT, Env, mongo_admin_secret_ssm_path, mongo_hosts_ssm_path
from soa_db.sources.fields import is_local
from soa_db.sources.mongo import read_mongo_hosts, read_mongo_payload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from soa_db.aws import AwsClients
    from soa_db.sources.mongo import Address

__all__ = ["ADMIN_DATABASE", "AdminServer", "admin_server"]

# Where users that administer the server are kept.
ADMIN_DATABASE = "admin"


@dataclass(frozen=True, slots=True)
class AdminServer:
    """One MongoDB, as its administrator.

    Attributes:
        config: how to reach it.
        aws: what reads the administrator's secret.
        published: the hosts at which services reach it, where they are not those of ``config``.
    """

    config: MongoConfig
    aws: AwsClients | None = None
    published: tuple[MongoHost, ...] = ()

    @property
    def address(self) -> str:
        """``host:port`` of every member, for people and fingerprints."""
        return address_of(self.config)

    @property
    def hosts(self) -> tuple[MongoHost, ...]:
        """The members as the secrets of services name them (dev)."""
        return self.published or self.config.hosts

    def connect(self) -> Session:
        """Log in.

        Raises:
            ConnectionFailed: the server was not reached or refused.
            CredentialError: AWS did not give the password.
        """
        provider = mongo_credentials(self.config, aws=self.aws)
        return log_in(provider, lambda user, password: connect(self.config, user, password))

    def connect_as_nobody(self) -> Session:
        """Open connections without logging in."""
        return connect(self.config, None, "")


def admin_server(env: Env, *, aws: AwsClients, admin_url: str | None = None) -> AdminServer:
    """Work out how to reach the server as its administrator, and in dev how services reach it.

    By ``admin_url``, else by the parameters and the secret of DESIGN section 2.

    Raises:
        ConfigurationError: the URL or a parameter cannot be used.
        CredentialError: AWS did not give the parameters or the secret.
    """
    if admin_url is None:
        return AdminServer(_from_aws(env, aws), aws)
    config = MongoConfig.from_url(admin_url, instance_name=f"admin-{env}", database=ADMIN_DATABASE)
    if config.user is None and env != "dev":
        raise ConfigurationError(
            "the administrator's URL of MongoDB names no user",
            hint="the localhost exception is never used: make a user with userAdminAnyDatabase and name it",
            env=env,
        )
    if config.tls is None and env != "dev":
        config = _through_tunnel(config, env)
    return AdminServer(config, aws, _published(aws) if env == "dev" else ())


def _through_tunnel(config: MongoConfig, env: Env) -> MongoConfig:
    """The same, with nothing dialled but this machine: the driver would go on to the members it is told of."""
    first, *others = [config.dial] if config.dial is not None else config.hosts
    if others or not is_local(first.host):
        raise ConfigurationError(
            "without TLS the passwords that are issued would go over the network as plain text",
            hint="add tls=true&tlsCAFile=… to the administrator's URL, or use a tunnel to the primary that ends on "
            "this machine",
            env=env,
        )
    return config.model_copy(update={"dial": Dial(host=first.host, port=first.port), "replica_set": None})


def _published(aws: AwsClients) -> tuple[MongoHost, ...]:
    """Where services of dev come in, if somebody has said so: the administrator's URL may be that of a tunnel."""
    path = mongo_hosts_ssm_path("dev")
    try:
        return _hosts(aws.parameters([path])[path], path)
    except ParameterNotFound:
        return ()


def _from_aws(env: Env, aws: AwsClients) -> MongoConfig:
    if env == "dev":
        hosts_path, master_path = mongo_hosts_ssm_path(env), mongo_admin_secret_ssm_path(env)
        found = aws.parameters([hosts_path, master_path])
        secret_id = found[master_path].strip()
        secret = read_mongo_payload(aws.secret(secret_id), secret_id, default_port=MONGO_PORT)
        hosts, replica_set, tls = _hosts(found[hosts_path], hosts_path), secret.replica_set, None
    else:
        shared = read_shared(aws, env, secret_id=None)
        secret_id, secret = shared.secret_id, shared.secret
        hosts, replica_set, tls = _as_hosts(shared.hosts), shared.replica_set, TlsConfig(ca_pem=shared.ca_pem)
    if secret.user is None:
        raise SecretMalformed("the administrator's secret has no 'username'", secret=secret_id)
    return MongoConfig(
        instance_name=f"admin-{env}",
        # A place in the secret: the administrator may come in by another way than services do.
        hosts=hosts if secret.hosts is None else _as_hosts(secret.hosts),
        database=ADMIN_DATABASE,
        user=secret.user,
        auth=SecretAuth(secret_id=secret_id, aws=aws.target),
        replica_set=replica_set,
        tls=tls,
    )


def _hosts(text: str, path: str) -> tuple[MongoHost, ...]:
    try:
        return _as_hosts(read_mongo_hosts(text))
    except ValueError as fault:
        raise ConfigurationError(f"the SSM parameter {path} {fault}", hint="host:port,host:port") from None


def _as_hosts(found: Iterable[Address]) -> tuple[MongoHost, ...]:
    return tuple(MongoHost(host=host, port=port) for host, port in found)
