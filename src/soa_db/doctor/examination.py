"""The chain of one target; an engine says what is kept where, how to log in and what to ask then."""

from __future__ import annotations

import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from soa_db.doctor import network
from soa_db.doctor.chain import Step, begin, bounded, failure
from soa_db.doctor.report import Finding, Status, Target
from soa_db.doctor.stored import look_at_parameters, look_at_secret
from soa_db.doctor.tls import describe, shake_hands
from soa_db.errors import ConnectionFailed, ServerUnavailable

if TYPE_CHECKING:
    from soa_db.doctor.network import Place
    from soa_db.doctor.stored import Parameter, Payload, Secret
    from soa_db.doctor.surroundings import Surroundings
    from soa_db.doctor.tls import Peer

__all__ = ["Examination"]

ConfigT = TypeVar("ConfigT")
SessionT = TypeVar("SessionT")
_CLOSE_SECONDS = 2.0
_TIMED_OUT = re.compile("tim(eout|ed out)", re.IGNORECASE)


class Examination(ABC, Generic[ConfigT, SessionT]):
    """What is looked at for one target, in order. Use it once, and ``end`` it.

    Args:
        around: the run.
        target: who at what.
    """

    def __init__(self, around: Surroundings, target: Target) -> None:
        self.around = around
        self.target = target
        self.values: dict[str, str] = {}
        self.payloads: dict[str, Payload] = {}
        self.config: ConfigT | None = None
        self._reachable: tuple[Place, ...] = ()
        self._session: SessionT | None = None
        # Held while the session is in use: a step that is overdue may still be at it when the chain goes on, or ends.
        self._in_use = threading.Lock()
        self._user = ""
        self._lost_by = ""
        self._ended = False

    # --- what an engine says

    @abstractmethod
    def parameters(self) -> tuple[Parameter, ...]:
        """The SSM parameters it takes."""

    @abstractmethod
    def secrets(self) -> tuple[Secret, ...]:
        """The secrets it takes; parameters have been read by then."""

    @abstractmethod
    def load(self) -> ConfigT:
        """Load the configuration as a service does; raises SoaDbError."""

    @abstractmethod
    def describe(self, config: ConfigT) -> str:
        """What the configuration comes to, in one line without secrets."""

    @abstractmethod
    def places(self) -> tuple[Place, ...]:
        """Where the servers are, as far as it is known: by the configuration, else by what was found so far."""

    @abstractmethod
    def peer(self, place: Place) -> Peer | None:
        """How TLS is spoken there; None for plain text."""

    @abstractmethod
    def log_in(self, config: ConfigT) -> SessionT:
        """Log in; raises SoaDbError or Broken."""

    @abstractmethod
    def authorisation(self, session: SessionT) -> Iterable[Finding]:
        """Try what the user is for, without writing."""

    @abstractmethod
    def clock(self, session: SessionT) -> Iterable[Finding]:
        """Compare the server's clock with ours."""

    @abstractmethod
    def pool(self, config: ConfigT, session: SessionT) -> Iterable[Finding]:
        """Open the provider that services use; look at the server's limits and its part in replication."""

    @property
    def parameters_need(self) -> tuple[str, ...]:
        """The steps before the parameters."""
        return ("identity", "role")

    # --- the chain

    def steps(self) -> list[Step]:
        """The steps, in order."""
        stored = [
            Step("parameters", self._look_at_parameters, self.parameters_need, _LATE_AWS),
            Step("secret", self._look_at_secrets, ("identity", "role"), _LATE_AWS),
        ]
        if "secret" in self.parameters_need:
            stored.reverse()
        return [
            *stored,
            Step("configuration", self._configure, ("parameters", "secret"), _LATE_AWS),
            Step("dns", self._resolve, late="the resolver does not answer: check /etc/resolv.conf and the network"),
            Step("tcp", self._reach, ("dns",)),
            Step("tls", self._shake_hands, ("configuration", "tcp")),
            Step("authentication", self._log_in, ("configuration", "tcp", "tls"), _LATE_SERVER),
            Step("authorisation", self._authorise, ("authentication",), _LATE_SERVER),
            Step("clock", self._compare_clocks, ("authentication",), _LATE_SERVER),
            Step("pool", self._open_pool, ("authentication",), _LATE_SERVER),
        ]

    def end(self) -> None:
        """Close the session, now or when the step that uses it comes back."""
        self._ended = True
        if self._in_use.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._in_use.release()

    def _close(self) -> None:
        session: Any = self._session
        self._session = None
        if session is not None:
            # It has served its turn: whatever it says now, or does not say any more, nothing is lost.
            with suppress(Exception):
                bounded(session.close, _CLOSE_SECONDS)

    @contextmanager
    def _using(self, step: str) -> Iterator[None]:
        """Have the session for a step, once nobody else has it."""
        try:
            with self._in_use:
                self._user = step
                try:
                    yield
                except ConnectionFailed:
                    self._lost_by = step
                    raise
        finally:
            if self._ended:
                self.end()

    def _with_session(self, step: str, look: Callable[[SessionT], Iterable[Finding]]) -> Iterator[Finding]:
        """Look, unless a step before it has lost the session, or still waits for an answer on it: so would this one."""
        hangs = self._in_use.locked()
        if hangs or self._lost_by:
            user = self._user if hangs else self._lost_by
            told = f"not looked at, since {user} {'hung' if hangs else 'lost the connection'}"
            yield Finding(step, Status.SKIPPED, told, reason=user)
            return
        with self._using(step):
            assert self._session is not None
            try:
                yield from look(self._session)
            except ConnectionFailed as error:
                error.hint = error.hint or _LATE_SERVER
                raise

    @property
    def _env(self) -> str:
        return self.around.env

    @property
    def rotate_command(self) -> str:
        """The command that ends a rotation."""
        target = self.target
        return f"`soa-db rotate --env {self._env} --engine {target.engine} --service {target.service}`"

    @property
    def provision_command(self) -> str:
        """The command that makes what is missing."""
        return f"`soa-db provision --env {self._env} --engine {self.target.engine}`"

    def _look_at_parameters(self) -> Iterator[Finding]:
        wanted = self.parameters()
        if not wanted:
            yield Finding("parameters", Status.NOT_APPLICABLE, "none are needed: the secret says where the server is")
            return
        yield from look_at_parameters(self.around, wanted, self.values)

    def _look_at_secrets(self) -> Iterator[Finding]:
        wanted = self.secrets()
        if not wanted:
            yield Finding("secret", Status.NOT_APPLICABLE, "none is needed: the user logs in with IAM tokens")
            return
        for one in wanted:
            yield from look_at_secret(self.around, one, self.payloads, command=self.rotate_command)

    def _configure(self) -> Iterator[Finding]:
        self.config = config = self.load()
        yield Finding("configuration", Status.OK, self.describe(config))

    def _resolve(self) -> Iterator[Finding]:
        self._reachable = self.places()
        if not self._reachable:
            told = "not tried: where the server is, is not known"
            yield Finding("dns", Status.SKIPPED, told, reason="configuration")
        yield from self._each("dns", self._resolve_one)

    def _resolve_one(self, place: Place) -> Finding:
        host = place.host
        addresses = self.around.memo.once(("dns", host), lambda: network.resolve(host))
        told = host if addresses == (host,) else f"{host} is {', '.join(addresses)}"
        if self._env == "prod" and any(map(network.is_public, addresses)):
            hint = "a production database belongs in private subnets (RDS: publicly accessible, no)"
            return Finding("dns", Status.WARNING, f"{told}: a public address", hint)
        return Finding("dns", Status.OK, told)

    def _reach(self) -> Iterator[Finding]:
        yield from self._each("tcp", self._reach_one)

    def _reach_one(self, place: Place) -> Finding:
        # So that the socket says it, and not the step's own deadline.
        timeout = self.around.timeout * 0.9
        reached = self.around.memo.once(("tcp", place), lambda: network.reach(place, timeout))
        return Finding("tcp", Status.OK, f"{place} answers in {reached.seconds * 1000:.1f} ms")

    def _shake_hands(self) -> Iterator[Finding]:
        yield from self._each("tls", self._shake_hands_with)

    def _shake_hands_with(self, place: Place) -> Finding:
        peer = self.peer(place)
        if peer is None:
            told = "off in dev" if self._env == "dev" else "off, as the secret says"
            return Finding("tls", Status.NOT_APPLICABLE, told)
        now = self.around.wall()
        key = ("tls", self.target.engine, place, peer.name, peer.roots)
        return describe(self.around.memo.once(key, lambda: shake_hands(peer, now=now)), peer, now)

    def _each(self, step: str, look: Callable[[Place], Finding]) -> list[Finding]:
        """Look at every server that is left; while one of several is all right, what is wrong with others is a warning.

        A replica set that lacks a member works.
        """
        # Side by side, so that the deadline of the step is that of each.
        begun = {place: begin(partial(_caught, step, place, look)) for place in self._reachable}
        found = {place: answer.result() for place, answer in begun.items()}
        good = tuple(place for place, finding in found.items() if finding.status is not Status.FAILED)
        self._reachable = good
        if good:
            return [
                replace(finding, status=Status.WARNING) if finding.status is Status.FAILED else finding
                for finding in found.values()
            ]
        return list(found.values())

    def _log_in(self) -> Iterator[Finding]:
        config = self._known()
        with self._using("authentication"):
            try:
                self._session = self.log_in(config)
            except ServerUnavailable as error:
                # That host and port are right has been found by now.
                if _TIMED_OUT.search(error.message):
                    error.hint = _LATE_SERVER
                raise
        yield Finding("authentication", Status.OK, f"{self.target.user} is logged in")

    def _authorise(self) -> Iterator[Finding]:
        return self._with_session("authorisation", self.authorisation)

    def _compare_clocks(self) -> Iterator[Finding]:
        return self._with_session("clock", self.clock)

    def _open_pool(self) -> Iterator[Finding]:
        return self._with_session("pool", partial(self.pool, self._known()))

    def _known(self) -> ConfigT:
        assert self.config is not None
        return self.config


_LATE_AWS = (
    "AWS does not answer: check network, proxy, VPC endpoints (ssm, secretsmanager), region and AWS_ENDPOINT_URL"
)
_LATE_SERVER = "the server is there and does not answer: look at its load, its log and its locks"


def _caught(step: str, place: Place, look: Callable[[Place], Finding]) -> Finding:
    try:
        return replace(look(place), subject=str(place))
    except Exception as error:  # noqa: BLE001 - the other servers are looked at all the same
        return failure(error, step, subject=str(place))
