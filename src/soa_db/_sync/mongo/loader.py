# Generated from src/soa_db/_async/mongo/loader.py by tools/generate_sync.py: edit that file, then run `make generate`.

"""The config of a service's MongoDB user in dev, mirror or prod, from SSM parameters and Secrets Manager (DESIGN 2)."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import wraps
from typing import TYPE_CHECKING, Literal, ParamSpec, TypeVar

from soa_db import names
from soa_db._sync.aws import AwsClients
from soa_db._sync.mongo.coordinates import read_parity_secret, read_shared
from soa_db.config import Dial, MongoConfig, MongoHost, MongoOptions, NoAuth, SecretAuth, TlsConfig
from soa_db.errors import ConfigurationError
from soa_db.sources.fields import malformed, one_user
from soa_db.sources.mongo import Address, read_mongo_hosts

if TYPE_CHECKING:
    from soa_db.names import MongoEnv

__all__ = ["load_mongo_config_from_aws"]

P = ParamSpec("P")
R = TypeVar("R")


def _warns_of_staging(load: Callable[P, R]) -> Callable[P, R]:
    # Not in the loader itself: the asynchronous one runs when it is awaited, perhaps as a task, with no caller's line.
    @wraps(load)
    def warn_and_load(*args: P.args, **keywords: P.kwargs) -> R:
        if keywords.get("env") == "staging":
            told = "the environment 'staging' is deprecated, and goes with the next major version: use env='mirror'"
            warnings.warn(told, DeprecationWarning, stacklevel=_levels_to_caller())
        return load(*args, **keywords)

    return warn_and_load


def _levels_to_caller() -> int:
    """How far up the first frame outside this package is: a provider calls the loader for somebody else."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "soa_db":
        frame, level = frame.f_back, level + 1
    # Of the frames counted this one is gone when the warning is given.
    return level


@_warns_of_staging
def load_mongo_config_from_aws(
    *,
    env: MongoEnv | str | None = None,
    service: str,
    scope: Literal["shared", "mirror-current"] = "shared",
    instance_name: str | None = None,
    user: str | None = None,
    username: str | None = None,
    database: str | None = None,
    auth_source: str | None = None,
    hosts: str | Sequence[str | MongoHost] | None = None,
    replica_set: str | None = None,
    region: str | None = None,
    aws: AwsClients | None = None,
    dial: Dial | str | None = None,
    tls: TlsConfig | Literal[False] | None = None,
    options: MongoOptions | None = None,
) -> MongoConfig:
    """Return how to reach the MongoDB of an environment as a service's user. It opens no connection to MongoDB.

    For each value: what is given here, then what the secret says, then what the naming contract derives. Parameters are
    read in one batch, then both secrets at once.

    Args:
        env: ``dev``, ``mirror`` or ``prod``; ``staging`` is deprecated, warns, and reads the paths of old.
        service: the service id, e.g. ``chat-api``.
        scope: ``shared`` for the service's own user; ``mirror-current`` for the mirror as its administrator, without
            ``env``.
        instance_name: what logs and statistics call it; the service id when left out.
        user: the user, where it is not the one in the secret.
        username: another name of ``user``.
        database: the database, where it is not the derived one.
        auth_source: the database the user is kept in; ``database`` when left out, ``admin`` for the administrator.
        hosts: the members, ``host:port,host:port`` or one by one.
        replica_set: name of the replica set.
        region: AWS region; that of ``aws`` when that is given.
        aws: shared clients; new ones, closed at the end, when left out.
        dial: what is really dialled, ``host:port``, when a tunnel stands in front.
        tls: other TLS settings; False for plain text. Left out: off in dev, verified in mirror and prod. Settings that
            name no roots get those in the secret of the CA, there too.
        options: what the driver is told beyond that.

    Raises:
        ConfigurationError: an argument, or what an SSM parameter holds, cannot be used.
        ParameterNotFound: coordinates are missing in SSM.
        SecretNotFound: there is no such secret.
        SecretMalformed: a field of it is missing or cannot be used; the CA's is no PEM, or has expired.
        AccessDenied: the caller's AWS rights do not suffice.
    """
    known = _environment(env, scope)
    names.check_service(service)
    user = one_user(user, username)
    given = None if hosts is None else _hosts(hosts)
    admin = scope == "mirror-current"
    with AwsClients(region=region) if aws is None else nullcontext(aws) as clients:
        target = clients.target
        if known == "dev":
            found = read_parity_secret(clients, service, hosts=given)
        else:
            found = read_shared(
                clients,
                known,
                secret_id=None if admin else names.mongo_secret_name(known, service),
                hosts=given,
                replica_set=replica_set,
                ca=_lacks_roots(tls),
            )
    if found.secret.password is None and (known != "dev" or user is not None):
        raise malformed(found.secret_id, "password", "is missing")
    auth = NoAuth() if found.secret.password is None else SecretAuth(secret_id=found.secret_id, aws=target)
    user = user if user is not None else found.secret.user
    if user is None and auth.kind == "secret":
        if known != "dev":
            raise malformed(found.secret_id, "username", "is missing")
        user = names.mongo_user(service)
    if database is None:
        database = (None if admin else found.secret.database) or names.mongo_database(service)
    if auth_source is None and auth.kind == "secret":
        auth_source = "admin" if admin else database
    return MongoConfig(
        instance_name=instance_name or service,
        hosts=tuple(MongoHost(host=host, port=port) for host, port in found.hosts),
        database=database,
        user=user,
        auth=auth,
        auth_source=auth_source,
        replica_set=replica_set if replica_set is not None else found.replica_set,
        tls=_tls(known, tls, found.ca_pem),
        options=options or MongoOptions(),
        dial=Dial.from_text(dial) if isinstance(dial, str) else dial,
    )


def _environment(env: str | None, scope: str) -> MongoEnv:
    match scope:
        case "mirror-current":
            if env not in {None, "mirror"}:
                hint = "leave env out, or give scope='shared'"
                raise ConfigurationError("scope='mirror-current' is of the mirror alone", hint=hint, env=env)
            return "mirror"
        case "shared":
            if env is None:
                raise ConfigurationError("env is missing", hint=f"use one of {', '.join(names.ENVS)}")
            return "staging" if env == "staging" else names.check_env(env)
        case _:
            raise ConfigurationError(f"unknown scope {scope!r}", hint="use shared or mirror-current")


def _hosts(hosts: str | Sequence[str | MongoHost]) -> tuple[Address, ...]:
    text = hosts if isinstance(hosts, str) else ",".join(one if isinstance(one, str) else one.address for one in hosts)
    try:
        return read_mongo_hosts(text)
    except ValueError as fault:
        raise ConfigurationError(f"the argument hosts {fault}", hint="e.g. hosts='a.example:27017'") from None


def _lacks_roots(tls: TlsConfig | Literal[False] | None) -> bool:
    """Whether the CA's secret is to say what servers are verified against."""
    if not tls:
        return tls is None
    return tls.verify != "none" and tls.ca_pem is None and tls.ca_file is None


def _tls(env: MongoEnv, tls: TlsConfig | Literal[False] | None, pem: str | None) -> TlsConfig | None:
    if tls is None:
        return None if env == "dev" else TlsConfig(ca_pem=pem)
    if not tls:
        return None
    return tls if pem is None else tls.model_copy(update={"ca_pem": pem})
