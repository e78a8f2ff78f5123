"""Every database of a service, opened and closed together, as its ``db-access.yaml`` says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypedDict, Unpack

from soa_db import names
from soa_db._core.masking import mask_secrets
from soa_db.errors import ConfigurationError, ConnectionFailed, MissingExtra, SoaDbError

if TYPE_CHECKING:
    import os

    from soa_db.access.spec import Spec, SpecSet
    from soa_db.aws import AsyncAwsClients
    from soa_db.mongo import AsyncMongoProvider
    from soa_db.names import Env, Role
    from soa_db.postgres import AsyncPostgresProvider
    from soa_db.redis import AsyncRedisConnectionManager

    SpecSource: TypeAlias = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Spec | SpecSet

__all__ = ["Databases", "OpenOptions", "open_databases"]

_log = logging.getLogger("soa_db.databases")

Engine: TypeAlias = Literal["postgres", "redis", "mongo"]
_ENGINES: tuple[Engine, ...] = ("postgres", "redis", "mongo")
_SPEC = "db-access.yaml"
# What the spec and the arguments say, for each database.
_DECIDED = {"env", "service", "spec", "aws", "role", "db_id", "database", "user", "username", "instance_name", "scope"}


class OpenOptions(TypedDict, total=False):
    """The keywords of ``open_databases``.

    Attributes:
        specs: where the spec is; see there, as for the others.
        engines: which engines to open.
        roles: as whom to open a PostgreSQL database, by its id.
        region: AWS region.
        aws: shared AWS clients.
        postgres: further keywords of ``aload_postgres_config_from_aws``.
        redis: likewise of ``aload_redis_config_from_aws``.
        mongo: likewise of ``aload_mongo_config_from_aws``.
    """

    specs: SpecSource | None
    engines: Collection[Engine] | None
    roles: Mapping[str, str | Sequence[str]] | None
    region: str | None
    aws: AsyncAwsClients | None
    postgres: Mapping[str, Any] | None
    redis: Mapping[str, Any] | None
    mongo: Mapping[str, Any] | None


class _Provider(Protocol):
    async def connect(self) -> None: ...

    async def disconnect(self) -> None: ...

    async def check(self, timeout: float = ...) -> None: ...


class Databases:
    """The open databases of one service; ``open_databases`` makes it.

    Attributes:
        service: the service id.
        env: the environment.
        providers: what is open, by name: ``postgres``, ``postgres:pii``, ``postgres:main:ro``, ``redis``, ``mongo``.
    """

    def __init__(self, service: str, env: str) -> None:
        self.service = service
        self.env = env
        self.providers: dict[str, _Provider] = {}
        self._postgres: dict[tuple[str, str], AsyncPostgresProvider] = {}
        self._redis: AsyncRedisConnectionManager | None = None
        self._mongo: AsyncMongoProvider | None = None

    def __repr__(self) -> str:
        return f"<Databases of {self.service!r} in {self.env}: {', '.join(self.providers) or 'none'}>"

    @property
    def postgres(self) -> AsyncPostgresProvider:
        """The PostgreSQL database ``main``, or the only one there is; raises ConfigurationError where there is none."""
        return self.postgres_for(self._main_or_only())

    def _main_or_only(self) -> str:
        ids = {db_id for db_id, _ in self._postgres}
        return next(iter(ids)) if len(ids) == 1 else "main"

    def postgres_for(self, db_id: str | None = None, role: Role | str | None = None) -> AsyncPostgresProvider:
        """Return the provider of a PostgreSQL database.

        Args:
            db_id: which; None and ``main`` are the same.
            role: as whom, where the database is open as several; the first of them when left out.

        Raises:
            ConfigurationError: it is not open, or not in this role.
        """
        wanted = names.normal_db_id(db_id) or "main"
        for (known, opened_as), provider in self._postgres.items():
            if known == wanted and role in {None, opened_as}:
                return provider
        raise self._not_open(f"PostgreSQL database {wanted!r}" + (f" as {role}" if role else ""))

    @property
    def redis(self) -> AsyncRedisConnectionManager:
        """The Redis manager; raises ConfigurationError where there is none."""
        if self._redis is None:
            raise self._not_open("Redis")
        return self._redis

    @property
    def mongo(self) -> AsyncMongoProvider:
        """The MongoDB provider; raises ConfigurationError where there is none."""
        if self._mongo is None:
            raise self._not_open("MongoDB")
        return self._mongo

    def _not_open(self, what: str) -> ConfigurationError:
        return ConfigurationError(
            f"{what} is not among the open databases",
            hint=f"open are {', '.join(self.providers) or 'none'}: see db-access.yaml, `roles` and `engines`",
            service=self.service,
            env=self.env,
        )

    def _add_postgres(self, spec: Spec, roles: Mapping[str, Sequence[Role]], **loader: Any) -> None:
        from soa_db.postgres import AsyncPostgresProvider

        for db_id, wanted in roles.items():
            for role in wanted:
                # Asked now: that nobody plays the role is to be said before anything is opened.
                spec.postgres_user(db_id, role)
                labels = [db_id] * (db_id != "main" or role != "app") + [role] * (role != "app")
                provider = AsyncPostgresProvider.from_aws(
                    spec=spec, db_id=db_id, role=role, instance_name="/".join((self.service, *labels)), **loader
                )
                self._postgres[db_id, role] = self.providers[":".join(("postgres", *labels))] = provider

    def _add_redis(self, **loader: Any) -> None:
        from soa_db.redis import AsyncRedisConnectionManager

        self._redis = self.providers["redis"] = AsyncRedisConnectionManager.from_aws(**loader)

    def _add_mongo(self, spec: Spec, **loader: Any) -> None:
        from soa_db.mongo import AsyncMongoProvider

        provider = AsyncMongoProvider.from_aws(database=spec.mongo_database(), **loader)
        self._mongo = self.providers["mongo"] = provider


@asynccontextmanager
async def open_databases(service: str, env: Env | str, **options: Unpack[OpenOptions]) -> AsyncIterator[Databases]:
    """Open every database of a service, and close them at the end; all at once, with one set of AWS clients.

    Either all are open or none: when one cannot be opened, the others are closed again. So they are when the caller is
    cancelled. Nothing is read or opened before the ``async with``.

    At the end every one of them is closed, whatever happens to the others. One that cannot be is a line in the log
    ``soa_db.databases``. The error is raised too, several as an ExceptionGroup, unless the block ends with an error of
    its own (a cancellation, say): that one goes on, with a note of each.

    Args:
        service: the service id, e.g. ``chat-api``.
        env: ``dev``, ``mirror`` or ``prod``.
        options: all may be left out.

            ``specs``: where the service's ``db-access.yaml`` is: a file, a folder, several of them, or a Spec or
            SpecSet that is loaded already; ``db-access.yaml`` in the working directory when left out.
            ``engines``: which of ``postgres``, ``redis``, ``mongo`` to open; all the spec has a part for.
            ``roles``: as whom a PostgreSQL database is opened, by its id: ``{"main": ("app", "ro"), "pii": "owner"}``;
            ``app`` for what is left out. An empty tuple leaves a database closed.
            ``region``: AWS region; that of the process.
            ``aws``: shared AWS clients, which the caller closes.
            ``postgres``, ``redis``, ``mongo``: further keywords of the engine's loader, for all of its databases:
            ``{"pool": PoolConfig(max_size=20)}``, ``{"auth": "iam"}``, ``{"dial": "localhost:5433"}``.

    Raises:
        SpecError: ``db-access.yaml`` is missing or has faults.
        ConfigurationError: an argument cannot be used, or does not fit the spec.
        MissingExtra: a driver, or PyYAML, is not installed.
        SoaDbError: one database cannot be opened: as its provider's ``connect`` raises it.
        ConnectionFailed: several cannot be opened; it names each, and its cause is the group of their errors.
    """
    found = _declared(service, env, options)
    from soa_db.aws import AsyncAwsClients

    own = None if options.get("aws") is not None else AsyncAwsClients(region=options.get("region"))
    databases = _unopened(found, names.check_env(env), options, options.get("aws") or own)
    try:
        await _open(databases)
        yield databases
    except BaseException as error:
        _note(error, "could not be closed", await _close_to_the_end(databases, own))
        raise
    failed = list((await _close_to_the_end(databases, own)).values())
    if len(failed) == 1:
        raise failed[0]
    if failed:
        raise BaseExceptionGroup(f"databases of {service} that could not be closed", failed)


def _declared(service: str, env: Env | str, options: OpenOptions) -> Spec:
    names.check_env(env)
    names.check_service(service)
    unknown = sorted(set(options) - set(OpenOptions.__annotations__))
    if unknown:
        hint = f"known are {', '.join(OpenOptions.__annotations__)}"
        raise ConfigurationError(f"open_databases takes no {unknown[0]!r}", hint=hint)
    try:
        from soa_db.access.spec import Spec, SpecSet, load_specs
    except MissingExtra as error:
        raise MissingExtra(error.message, hint="pip install pyyaml") from error
    match options.get("specs"):
        case Spec() as spec:
            known = {spec.service: spec}
        case SpecSet() as specs:
            known = dict(specs.by_service)
        case None:
            known = dict(load_specs([_SPEC]).by_service)
        case str() | bytes() as path:
            known = dict(load_specs([str(path)]).by_service)
        case Sequence() as paths:
            known = dict(load_specs(paths).by_service)
        case path:
            known = dict(load_specs([path]).by_service)
    if service not in known:
        raise ConfigurationError(f"no spec is of {service!r}", hint=f"those given are of {', '.join(sorted(known))}")
    return known[service]


def _unopened(spec: Spec, env: str, options: OpenOptions, aws: AsyncAwsClients | None) -> Databases:
    databases = Databases(spec.service, env)
    for engine in _wanted(spec, options.get("engines")):
        shared = {"env": env, "service": spec.service, "aws": aws, "region": options.get("region")}
        loader = {**shared, **_loader_keywords(engine, options.get(engine) or {})}
        match engine:
            case "postgres":
                databases._add_postgres(spec, _roles(spec, options.get("roles") or {}), **loader)  # noqa: SLF001 - ours
            case "redis":
                databases._add_redis(**loader)  # noqa: SLF001 - likewise
            case "mongo":
                databases._add_mongo(spec, **loader)  # noqa: SLF001 - likewise
    return databases


def _wanted(spec: Spec, engines: Collection[Engine] | None) -> list[Engine]:
    there: list[Engine] = [engine for engine in _ENGINES if getattr(spec, engine) is not None]
    if engines is None:
        return there
    for engine in (engines,) if isinstance(engines, str) else engines:
        if engine not in there:
            hint = f"it has {', '.join(there) or 'none'}"
            raise ConfigurationError(f"the spec of {spec.service} has no part {engine!r}", hint=hint)
    return [engine for engine in there if engine in engines]


def _roles(spec: Spec, given: Mapping[str, str | Sequence[str]]) -> dict[str, Sequence[Role]]:
    roles: dict[str, Sequence[Role]] = {database.id: ("app",) for database in spec.postgres_databases()}
    for db_id, wanted in given.items():
        known = names.normal_db_id(db_id) or "main"
        spec.postgres_database(known)
        several = (wanted,) if isinstance(wanted, str) else wanted
        roles[known] = tuple(dict.fromkeys(names.check_role(role) for role in several))
    return roles


def _loader_keywords(engine: Engine, given: Mapping[str, Any]) -> dict[str, Any]:
    match engine:
        case "postgres":
            from soa_db._async.postgres.principal import LoaderKeywords as Known
        case "redis":
            from soa_db._async.redis.principal import LoaderKeywords as Known  # type: ignore[assignment]  # a sibling
        case "mongo":
            from soa_db._async.mongo.principal import LoaderKeywords as Known  # type: ignore[assignment]  # likewise
    for name in given:
        if name in _DECIDED:
            hint = "the spec and the arguments of open_databases say it: make a provider of your own for something else"
            raise ConfigurationError(f"{name!r} cannot be given for {engine}", hint=hint)
        if name not in Known.__annotations__:
            hint = f"known are {', '.join(sorted(set(Known.__annotations__) - _DECIDED))}"
            raise ConfigurationError(f"{engine}'s loader takes no {name!r}", hint=hint)
    return dict(given)


async def _open(databases: Databases) -> None:
    results = await asyncio.gather(
        *(provider.connect() for provider in databases.providers.values()), return_exceptions=True
    )
    failed = _failed(databases, results)
    if not failed:
        return
    # What is none of ours (a fault in the code, an interrupt) goes on as it is.
    error = next((one for one in failed.values() if not isinstance(one, SoaDbError)), None)
    if error is None and len(failed) == 1:
        (error,) = failed.values()
    if error is not None:
        _note(error, "nor could be opened", {name: other for name, other in failed.items() if other is not error})
        raise error
    errors = [one for one in failed.values() if isinstance(one, SoaDbError)]
    told = "\n".join(f"  {name}: {one}" for name, one in failed.items())
    raise ConnectionFailed(
        f"{len(failed)} of {len(databases.providers)} databases of {databases.service} cannot be opened in"
        f" {databases.env}:\n{told}"
    ) from ExceptionGroup("databases that cannot be opened", errors)


async def _close_to_the_end(databases: Databases, own: AsyncAwsClients | None) -> Mapping[str, BaseException]:
    """Close all; a caller who is cancelled meanwhile sees its cancellation when all are closed.

    Not before: what is left to go on by itself is cancelled too where the loop ends then, as with Ctrl-C. It takes
    seconds at most, since every engine bounds its own.
    """
    task = asyncio.create_task(_close(databases, own), name="soa-db close")
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancelled = error
    failed = task.result()
    if cancelled is not None:
        _note(cancelled, "could not be closed", failed)
        raise cancelled
    return failed


async def _close(databases: Databases, own: AsyncAwsClients | None) -> Mapping[str, BaseException]:
    """Close all; return, and log, what went wrong."""
    failed: dict[str, BaseException] = {}
    try:
        results = await asyncio.gather(
            *(provider.disconnect() for provider in databases.providers.values()), return_exceptions=True
        )
        failed |= _failed(databases, results)
    finally:
        if own is not None:
            try:
                await own.close()
            except Exception as error:  # noqa: BLE001 - told with the others
                failed["AWS clients"] = error
    for name, one in failed.items():
        _log.warning("%s in %s could not be closed: %s", databases.service, databases.env, _told(name, one))
    return failed


def _failed(databases: Databases, results: Sequence[BaseException | None]) -> dict[str, BaseException]:
    return {name: one for name, one in zip(databases.providers, results, strict=True) if one is not None}


def _note(error: BaseException, what: str, others: Mapping[str, BaseException]) -> None:
    for name, other in others.items():
        error.add_note(f"{what}: {_told(name, other)}")


def _told(name: str, error: BaseException) -> str:
    return f"{name}: {type(error).__name__}: {mask_secrets(str(error))}"
