"""What AWS and botocore answer becomes one typed error that names action, resource and next step."""

from __future__ import annotations

import traceback

import pytest
from botocore import exceptions as boto

from soa_db._aws.failures import Answer, Kind, classify, describe, translate, typed
from soa_db.errors import (
    AccessDenied,
    ConfigurationError,
    CredentialError,
    ParameterNotFound,
    SecretNotFound,
    SoaDbError,
)

GET_SECRET = "secretsmanager:GetSecretValue"


@pytest.mark.parametrize(
    ("answer", "kind", "error", "words"),
    [
        (Answer(400, "AccessDeniedException", "User: x is not authorized"), Kind.DENIED, AccessDenied, "denies"),
        (Answer(403, "", ""), Kind.DENIED, AccessDenied, f"{GET_SECRET} on the/secret"),
        (Answer(400, "ExpiredTokenException", "expired"), Kind.EXPIRED, CredentialError, "aws sso login"),
        (Answer(400, "UnrecognizedClientException", "x"), Kind.INVALID_CREDENTIALS, CredentialError, "not accept"),
        (Answer(403, "InvalidClientTokenId", "x"), Kind.INVALID_CREDENTIALS, CredentialError, "AWS_ACCESS_KEY_ID"),
        (Answer(403, "RequestTimeTooSkewed", "x"), Kind.SKEWED, CredentialError, "Mon, 01 Jan 2029"),
        (Answer(403, "InvalidSignatureException", "Signature expired: y"), Kind.SKEWED, CredentialError, "clock"),
        (Answer(400, "ThrottlingException", "Rate exceeded"), Kind.THROTTLED, CredentialError, "throttles"),
        (Answer(429, "", ""), Kind.THROTTLED, CredentialError, "throttles"),
        (Answer(503, "", ""), Kind.SERVER, CredentialError, "503"),
        (Answer(500, "InternalServiceError", ""), Kind.SERVER, CredentialError, "InternalServiceError"),
        (Answer(400, "ResourceNotFoundException", "no version"), Kind.NOT_FOUND, SecretNotFound, "the/secret"),
        (
            Answer(400, "InvalidRequestException", "it was marked for deletion"),
            Kind.DELETED,
            SecretNotFound,
            "restore-secret",
        ),
        (Answer(400, "ValidationException", "bad name"), Kind.OTHER, CredentialError, "bad name"),
        (Answer(407, "", ""), Kind.OTHER, CredentialError, "HTTPS_PROXY"),
        (Answer(302, "", ""), Kind.OTHER, CredentialError, "HTTP status 302"),
    ],
)
def test_an_error_answer(answer: Answer, kind: Kind, error: type[SoaDbError], words: str) -> None:
    """Each kind has its type, and says the next step."""
    assert classify(answer) is kind
    found = describe(
        answer, action=GET_SECRET, resource="the/secret", region="us-west-2", server_date="Mon, 01 Jan 2029"
    )
    assert type(found) is error
    assert words in str(found)
    assert found.hint
    assert found.context["action"] == GET_SECRET
    assert found.context["resource"] == "the/secret"


def test_a_missing_parameter_is_named() -> None:
    """The same code of another service is not a secret."""
    found = describe(Answer(400, "ParameterNotFound", ""), action="ssm:GetParameter", resource="/a", region="r")
    assert isinstance(found, ParameterNotFound)
    assert "/a" in found.message


def test_messages_about_signatures_are_not_quoted() -> None:
    """They repeat the canonical request, session token included."""
    text = "The Canonical String for this request should have been 'x-amz-security-token:canary'"
    found = describe(Answer(403, "SignatureDoesNotMatch", text), action=GET_SECRET, resource="s", region="r")
    assert "canary" not in str(found)


def test_an_answer_cannot_forge_lines() -> None:
    """What a server says is one line of the message, and not endless."""
    found = describe(Answer(400, "Odd", "a\nb" + "c" * 9999), action="ssm:X", resource="", region="")
    assert "a bc" in found.message
    assert len(found.message) < 500


def test_of_sts_only_who_was_denied_what_is_quoted() -> None:
    """Also when botocore asked it, for a profile that assumes a role."""
    said = "User: arn:aws:iam::1:user/me is not authorized to perform: sts:AssumeRole on resource: arn:r with canary"
    for message, quoted in ((said, said.removesuffix(" with canary")), ("Value 'canary' at 'externalId'", "")):
        found = describe(Answer(400, "ValidationError", message), action="sts:AssumeRole", resource="r", region="w")
        assert found.message == f"AWS refuses sts:AssumeRole: ValidationError{quoted and ': '}{quoted}"
    raised = client_error("ValidationError", "AssumeRole", "Value 'canary' at 'externalId'")

    def ask() -> None:
        raise raised

    with pytest.raises(CredentialError) as caught:
        typed(ask, action=GET_SECRET)
    assert caught.value.context["action"] == "sts:AssumeRole"
    assert "canary" not in "".join(traceback.format_exception(caught.value))


def test_a_harmless_cause_is_kept() -> None:
    """Whoever looks for what botocore said finds it."""
    raised = client_error("AccessDenied", "GetSecretValue")

    def ask() -> None:
        raise raised

    with pytest.raises(AccessDenied) as caught:
        typed(ask, action=GET_SECRET)
    assert caught.value.__cause__ is raised


def client_error(code: str, operation: str, message: str = "because") -> boto.ClientError:
    """What a botocore client raises."""
    response = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": 400, "HTTPHeaders": {"date": "Mon, 01 Jan 2029"}},
    }
    return boto.ClientError(response, operation)  # type: ignore[arg-type]  # the stubs want more metadata


@pytest.mark.parametrize(
    ("raised", "error", "words"),
    [
        (boto.NoCredentialsError(), CredentialError, "AWS_PROFILE"),
        (boto.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"), CredentialError, "partial"),
        (boto.ProfileNotFound(profile="nope"), ConfigurationError, "nope"),
        (boto.UnauthorizedSSOTokenError(), CredentialError, "aws sso login"),
        (boto.SSOTokenLoadError(error_msg="x"), CredentialError, "aws sso login"),
        (boto.TokenRetrievalError(provider="sso", error_msg="x"), CredentialError, "aws sso login"),
        (boto.CredentialRetrievalError(provider="process", error_msg="x"), CredentialError, "process"),
        (boto.EndpointConnectionError(endpoint_url="https://x"), CredentialError, "https://x"),
        (boto.ReadTimeoutError(endpoint_url="https://x"), CredentialError, "not reached"),
        (boto.SSLError(endpoint_url="https://x", error=OSError("e")), CredentialError, "AWS_CA_BUNDLE"),
        (boto.NoRegionError(), ConfigurationError, "AWS_REGION"),
        (client_error("AccessDenied", "GetSecretValue"), AccessDenied, GET_SECRET),
        (client_error("AccessDenied", "AssumeRole"), AccessDenied, "sts:AssumeRole"),
        (client_error("ExpiredToken", "GetSecretValue"), CredentialError, "expired"),
        (SecretNotFound("as it is"), SecretNotFound, "as it is"),
        (boto.BotoCoreError(), CredentialError, "could not be asked"),
    ],
)
def test_what_botocore_raises(raised: Exception, error: type[SoaDbError], words: str) -> None:
    """Every family of botocore's errors has a type of ours and a hint."""
    found = translate(raised, action=GET_SECRET, resource="s", region="r")
    assert type(found) is error
    assert words.lower() in str(found).lower()


def test_refused_arguments_are_named_without_their_values() -> None:
    """botocore's own text quotes values, and one of them can be a secret."""
    report = (
        "Invalid type for parameter SecretString, value: canary, type: <class 'int'>\n"
        'Missing required parameter in input: "Name"\nUnknown parameter in input: "Nme", must be one of: Name'
    )
    found = translate(boto.ParamValidationError(report=report), action="secretsmanager:CreateSecret")
    assert found.message == "botocore does not accept Name, Nme, SecretString of secretsmanager:CreateSecret"
