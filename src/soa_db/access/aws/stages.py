"""Which step comes next when a password is issued or rotated: pure decisions over version stages and login results.

A server user has one live password; one or several secrets hold it (one per database id). The order that never
leaves the only copy of a live password in memory: write the new one as ``AWSPENDING`` into every secret, set it on the
server, prove it by a login, move ``AWSCURRENT`` to it in every secret, drop ``AWSPENDING``.

The decision looks only at what the secrets hold and what logins have shown, so a run that is killed anywhere is
finished by the next one. Two laws, tested over every kill point: a secret that holds the live password in
``AWSCURRENT`` or ``AWSPENDING`` never stops doing so; and the next run converges.

Facts about Secrets Manager relied on (API reference: PutSecretValue, UpdateSecretVersionStage): a version's content
never changes; the first version of a secret gets ``AWSCURRENT`` whatever stage is asked for; a stage is on one version
at most; moving ``AWSCURRENT`` moves ``AWSPREVIOUS`` to the version it leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "Create",
    "Done",
    "DropPending",
    "Facts",
    "Failed",
    "Goal",
    "MakePassword",
    "Promote",
    "Prove",
    "PutCurrent",
    "PutPending",
    "Restore",
    "SecretState",
    "SetOnServer",
    "Step",
    "Target",
    "Version",
    "decide",
    "fits",
    "new_payload",
]

Goal = Literal["keep", "rotate"]
"""``keep``: the live password stays if there is one; ``rotate``: a new one, or the end of an interrupted rotation."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a secret. Its payload is None when it is no JSON object with a usable ``password``."""

    id: str
    payload: Mapping[str, object] | None = field(repr=False)

    @property
    def password(self) -> str | None:
        """The password it holds, if it can be used."""
        return None if self.payload is None else str(self.payload["password"])


@dataclass(frozen=True, slots=True)
class SecretState:
    """What Secrets Manager says about one secret now, and what its payload must say besides the password.

    Attributes:
        name: name or ARN of the secret.
        exists: False when there is no secret of this name.
        deleted: it is scheduled for deletion.
        current: the version with ``AWSCURRENT``.
        pending: the version with ``AWSPENDING``; it may be the current one.
        fields: what the payload must hold: ``username``, ``host``, ``port``, ``database``; other keys stay.
    """

    name: str
    exists: bool = True
    deleted: bool = False
    current: Version | None = None
    pending: Version | None = None
    fields: Mapping[str, object] = field(default_factory=dict)

    @property
    def waiting(self) -> Version | None:
        """The pending version, unless it is the current one too."""
        if self.pending is None or (self.current is not None and self.pending.id == self.current.id):
            return None
        return self.pending

    def holds(self, password: str) -> bool:
        """Whether a client that reads either stage finds this password."""
        return any(version.password == password for version in (self.current, self.pending) if version is not None)


@dataclass(frozen=True, slots=True)
class Facts:
    """All a decision rests on.

    Attributes:
        goal: what the run is for.
        secrets: every secret that holds this user's password.
        opens: what logins have shown since the server was last changed: password → accepted.
        target: the password this run leads to, once chosen.
        was_set: this run has set ``target`` on the server.
    """

    goal: Goal
    secrets: tuple[SecretState, ...]
    opens: Mapping[str, bool] = field(default_factory=dict, repr=False)
    target: str | None = field(default=None, repr=False)
    was_set: bool = False


@dataclass(frozen=True, slots=True)
class Restore:
    """Take back the deletion a secret is scheduled for."""

    secret: SecretState


@dataclass(frozen=True, slots=True)
class Prove:
    """Log in with a password to learn whether it is live."""

    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Target:
    """Go on with this password: a secret holds it already."""

    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class MakePassword:
    """Make up a password and go on with it."""


@dataclass(frozen=True, slots=True)
class Create:
    """Make a secret whose first version holds the target."""

    secret: SecretState


@dataclass(frozen=True, slots=True)
class PutPending:
    """Write the target as AWSPENDING."""

    secret: SecretState


@dataclass(frozen=True, slots=True)
class PutCurrent:
    """Write the target, which is live, as AWSCURRENT."""

    secret: SecretState


@dataclass(frozen=True, slots=True)
class SetOnServer:
    """Make the target the live password."""


@dataclass(frozen=True, slots=True)
class Promote:
    """Move AWSCURRENT to the pending version, whose password is live."""

    secret: SecretState
    version: Version


@dataclass(frozen=True, slots=True)
class DropPending:
    """Take AWSPENDING off a version."""

    secret: SecretState
    version: Version


@dataclass(frozen=True, slots=True)
class Failed:
    """The server took the password, and yet refuses the login."""


@dataclass(frozen=True, slots=True)
class Done:
    """Every secret's AWSCURRENT holds the live password."""


Choice = Prove | Target | MakePassword
Step = (
    Restore
    | Prove
    | Target
    | MakePassword
    | Create
    | PutPending
    | PutCurrent
    | SetOnServer
    | Promote
    | DropPending
    | Failed
    | Done
)


def decide(facts: Facts) -> Step:
    """Return the next step; the caller takes it, looks again at what it changed, and asks again."""
    for secret in facts.secrets:
        if secret.deleted:
            return Restore(secret)
    if facts.target is None:
        return _keep(facts) if facts.goal == "keep" else _rotate(facts)
    if facts.target not in facts.opens:
        return Prove(facts.target)
    if not facts.opens[facts.target]:
        return Failed() if facts.was_set else _before_login(facts, facts.target)
    return _after_login(facts, facts.target)


def _keep(facts: Facts) -> Choice:
    """The live password if a secret holds it, first what clients hold (AWSCURRENT); else one that is stored."""
    stored = [*_passwords(secret.current for secret in facts.secrets)]
    stored += _passwords(secret.waiting for secret in facts.secrets)
    return _first_live(facts, stored) or (Target(stored[0]) if stored else MakePassword())


def _rotate(facts: Facts) -> Choice:
    """The password of an interrupted rotation (the live one, should there be several); else a new one."""
    unfinished = [*_passwords(secret.pending for secret in facts.secrets)]
    if len(set(unfinished)) > 1 and (live := _first_live(facts, unfinished)):
        return live
    return Target(unfinished[0]) if unfinished else MakePassword()


def _first_live(facts: Facts, passwords: list[str]) -> Choice | None:
    for password in passwords:
        if password not in facts.opens:
            return Prove(password)
        if facts.opens[password]:
            return Target(password)
    return None


def _before_login(facts: Facts, target: str) -> Step:
    """Store the target in every secret, then set it on the server."""
    for secret in facts.secrets:
        if secret.holds(target):
            continue
        if not secret.exists:
            return Create(secret)
        waiting = secret.waiting
        if waiting is not None and waiting.password is not None:
            # Writing AWSPENDING takes the label off this version. If its password is the live one (a run was killed
            # after it changed the server), that would leave no label on the live password.
            if waiting.password not in facts.opens:
                return Prove(waiting.password)
            if facts.opens[waiting.password]:
                return Promote(secret, waiting)
        return PutPending(secret)
    return SetOnServer()


def _after_login(facts: Facts, target: str) -> Step:
    """The target is live: make it AWSCURRENT everywhere, then tidy."""
    for secret in facts.secrets:
        if not secret.exists:
            return Create(secret)
        if secret.current is None or secret.current.password != target:
            if secret.waiting is not None and secret.waiting.password == target:
                return Promote(secret, secret.waiting)
            return PutCurrent(secret)
        if not fits(secret.current.payload, secret.fields):
            return PutCurrent(secret)
    for secret in facts.secrets:
        # "keep" leaves a rotation alone that has not touched the server yet: the next "rotate" finishes it.
        if secret.pending is not None and (facts.goal == "rotate" or secret.pending.password == target):
            return DropPending(secret, secret.pending)
    return Done()


def _passwords(versions: Iterator[Version | None]) -> Iterator[str]:
    return (version.password for version in versions if version is not None and version.password is not None)


def fits(payload: Mapping[str, object] | None, fields: Mapping[str, object]) -> bool:
    """Whether a payload says what it must: ports may be text, ``dbname`` stands for a missing ``database``."""
    if payload is None:
        return False
    said = {"database": payload.get("dbname"), **payload}
    return all(str(said.get(key)) == str(value) for key, value in fields.items())


def new_payload(secret: SecretState, password: str) -> dict[str, object]:
    """The payload of a new version: the current one's other keys, what it must say, and the password."""
    kept = {} if secret.current is None or secret.current.payload is None else dict(secret.current.payload)
    payload = {**kept, **secret.fields, "password": password}
    if "dbname" in payload and "database" in payload:
        payload["dbname"] = payload["database"]  # readers that know only dbname must not differ from the others
    return payload
