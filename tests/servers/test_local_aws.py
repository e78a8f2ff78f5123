"""The emulated AWS keeps people apart: every call authenticated, every resource checked, refused in AWS's words."""

from __future__ import annotations

import json
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from soa_db.local.aws import ALLOW_ALL, EmulatedAws
from soa_db.local.sigv4 import Fault

if TYPE_CHECKING:
    from soa_db.local.aws import UserKeys

DEV, PROD = "111111111111", "222222222222"
REGION = "us-west-2"
SECRETS = f"arn:aws:secretsmanager:{REGION}:{DEV}:secret"
PARAMETERS = f"arn:aws:ssm:{REGION}:{DEV}:parameter"


@pytest.fixture(scope="module")
def aws() -> Iterator[EmulatedAws]:
    """One emulator in this process, with two services' secrets and parameters in it."""
    emulator = EmulatedAws((DEV, PROD), region=REGION)
    emulator.start()
    for service in ("chat", "ledger"):
        emulator.put_secret(DEV, f"dev/postgres-shared/{service}/app", {"password": f"of {service}"})
        emulator.put_parameters(DEV, {f"/{service}/host": service})
    emulator.put_secret(PROD, "dev/postgres-shared/chat/app", {"password": "of prod"})
    yield emulator
    emulator.stop()


@pytest.fixture(scope="module")
def admin(aws: EmulatedAws) -> UserKeys:
    """Dev's administrator."""
    return aws.create_user(DEV, "admin")


def client(aws: EmulatedAws, service: str, keys: UserKeys | dict[str, Any]) -> Any:
    """A boto3 client that tries once."""
    if not isinstance(keys, dict):
        keys = {"AccessKeyId": keys.access_key, "SecretAccessKey": keys.secret_key}
    return boto3.client(
        service,
        endpoint_url=aws.endpoint,
        region_name=REGION,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys.get("SessionToken"),
        config=Config(retries={"total_max_attempts": 1}),
    )


def allow(action: str | list[str], resource: str | list[str], **more: Any) -> dict[str, Any]:
    """A policy of one statement."""
    statement = {"Effect": "Allow", "Action": action, "Resource": resource, **more}
    return {"Version": "2012-10-17", "Statement": [statement]}


def trust(principal: str, **condition: str) -> dict[str, Any]:
    """A trust policy."""
    statement: dict[str, Any] = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"}
    if condition:
        statement["Condition"] = {"StringEquals": {f"sts:{name}": value for name, value in condition.items()}}
    return {"Version": "2012-10-17", "Statement": [statement]}


@pytest.fixture
def session_of(aws: EmulatedAws, admin: UserKeys, unique_name: str) -> Callable[..., dict[str, Any]]:
    """Make a role with a policy and assume it."""

    def make(policy: dict[str, Any], **options: Any) -> dict[str, Any]:
        arn = aws.create_role(DEV, unique_name, trust=trust(f"arn:aws:iam::{DEV}:root"), policy=policy)
        sts = client(aws, "sts", admin)
        keys = sts.assume_role(RoleArn=arn, RoleSessionName="tests", **options)["Credentials"]
        assert isinstance(keys, dict)
        return keys

    return make


def refusal(call: Callable[[], object]) -> tuple[str, int, str]:
    """The code, status and text with which a call is refused."""
    with pytest.raises(ClientError) as caught:
        call()
    response: Any = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Message"]


@pytest.mark.parametrize("pattern", ["-??????", "*"])
def test_a_service_reads_its_own_secret_and_nobody_else_s(
    aws: EmulatedAws, session_of: Callable[..., dict[str, Any]], pattern: str
) -> None:
    """By name and by ARN; the refusal names who, the action and the resource."""
    role = session_of(allow("secretsmanager:GetSecretValue", f"{SECRETS}:dev/postgres-shared/chat/app{pattern}"))
    secrets = client(aws, "secretsmanager", role)
    own = secrets.get_secret_value(SecretId="dev/postgres-shared/chat/app")
    assert json.loads(own["SecretString"]) == {"password": "of chat"}
    assert secrets.get_secret_value(SecretId=own["ARN"])["SecretString"] == own["SecretString"]
    other = aws._secret_arn(DEV, REGION, "dev/postgres-shared/ledger/app")
    assert other is not None
    for name in ("dev/postgres-shared/ledger/app", other, other[:-7], "dev/nothing"):
        code, status, text = refusal(partial(secrets.get_secret_value, SecretId=name))
        assert (code, status) == ("AccessDeniedException", 400)
        assert re.fullmatch(
            rf"User: arn:aws:sts::{DEV}:assumed-role/\w+/tests is not authorized to perform: "
            rf"secretsmanager:GetSecretValue on resource: {re.escape(name)} because no identity-based policy "
            r"allows the secretsmanager:GetSecretValue action",
            text,
        )
    for call in (
        lambda: secrets.put_secret_value(SecretId=own["ARN"], SecretString="mine"),
        lambda: secrets.describe_secret(SecretId=own["ARN"]),
        lambda: secrets.create_secret(Name="dev/postgres-shared/chat/app2", SecretString="x"),
        secrets.list_secrets,
    ):
        assert refusal(call)[0] == "AccessDeniedException"


def test_a_batch_gives_what_is_allowed_and_tells_what_is_not(
    aws: EmulatedAws, session_of: Callable[..., dict[str, Any]]
) -> None:
    """One by one, in Errors."""
    policy = allow("secretsmanager:BatchGetSecretValue", "*")
    policy["Statement"] += allow("secretsmanager:GetSecretValue", f"{SECRETS}:dev/postgres-shared/chat/app-??????")[
        "Statement"
    ]
    secrets = client(aws, "secretsmanager", session_of(policy))
    names = ["dev/postgres-shared/chat/app", "dev/postgres-shared/ledger/app"]
    answer = secrets.batch_get_secret_value(SecretIdList=names)
    assert [item["Name"] for item in answer["SecretValues"]] == names[:1]
    assert [(item["SecretId"], item["ErrorCode"]) for item in answer["Errors"]] == [(names[1], "AccessDeniedException")]
    alone = secrets.batch_get_secret_value(SecretIdList=names[1:])
    assert (alone["SecretValues"], len(alone["Errors"])) == ([], 1)
    found = [{"Key": "name", "Values": ["dev"]}]
    for beside in ({}, {"SecretIdList": names[1:]}, {"SecretIdList": ["none"]}):
        code, _, _ = refusal(partial(secrets.batch_get_secret_value, Filters=found, **beside))
        assert code == "InvalidParameterException"


def test_without_the_right_to_batch_there_is_no_batch(
    aws: EmulatedAws, session_of: Callable[..., dict[str, Any]]
) -> None:
    """GetSecretValue alone does not include it."""
    secrets = client(aws, "secretsmanager", session_of(allow("secretsmanager:GetSecretValue", "*")))
    code, _, text = refusal(lambda: secrets.batch_get_secret_value(SecretIdList=["dev/postgres-shared/chat/app"]))
    assert code == "AccessDeniedException"
    assert "secretsmanager:BatchGetSecretValue on resource: *" in text


def test_a_service_reads_its_own_parameters_only(aws: EmulatedAws, session_of: Callable[..., dict[str, Any]]) -> None:
    """A batch with one foreign name is refused whole, naming it."""
    role = session_of(allow(["ssm:GetParameter", "ssm:GetParameters"], f"{PARAMETERS}/chat/host"))
    ssm = client(aws, "ssm", role)
    assert ssm.get_parameter(Name="/chat/host")["Parameter"]["Value"] == "chat"
    assert len(ssm.get_parameters(Names=["/chat/host"])["Parameters"]) == 1
    for call in (
        lambda: ssm.get_parameter(Name="/ledger/host"),
        lambda: ssm.get_parameters(Names=["/chat/host", "/ledger/host"]),
        lambda: ssm.get_parameter(Name=f"{PARAMETERS}/ledger/host"),
    ):
        code, status, text = refusal(call)
        assert (code, status) == ("AccessDeniedException", 400)
        assert f"on resource: {PARAMETERS}/ledger/host because" in text
    assert refusal(lambda: ssm.get_parameters_by_path(Path="/", Recursive=True))[0] == "AccessDeniedException"
    assert refusal(ssm.describe_parameters)[0] == "AccessDeniedException"
    assert refusal(lambda: ssm.put_parameter(Name="/chat/host", Value="x", Overwrite=True))[0] == (
        "AccessDeniedException"
    )


def test_accounts_are_apart(aws: EmulatedAws, admin: UserKeys) -> None:
    """The same name in two accounts is two secrets, and no header changes the account."""
    elsewhere = aws.create_user(PROD, "admin")
    name = "dev/postgres-shared/chat/app"
    secret = client(aws, "secretsmanager", elsewhere).get_secret_value(SecretId=name)
    assert json.loads(secret["SecretString"]) == {"password": "of prod"}
    ours = client(aws, "secretsmanager", admin)
    ours.meta.events.register(
        "before-sign.*.*", lambda request, **_: request.headers.add_header("x-moto-account-id", PROD)
    )
    assert json.loads(ours.get_secret_value(SecretId=name)["SecretString"]) == {"password": "of chat"}
    assert refusal(lambda: ours.get_secret_value(SecretId=secret["ARN"]))[0] == "ResourceNotFoundException"


def test_an_explicit_deny_wins(aws: EmulatedAws, session_of: Callable[..., dict[str, Any]]) -> None:
    """And is named as such."""
    policy = allow("*", "*")
    policy["Statement"].append({"Effect": "Deny", "Action": "secretsmanager:Get*", "Resource": "*"})
    secrets = client(aws, "secretsmanager", session_of(policy))
    text = refusal(lambda: secrets.get_secret_value(SecretId="dev/postgres-shared/chat/app"))[2]
    assert text.endswith("with an explicit deny in an identity-based policy")


def test_a_session_policy_narrows(aws: EmulatedAws, session_of: Callable[..., dict[str, Any]]) -> None:
    """What the role may do and the session may not, is refused."""
    narrow = json.dumps(allow("ssm:*", "*"))
    role = session_of(ALLOW_ALL, Policy=narrow)
    assert client(aws, "ssm", role).get_parameter(Name="/chat/host")
    secrets = client(aws, "secretsmanager", role)
    assert refusal(lambda: secrets.get_secret_value(SecretId="dev/postgres-shared/chat/app"))[0] == (
        "AccessDeniedException"
    )


def test_the_external_id_must_be_given_and_right(aws: EmulatedAws, admin: UserKeys, unique_name: str) -> None:
    """Across accounts, as the trust policy demands."""
    arn = aws.create_role(
        PROD, unique_name, trust=trust(f"arn:aws:iam::{DEV}:root", ExternalId="agreed"), policy=ALLOW_ALL
    )
    sts = client(aws, "sts", admin)
    for more in ({}, {"ExternalId": "other"}):
        code, status, text = refusal(partial(sts.assume_role, RoleArn=arn, RoleSessionName="tests", **more))
        assert (code, status) == ("AccessDenied", 403)
        assert text == (
            f"User: arn:aws:iam::{DEV}:user/admin is not authorized to perform: sts:AssumeRole on resource: {arn}"
        )
    keys = sts.assume_role(RoleArn=arn, RoleSessionName="tests", ExternalId="agreed")["Credentials"]
    identity = client(aws, "sts", keys).get_caller_identity()
    assert (identity["Account"], identity["Arn"]) == (PROD, f"arn:aws:sts::{PROD}:assumed-role/{unique_name}/tests")


def test_an_account_s_trust_needs_the_caller_s_own_right_and_a_name_does_not(
    aws: EmulatedAws, admin: UserKeys, unique_name: str
) -> None:
    """Within an account; roles are chained by the role's name as well as by its session's."""
    plain = aws.create_user(DEV, f"{unique_name}_user", allow("ssm:*", "*"))
    sts = client(aws, "sts", plain)
    me = sts.get_caller_identity()["Arn"]
    root = aws.create_role(DEV, f"{unique_name}_a", trust=trust(f"arn:aws:iam::{DEV}:root"), policy=ALLOW_ALL)
    named = aws.create_role(DEV, f"{unique_name}_b", trust=trust(me), policy=allow("ssm:*", "*"))
    stranger = aws.create_role(DEV, f"{unique_name}_c", trust=trust(PROD), policy=ALLOW_ALL)
    chained = aws.create_role(DEV, f"{unique_name}_d", trust=trust(named), policy=allow("ssm:*", "*"))
    for role in (root, stranger, f"arn:aws:iam::{DEV}:role/none", "nonsense-that-is-20-long"):
        assert refusal(partial(sts.assume_role, RoleArn=role, RoleSessionName="tests"))[0] == "AccessDenied"
    session = sts.assume_role(RoleArn=named, RoleSessionName="tests")["Credentials"]
    assert client(aws, "sts", session).assume_role(RoleArn=chained, RoleSessionName="tests")
    assert refusal(lambda: client(aws, "sts", admin).assume_role(RoleArn=stranger, RoleSessionName="tests"))[0] == (
        "AccessDenied"
    )


def test_an_expired_session_is_refused(aws: EmulatedAws, session_of: Callable[..., dict[str, Any]]) -> None:
    """By every protocol, and for RDS tokens too."""
    keys = session_of(ALLOW_ALL)
    session = aws.directory._session(keys["AccessKeyId"])
    assert session is not None
    token = (
        boto3.Session(
            aws_access_key_id=keys["AccessKeyId"],
            aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys["SessionToken"],
        )
        .client("rds", region_name=REGION)
        .generate_db_auth_token("db", 5432, "chat_app", Region=REGION)
    )
    place: dict[str, Any] = {"user": "chat_app", "host": "db", "port": 5432, "account": DEV, "resource_id": "db-X"}
    assert aws.may_connect(token, **place).endswith("/tests")
    session.expiration -= timedelta(hours=2)
    secrets, sts = client(aws, "secretsmanager", keys), client(aws, "sts", keys)
    assert refusal(lambda: secrets.get_secret_value(SecretId="x"))[:2] == ("ExpiredTokenException", 400)
    assert refusal(sts.get_caller_identity)[:2] == ("ExpiredToken", 403)
    with pytest.raises(Fault, match="expired"):
        aws.may_connect(token, **place)


def test_a_session_of_a_deleted_role_may_do_nothing(
    aws: EmulatedAws, admin: UserKeys, session_of: Callable[..., dict[str, Any]], unique_name: str
) -> None:
    """Its policies are gone with it."""
    keys = session_of(ALLOW_ALL)
    iam = client(aws, "iam", admin)
    iam.delete_role_policy(RoleName=unique_name, PolicyName="inline")
    iam.delete_role(RoleName=unique_name)
    ssm = client(aws, "ssm", keys)
    assert refusal(lambda: ssm.get_parameter(Name="/chat/host"))[0] == "AccessDeniedException"


def test_managed_policies_count(
    aws: EmulatedAws, admin: UserKeys, session_of: Callable[..., dict[str, Any]], unique_name: str
) -> None:
    """Attached to a role, in their default version."""
    keys = session_of(allow("sts:*", "*"))
    iam = client(aws, "iam", admin)
    document = json.dumps(allow("ssm:GetParameter", f"{PARAMETERS}/chat/*"))
    arn = iam.create_policy(PolicyName=unique_name, PolicyDocument=document)["Policy"]["Arn"]
    iam.attach_role_policy(RoleName=unique_name, PolicyArn=arn)
    assert client(aws, "ssm", keys).get_parameter(Name="/chat/host")


@pytest.mark.parametrize(("service", "codes"), [
    ("ssm", {"key": "UnrecognizedClientException", "secret": "InvalidSignatureException"}),
    ("sts", {"key": "InvalidClientTokenId", "secret": "SignatureDoesNotMatch"}),
])  # fmt: skip
def test_wrong_keys_are_refused(
    aws: EmulatedAws, admin: UserKeys, service: str, codes: dict[str, str], unique_name: str
) -> None:
    """With the codes each protocol has for it; also a key that was switched off."""
    good = {"AccessKeyId": admin.access_key, "SecretAccessKey": admin.secret_key}
    cases = [
        ({**good, "AccessKeyId": "AKIA" + "X" * 16}, codes["key"]),
        ({**good, "SecretAccessKey": "wrong"}, codes["secret"]),
        ({**good, "SessionToken": "none"}, codes["key"]),
    ]
    off = aws.create_user(DEV, unique_name)
    client(aws, "iam", admin).update_access_key(UserName=unique_name, AccessKeyId=off.access_key, Status="Inactive")
    cases.append(({"AccessKeyId": off.access_key, "SecretAccessKey": off.secret_key}, codes["key"]))
    for keys, code in cases:
        caller = client(aws, service, keys)
        call = caller.get_caller_identity if service == "sts" else caller.describe_parameters
        assert refusal(call)[0] == code


@pytest.mark.parametrize("path", ["/moto-api/data.json", "/moto-api/reset", "/latest/meta-data/", "/", "/?Action=x"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nothing_is_to_be_had_without_a_signature(aws: EmulatedAws, path: str, method: str) -> None:
    """moto's own pages show every secret; they are closed."""
    body = b"Action=GetCallerIdentity&Version=2011-06-15" if method == "POST" else None
    request = urllib.request.Request(aws.endpoint + path, data=body, method=method)
    with pytest.raises(urllib.error.HTTPError) as caught, urllib.request.urlopen(request, timeout=20):
        pass
    with caught.value as error:
        assert error.code in {400, 403}
        assert b"of chat" not in error.read()


@pytest.mark.parametrize("length", ["99999999", "-1", "many"])
def test_a_body_of_no_sensible_length_is_not_read(aws: EmulatedAws, length: str) -> None:
    """It is refused and the connection closed."""
    with socket.create_connection(("127.0.0.1", int(aws.endpoint.rpartition(":")[2])), timeout=20) as raw:
        raw.sendall(f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
        answer = b""
        while part := raw.recv(4096):
            answer += part
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("action", ["AssumeRoleWithWebIdentity", "AssumeRoleWithSAML", "GetSessionToken"])
def test_no_session_is_to_be_had_past_the_trust_policies(
    aws: EmulatedAws, session_of: Callable[..., dict[str, Any]], action: str
) -> None:
    """Calls that moto answers for any role, also to somebody who may do all of STS."""
    role = session_of(allow("sts:*", "*"))
    body = f"Action={action}&Version=2011-06-15&RoleArn=arn:aws:iam::{PROD}:role/any&RoleSessionName=tests"
    assert _signed(aws, role, "sts", body.encode()) == 400


def test_a_body_too_deep_to_parse_is_malformed(aws: EmulatedAws, session_of: Callable[..., dict[str, Any]]) -> None:
    """And no failure of the emulator's."""
    role = session_of(allow("*", "*"))
    target = {"X-Amz-Target": "secretsmanager.GetSecretValue"}
    assert _signed(aws, role, "secretsmanager", b"[" * 100_000, target) == 400


def _signed(
    aws: EmulatedAws, keys: dict[str, Any], service: str, body: bytes, headers: dict[str, str] | None = None
) -> int:
    """The status with which a request is answered that no client of AWS would send, but is signed."""
    kind = "application/x-amz-json-1.1" if headers else "application/x-www-form-urlencoded"
    request = AWSRequest("POST", aws.endpoint + "/", data=body, headers={"Content-Type": kind, **(headers or {})})
    credentials = Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])
    SigV4Auth(credentials, service, REGION).add_auth(request)
    sent = urllib.request.Request(aws.endpoint + "/", data=body, headers=dict(request.headers), method="POST")
    try:
        with urllib.request.urlopen(sent, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_a_service_that_is_not_emulated_says_so(aws: EmulatedAws, admin: UserKeys) -> None:
    """Instead of answering something made up."""
    assert "not part of the local environment" in refusal(client(aws, "sqs", admin).list_queues)[2]


def test_rotation_stages_work_under_exact_policies(
    aws: EmulatedAws, admin: UserKeys, session_of: Callable[..., dict[str, Any]], unique_name: str
) -> None:
    """AWSPENDING is written, read by the service that may, and promoted."""
    arn = aws.put_secret(DEV, unique_name, {"password": "old"})
    secrets = client(aws, "secretsmanager", admin)
    version = secrets.put_secret_value(SecretId=arn, SecretString="new", VersionStages=["AWSPENDING"])["VersionId"]
    reader = client(aws, "secretsmanager", session_of(allow("secretsmanager:GetSecretValue", arn)))
    assert reader.get_secret_value(SecretId=arn, VersionStage="AWSPENDING")["SecretString"] == "new"
    assert json.loads(reader.get_secret_value(SecretId=arn)["SecretString"]) == {"password": "old"}
    current = secrets.describe_secret(SecretId=arn)["VersionIdsToStages"]
    (old,) = (name for name, stages in current.items() if "AWSCURRENT" in stages)
    secrets.update_secret_version_stage(
        SecretId=arn, VersionStage="AWSCURRENT", MoveToVersionId=version, RemoveFromVersionId=old
    )
    assert reader.get_secret_value(SecretId=arn)["SecretString"] == "new"
    stages = secrets.describe_secret(SecretId=arn)["VersionIdsToStages"]
    assert {name: set(labels) for name, labels in stages.items()} == {
        version: {"AWSCURRENT", "AWSPENDING"},
        old: {"AWSPREVIOUS"},
    }
