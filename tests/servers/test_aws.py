"""AwsClients, both kinds, against an emulated AWS that checks signatures and policies."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
import traceback
from pathlib import Path

import pytest
from tests.servers.aws_kit import ACCOUNT, OTHER_ACCOUNT, REGION, CountingAws, Make, allow, settle, trust

from soa_db._runtime.clock import Clock
from soa_db.aws import AsyncAwsClients, AwsClients
from soa_db.errors import (
    AccessDenied,
    ConfigurationError,
    CredentialError,
    ParameterNotFound,
    SecretMalformed,
    SecretNotFound,
)

CANARY = "c4n4ry"


def become(aws: CountingAws, monkeypatch: pytest.MonkeyPatch, name: str, policy: dict[str, object]) -> None:
    """Be a user with this policy."""
    keys = aws.create_user(ACCOUNT, f"{name}-limited", policy)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between attempts, not waited."""
    waits: list[float] = []
    monkeypatch.setattr("soa_db._aws.http.time.sleep", waits.append)
    return waits


async def test_parameters_are_read_ten_a_call(aws: CountingAws, make: Make, unique_name: str) -> None:
    """In the order asked, each once, in as few calls as the API allows."""
    names = [f"/{unique_name}/{number}" for number in range(23)]
    aws.put_parameters(ACCOUNT, {name: name.upper() for name in names})
    found = await settle(make().parameters([*names, names[0]]))
    assert list(found.items()) == [(name, name.upper()) for name in names]
    assert aws.seen == {"GetParameters": 3}


async def test_every_missing_parameter_is_named(aws: CountingAws, make: Make, unique_name: str) -> None:
    """All at once, so that nobody mends them one by one."""
    aws.put_parameters(ACCOUNT, {f"/{unique_name}/a": "1"})
    with pytest.raises(ParameterNotFound) as caught:
        await settle(make().parameters([f"/{unique_name}/{name}" for name in "abc"]))
    assert f"/{unique_name}/b, /{unique_name}/c" in caught.value.message
    with pytest.raises(ConfigurationError):
        await settle(make().parameters([""]))


async def test_where_the_batch_is_denied_single_calls_are_made(
    aws: CountingAws, make: Make, unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is denied then is named."""
    aws.put_parameters(ACCOUNT, {f"/{unique_name}/a": "1", f"/{unique_name}/b": "2"})
    arn = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/{unique_name}"
    become(aws, monkeypatch, unique_name, allow(("ssm:GetParameter", f"{arn}/a"), ("ssm:GetParameter", f"{arn}/c")))
    clients = make()
    assert await settle(clients.parameters([f"/{unique_name}/a"])) == {f"/{unique_name}/a": "1"}
    with pytest.raises(ParameterNotFound, match=f"/{unique_name}/c"):
        await settle(clients.parameters([f"/{unique_name}/a", f"/{unique_name}/c"]))
    with pytest.raises(AccessDenied) as caught:
        await settle(clients.parameters([f"/{unique_name}/a", f"/{unique_name}/b"]))
    assert caught.value.context["action"] == "ssm:GetParameter"
    assert caught.value.context["resource"] == f"/{unique_name}/b"


async def test_a_secret_is_read_once_and_again_when_forced(aws: CountingAws, make: Make, unique_name: str) -> None:
    """Forced reads are limited to four at once."""
    aws.put_secret(ACCOUNT, unique_name, {"password": "one"})
    clients = make()
    for _ in range(3):
        assert await settle(clients.secret(unique_name)) == {"password": "one"}
    assert aws.seen == {"GetSecretValue": 1}
    await settle(clients.call("secretsmanager", "update_secret", SecretId=unique_name, SecretString='{"password":"2"}'))
    assert await settle(clients.secret(unique_name)) == {"password": "one"}
    assert await settle(clients.secret(unique_name, force=True)) == {"password": "2"}
    assert await settle(clients.secret(unique_name)) == {"password": "2"}
    for _ in range(6):
        await settle(clients.secret(unique_name, force=True))
    assert aws.seen["GetSecretValue"] == 5


async def test_a_missing_secret_stage_or_right_is_named(
    aws: CountingAws, make: Make, unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three different errors for three different things to do."""
    arn = aws.put_secret(ACCOUNT, unique_name, {"password": "one"})
    with pytest.raises(SecretNotFound, match=unique_name):
        await settle(make().secret(unique_name, stage="AWSPENDING"))
    with pytest.raises(SecretNotFound, match="nowhere"):
        await settle(make().secret("nowhere"))
    become(aws, monkeypatch, unique_name, allow(("secretsmanager:GetSecretValue", f"{arn}-other")))
    with pytest.raises(AccessDenied) as caught:
        await settle(make().secret(unique_name))
    assert caught.value.context["action"] == "secretsmanager:GetSecretValue"
    assert unique_name in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "not json c4n4ry", '"c4n4ry"', "[1]", "null", '{"password": c4n4ry}', "[" * 99999]
)
async def test_a_payload_that_is_no_json_object_is_never_quoted(
    aws: CountingAws, make: Make, unique_name: str, text: str
) -> None:
    """Not in the message, not in a cause: a decoding error holds its document."""
    clients = make()
    await settle(clients.call("secretsmanager", "create_secret", Name=unique_name, SecretBinary=b"x"))
    if text:
        await settle(clients.call("secretsmanager", "put_secret_value", SecretId=unique_name, SecretString=text))
    with pytest.raises(SecretMalformed, match=unique_name) as caught:
        await settle(clients.secret(unique_name))
    assert CANARY not in "".join(traceback.format_exception(caught.value))


async def test_throttling_is_waited_out_and_then_told(
    aws: CountingAws, make: Make, unique_name: str, no_waiting: list[float]
) -> None:
    """Three attempts, as botocore's standard mode makes."""
    aws.put_secret(ACCOUNT, unique_name, {})
    aws.fail("ThrottlingException")
    aws.fail("InternalServiceError", status=500)
    assert await settle(make().secret(unique_name)) == {}
    assert len(no_waiting) == 2
    aws.fail("ThrottlingException", times=3)
    with pytest.raises(CredentialError, match="throttles secretsmanager:GetSecretValue"):
        await settle(make().secret(unique_name))
    assert not aws.faults


async def test_expired_credentials_are_resolved_anew_once(aws: CountingAws, make: Make, unique_name: str) -> None:
    """A new login may be there by now; if not, the error says so."""
    aws.put_secret(ACCOUNT, unique_name, {})
    aws.fail("ExpiredTokenException")
    assert await settle(make().secret(unique_name)) == {}
    aws.fail("ExpiredTokenException", times=2)
    with pytest.raises(CredentialError, match="aws sso login"):
        await settle(make().secret(unique_name))


@pytest.mark.parametrize("body", ["<html>login</html>", "[]", ""])
async def test_what_is_not_aws_is_told_apart(aws: CountingAws, make: Make, body: str) -> None:
    """A captive portal answers 200 to everything."""
    aws.faults.append((200, body))
    with pytest.raises(CredentialError, match="not AWS"):
        await settle(make().secret("s"))
    aws.faults.append((403, body))
    with pytest.raises(AccessDenied):
        await settle(make().secret("s"))


async def test_an_endpoint_that_does_not_answer(
    aws: CountingAws, make: Make, monkeypatch: pytest.MonkeyPatch, no_waiting: list[float]
) -> None:
    """Named, with what to check; AWS_MAX_ATTEMPTS is honoured."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    with pytest.raises(CredentialError, match="not reached") as caught:
        await settle(make(endpoint_url=url).secret("s"))
    assert url in str(caught.value)
    assert len(no_waiting) == 1
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "many")
    with pytest.raises(ConfigurationError):
        await settle(make(endpoint_url=url).secret("s"))


async def test_a_wrong_clock_is_named_as_such(aws: CountingAws, make: Make) -> None:
    """AWS says only that the signature has expired."""
    clock = Clock(wall=lambda: time.time() - 3600)
    with pytest.raises(CredentialError, match="clock"):
        await settle(make(clock=clock).secret("s"))


async def test_wrong_missing_and_partial_credentials(
    aws: CountingAws, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each says what to set."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(CredentialError, match="does not accept these credentials"):
        await settle(make().secret("s"))
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(CredentialError, match="no AWS credentials") as caught:
        await settle(make().secret("s"))
    # What they were wanted for: a service has several secrets.
    assert (caught.value.context["action"], caught.value.context["resource"]) == ("secretsmanager:GetSecretValue", "s")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    for call in (
        lambda: make().secret("s"),
        lambda: make().credentials(),
        lambda: make().call("sts", "get_caller_identity"),
    ):
        with pytest.raises(CredentialError, match="no AWS credentials"):
            await settle(call())


async def test_profiles_regions_and_endpoints_follow_the_aws_configuration(
    aws: CountingAws, make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unique_name: str
) -> None:
    """Argument, AWS_REGION, botocore's own, then the default of the contract."""
    keys = aws.create_user(ACCOUNT, f"{unique_name}-profile")
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(
        "[profile team]\nregion = eu-west-1\n"
        f"aws_access_key_id = {keys.access_key}\naws_secret_access_key = {keys.secret_key}\n"
    )
    assert await settle(make().region()) == REGION
    assert await settle(make(region="eu-central-1").region()) == "eu-central-1"
    monkeypatch.delenv("AWS_REGION")
    assert await settle(make().region()) == "us-west-2"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "sa-east-1")
    assert await settle(make().region()) == "sa-east-1"
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert await settle(make(profile="team").region()) == "eu-west-1"
    assert (await settle(make(profile="team").credentials())).access_key == keys.access_key
    with pytest.raises(ConfigurationError, match="nobody"):
        await settle(make(profile="nobody").region())
    with pytest.raises(ConfigurationError, match="not an AWS region"):
        await settle(make(region="us west/2").region())


async def test_a_role_is_assumed_with_its_external_id(aws: CountingAws, make: Make, unique_name: str) -> None:
    """Once, whatever is asked in its name; a refusal names the role."""
    role = aws.create_role(OTHER_ACCOUNT, unique_name, trust=trust(ACCOUNT, "agreed"), policy=allow(("*", "*")))
    aws.put_secret(OTHER_ACCOUNT, unique_name, {"account": "other"})
    aws.seen.clear()
    clients = make(role_arn=role, external_id="agreed")
    assert await settle(clients.secret(unique_name)) == {"account": "other"}
    credentials = await settle(clients.credentials())
    assert credentials.token
    assert credentials.secret_key not in repr(credentials)
    assert 0 < credentials.expires_at - time.time() <= 3600
    assert aws.seen == {"query": 1, "GetSecretValue": 1}
    identity = await settle(clients.caller_identity())
    assert identity.account == OTHER_ACCOUNT
    assert unique_name in identity.arn
    with pytest.raises(AccessDenied) as caught:
        await settle(make(role_arn=role, external_id="wrong").secret(unique_name))
    assert caught.value.context["action"] == "sts:AssumeRole"
    assert caught.value.context["resource"] == role
    with pytest.raises(ConfigurationError, match="ExternalId"):
        await settle(make(role_arn=role, external_id="x").secret(unique_name))


async def test_calls_and_clients_of_any_service(aws: CountingAws, make: Make, unique_name: str) -> None:
    """`call` has our errors, `client` is botocore's own and one per service."""
    clients = make()
    name = f"/{unique_name}/p"
    answer = await settle(clients.call("ssm", "put_parameter", Name=name, Value="1", Type="String"))
    assert "ResponseMetadata" not in answer
    assert await settle(clients.client("ssm")) is await settle(clients.client("ssm"))
    with pytest.raises(ParameterNotFound, match="nowhere"):
        await settle(clients.call("ssm", "get_parameter", Name="/nowhere"))
    with pytest.raises(ConfigurationError, match="no operation"):
        await settle(clients.call("ssm", "GetParameter", Name=name))
    with pytest.raises(CredentialError):
        await settle(clients.call("nosuchservice", "x"))
    with pytest.raises(ConfigurationError, match="SecretString") as caught:
        await settle(clients.call("secretsmanager", "create_secret", Name="n", SecretString={CANARY: 1}))
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    await settle(clients.close())
    assert await settle(clients.parameters([name])) == {name: "1"}


def test_a_target_goes_there_and_back() -> None:
    """What a config carries makes the same clients again."""
    for kind in (AwsClients, AsyncAwsClients):
        clients = kind(region="r", profile="p", role_arn="a", external_id="e", endpoint_url="u")
        assert kind.from_target(clients.target).target == clients.target


async def test_a_thousand_tasks_cause_one_resolution_and_one_read(
    aws: CountingAws, unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of them cancelled while it is under way."""
    aws.put_secret(ACCOUNT, unique_name, {"password": "one"})
    resolved: list[int] = []
    from botocore.session import Session

    original = Session.get_credentials

    def counted(self: Session) -> object:
        resolved.append(1)
        return original(self)

    monkeypatch.setattr(Session, "get_credentials", counted)
    async with AsyncAwsClients() as clients:
        tasks = [asyncio.create_task(clients.secret(unique_name)) for _ in range(1000)]
        await asyncio.sleep(0)
        # One that began last may have its answer by now: the read is another thread's.
        cancelled = [task for task in tasks[::2] if task.cancel()]
        assert cancelled
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert ended[1::2] == [{"password": "one"}] * 500
        assert all(task.cancelled() for task in cancelled)
        await asyncio.gather(*(clients.credentials() for _ in range(100)))
    assert aws.seen == {"GetSecretValue": 1}
    assert len(resolved) <= 2  # once to sign the read, once to hand out; botocore itself resolves once


def test_threads_cause_one_read(aws: CountingAws, unique_name: str) -> None:
    """The blocking twin."""
    aws.put_secret(ACCOUNT, unique_name, {"password": "one"})
    found: list[object] = []
    with AwsClients() as clients:
        threads = [threading.Thread(target=lambda: found.append(clients.secret(unique_name))) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [{"password": "one"}] * 50
    assert aws.seen == {"GetSecretValue": 1}


def test_a_forked_child_opens_connections_of_its_own(aws: CountingAws, unique_name: str) -> None:
    """What a child finds is its parent's: it may use none of the sockets and locks."""
    aws.put_secret(ACCOUNT, unique_name, {})
    with AwsClients() as clients:
        clients.secret(unique_name)
        parents = clients._made
        assert parents is not None
        parents.pid -= 1  # as a child sees it
        clients.close()
        assert parents.session.http._connections, "the parent's connections are left alone"
        clients.secret(unique_name)
        assert clients._made is not parents
        parents.close()


async def test_a_secret_is_renewed_ahead_and_a_failure_keeps_the_old_one(
    aws: CountingAws, make: Make, unique_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Hourly, without anybody waiting."""
    aws.put_secret(ACCOUNT, unique_name, {"password": "one"})
    now = [0.0]
    clients = make(clock=Clock(monotonic=lambda: now[0]))
    await settle(clients.secret(unique_name))
    now[0] = 4000.0
    aws.fail("AccessDeniedException")
    with caplog.at_level(logging.WARNING):
        assert await settle(clients.secret(unique_name)) == {"password": "one"}
        await renewed(aws, 2)
    assert "stays in use" in caplog.text
    assert await settle(clients.secret(unique_name)) == {"password": "one"}
    assert aws.seen["GetSecretValue"] == 2
    now[0] = 4040.0
    await settle(clients.secret(unique_name))
    await renewed(aws, 3)


async def renewed(aws: CountingAws, reads: int) -> None:
    """Wait until a renewal in the background has been made and has ended."""
    for _ in range(1000):
        running = any(thread.name == "soa-db refresh" for thread in threading.enumerate())
        if aws.seen["GetSecretValue"] == reads and not running:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(aws.seen)


async def test_nothing_secret_is_logged_even_at_debug(
    aws: CountingAws, make: Make, unique_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """botocore's own clients log bodies and canonical requests at DEBUG; the calls of every connect do not."""
    aws.put_secret(ACCOUNT, unique_name, {"password": CANARY})
    aws.put_parameters(ACCOUNT, {f"/{unique_name}": CANARY})
    with caplog.at_level(logging.DEBUG):
        clients = make()
        await settle(clients.secret(unique_name))
        await settle(clients.parameters([f"/{unique_name}"]))
        credentials = await settle(clients.credentials())
    assert CANARY not in caplog.text
    assert credentials.secret_key not in caplog.text


def test_json_payloads_are_plain_data() -> None:
    """What a reader gets cannot be changed for the next one."""
    from soa_db._aws.backend import payload

    found = payload(json.dumps({"a": 1}), "s")
    with pytest.raises(TypeError):
        found["a"] = 2  # type: ignore[index]  # that it cannot be written is what is tested
