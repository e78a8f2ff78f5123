"""Issuing and rotating passwords through Secrets Manager: every step of ``stages.decide``, taken for real.

Payload (a contract with the TypeScript packages, DESIGN section 2): a JSON object with ``username``, ``password`` and
what its engine has: ``host``, ``port``, ``database`` of PostgreSQL, ``endpoint``, ``port``, ``tls`` of Redis, in dev
``hosts``, ``database``, ``replica_set`` of MongoDB. Encrypted with the account's default key of Secrets Manager.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from soa_db.access.aws.stages import (
    Create,
    Done,
    DropPending,
    Facts,
    Failed,
    Goal,
    MakePassword,
    Promote,
    Prove,
    PutCurrent,
    PutPending,
    Restore,
    SecretState,
    SetOnServer,
    Target,
    Version,
    decide,
    new_payload,
)
from soa_db.errors import ConfigurationError, ProvisionError, SecretNotFound, SoaDbError

if TYPE_CHECKING:
    from soa_db.names import Env

__all__ = [
    "Issued",
    "PasswordSecret",
    "insecure_dev_password",
    "issue_password",
    "new_password",
    "read_passwords",
    "read_stages",
    "stored_passwords",
]

MANAGED_BY = "soa-db"
CURRENT, PENDING = "AWSCURRENT", "AWSPENDING"
_ALPHABET = string.ascii_letters + string.digits
_BATCH = 20  # names one BatchGetSecretValue takes (API reference)
_MAX_CONFLICTS = 5
# How the batch says that there is no value: no such secret, or it is scheduled for deletion.
_ABSENT = {"ResourceNotFoundException", "InvalidRequestException"}


class AwsCaller(Protocol):
    """The part of ``AwsClients`` needed here."""

    def call(self, service: str, operation: str, /, **parameters: object) -> Mapping[str, object]: ...


@dataclass(frozen=True, slots=True)
class PasswordSecret:
    """One secret that holds a user's password.

    Attributes:
        name: its name or ARN.
        service: the service it is for; becomes a tag.
        fields: what the payload says besides the password, by engine: ``username``, ``host``, ``port``, ``database``,
            or ``username``, ``endpoint``, ``port``, ``tls``, ``user_group_id``. Empty: what it says already is kept.
    """

    name: str
    service: str
    fields: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Issued:
    """What a run of ``issue_password`` did.

    Attributes:
        steps: a sentence for each change, in order; empty when there was nothing to do.
        password: the live password, in every secret's AWSCURRENT.
        set_on_server: whether the server's password was changed.
        made: whether the password was made up by this run, rather than found in a secret.
    """

    steps: tuple[str, ...]
    password: str = field(repr=False)
    set_on_server: bool = False
    made: bool = False

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return bool(self.steps)


def new_password() -> str:
    """A password of 40 letters and digits (238 bits): safe in URLs, shells, ``.pgpass`` and connection strings."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(40))


def insecure_dev_password(env: Env, user: str) -> str:
    """The fixed, documented development password of ``--insecure-dev``: ``{user}-insecure-dev``.

    It lets everybody on a team use the same connection strings against containers on their own machines.

    Raises:
        ConfigurationError: for any environment but dev.
    """
    if env != "dev":
        raise ConfigurationError(
            "fixed development passwords are for dev only", hint="leave --insecure-dev out", env=env
        )
    return f"{user}-insecure-dev"


def read_passwords(aws: AwsCaller, names: Iterable[str]) -> dict[str, Version | None]:
    """Read the AWSCURRENT version of many secrets, twenty a call.

    Returns:
        For each name the version, with payload None where it is not what the contract says; None where there is no
        such secret, or it has no value, or is scheduled for deletion.

    Raises:
        AccessDenied: the caller may not read one of them, or may not batch.
    """
    wanted = list(dict.fromkeys(names))
    found: dict[str, Version | None] = dict.fromkeys(wanted)
    for start in range(0, len(wanted), _BATCH):
        batch = wanted[start : start + _BATCH]
        answer = aws.call("secretsmanager", "batch_get_secret_value", SecretIdList=batch)
        for value in _list(answer.get("SecretValues")):
            version = Version(str(value["VersionId"]), _usable(value.get("SecretString")))
            for key in (value["Name"], value["ARN"]):
                if key in found:
                    found[str(key)] = version
        failed = [error for error in _list(answer.get("Errors")) if error.get("ErrorCode") not in _ABSENT]
        for error in failed:  # ask alone, for the error that names action and resource
            name = str(error["SecretId"])
            found[name] = _read_version(aws, name, None)
    return found


def read_stages(aws: AwsCaller, secret: PasswordSecret) -> SecretState:
    """Read both stages of one secret; its state says so when there is no such secret."""
    return _Run(aws, [secret], goal="keep", fixed=None, progress=lambda _: None).facts.secrets[0]


def stored_passwords(aws: AwsCaller, name: str) -> tuple[str, ...]:
    """The usable passwords of one secret, AWSCURRENT before AWSPENDING; none when there is no such secret."""
    state = read_stages(aws, PasswordSecret(name, ""))
    versions = (state.current, state.pending)
    return tuple(dict.fromkeys(version.password for version in versions if version and version.password is not None))


def issue_password(
    aws: AwsCaller,
    wanted: Sequence[PasswordSecret],
    *,
    set_on_server: Callable[[str], None],
    opens: Callable[[str], bool],
    goal: Goal = "keep",
    fixed: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> Issued:
    """Bring secrets and server to one live password, in every secret's AWSCURRENT; run again, it does nothing.

    The caller holds the lock of the server: two runs that change one user's password at once are told apart by
    their version tokens, but which of two passwords the server got last is not.

    Args:
        aws: who may write the secrets.
        wanted: every secret that holds this user's password.
        set_on_server: makes a password the user's live one.
        opens: logs in with a password; False only when the server refused the password.
        goal: ``keep`` the live password, or ``rotate``: a new one (or the end of an interrupted rotation).
        fixed: the password to come to, instead of one made up.
        progress: told each change as a sentence, without any secret.

    Raises:
        ProvisionError: the server took a password and still refuses it, or another run is at the same secrets.
        AccessDenied: an API call was refused.
        Exception: whatever the two callbacks raise; nothing is lost then, the next run goes on from there.
    """
    run = _Run(aws, wanted, goal=goal, fixed=fixed, progress=progress or (lambda _: None))
    made: str | None = None
    while True:
        facts = run.facts
        match decide(facts):
            case Done():
                return Issued(tuple(run.steps), run.target, run.set_on_server, run.target == made)
            case Failed():
                raise ProvisionError(
                    "the server took the new password, but refuses to log in with it",
                    hint="it stands in AWSPENDING; see the server's log, mend the cause (pg_hba.conf, NOLOGIN, VALID "
                    "UNTIL; of Redis: a user group that is not the cache's, a user that is off) and run the command "
                    "again",
                    secret=wanted[0].name,
                )
            case Target(password):
                run.facts = replace(facts, target=password)
            case MakePassword():
                made = new_password()
                run.facts = replace(facts, target=made, opens={**facts.opens, made: False})
            case Prove(password):
                run.facts = replace(facts, opens={**facts.opens, password: opens(password)})
            case SetOnServer():
                set_on_server(run.target)
                whose = wanted[0].fields.get("username") or f"the user of {wanted[0].name}"
                run.say(f"set the password of {whose} on the server")
                run.set_on_server = True
                run.facts = replace(run.facts, opens={}, was_set=True)
            case change:
                run.write(change)


class _Conflict(Exception):
    """Somebody else changed the secret since it was read."""


class _Run:
    """One run: what is known so far, and the writes to Secrets Manager."""

    def __init__(
        self,
        aws: AwsCaller,
        wanted: Sequence[PasswordSecret],
        *,
        goal: Goal,
        fixed: str | None,
        progress: Callable[[str], None],
    ) -> None:
        self.aws = aws
        self.wanted = {secret.name: secret for secret in wanted}
        self.fixed = fixed
        self.progress = progress
        self.steps: list[str] = []
        self.set_on_server = False
        self.conflicts = 0
        self.facts = Facts(goal, tuple(self.read(name) for name in self.wanted), target=fixed)

    @property
    def target(self) -> str:
        assert self.facts.target is not None, "the steps that use the target come after it is chosen"
        return self.facts.target

    def say(self, sentence: str) -> None:
        self.steps.append(sentence)
        self.progress(sentence)

    def read(self, name: str, known: SecretState | None = None) -> SecretState:
        """Look at one secret; versions never change, so those known are not read again."""
        fields = self.wanted[name].fields
        try:
            answer = self.aws.call("secretsmanager", "describe_secret", SecretId=name)
        except SecretNotFound:
            return SecretState(name, exists=False, fields=fields)
        if answer.get("DeletedDate") is not None:
            return SecretState(name, deleted=True, fields=fields)
        versions = {version.id: version for version in (known and known.current, known and known.pending) if version}
        labelled: dict[str, Version] = {}
        for version_id, stages in _mapping(answer.get("VersionIdsToStages")).items():
            for stage in {CURRENT, PENDING}.intersection(_list_of_text(stages)):
                if version_id not in versions:
                    versions[version_id] = _read_version(self.aws, name, version_id)
                labelled[stage] = versions[version_id]
        return SecretState(name, current=labelled.get(CURRENT), pending=labelled.get(PENDING), fields=fields)

    def write(self, step: Restore | Create | PutPending | PutCurrent | Promote | DropPending) -> None:
        """Take one step at Secrets Manager, then look at the secret again."""
        name = step.secret.name
        try:
            match step:
                case Restore():
                    self.aws.call("secretsmanager", "restore_secret", SecretId=name)
                    self.say(f"take back the deletion of secret {name}")
                case Create():
                    self.create(step.secret)
                    self.say(f"create secret {name}")
                case PutPending():
                    self.put(step.secret, PENDING)
                    self.say(f"write a password to secret {name} as {PENDING}")
                case PutCurrent():
                    self.put(step.secret, CURRENT)
                    self.say(f"write the password and its coordinates to secret {name} as {CURRENT}")
                case Promote():
                    self.label(step.secret, CURRENT, step.version.id, step.secret.current)
                    self.say(f"promote the pending password of secret {name} to {CURRENT}")
                case DropPending():
                    self.label(step.secret, PENDING, None, step.version)
                    self.say(f"take {PENDING} off secret {name}")
        except (_Conflict, SoaDbError) as error:
            if not _is_conflict(error):
                raise
            self.conflicts += 1
            if self.conflicts > _MAX_CONFLICTS:
                raise ProvisionError(
                    "another run keeps changing the same secret",
                    hint="wait until it ends, then run the command again",
                    secret=name,
                ) from error
            # Whatever the other run stored is as good as ours: look at everything anew and go on from there.
            everything = tuple(self.read(other) for other in self.wanted)
            self.facts = Facts(self.facts.goal, everything, target=self.fixed)
            return
        fresh = self.read(name, step.secret)
        self.facts = replace(
            self.facts, secrets=tuple(fresh if old.name == name else old for old in self.facts.secrets)
        )

    def create(self, secret: SecretState) -> None:
        tags = {"managed-by": MANAGED_BY, "service": self.wanted[secret.name].service}
        self.aws.call(
            "secretsmanager",
            "create_secret",
            Name=secret.name,
            Description="Database credentials, written by soa-db provision",
            SecretString=_dump(new_payload(secret, self.target)),
            ClientRequestToken=_token(secret, CURRENT, 0),
            Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
        )

    def put(self, secret: SecretState, stage: str) -> None:
        """Write the target with a token made from the state it was decided on.

        Two runs that decide on the same state use the same token, and Secrets Manager refuses the second one's
        content: neither can take the label off a password the other is about to set on the server.
        """
        for attempt in range(_MAX_CONFLICTS):
            token = _token(secret, stage, attempt)
            try:
                self.aws.call(
                    "secretsmanager",
                    "put_secret_value",
                    SecretId=secret.name,
                    SecretString=_dump(new_payload(secret, self.target)),
                    ClientRequestToken=token,
                    VersionStages=[stage],
                )
            except SoaDbError as error:
                if not _is_conflict(error):
                    raise
                if self.read(secret.name, secret) != secret:
                    raise _Conflict from error
                if stage == CURRENT:
                    continue  # its label was moved back by hand; the password is live either way, so write another
                # The other run's version exists but has lost its label, or does not show it yet: it goes first.
                self.label(secret, stage, token, secret.pending)
                raise _Conflict from error
            if self.read(secret.name, secret) == secret:
                # The same content was written once before, and its label taken off by hand since.
                self.label(secret, stage, token, secret.pending if stage == PENDING else secret.current)
            return
        raise _Conflict

    def label(self, secret: SecretState, stage: str, to: str | None, away_from: Version | None) -> None:
        params = {"MoveToVersionId": to} if to else {}
        if away_from is not None:
            params["RemoveFromVersionId"] = away_from.id
        self.aws.call(
            "secretsmanager", "update_secret_version_stage", SecretId=secret.name, VersionStage=stage, **params
        )


def _token(secret: SecretState, stage: str, attempt: int) -> str:
    # Secrets Manager takes 32 to 64 characters.
    parts = (secret.name, stage, secret.current and secret.current.id, secret.pending and secret.pending.id, attempt)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


_CONFLICTS = {
    "ResourceExistsException",  # the token, or the name, is taken by other content
    "InvalidRequestException",  # scheduled for deletion meanwhile
    "InvalidParameterException",  # a label is no longer where it was
    "ResourceNotFoundException",  # deleted meanwhile
}


def _is_conflict(error: BaseException) -> bool:
    if isinstance(error, _Conflict):
        return True
    response = getattr(error.__cause__, "response", None)
    return isinstance(response, dict) and _mapping(response.get("Error")).get("Code") in _CONFLICTS


def _read_version(aws: AwsCaller, name: str, version_id: str | None) -> Version:
    which = {"VersionId": version_id} if version_id else {}
    answer = aws.call("secretsmanager", "get_secret_value", SecretId=name, **which)
    return Version(str(answer["VersionId"]), _usable(answer.get("SecretString")))


def _usable(text: object) -> Mapping[str, object] | None:
    """The payload, or None when no client could log in with it."""
    if not isinstance(text, str):
        return None
    try:
        payload = json.loads(text)
    except ValueError:
        return None
    if not isinstance(payload, dict):
        return None
    password = payload.get("password")
    if not isinstance(password, str) or not password or "\0" in password:  # the protocol ends a password at NUL
        return None
    try:
        password.encode()  # JSON can spell half a surrogate pair, which is no text
    except UnicodeEncodeError:
        return None
    return payload


def _dump(payload: Mapping[str, object]) -> str:
    return json.dumps(payload, ensure_ascii=False)


def _list(value: object) -> list[Mapping[str, object]]:
    return value if isinstance(value, list) else []


def _list_of_text(value: object) -> list[str]:
    return value if isinstance(value, list) else []


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
