"""What AWS and botocore answer when something is wrong, as our typed errors.

Error codes: "Common Errors" in the API reference of each service. Messages of AWS are quoted except where they can
hold secrets: those about signatures repeat the canonical request, session token included, and those of STS can repeat
the external id.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple, TypeVar

from botocore import exceptions as boto

from soa_db.errors import (
    AccessDenied,
    ConfigurationError,
    CredentialError,
    ParameterNotFound,
    SecretNotFound,
    SoaDbError,
)

__all__ = ["NO_PARAMETER_HINT", "Answer", "Kind", "classify", "describe", "translate", "typed"]

T = TypeVar("T")

NO_PARAMETER_HINT = "check environment and region; the account's infrastructure, or `soa-db local up`, writes it"


class Kind(Enum):
    """What is wrong."""

    DENIED = "denied"
    EXPIRED = "expired"
    INVALID_CREDENTIALS = "invalid credentials"
    SKEWED = "clock skew"
    THROTTLED = "throttled"
    SERVER = "server"
    NOT_FOUND = "not found"
    DELETED = "deleted"
    OTHER = "other"


class Answer(NamedTuple):
    """An error answer of AWS: HTTP status, error code, message."""

    status: int
    code: str
    message: str


_CODES = {
    Kind.DENIED: ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorized"),
    Kind.EXPIRED: ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"),
    Kind.INVALID_CREDENTIALS: (
        "AuthFailure",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    ),
    Kind.SKEWED: ("RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"),
    # botocore/retries/standard.py lists the same codes as throttling.
    Kind.THROTTLED: (
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    ),
    Kind.SERVER: ("InternalFailure", "InternalServerError", "InternalServiceError", "ServiceUnavailable"),
    Kind.NOT_FOUND: ("ParameterNotFound", "ResourceNotFoundException"),
}
_KINDS = {code: kind for kind, codes in _CODES.items() for code in codes}


def classify(answer: Answer) -> Kind:
    """Return what an error answer means."""
    kind = _KINDS.get(answer.code, Kind.OTHER)
    match kind:
        case Kind.INVALID_CREDENTIALS if answer.message.startswith(("Signature expired", "Signature not yet current")):
            return Kind.SKEWED
        case Kind.OTHER if answer.code == "InvalidRequestException" and "deletion" in answer.message:
            return Kind.DELETED
        case Kind.OTHER if answer.status == 429:
            return Kind.THROTTLED
        case Kind.OTHER if answer.status >= 500:
            return Kind.SERVER
        case Kind.OTHER if answer.status in {401, 403}:
            return Kind.DENIED
    return kind


def describe(answer: Answer, *, action: str, resource: str, region: str, server_date: str = "") -> SoaDbError:
    """Return the typed error for an error answer.

    Args:
        answer: what AWS answered.
        action: what was asked, e.g. ``ssm:GetParameters``.
        resource: of what: a secret id, parameter names, a role.
        region: where.
        server_date: the ``Date`` header of the answer, which tells about clocks.
    """
    said = _quotable(answer.message, action)
    code = answer.code or f"HTTP status {answer.status}"
    error: type[SoaDbError] = CredentialError
    match classify(answer):
        case Kind.DENIED:
            error = AccessDenied
            text = f"AWS denies {action} on {resource or 'this account'}: {said or code}"
            hint = "give the caller this right, e.g. with `soa-db policy --apply` for a service's own role"
        case Kind.EXPIRED:
            text = "the AWS session of these credentials has expired"
            hint = "log in again (`aws sso login`), or renew the session the credentials came from"
        case Kind.INVALID_CREDENTIALS:
            text = f"AWS does not accept these credentials ({answer.code})"
            hint = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the profile"
        case Kind.SKEWED:
            text = f"this machine's clock is wrong{f'; AWS says it is {server_date}' if server_date else ''}"
            hint = "set this machine's clock (NTP): AWS accepts signatures that are 5 minutes off at most"
        case Kind.THROTTLED:
            text = f"AWS throttles {action} ({answer.code}), also after retries"
            hint = "ask less often, or ask AWS for a higher quota"
        case Kind.SERVER:
            text = f"AWS fails at {action}, also after retries: {answer.status} {answer.code}".rstrip()
            hint = "try again later; https://health.aws.amazon.com tells of outages"
        case Kind.NOT_FOUND if action.startswith("ssm:"):
            error, text, hint = ParameterNotFound, f"there is no SSM parameter {resource}", NO_PARAMETER_HINT
        case Kind.NOT_FOUND if action.startswith("secretsmanager:"):
            error, text = SecretNotFound, f"there is no secret {resource}: {said}"
            hint = "check environment, service, role and region; `soa-db provision` makes what is missing"
        case Kind.DELETED:
            error, text = SecretNotFound, f"the secret {resource} is marked for deletion"
            hint = "restore it (`aws secretsmanager restore-secret`), or provision anew when its time is over"
        case _ if answer.status == 407:
            text = f"the proxy on the way to AWS wants a user and password for {action}"
            hint = "give them in HTTPS_PROXY, or HTTP_PROXY for plain HTTP: http://<user>:<password>@<host>:<port>"
        case _:
            text = f"AWS refuses {action}: {code}{said and f': {said}'}"
            hint = "check the names and ids that were given"
    return error(text, hint=hint, action=action, resource=resource, region=region)


# Who was denied what, the one sentence of STS that cannot hold an external id.
_STS_DENIAL = re.compile(r"User: \S+ is not authorized to perform: sts:\w+(?: on resource: \S+)?")


def _quotable(message: str, action: str) -> str:
    said = " ".join(message.split())[:400]
    if not action.startswith("sts:"):
        return said
    denial = _STS_DENIAL.match(said)
    return denial.group() if denial else ""


def typed(call: Callable[[], T], *, action: str = "", resource: str = "", region: str = "") -> T:
    """Return what ``call`` returns, with our errors for botocore's and for those of the sources of credentials.

    A source is a program, a file, a server of somebody's, and botocore lets what goes wrong there through as it is.
    """
    try:
        return call()
    except SoaDbError:
        raise
    except (boto.BotoCoreError, boto.ClientError, OSError, RuntimeError, ValueError, LookupError) as error:
        failure = translate(error, action=action, resource=resource, region=region)
        cause = error if _is_harmless(error) else None
    # Not within the handler: there the error would become the context of ours, and be shown with it.
    raise failure from cause


def _is_harmless(error: Exception) -> bool:
    """Whether the words of an error hold no secret, as far as anybody knows."""
    match error:
        case boto.ClientError():
            code = str(error.response.get("Error", {}).get("Code", ""))
            return (
                not error.operation_name.startswith("AssumeRole") and _KINDS.get(code) is not Kind.INVALID_CREDENTIALS
            )
        case boto.BotoCoreError():
            return not isinstance(error, boto.ParamValidationError)
        case _:
            return not isinstance(error, ValueError)  # a decoding error holds its document


def translate(error: Exception, *, action: str = "", resource: str = "", region: str = "") -> SoaDbError:
    """Return the typed error for what botocore raised; ``action`` is taken from a ClientError when it has one."""
    kind: type[SoaDbError] = CredentialError
    match error:
        case SoaDbError():
            return error
        case boto.ClientError():
            return _of_client_error(error, action=action, resource=resource, region=region)
        case boto.NoCredentialsError() | boto.PartialCredentialsError():
            text = f"no AWS credentials: {error}"
            hint = "give AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role is attached"
        case boto.ProfileNotFound() | boto.ConfigParseError() | boto.InvalidConfigError():
            kind, text, hint = ConfigurationError, str(error), "see `aws configure list-profiles`"
        case boto.SSOError() | boto.TokenRetrievalError():
            text = f"the AWS SSO session is missing or has expired: {error}"
            hint = "run `aws sso login`, with --profile if you use one"
        case boto.CredentialRetrievalError() | boto.MetadataRetrievalError():
            text = f"AWS credentials could not be had: {error}"
            hint = "see whether the source of the credentials (process, container, instance metadata) answers"
        case boto.SSLError():
            text = f"the certificate of AWS could not be verified: {error}"
            hint = "give the endpoint's certificate authority in AWS_CA_BUNDLE"
        case boto.ConnectionError() | boto.HTTPClientError():
            text = f"AWS was not reached: {error}"
            hint = "check network, proxy, VPC endpoint, region and AWS_ENDPOINT_URL"
        case boto.NoRegionError() | boto.InvalidRegionError():
            kind, text = ConfigurationError, f"the AWS region is missing or not one: {error}"
            hint = "give region=, AWS_REGION or a profile with a region"
        case boto.ParamValidationError():
            # Its text quotes values, and those can hold a secret.
            report = str(error.kwargs.get("report", ""))
            names = sorted(set(re.findall(r'parameter (?:in [^:]*: )?"?([\w.\[\]]+)', report)))
            kind, text = ConfigurationError, f"botocore does not accept {', '.join(names)} of {action}"
            hint = "see the operation in the botocore reference"
        case RuntimeError() | OSError() | ValueError() | LookupError():
            text, hint = _of_source(error)
        case _:
            text, hint = f"AWS could not be asked: {error}", "check the AWS configuration"
    return kind(text, hint=hint, action=action, resource=resource, region=region)


def _of_source(error: Exception) -> tuple[str, str]:
    match error:
        case RuntimeError():  # botocore's word for credentials that have ended already when they come
            detail, hint = (
                str(error),
                "see whether this machine's clock is right, and whether their source gives new ones",
            )
        case _:
            detail = str(error) if isinstance(error, OSError) else type(error).__name__
            hint = "see whether their source (process, container, file) gives what the AWS configuration promises"
    return f"AWS credentials could not be had: {detail}", hint


def _of_client_error(error: boto.ClientError, *, action: str, resource: str, region: str) -> SoaDbError:
    fault = error.response.get("Error", {})
    metadata = error.response.get("ResponseMetadata", {})
    if not action.endswith(f":{error.operation_name}"):
        # Resolving credentials makes calls of its own: AssumeRole, GetRoleCredentials.
        service = {"AssumeRole": "sts", "AssumeRoleWithWebIdentity": "sts", "GetRoleCredentials": "sso"}
        prefix = service.get(error.operation_name, action.partition(":")[0])
        action = f"{prefix}:{error.operation_name}" if prefix else error.operation_name
    answer = Answer(int(metadata.get("HTTPStatusCode", 0)), str(fault.get("Code", "")), str(fault.get("Message") or ""))
    date = str(metadata.get("HTTPHeaders", {}).get("date", ""))
    return describe(answer, action=action, resource=resource, region=region, server_date=date)
