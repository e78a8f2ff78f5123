"""Roles, both kinds of clients: STS is asked by a signed request of our own, on an emulated AWS."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.servers.aws_kit import ACCOUNT, OTHER_ACCOUNT, CountingAws, Make, allow, settle, trust

from soa_db._aws.session import AwsSession
from soa_db._runtime.clock import Clock
from soa_db.aws import AsyncAwsClients, AwsClients
from soa_db.errors import AccessDenied, ConfigurationError, CredentialError

EXTERNAL_ID = "agreed-c4n4ry"
CREDENTIALS = "<r><AssumeRoleResult><Credentials>{}</Credentials></AssumeRoleResult></r>"
KEYS = "<AccessKeyId>a</AccessKeyId><SecretAccessKey>c4n4ry</SecretAccessKey>"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between attempts, not waited."""
    waits: list[float] = []
    monkeypatch.setattr("soa_db._aws.http.time.sleep", waits.append)
    return waits


@pytest.fixture
def role(aws: CountingAws, unique_name: str) -> str:
    """A role in the other account that this one may assume, and a secret there."""
    arn = aws.create_role(OTHER_ACCOUNT, unique_name, trust=trust(ACCOUNT, EXTERNAL_ID), policy=allow(("*", "*")))
    aws.put_secret(OTHER_ACCOUNT, unique_name, {"password": "p"})
    aws.seen.clear()
    return arn


def xml(code: str, message: str) -> str:
    """An error answer of STS."""
    return (
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
        f"<Code>{code}</Code><Message>{message}</Message></Error><RequestId>1</RequestId></ErrorResponse>"
    )


def shown(error: BaseException) -> str:
    """An error as a log shows it, with its causes."""
    return "".join(traceback.format_exception(error)) + repr(error.__context__)


async def test_no_botocore_client_is_made_for_a_role(
    aws: CountingAws, make: Make, role: str, unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one of a process parses a megabyte in one step, and the event loop stands still meanwhile."""
    from botocore.session import Session

    monkeypatch.setattr(Session, "create_client", lambda *_, **__: pytest.fail("a botocore client"))
    clients = make(role_arn=role, external_id=EXTERNAL_ID)
    assert await settle(clients.secret(unique_name)) == {"password": "p"}
    assert (await settle(clients.caller_identity())).account == OTHER_ACCOUNT


async def test_throttled_failing_and_unreadable_answers_of_sts(
    aws: CountingAws, make: Make, role: str, unique_name: str, no_waiting: list[float]
) -> None:
    """Waited out like those of every service, and then told."""
    aws.faults += [(400, xml("Throttling", "Rate exceeded")), (503, "<html>")]
    assert await settle(make(role_arn=role, external_id=EXTERNAL_ID).secret(unique_name)) == {"password": "p"}
    assert len(no_waiting) == 2
    aws.faults += [(400, xml("Throttling", "Rate exceeded"))] * 3
    with pytest.raises(CredentialError, match="throttles sts:AssumeRole") as caught:
        await settle(make(role_arn=role, external_id=EXTERNAL_ID).secret(unique_name))
    assert caught.value.context["resource"] == role


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html>login</html>",
        "<html",
        "{}",
        CREDENTIALS.format("<AccessKeyId>a</AccessKeyId>"),
        CREDENTIALS.format(KEYS + "<SessionToken>t</SessionToken><Expiration>soon</Expiration>"),
        CREDENTIALS.format(KEYS + "<Expiration>2099-01-01T00:00:00Z</Expiration>"),
        "<r><GetCallerIdentityResult><Account>1</Account></GetCallerIdentityResult></r>",
    ],
)
async def test_what_is_not_sts_is_told_apart(aws: CountingAws, make: Make, role: str, body: str) -> None:
    """A captive portal answers 200 to everything; nothing of the answer is quoted."""
    aws.faults.append((200, body))
    with pytest.raises(CredentialError, match="not AWS") as caught:
        await settle(make(role_arn=role, external_id=EXTERNAL_ID).credentials())
    assert "c4n4ry" not in shown(caught.value)
    aws.faults.append((200, body))
    with pytest.raises(CredentialError, match="not AWS"):
        await settle(make().caller_identity())


@pytest.mark.parametrize("code", ["ValidationError", "AccessDenied", "PackedPolicyTooLarge"])
async def test_what_sts_says_of_the_external_id_is_not_repeated(
    aws: CountingAws, make: Make, role: str, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In no message, cause or log; who was denied what is."""
    said = f"User: arn:aws:iam::1:user/me is not authorized to perform: sts:AssumeRole on resource: {role} with "
    aws.faults.append((403, xml(code, f"{said}{EXTERNAL_ID}")))
    with caplog.at_level(logging.DEBUG), pytest.raises(CredentialError) as caught:
        await settle(make(role_arn=role, external_id=EXTERNAL_ID).credentials())
    assert "user/me is not authorized" in str(caught.value)
    aws.faults.append((400, xml(code, f"1 validation error detected: Value '{EXTERNAL_ID}' at 'externalId'")))
    with caplog.at_level(logging.DEBUG), pytest.raises(CredentialError) as again:
        await settle(make(role_arn=role, external_id=EXTERNAL_ID).credentials())
    assert code in str(again.value)
    for text in (shown(caught.value), shown(again.value), caplog.text):
        assert EXTERNAL_ID not in text


async def test_a_role_or_external_id_that_cannot_be_one_is_not_sent(aws: CountingAws, make: Make, role: str) -> None:
    """The refusal of AWS would repeat it."""
    for arguments, word in (
        ({"role_arn": "chat-api", "external_id": None}, "RoleArn"),
        ({"role_arn": role, "external_id": "c4n4ry with spaces"}, "ExternalId"),
        ({"role_arn": role, "external_id": ""}, "ExternalId"),
    ):
        with pytest.raises(ConfigurationError, match=word) as caught:
            await settle(make(**arguments).credentials())
        assert "c4n4ry" not in shown(caught.value)
    assert not aws.seen


async def test_a_wrong_clock_is_named_as_such_by_sts_too(aws: CountingAws, make: Make, role: str) -> None:
    """It says so only within its words, of which nothing else is kept."""
    clock = Clock(wall=lambda: time.time() - 3600)
    with pytest.raises(CredentialError, match="clock"):
        await settle(make(clock=clock, role_arn=role, external_id=EXTERNAL_ID).credentials())


async def test_expired_credentials_of_who_assumes_the_role_are_resolved_anew(
    aws: CountingAws, make: Make, role: str, unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those, and not the role's own, which are being made at that moment."""
    clients = make()
    assumed = clients.assume(role, external_id=EXTERNAL_ID)
    await settle(clients.credentials())
    keys = aws.create_user(ACCOUNT, f"{unique_name}-new")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key)
    aws.faults.append((400, xml("ExpiredToken", "The security token included in the request is expired")))
    assert await settle(assumed.secret(unique_name)) == {"password": "p"}
    assert aws.seen == {"query": 2, "GetSecretValue": 1}
    assert (await settle(clients.credentials(force=True))).access_key == keys.access_key
    await settle(assumed.close())
    alone = make(role_arn=role, external_id=EXTERNAL_ID)
    aws.faults += [(400, xml("ExpiredToken", "x"))] * 2
    with pytest.raises(CredentialError, match="aws sso login"):
        await settle(alone.credentials())
    assert not aws.faults


@pytest.mark.parametrize("chained", [False, True])
async def test_renewing_the_credentials_of_a_role_begins_with_whose_rights_assume_it(
    aws: CountingAws, make: Make, role: str, monkeypatch: pytest.MonkeyPatch, chained: bool
) -> None:
    """Revoked ones would only be refused again."""
    source = make()
    assumed = source.assume(role, external_id=EXTERNAL_ID) if chained else make(role_arn=role, external_id=EXTERNAL_ID)
    await settle(assumed.credentials())
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(CredentialError, match="does not accept"):
        await settle(assumed.credentials(force=True))
    await settle(assumed.close())


def test_many_who_meet_expired_credentials_resolve_them_once(
    aws: CountingAws, role: str, unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would otherwise throw away what the one before had resolved."""
    for number in range(8):
        aws.put_secret(OTHER_ACCOUNT, f"{unique_name}-{number}", {})
    gate = threading.Barrier(8)
    from soa_db._aws.http import SignedHttp

    original = SignedHttp._post

    def together(self: SignedHttp, *arguments: object) -> object:
        answer = original(self, *arguments)  # type: ignore[arg-type]  # passed on as they come
        if answer.status_code == 400:
            gate.wait(30)
        return answer

    with AwsClients(role_arn=role, external_id=EXTERNAL_ID) as clients:
        clients.credentials()
        aws.seen.clear()
        monkeypatch.setattr(SignedHttp, "_post", together)
        aws.fail("ExpiredTokenException", times=8)
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(clients.secret, [f"{unique_name}-{number}" for number in range(8)])) == [{}] * 8
    assert aws.seen == {"GetSecretValue": 16, "query": 1}


async def test_a_role_and_its_source_asked_at_once_make_the_source_once(
    aws: CountingAws, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two would resolve its credentials twice, and one would never be closed."""
    made: list[AwsSession] = []
    original = AwsSession.__init__

    def counted(self: AwsSession, **arguments: object) -> None:
        made.append(self)
        threading.Event().wait(0.05)  # long enough for all to come
        original(self, **arguments)  # type: ignore[arg-type]  # passed on as they come

    monkeypatch.setattr(AwsSession, "__init__", counted)
    async with AsyncAwsClients() as clients:
        roles = [clients.assume(role, external_id=EXTERNAL_ID) for _ in range(20)]
        await asyncio.gather(clients.credentials(), *(one.credentials() for one in roles))
        assert len(made) == 21
        for one in roles:
            await one.close()


async def test_a_refused_role_is_asked_for_once(aws: CountingAws, make: Make, role: str) -> None:
    """AccessDenied for the role is no reason to read each parameter by itself."""
    with pytest.raises(AccessDenied) as caught:
        await settle(make(role_arn=role, external_id="wrong").parameters(["/a", "/b"]))
    assert caught.value.context["action"] == "sts:AssumeRole"
    assert aws.seen == {"query": 1}


class Container:
    """Gives credentials as ECS does: a new key at every call, good for ``seconds``."""

    def __init__(self) -> None:
        self.seconds = 300.0
        self.calls = 0
        container = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                container.calls += 1
                end = time.gmtime(time.time() + container.seconds)
                body = json.dumps(
                    {
                        "AccessKeyId": f"AKIA{container.calls:016}",
                        "SecretAccessKey": "s",
                        "Token": "t",
                        "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", end),
                    }
                ).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        """For AWS_CONTAINER_CREDENTIALS_FULL_URI."""
        return f"http://127.0.0.1:{self.server.server_port}/"


@pytest.fixture
def container(aws: CountingAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Container]:
    """This process's credentials are a container's."""
    found = Container()
    thread = threading.Thread(target=found.server.serve_forever)
    thread.start()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", found.url)
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


async def test_credentials_that_ended_while_the_machine_slept_are_not_handed_out(
    container: Container, make: Make
) -> None:
    """The monotonic clock stood still meanwhile; AWS goes by the wall clock."""
    ahead = [0.0]
    clients = make(clock=Clock(monotonic=lambda: 1000.0, wall=lambda: time.time() + ahead[0]))
    first = await settle(clients.credentials())
    assert await settle(clients.credentials()) == first
    ahead[0], container.seconds = 3600.0, 7200.0
    second = await settle(clients.credentials())
    assert second.access_key != first.access_key
    assert await settle(clients.credentials()) == second


def _expired(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", "2020-01-01T00:00:00Z")


def _no_program(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    _program(monkeypatch, home, "/nowhere/to/be/found")


def _no_json(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    _program(monkeypatch, home, "echo c4n4ry")


def _program(monkeypatch: pytest.MonkeyPatch, home: Path, command: str) -> None:
    (home / "config").write_text(f"[default]\ncredential_process = {command}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(home / "config"))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")


@pytest.mark.parametrize(
    ("broken", "words"),
    [(_expired, "expired"), (_no_program, "/nowhere/to/be/found"), (_no_json, "had: JSONDecodeError")],
)
@pytest.mark.usefixtures("aws")
async def test_a_source_of_credentials_that_is_broken_gives_a_typed_error(
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    broken: Callable[[pytest.MonkeyPatch, Path], None],
    words: str,
) -> None:
    """botocore lets such errors through as they are; one of them holds what the program wrote."""
    broken(monkeypatch, tmp_path)
    clients = make()
    for call in (
        lambda: clients.secret("s"),
        clients.credentials,
        clients.caller_identity,
        lambda: clients.call("sts", "get_caller_identity"),
    ):
        with pytest.raises(CredentialError, match=words) as caught:
            await settle(call())
        assert "c4n4ry" not in shown(caught.value)


async def test_words_that_hold_a_session_token_are_no_cause_either(aws: CountingAws, make: Make) -> None:
    """A log shows the causes of an error too."""
    aws.fail("SignatureDoesNotMatch", status=403, message="should have been 'x-amz-security-token:c4n4ry'")
    with pytest.raises(CredentialError, match="does not accept") as caught:
        await settle(make().call("secretsmanager", "list_secrets"))
    assert "c4n4ry" not in shown(caught.value)
