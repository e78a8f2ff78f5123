"""What a client is started with: a service's configuration, its credentials now, and the files the client needs.

The loaders are imported from where they stand, not from the public faces: those import drivers, and nobody
needs one here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from soa_db._core.client_environment import POSTGRES_PROGRAMS, postgres_environment
from soa_db._core.mongo.client_environment import MONGO_PROGRAMS, mongo_environment, private_file
from soa_db._core.redis.client_environment import REDIS_PROGRAMS, redis_environment
from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    from soa_db._core.client_environment import ClientEnvironment
    from soa_db.access.settings import Settings
    from soa_db.access.spec import Spec
    from soa_db.aws import AwsClients
    from soa_db.cli.exec.folder import PrivateFolder
    from soa_db.config import RedisConfig, TlsConfig
    from soa_db.credentials import Credentials
    from soa_db.names import Env, Role

__all__ = ["PROGRAMS", "Prepared", "Request", "engine_of", "prepare"]

PROGRAMS: Mapping[str, frozenset[str]] = {
    "postgres": POSTGRES_PROGRAMS,
    "redis": REDIS_PROGRAMS,
    "mongo": MONGO_PROGRAMS,
}
"""Engine → the clients whose names tell it."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be run, as whom.

    Attributes:
        env: the environment.
        service: the service id.
        program: the client's name, without its folder.
        given: the arguments its caller gives it.
        role: role on PostgreSQL; None for the default.
        db_id: which PostgreSQL database.
        auth: ``password`` for a service that is not on IAM.
        dial: what is really dialled, ``host:port``.
        spec: the service's spec, for names of its own.
        settings: soa-db.toml.
        aws: the clients of that environment.
    """

    env: Env
    service: str
    program: str
    given: tuple[str, ...]
    role: Role | None
    db_id: str | None
    auth: Literal["password"] | None
    dial: str | None
    spec: Spec | None
    settings: Settings
    aws: AwsClients


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a client is started with, and with whose credentials.

    Attributes:
        environment: variables and arguments.
        credentials: those in it.
    """

    environment: ClientEnvironment
    credentials: Credentials


def engine_of(program: str) -> str | None:
    """Return the engine a program is a client of; None when its name does not tell."""
    return next((engine for engine, programs in PROGRAMS.items() if program in programs), None)


def prepare(engine: str, request: Request, folder: PrivateFolder) -> Prepared:
    """Load the configuration, get the credentials, write the files.

    Raises:
        SoaDbError: AWS did not give what it takes, or it cannot be handed to a client.
    """
    return _PREPARE[engine](request, folder)


def _postgres(request: Request, folder: PrivateFolder) -> Prepared:
    from soa_db._psycopg.addresses import dialled_addresses
    from soa_db._psycopg.roots import root_file
    from soa_db._sync.credentials import postgres_credentials
    from soa_db._sync.postgres.loader import load_postgres_config_from_aws
    from soa_db.config import SessionConfig

    config = load_postgres_config_from_aws(
        env=request.env,
        service=request.service,
        role=request.role,
        db_id=request.db_id,
        auth=request.auth,
        dial=request.dial,
        spec=request.spec,
        aws=request.aws,
        # The server's own timeouts: a person who thinks in the middle of a transaction is not a service that hangs.
        session=SessionConfig(
            idle_in_transaction_timeout=None, application_name=f"{request.program or 'client'} (soa-db exec)"
        ),
    )
    credentials = postgres_credentials(config, aws=request.aws).get()
    roots = root_file(config)
    path = None if roots is None else roots.path
    if roots is not None and roots.own:
        path = folder.write("postgres-roots.pem", Path(roots.path).read_text("utf-8"))
        roots.remove()
    environment = postgres_environment(config, credentials, addresses=dialled_addresses(config), root_file=path)
    return Prepared(environment, credentials)


def _redis(request: Request, folder: PrivateFolder) -> Prepared:
    from soa_db._core.redis.endpoint import cache_endpoint
    from soa_db._sync.credentials import redis_credentials

    config = _redis_config(request)
    credentials = redis_credentials(config, aws=request.aws).get()
    roots = _roots(config.tls, "redis-roots.pem", folder, amazon=cache_endpoint(config.host) is not None)
    return Prepared(redis_environment(config, credentials, program=request.program, root_file=roots), credentials)


def _redis_config(request: Request) -> RedisConfig:
    from soa_db._core.redis.endpoint import cache_endpoint
    from soa_db._sync.redis.loader import load_redis_config_from_aws
    from soa_db.access.redis.caches import find_caches

    load = partial(
        load_redis_config_from_aws, env=request.env, service=request.service, dial=request.dial, aws=request.aws
    )
    if request.service not in request.settings.environment(request.env).redis_iam:
        return load()
    config = load(auth="iam")
    if cache_endpoint(config.host) is not None:
        return config
    # Behind a CNAME: a token is signed for the cache, whose name the user group knows.
    caches = find_caches(request.aws, request.env)
    if len(caches) != 1:
        raise ConfigurationError(
            "the host does not say which cache it is, nor does the user group, which is attached to "
            f"{len(caches)} caches",
            host=config.host,
        )
    return load(auth="iam", cache_name=caches[0].name, serverless=caches[0].serverless)


def _mongo(request: Request, folder: PrivateFolder) -> Prepared:
    from soa_db._core.mongo.uri import connection_uri
    from soa_db._sync.credentials import mongo_credentials
    from soa_db._sync.mongo.loader import load_mongo_config_from_aws

    config = load_mongo_config_from_aws(
        env=request.env,
        service=request.service,
        # In dev the secret says which.
        database=request.spec.mongo_database() if request.spec is not None and request.env != "dev" else None,
        dial=request.dial,
        aws=request.aws,
    )
    credentials = mongo_credentials(config, aws=request.aws).get()
    uri = connection_uri(
        config.model_copy(update={"user": credentials.user}),
        _roots(config.tls, "mongo-roots.pem", folder),
        show_password=True,
        password=credentials.secret,
    )
    program = request.program
    kept = private_file(program, uri, str(folder.path)) if program in MONGO_PROGRAMS else None
    file = None if kept is None else folder.write(kept.name, kept.text)
    return Prepared(mongo_environment(uri, program=program, given=request.given, file=file), credentials)


def _roots(tls: TlsConfig | None, name: str, folder: PrivateFolder, *, amazon: bool = False) -> str | None:
    """The file of trusted roots for a client; None when nothing is to be verified.

    Args:
        tls: the configuration's.
        name: what the file is called if one is written.
        folder: where.
        amazon: unless others are configured, only those of Amazon Trust Services. redis-cli verifies the chain and
            not the name (seen with 7.0), so that with all public roots anybody's certificate would do.
    """
    import certifi

    from soa_db._core.rds import amazon_trust_roots
    from soa_db._runtime.pem import named_roots

    if tls is None or tls.verify == "none":
        return None
    roots = named_roots(tls)
    if roots is None:
        return folder.write(name, amazon_trust_roots(certifi.contents())) if amazon else certifi.where()
    return roots.path if roots.pem is None else folder.write(name, roots.pem)


_PREPARE: Mapping[str, Callable[[Request, PrivateFolder], Prepared]] = {
    "postgres": _postgres,
    "redis": _redis,
    "mongo": _mongo,
}
