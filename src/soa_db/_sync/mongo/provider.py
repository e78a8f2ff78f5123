# Generated from src/soa_db/_async/mongo/provider.py by tools/generate_sync.py: edit that file, then run `make generate`.

"""The provider of one MongoDB database: pymongo's client, whose connections ask for credentials as they are made."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Self, Unpack

import pymongo
from pymongo import MongoClient

from soa_db._core.backoff import full_jitter
from soa_db._mongo.credential import ask_for_credentials
from soa_db._mongo.failures import DRIVER_ERRORS, OPTION_ERRORS, typed
from soa_db._mongo.heartbeat import CertificateWatch
from soa_db._mongo.options import client_options, measured_pool, seeds
from soa_db._runtime import fork, telemetry
from soa_db._runtime._sync import Affinity, Lock, StopEvent, Stopped, complete, gather, sleep
from soa_db._sync.mongo.pool import Login
from soa_db._sync.mongo.principal import LoaderKeywords, MongoPrincipal
from soa_db.errors import ConfigurationError, NotConnectedError, ServerUnavailable, TlsVerificationFailed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from pymongo.synchronous.database import Database

    from soa_db._sync.aws import AwsClients
    from soa_db.config import MongoConfig
    from soa_db.credentials import CredentialInUse

__all__ = ["MongoProvider"]

Client = MongoClient[dict[str, Any]]

_CONNECT_ATTEMPTS = 3
_CONNECT_BASE = 1.0
_CONNECT_CAP = 4.0
# What a client says to the servers when it is closed may not be heard any more.
_CLOSE_SECONDS = 2.0


class MongoProvider:
    """One MongoDB database as one user: pymongo's client in ``client``, its database in ``database``.

    Nothing of ours stands between the user and the driver: its errors are pymongo's, its retries those of
    ``retryWrites`` and ``retryReads``. Credentials are asked for whenever the client makes a connection, so that a
    rotated password needs no new client; a login that is refused for good is AuthenticationFailed, which is then
    pymongo's OperationFailure too. A forked child gets a client of its own when it first asks for it, and leaves the
    parent's alone.

    Args:
        config: what to connect to, and how to authenticate.
        aws: shared AWS clients for the credentials; made and closed by the provider when left out and needed.
    """

    def __init__(self, config: MongoConfig, *, aws: AwsClients | None = None) -> None:
        self._start(MongoPrincipal(config=config, aws=aws))

    def _start(self, principal: MongoPrincipal) -> None:
        self._principal = principal
        self._client: Client | None = None
        self._login: Login | None = None
        self._affinity = Affinity()
        self._lock = Lock()
        self._inherited = False
        fork.watch(self)
        telemetry.watch(self, MongoProvider._use)

    @classmethod
    def from_aws(cls, *, aws: AwsClients | None = None, **loader: Unpack[LoaderKeywords]) -> Self:
        """Return a provider whose configuration is loaded from AWS when it connects.

        Takes the keywords of ``aload_mongo_config_from_aws``: ``env``, ``service``, ``scope`` ….
        """
        provider = cls.__new__(cls)
        cls._start(provider, MongoPrincipal(loader=loader, aws=aws))
        return provider

    def __repr__(self) -> str:
        state = "connected" if self.is_connected else "not connected"
        return f"<{type(self).__name__} {self._principal.name!r}, {state}>"

    # --- life

    def connect(self) -> None:
        """Make the client, once it has proved hosts, TLS and credentials. Does nothing when connected.

        Tried three times while the server is unavailable; any other failure is final at once.

        Raises:
            AuthenticationFailed: the server refuses the user or its credentials, a forced re-read of them included.
            AccessDenied: the user may do nothing in the database, or AWS denies its secret.
            TlsVerificationFailed: no server's certificate stands up.
            ServerUnavailable: the servers are down, without a primary or too slow.
            CredentialError: AWS did not give the configuration or the credentials.
            ConfigurationError: the configuration cannot be used.
            NotConnectedError: the provider is connected in another event loop.
        """
        self._enter()
        with self._lock:
            if self._client is None:
                config, credentials = self._principal.resolve()
                login = Login(config, credentials)
                self._client = self._open(login)
                self._login = login
                self._inherited = False

    def _enter(self) -> None:
        """Belong to this event loop; the client of one that has ended works no more."""
        if self._affinity.enter(in_use=self._client is not None or self._lock.locked()):
            self._client, self._login = None, None
            self._lock = Lock()

    def _open(self, login: Login) -> Client:
        for attempt in range(1, _CONNECT_ATTEMPTS):
            try:
                return self._probe(login)
            except ServerUnavailable:
                sleep(full_jitter(attempt, base=_CONNECT_BASE, cap=_CONNECT_CAP, rng=random.random))
        return self._probe(login)

    def _probe(self, login: Login) -> Client:
        stop = StopEvent()
        watch = CertificateWatch(len(seeds(login.config)), stop.set)
        client = _make_client(login, watch)
        try:
            stop.run(lambda: _prove(client, login))
        except BaseException as error:
            with pymongo.timeout(_CLOSE_SECONDS):
                complete(_close, client, login)
            failure = watch.error if isinstance(error, Stopped) else error
            if isinstance(failure, DRIVER_ERRORS):
                source = (login.credentials.get()).source
                found = typed(failure, login.config, source=source)
                if isinstance(found, ServerUnavailable | TlsVerificationFailed):
                    # The monitors found no server: no pool has tried to connect, and told of it.
                    telemetry.failed(measured_pool(login.config), type(found))
                if found is not error:
                    raise found from failure
            raise
        return client

    def disconnect(self) -> None:
        """Close every connection. Does nothing when not connected; ``connect`` may be called again.

        Raises:
            NotConnectedError: the provider is connected in another event loop than this one.
        """
        self._enter()
        with self._lock:
            client, self._client = self._client, None
            login, self._login, self._inherited = self._login, None, False
            # To its end: a caller who is cancelled here would leave connections behind.
            with pymongo.timeout(_CLOSE_SECONDS):
                complete(self._leave, client, login)

    def _leave(self, client: Client | None, login: Login | None) -> None:
        try:
            if client is not None and login is not None:
                _close(client, login)
        finally:
            self._principal.close()

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.disconnect()

    def after_fork_in_child(self) -> None:
        """Leave the parent's connections alone: called in a forked child, before anything else runs there."""
        client, self._client = self._client, None
        # The parent may have held it at that moment; whoever held it is not here to release it.
        self._affinity, self._lock = Affinity(), Lock()
        if client is not None and self._login is not None:
            self._inherited = True
            fork.detach(self._login.descriptors())
            # Never collected: pymongo would clean up what is the parent's.
            _INHERITED.append(client)

    # --- state

    @property
    def config(self) -> MongoConfig:
        """The configuration; raises NotConnectedError as long as it has not been loaded from AWS."""
        return self._principal.config

    @property
    def is_connected(self) -> bool:
        """Whether ``connect`` was called, and ``disconnect`` not since. No I/O."""
        return self._client is not None or self._inherited

    @property
    def client(self) -> Client:
        """The native client; raises NotConnectedError before ``connect``, and in another event loop."""
        client = self._client
        if client is None:
            client = self._anew()
        self._affinity.check()
        return client

    def _anew(self) -> Client:
        """Return a forked child's own client."""
        if not self._inherited or self._login is None:
            raise NotConnectedError(
                "the provider is not connected", hint="call connect() first", instance=self._principal.name
            )
        self._affinity.enter(in_use=False)
        self._login = Login(self._login.config, self._login.credentials)
        self._client, self._inherited = _make_client(self._login), False
        return self._client

    @property
    def database(self) -> Database[dict[str, Any]]:
        """The configured database of the native client; raises NotConnectedError as ``client`` does."""
        return self.client[self.config.database]

    def ping(self, timeout: float = 5.0) -> bool:
        """Return whether a round trip to a server succeeds within ``timeout`` seconds; never raises an error.

        The wait for a free connection counts, and that for a primary: a client that has none is not healthy.
        """
        try:
            self.check(timeout)
        except Exception:  # noqa: BLE001 - the answer is no, whatever the reason
            return False
        return True

    def check(self, timeout: float = 5.0) -> None:
        """Make the round trip that ``ping`` makes, and raise why it fails: the typed error, from pymongo's.

        Args:
            timeout: seconds, the waits for a primary and for a free connection included.

        Raises:
            AuthenticationFailed: a new connection was needed, and the server refuses its credentials.
            ServerUnavailable: the servers are down, without a primary or too slow.
            SoaDbError: likewise the other errors of ``connect``.
        """
        try:
            with pymongo.timeout(timeout):
                self.client.admin.command("ping")
        except DRIVER_ERRORS as error:
            found = typed(error, self.config)
            if found is error:
                raise
            raise found from error

    @property
    def credential(self) -> CredentialInUse | None:
        """Where the credentials asked for last came from, their age and their end; None before ``connect``. No I/O."""
        return self._principal.credential

    def stats(self) -> Mapping[str, int]:
        """Return counts: connections ``idle`` and ``in_use``, ``servers`` known; ``connected`` is 1 or 0."""
        client = self.client
        pools = self._login.pools() if self._login is not None else []
        return {
            "idle": sum(len(pool.conns) for pool in pools),
            "in_use": sum(pool.active_sockets for pool in pools),
            "servers": len(client.nodes),
            "connected": int(self.is_connected),
        }

    def _use(self) -> list[tuple[telemetry.Pool, telemetry.PoolUse]]:
        login = self._login
        # A forked child has the parent's login until it makes a client.
        return [] if self._client is None or login is None else [(pool.measured, pool.use()) for pool in login.pools()]

    def drain(self) -> None:
        """Replace every connection: idle ones now, those in use when they are given back."""
        self.client  # noqa: B018 - raises where there is none
        for pool in self._login.pools() if self._login is not None else ():
            pool.reset_without_pause()


# Clients of the parent, in a forked child.
_INHERITED: list[Client] = []


def _make_client(login: Login, *listeners: CertificateWatch) -> Client:
    try:
        with client_options(login.config) as options:
            client: Client = MongoClient(
                **options, connect=False, event_listeners=listeners, _pool_class=login.pool_class()
            )
    except OPTION_ERRORS as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(
            f"pymongo does not take the configuration: {error}", hint="check it", instance=login.config.instance_name
        ) from error
    ask_for_credentials(client.options.pool_options)
    return client


def _prove(client: Client, login: Login) -> None:
    client.admin.command("ping")
    # Whoever may do anything at all in the database may ask this; who has not logged in may not.
    client[login.config.database].command("listCollections", nameOnly=True, authorizedCollections=True)


def _close(client: Client, login: Login) -> None:
    # All of it in one task: pymongo resets context variables, which must be done where they were set.
    gather(client.close)
    login.connects.settle(_CLOSE_SECONDS)
