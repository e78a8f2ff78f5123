# Generated from src/soa_db/_async/aws.py by tools/generate_sync.py: edit that file, then run `make generate`.

"""What loaders, providers and commands ask of AWS: parameters, secrets, credentials, clients.

botocore is loaded at the first call, never by an import. Its calls block: the asynchronous class makes them in threads
of their own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from soa_db._core.refresh import Need
from soa_db._runtime._sync import SingleFlight, to_thread
from soa_db._runtime.clock import Clock
from soa_db._runtime.imports import no_collection

if TYPE_CHECKING:
    from soa_db._aws.backend import Backend
    from soa_db._aws.cache import Cache
    from soa_db.config import AwsTarget
    from soa_db.credentials import AwsCredentials, CallerIdentity

__all__ = ["AwsClients"]

T = TypeVar("T")


class AwsClients:
    """AWS as one principal: share one object among loaders and providers, and they share its caches.

    Making it does nothing; AWS is asked when something is needed. Any number of concurrent callers cause one
    resolution of credentials and one read per secret; a caller who is cancelled disturbs none of the others. Secrets
    and credentials are renewed ahead of their end by whoever needs them then, without waiting; a renewal that fails
    never replaces a value that is still good. It may be used after a fork, and after ``close``.

    Every method raises CredentialError, or one of its subclasses, naming action and resource, and
    ConfigurationError for a region or profile that cannot be used.

    Args:
        region: AWS region; the process's configuration, then us-west-2, when left out.
        profile: profile of the shared AWS configuration.
        role_arn: role to assume; renewed by itself.
        external_id: external id that the role's trust policy may demand.
        endpoint_url: another endpoint for every service; AWS_ENDPOINT_URL and its kin are honoured without it.
        clock: the clocks, for tests.
        source: whose rights assume the role; those of the process or profile when left out (see ``assume``).
    """

    def __init__(
        self,
        *,
        region: str | None = None,
        profile: str | None = None,
        role_arn: str | None = None,
        external_id: str | None = None,
        endpoint_url: str | None = None,
        clock: Clock | None = None,
        source: Self | None = None,
    ) -> None:
        self._region = region
        self._profile = profile
        self._role_arn = role_arn
        self._external_id = external_id
        self._endpoint_url = endpoint_url
        self._clock = clock or Clock()
        self._flights: SingleFlight[Any] = SingleFlight()
        self._made: Backend | None = None
        self._source = source

    @classmethod
    def from_target(cls, target: AwsTarget) -> Self:
        """Return clients for the target that a config carries."""
        return cls(
            region=target.region,
            profile=target.profile,
            role_arn=target.role_arn,
            external_id=target.external_id,
            endpoint_url=target.endpoint_url,
        )

    def assume(self, role_arn: str, *, external_id: str | None = None) -> Self:
        """Return the clients of another role, assumed with the rights of these (AWS calls it role chaining).

        Their ``target`` names the role, not the way to it: hand such clients on, not their target.
        """
        return type(self)(
            region=self._region,
            profile=self._profile,
            role_arn=role_arn,
            external_id=external_id,
            endpoint_url=self._endpoint_url,
            clock=self._clock,
            source=self,
        )

    @property
    def target(self) -> AwsTarget:
        """What the clients were made with, as data that a config can carry."""
        from soa_db.config import AwsTarget

        return AwsTarget(
            region=self._region,
            profile=self._profile,
            role_arn=self._role_arn,
            external_id=self._external_id,
            endpoint_url=self._endpoint_url,
        )

    def region(self) -> str:
        """Return the region in use."""
        backend = self._backend()
        name: str = self._flights.run("region", backend.session.region)
        return name

    def parameters(self, names: Iterable[str]) -> dict[str, str]:
        """Return SSM parameters by name, ten a call; raises ParameterNotFound naming each missing one.

        Where ``ssm:GetParameters`` is denied, ``ssm:GetParameter`` is tried for each name. Nothing is cached.
        """
        wanted = tuple(names)
        backend = self._backend()
        found: dict[str, str] = self._flights.run(("parameters", wanted), lambda: backend.parameters(wanted))
        return dict(found)

    def secret(self, secret_id: str, *, stage: str = "AWSCURRENT", force: bool = False) -> Mapping[str, object]:
        """Return the payload of a secret, a JSON object.

        Args:
            secret_id: its name or ARN.
            stage: version stage.
            force: read it again although it is cached, because what it holds was refused. Four times at once, then
                every five seconds; in between, what the last read gave.

        Raises:
            SecretNotFound: there is no such secret, or it has no version in this stage.
            SecretMalformed: it is not a JSON object.
            AccessDenied: ``secretsmanager:GetSecretValue`` is missing.
        """
        backend = self._backend()
        cache = backend.secret(secret_id, stage)
        key = ("secret", secret_id, stage)
        if force:
            # A key of its own: a read that was under way before the refusal may bring back what was refused.
            payload: Mapping[str, object] = self._flights.run((*key, "force"), cache.force)
            return payload
        return self._read(key, cache)

    def credentials(self, *, force: bool = False) -> AwsCredentials:
        """Return the AWS credentials themselves, good for two minutes at least.

        Args:
            force: resolve them anew, because what was signed with them was refused; rate-limited like secrets.
        """
        backend = self._backend()
        if force:
            found: AwsCredentials = self._flights.run("new credentials", backend.renew_credentials)
            return found
        held = self._read("credentials", backend.credentials)
        if held.expires_at > self._clock.wall():
            return held
        # Caches go by the monotonic clock, which stands still while a machine is suspended; AWS goes by the wall clock.
        again: AwsCredentials = self._flights.run("expired credentials", backend.credentials.fill)
        return again

    def caller_identity(self) -> CallerIdentity:
        """Ask AWS who is asking: account and ARN."""
        backend = self._backend()
        return to_thread(backend.caller_identity)

    def client(self, service: str) -> Any:
        """Return the botocore client of a service: one per service, thread-safe, closed by ``close``.

        Its calls block, and raise botocore's errors; ``call`` does neither.
        """
        backend = self._backend()
        return to_thread(lambda: backend.session.client(service))

    def call(self, service: str, operation: str, /, **parameters: object) -> dict[str, Any]:
        """Make one API call, e.g. ``call("rds", "describe_db_instances", MaxRecords=20)``, with our errors."""
        backend = self._backend()
        return to_thread(lambda: backend.session.call(service, operation, parameters))

    def close(self) -> None:
        """Close the connections to AWS. What is cached stays, and later calls open new connections."""
        made = self._made
        if made is not None and made.pid == os.getpid():
            to_thread(made.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _backend(self) -> Backend:
        made = self._made
        # A forked child may share neither sockets nor locks with its parent.
        if made is not None and made.pid == os.getpid():
            return made
        # In a flight of the source's own: it and its roles, asked at once, must not each make one.
        source = None if self._source is None else self._source._backend()  # noqa: SLF001 - another of this class
        make: Callable[[], Backend] = partial(self._make, source)
        backend: Backend = self._flights.run("backend", make)
        return backend

    def _make(self, source: Backend | None) -> Backend:
        with no_collection():
            from soa_db._aws.backend import Backend
            from soa_db._aws.session import AwsSession

        made = self._made
        if made is None or made.pid != os.getpid():
            session = AwsSession(
                region=self._region,
                profile=self._profile,
                role_arn=self._role_arn,
                external_id=self._external_id,
                endpoint_url=self._endpoint_url,
                clock=self._clock,
                source=None if source is None else source.session,
            )
            made = self._made = Backend(session, self._clock)
        return made

    def _read(self, key: object, cache: Cache[T]) -> T:
        need, held = cache.look()
        if held is None or need is Need.NOW:
            value: T = self._flights.run(key, cache.fill_unless_held)
            return value
        if need is Need.AHEAD:
            self._flights.start((key, "ahead"), cache.fill_ahead)
        return held.value
