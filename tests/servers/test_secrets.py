"""Passwords through Secrets Manager (emulated): every kill point of the real calls, conflicts, hostile payloads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from soa_db.access.aws.secrets import (
    PasswordSecret,
    insecure_dev_password,
    issue_password,
    new_password,
    read_passwords,
)
from soa_db.aws import AwsClients
from soa_db.errors import ConfigurationError, CredentialError, ProvisionError
from soa_db.local.secret_stages import mend_secret_stages

if TYPE_CHECKING:
    from soa_db.access.aws.stages import Goal

FIELDS = {"username": "chat_api_app", "host": "localhost", "port": 5432, "database": "chat_api"}
HOSTILE = "".join(map(chr, range(32, 127))) + "äß€😀"


class Killed(BaseException):
    """A kill -9, as far as a call can tell: nothing may catch it."""


@dataclass
class Aws:
    """AwsClients.call, and a knife."""

    endpoint: str
    writes: list[str] = field(default_factory=list)
    calls: int = 0
    kill_at: int | None = None
    kill_after: bool = False
    before: Callable[[str, Mapping[str, object]], None] | None = None

    def __post_init__(self) -> None:
        self.clients = AwsClients(region="us-west-2", endpoint_url=self.endpoint)
        self.client: Any = self.clients.client("secretsmanager")

    def call(self, service: str, operation: str, /, **parameters: object) -> Mapping[str, object]:
        if self.before:
            self.before(operation, parameters)
        self.calls += 1
        fatal = self.calls == self.kill_at
        if fatal and not self.kill_after:
            raise Killed
        answer = self.clients.call(service, operation, **parameters)
        if not operation.startswith(("get", "describe", "batch")):
            self.writes.append(operation)
        if fatal:
            raise Killed
        return answer


@dataclass
class Server:
    """A server with one live password, and the knife again."""

    live: str | None = None
    calls: int = 0
    kill_at: int | None = None
    accepts: bool = True

    def set(self, password: str) -> None:
        self.calls += 1
        if self.calls == self.kill_at:
            raise Killed
        self.live = password if self.accepts else "something else"

    def opens(self, password: str) -> bool:
        return password == self.live


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """One emulator for the module; each test uses names of its own."""
    mend_secret_stages()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """A caller of that emulator."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return Aws(endpoint)


def wanted(*names: str) -> list[PasswordSecret]:
    """Secrets of one user."""
    return [PasswordSecret(name, "chat-api", FIELDS) for name in names]


def run(aws: Aws, server: Server, names: tuple[str, ...], goal: Goal = "keep", fixed: str | None = None) -> str:
    """Issue, and return the password."""
    outcome = issue_password(aws, wanted(*names), set_on_server=server.set, opens=server.opens, goal=goal, fixed=fixed)
    return outcome.password


def stage(aws: Aws, name: str, label: str = "AWSCURRENT") -> dict[str, object] | None:
    """The payload a reader of a stage gets."""
    try:
        value = aws.client.get_secret_value(SecretId=name, VersionStage=label)
    except ClientError:
        return None
    payload: dict[str, object] = json.loads(value["SecretString"])
    return payload


def holding(aws: Aws, name: str) -> set[object]:
    """The passwords in both stages."""
    return {payload["password"] for label in ("AWSCURRENT", "AWSPENDING") if (payload := stage(aws, name, label))}


def test_a_new_identity_gets_a_secret_a_password_and_tags(aws: Aws, unique_name: str) -> None:
    """The payload is what the TypeScript packages read; the second run writes nothing."""
    server = Server()
    password = run(aws, server, (unique_name,))
    assert server.live == password
    assert stage(aws, unique_name) == {**FIELDS, "password": password}
    tags = aws.client.describe_secret(SecretId=unique_name)["Tags"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"managed-by": "soa-db", "service": "chat-api"}
    assert aws.writes == ["create_secret"]
    assert run(aws, server, (unique_name,)) == password
    assert aws.writes == ["create_secret"]


def test_a_rotation_changes_every_secret_of_the_user(aws: Aws, unique_name: str) -> None:
    """And leaves no AWSPENDING behind."""
    names, server = (f"{unique_name}/a", f"{unique_name}/b"), Server()
    old = run(aws, server, names)
    new = run(aws, server, names, "rotate")
    assert new not in {old, None}
    assert server.live == new
    for name in names:
        assert holding(aws, name) == {new}
        assert stage(aws, name, "AWSPREVIOUS") == {**FIELDS, "password": old}


@pytest.mark.parametrize("kill_after", [False, True], ids=["before the call", "after it, its answer lost"])
def test_a_rotation_killed_at_any_call_is_finished_by_the_next(aws: Aws, unique_name: str, kill_after: bool) -> None:
    """Whatever was killed, each secret holds the live password in one of the two stages clients read."""
    names = (f"{unique_name}/a", f"{unique_name}/b")
    server = Server()
    run(aws, server, names)
    aws.kill_after = kill_after
    for kill_at in range(1, 60):
        aws.calls, aws.kill_at = 0, kill_at
        before = server.live
        try:
            run(aws, server, names, "rotate")
        except Killed:
            for name in names:
                assert server.live in holding(aws, name)
            aws.kill_at = None
            after = run(aws, server, names, "rotate")
            assert after == server.live != before
            assert all(holding(aws, name) == {after} for name in names)
        else:
            break
    assert kill_at > 12, "the kill points were really there"


def test_a_run_killed_while_it_sets_the_password_is_finished(aws: Aws, unique_name: str) -> None:
    """The password that may or may not have arrived stands in AWSPENDING."""
    server = Server()
    old = run(aws, server, (unique_name,))
    server.kill_at, server.calls = 1, 0
    with pytest.raises(Killed):
        run(aws, server, (unique_name,), "rotate")
    pending = stage(aws, unique_name, "AWSPENDING")
    assert pending is not None
    assert server.live == old
    assert run(aws, server, (unique_name,)) == old, "provisioning keeps the live password"
    assert run(aws, server, (unique_name,), "rotate") == pending["password"] == server.live


def test_provisioning_after_a_kill_past_the_server_promotes_the_live_password(aws: Aws, unique_name: str) -> None:
    """The old one is dead already: to keep it in AWSCURRENT would help nobody."""
    server = Server()
    run(aws, server, (unique_name,))
    aws.client.put_secret_value(
        SecretId=unique_name, SecretString=json.dumps({**FIELDS, "password": "next"}), VersionStages=["AWSPENDING"]
    )
    server.live = "next"
    assert run(aws, server, (unique_name,)) == "next"
    assert holding(aws, unique_name) == {"next"}


@pytest.mark.parametrize(
    "text",
    ["no json", "[]", "{}", '{"password": 3}', '{"password": ""}', '{"password": "a\\u0000b"}',
     '{"password": "\\ud800"}'],
)  # fmt: skip
def test_an_unusable_payload_is_replaced(aws: Aws, unique_name: str, text: str) -> None:
    """It stays readable as AWSPREVIOUS."""
    aws.client.create_secret(Name=unique_name, SecretString=text)
    server = Server("unknown")
    password = run(aws, server, (unique_name,))
    assert server.live == password
    assert stage(aws, unique_name) == {**FIELDS, "password": password}
    assert aws.client.get_secret_value(SecretId=unique_name, VersionStage="AWSPREVIOUS")["SecretString"] == text


def test_a_binary_and_an_empty_secret_are_replaced_too(aws: Aws, unique_name: str) -> None:
    """A secret may have no version at all."""
    aws.client.create_secret(Name=f"{unique_name}/binary", SecretBinary=b"\xff")
    aws.client.create_secret(Name=f"{unique_name}/empty")
    server = Server()
    password = run(aws, server, (f"{unique_name}/binary", f"{unique_name}/empty"))
    assert holding(aws, f"{unique_name}/binary") == holding(aws, f"{unique_name}/empty") == {password} == {server.live}


def test_a_persons_password_with_every_printable_character_is_kept(aws: Aws, unique_name: str) -> None:
    """And set on a server that does not know it; keys of others stay."""
    payload = {**FIELDS, "password": HOSTILE, "note": "by hand"}
    aws.client.create_secret(Name=unique_name, SecretString=json.dumps(payload))
    server = Server()
    assert run(aws, server, (unique_name,)) == HOSTILE == server.live
    assert stage(aws, unique_name) == payload
    assert aws.writes == []


def test_new_coordinates_are_written_without_a_new_password(aws: Aws, unique_name: str) -> None:
    """A dev server moves to another port."""
    server = Server()
    password = run(aws, server, (unique_name,))
    moved = [PasswordSecret(unique_name, "chat-api", {**FIELDS, "port": 6000})]
    outcome = issue_password(aws, moved, set_on_server=server.set, opens=server.opens)
    assert outcome.steps
    assert not outcome.set_on_server
    assert stage(aws, unique_name) == {**FIELDS, "port": 6000, "password": password}


def test_a_second_secret_takes_over_the_live_password(aws: Aws, unique_name: str) -> None:
    """A new database of a service: the user, and so the password, is the same."""
    server = Server()
    password = run(aws, server, (f"{unique_name}/a",))
    outcome = issue_password(
        aws, wanted(f"{unique_name}/a", f"{unique_name}/b"), set_on_server=server.set, opens=server.opens
    )
    assert not outcome.set_on_server
    assert holding(aws, f"{unique_name}/b") == {password}


def test_a_secret_scheduled_for_deletion_is_taken_back(aws: Aws, unique_name: str) -> None:
    """The specs declare it, and its name is blocked until then anyway."""
    server = Server()
    password = run(aws, server, (unique_name,))
    aws.client.delete_secret(SecretId=unique_name)
    assert read_passwords(aws, [unique_name]) == {unique_name: None}
    assert run(aws, server, (unique_name,)) == password
    assert holding(aws, unique_name) == {password}


def test_a_fixed_password_is_come_to_like_any_other(aws: Aws, unique_name: str) -> None:
    """Also away from a password that a killed run left live in AWSPENDING."""
    server = Server()
    run(aws, server, (unique_name,))
    aws.client.put_secret_value(
        SecretId=unique_name, SecretString=json.dumps({**FIELDS, "password": "next"}), VersionStages=["AWSPENDING"]
    )
    server.live = "next"
    fixed = insecure_dev_password("dev", "chat_api_app")
    assert run(aws, server, (unique_name,), fixed=fixed) == fixed == server.live
    writes = len(aws.writes)
    run(aws, server, (unique_name,), fixed=fixed)
    assert len(aws.writes) == writes


def test_a_server_that_refuses_what_it_took_is_an_error_and_nothing_is_lost(aws: Aws, unique_name: str) -> None:
    """The message names the secret and the next step, not the password."""
    server = Server(accepts=False)
    with pytest.raises(ProvisionError, match="refuses to log in") as caught:
        run(aws, server, (unique_name,))
    (password,) = holding(aws, unique_name)
    assert str(password) not in str(caught.value)
    server.accepts = True
    assert run(aws, server, (unique_name,)) == password == server.live


def test_two_runs_at_once_come_to_one_pending_password(aws: Aws, endpoint: str, unique_name: str) -> None:
    """The later one's token is taken: it adopts what the earlier one wrote instead of taking its label away."""
    server = Server()
    old = run(aws, server, (unique_name,))
    other = Aws(endpoint)
    others: list[str] = []

    def interfere(operation: str, params: Mapping[str, object]) -> None:
        if operation == "put_secret_value" and not others:
            others.append("started")
            stopped = Server(old, kill_at=1)
            with pytest.raises(Killed):
                run(other, stopped, (unique_name,), "rotate")
            pending = stage(aws, unique_name, "AWSPENDING")
            assert pending is not None
            others.append(str(pending["password"]))

    aws.before = interfere
    assert run(aws, server, (unique_name,), "rotate") == others[1] == server.live
    assert holding(aws, unique_name) == {server.live}


def test_a_rotation_that_another_run_has_finished_is_not_made_again(aws: Aws, endpoint: str, unique_name: str) -> None:
    """At whatever write the other one came between: the password it has come to is the one both end with."""
    other, server = Aws(endpoint), Server()
    run(aws, server, (unique_name,))
    writes = ("put_secret_value", "update_secret_version_stage")
    for number in range(1, 4):
        count, there = 0, ""

        def interfere(operation: str, params: Mapping[str, object], number: int = number) -> None:
            nonlocal count, there
            count += operation in writes
            if count == number and operation in writes:
                there = run(other, server, (unique_name,), "rotate")

        aws.before = interfere
        assert run(aws, server, (unique_name,), "rotate") == there == server.live
        assert holding(aws, unique_name) == {server.live}


def test_a_label_taken_off_by_hand_does_not_stop_the_next_rotation(aws: Aws, unique_name: str) -> None:
    """The token of the abandoned version is taken; it is taken up again rather than tried for ever."""
    server = Server()
    old = run(aws, server, (unique_name,))
    server.kill_at, server.calls = 1, 0
    with pytest.raises(Killed):
        run(aws, server, (unique_name,), "rotate")
    pending = aws.client.get_secret_value(SecretId=unique_name, VersionStage="AWSPENDING")["VersionId"]
    aws.client.update_secret_version_stage(SecretId=unique_name, VersionStage="AWSPENDING", RemoveFromVersionId=pending)
    assert run(aws, server, (unique_name,), "rotate") == server.live != old
    assert holding(aws, unique_name) == {server.live}


def test_a_current_label_moved_back_by_hand_is_overcome(aws: Aws, unique_name: str) -> None:
    """The same content under the same token would be no new version for Secrets Manager."""
    server = Server()
    password = run(aws, server, (unique_name,))
    first = aws.client.get_secret_value(SecretId=unique_name)["VersionId"]
    moved = [PasswordSecret(unique_name, "chat-api", {**FIELDS, "port": 6000})]
    for port in (6000, 6000, 6001):
        moved = [PasswordSecret(unique_name, "chat-api", {**FIELDS, "port": port})]
        issue_password(aws, moved, set_on_server=server.set, opens=server.opens)
        assert stage(aws, unique_name) == {**FIELDS, "port": port, "password": password}
        now = aws.client.get_secret_value(SecretId=unique_name)["VersionId"]
        aws.client.update_secret_version_stage(
            SecretId=unique_name, VersionStage="AWSCURRENT", RemoveFromVersionId=now, MoveToVersionId=first
        )


def test_a_secret_that_changes_without_end_is_a_typed_error(aws: Aws, endpoint: str, unique_name: str) -> None:
    """Instead of an endless loop."""
    server = Server()
    run(aws, server, (unique_name,))
    other = Aws(endpoint)

    def interfere(operation: str, params: Mapping[str, object]) -> None:
        if operation == "update_secret_version_stage":
            payload = json.dumps({**FIELDS, "password": new_password()})
            other.client.put_secret_value(SecretId=unique_name, SecretString=payload)

    aws.before = interfere
    with pytest.raises(ProvisionError, match="another run keeps changing"):
        run(aws, server, (unique_name,), "rotate")


def test_many_secrets_are_read_twenty_a_call(aws: Aws, unique_name: str) -> None:
    """Missing ones are None, unusable ones have no payload."""
    names = [f"{unique_name}/{index:02}" for index in range(23)]
    for name in names[:22]:
        aws.client.create_secret(Name=name, SecretString=json.dumps({**FIELDS, "password": name}))
    aws.client.put_secret_value(SecretId=names[3], SecretString="no json")
    aws.calls = 0
    found = read_passwords(aws, names)
    assert aws.calls == 2
    assert found[names[22]] is None
    assert [version and version.password for version in found.values()][:5] == [*names[:3], None, names[4]]


def test_made_up_passwords_are_long_plain_and_different() -> None:
    """Letters and digits pass through URLs, shells and .pgpass unchanged."""
    passwords = {new_password() for _ in range(50)}
    assert len(passwords) == 50
    assert all(len(password) == 40 and password.isascii() and password.isalnum() for password in passwords)


def test_fixed_passwords_are_for_dev_only() -> None:
    """They are printed in the manual."""
    assert insecure_dev_password("dev", "chat_api_app") == "chat_api_app-insecure-dev"
    with pytest.raises(ConfigurationError, match="for dev only"):
        insecure_dev_password("prod", "chat_api_app")


def test_progress_and_steps_hold_no_password(aws: Aws, unique_name: str) -> None:
    """They are printed."""
    server, told = Server(), list[str]()
    outcome = issue_password(
        aws, wanted(unique_name), set_on_server=server.set, opens=server.opens, progress=told.append
    )
    assert (
        tuple(told)
        == outcome.steps
        == (f"create secret {unique_name}", f"set the password of {FIELDS['username']} on the server")
    )
    assert outcome.password not in repr((outcome, told))


def test_a_secret_the_batch_cannot_read_is_not_taken_for_a_missing_one() -> None:
    """A failure of AWS's own for one secret of many: asked for alone, and what that says counts."""

    class Failing:
        """Answers the batch with a failure for each name; alone the first one is read, the second is not."""

        def call(self, service: str, operation: str, /, **parameters: object) -> Mapping[str, object]:
            assert service == "secretsmanager"
            if operation == "batch_get_secret_value":
                names = parameters["SecretIdList"]
                assert isinstance(names, list)
                return {"Errors": [{"SecretId": name, "ErrorCode": "InternalServiceError"} for name in names]}
            if parameters["SecretId"] == "lost":
                raise CredentialError("AWS fails")
            return {"VersionId": "v", "SecretString": json.dumps({"password": "p"})}

    version = read_passwords(Failing(), ["kept"])["kept"]
    assert version is not None
    assert version.password == "p"
    with pytest.raises(CredentialError, match="AWS fails"):
        read_passwords(Failing(), ["lost"])
