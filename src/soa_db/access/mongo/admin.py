"""The administrator of a MongoDB: where its coordinates come from, and its connections.

It is any user with ``userAdminAnyDatabase`` (in the database ``admin``) and ``readWrite`` on the database of the lock
(``lock.py``); ``root`` is never needed. It always logs in: the localhost exception is of no use to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from soa_db._sync.credentials import mongo_credentials
from soa_db.access.engine import ADMIN_URL_VARIABLE
from soa_db.access.mongo.session import Session, address_of, connect
from soa_db.config import MongoConfig, MongoHost, NoAuth, SecretAuth, TlsConfig
from soa_db.errors import AuthenticationFailed, ConfigurationError, ParameterNotFound, SecretMalformed
from soa_db.names import (
    MONGO_PORT,
    Env,
    mongo_admin_secret_ssm_path,
    mongo_ca_secret_ssm_path,
    mongo_endpoint_ssm_path,
    mongo_hosts_ssm_path,
    mongo_port_ssm_path,
    mongo_replica_set_ssm_path,
)
from soa_db.sources.fields import read_port
from soa_db.sources.mongo import read_ca_payload, read_mongo_hosts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from soa_db.aws import AwsClients

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
        found = provider.get()
        try:
            return connect(self.config, found.user, found.secret)
        except AuthenticationFailed:
            fresh = provider.refresh(found)
            if fresh is None:
                raise
            return connect(self.config, fresh.user, fresh.secret)

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
    config = MongoConfig.from_url(admin_url, instance_name=f"admin-{env}")
    if config.user is None and env != "dev":
        raise ConfigurationError(
            "the administrator's URL of MongoDB names no user",
            hint="the localhost exception is never used: make a user with userAdminAnyDatabase and name it",
            env=env,
        )
    return AdminServer(config, aws, _published(aws) if env == "dev" else ())


def _published(aws: AwsClients) -> tuple[MongoHost, ...]:
    """Where services of dev come in, if somebody has said so: the administrator's URL may be that of a tunnel."""
    path = mongo_hosts_ssm_path("dev")
    try:
        text = aws.parameters([path])[path]
    except ParameterNotFound:
        return ()
    return _hosts(text, path)


def _from_aws(env: Env, aws: AwsClients) -> MongoConfig:
    master = mongo_admin_secret_ssm_path(env)
    where = (
        [mongo_endpoint_ssm_path(), mongo_port_ssm_path()] if env == "mirror" else [mongo_hosts_ssm_path(env)]
    )
    secured = [] if env == "dev" else [mongo_replica_set_ssm_path(env), mongo_ca_secret_ssm_path(env)]
    found = {path: text.strip() for path, text in aws.parameters([master, *where, *secured]).items()}
    payload = aws.secret(found[master])
    user = payload.get("username")
    if not isinstance(user, str) or not user:
        raise SecretMalformed("the administrator's secret has no usable 'username'", secret=found[master])
    replica_set, tls = None, None
    if secured:
        replica_set = found[secured[0]]
        tls = TlsConfig(ca_pem=read_ca_payload(aws.secret(found[secured[1]]), found[secured[1]], now=_now()))
    return MongoConfig(
        instance_name=f"admin-{env}",
        hosts=_own_host(payload, found[master]) or _hosts(":".join(found[path] for path in where), ", ".join(where)),
        database=ADMIN_DATABASE,
        user=user,
        auth=SecretAuth(secret_id=found[master], aws=aws.target),
        replica_set=replica_set,
        tls=tls,
    )


def _own_host(payload: Mapping[str, object], secret_id: str) -> tuple[MongoHost, ...]:
    """The host of the administrator's secret, which may come in by another way than services do."""
    host = payload.get("host")
    if not isinstance(host, str) or not host:
        return ()
    port = read_port(payload.get("port", MONGO_PORT))
    if port is None:
        raise SecretMalformed("the administrator's secret has no usable 'port'", secret=secret_id)
    return (MongoHost(host=host, port=port),)


def _hosts(text: str, path: str) -> tuple[MongoHost, ...]:
    try:
        return tuple(MongoHost(host=host, port=port) for host, port in read_mongo_hosts(text))
    except ValueError as fault:
        raise ConfigurationError(f"the SSM parameter {path} {fault}") from None
