"""An emulated AWS whose signatures and policies are enforced from the first call.

moto stores and answers; in front of it stands a guard of our own, which authenticates every request (Signature
Version 4, session tokens, expiry) and authorises it (identity policies, session policies, trust policies with external
ids, the exact secret or parameter) before moto sees it. As in AWS, a refusal names who, the action and the resource.
moto's own management pages, which would show every secret to anybody, are closed.
"""

from __future__ import annotations

import io
import json
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl
from uuid import uuid4
from xml.sax.saxutils import escape

from soa_db.errors import MissingExtra

try:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from moto.rds.models import DBInstance, rds_backends
    from moto.secretsmanager.models import secretsmanager_backends
    from moto.ssm.models import ssm_backends
    from werkzeug.serving import WSGIRequestHandler, make_server
except ImportError as error:  # pragma: no cover (the tests run with the extra installed)
    raise MissingExtra("the local environment needs moto", hint="pip install 'soa-db[local]'") from error

from moto.iam.models import iam_backends

from soa_db.local.actions import JSON_SERVICES, SERVICES, accesses
from soa_db.local.directory import Directory, Principal
from soa_db.local.elasticache_api import add_elasticache_users, cache_users, create_replication_group
from soa_db.local.policy import Decision
from soa_db.local.secret_stages import mend_secret_stages
from soa_db.local.sigv4 import Fault, SignedRequest, verify_presigned, verify_request

if TYPE_CHECKING:
    from soa_db.local.elasticache import CacheUsers

__all__ = ["EmulatedAws", "UserKeys"]

_MAX_BODY = 4 * 1024 * 1024
ALLOW_ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}

StartResponse = Callable[..., Any]

# How AWS names the faults, by protocol (botocore reads these codes): code, HTTP status, text
_JSON_FAULTS = {
    "malformed": ("IncompleteSignatureException", 400, "The request signature is missing or malformed."),
    "unknown key": ("UnrecognizedClientException", 400, "The security token included in the request is invalid."),
    "signature": ("InvalidSignatureException", 400, ""),
    "clock": ("InvalidSignatureException", 400, "Signature expired or not yet current."),
    "expired": ("ExpiredTokenException", 400, "The security token included in the request is expired"),
}
_QUERY_FAULTS = {
    "malformed": ("IncompleteSignature", 400, "The request signature is missing or malformed."),
    "unknown key": ("InvalidClientTokenId", 403, "The security token included in the request is invalid."),
    "signature": ("SignatureDoesNotMatch", 403, ""),
    "clock": ("SignatureDoesNotMatch", 403, "Signature expired or not yet current."),
    "expired": ("ExpiredToken", 403, "The security token included in the request is expired"),
}
_SIGNATURE_TEXT = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
)


@dataclass(frozen=True, slots=True)
class UserKeys:
    """A long-lived access key."""

    access_key: str
    secret_key: str

    def __repr__(self) -> str:
        return f"UserKeys({self.access_key!r}, …)"


class _Refused(Exception):
    """What the guard answers instead of moto."""

    def __init__(self, code: str, status: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class _Handler(WSGIRequestHandler):
    # Keep connections open: botocore pools them, and a new one per call would cost more than the call.
    protocol_version = "HTTP/1.1"
    # Nagle's algorithm would hold back the body behind the headers for 40 ms.
    disable_nagle_algorithm = True

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 (the name in werkzeug)
        """Log nothing: a request line is no news, and its headers hold tokens."""


class EmulatedAws:
    """One endpoint for several accounts.

    Args:
        accounts: their ids.
        region: where everything is made.
        port: TCP port on 127.0.0.1; 0 takes a free one.
    """

    def __init__(self, accounts: tuple[str, ...], *, region: str, port: int = 0) -> None:
        self.accounts = accounts
        self.region = region
        self.directory = Directory(accounts)
        mend_secret_stages()
        add_elasticache_users()
        self._moto = DomainDispatcherApplication(create_backend_app)
        # moto's stores are plain dictionaries that its services change without locks.
        self._lock = threading.Lock()
        self._server = make_server("127.0.0.1", port, self, threaded=True, request_handler=_Handler)
        self._server.daemon_threads = True  # type: ignore[attr-defined]  # ThreadingMixIn has it; make_server hides it
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(0.1), name="soa-db-aws", daemon=True)

    @property
    def endpoint(self) -> str:
        """The URL for AWS_ENDPOINT_URL."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        """Begin to answer; every service is loaded already when this returns."""
        mend_secret_stages()
        add_elasticache_users()
        for service in sorted(SERVICES):
            self._moto.app_instances[service] = create_backend_app(service)  # type: ignore[arg-type]  # a Literal there
        self._thread.start()

    def stop(self) -> None:
        """Stop answering."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    # --- setting up, in process

    def create_user(self, account: str, name: str, policy: Mapping[str, object] | None = None) -> UserKeys:
        """Make a user with one inline policy (everything allowed unless given) and an access key."""
        with self._lock:
            iam = iam_backends[account]["aws"]
            iam.create_user(self.region, name)
            iam.put_user_policy(name, "inline", json.dumps(policy or ALLOW_ALL))
            key = iam.create_access_key(name)
            key.secret_access_key = secrets.token_urlsafe(30)
            return UserKeys(key.access_key_id, key.secret_access_key)

    def create_role(self, account: str, name: str, *, trust: Mapping[str, object], policy: Mapping[str, object]) -> str:
        """Make a role with one inline policy; returns its ARN."""
        with self._lock:
            iam = iam_backends[account]["aws"]
            role = iam.create_role(name, json.dumps(trust), "/", None, "", [], "3600")
            iam.put_role_policy(name, "inline", json.dumps(policy))
            return str(role.arn)

    def create_db_instance(self, account: str, identifier: str, *, host: str, port: int) -> str:
        """Make an RDS instance with IAM authentication on, at a real address; returns its DbiResourceId."""
        with self._lock:
            instance = rds_backends[account][self.region].create_db_instance(
                {
                    "db_instance_identifier": identifier,
                    "db_instance_class": "db.t3.medium",
                    "engine": "postgres",
                    "master_username": "master",
                    "port": port,
                    "allocated_storage": 20,
                    "enable_iam_database_authentication": True,
                }
            )
            # moto gives all of them a fixed fake address.
            instance.__class__ = type("LocalDBInstance", (DBInstance,), {"address": host})
        return self.renew_db_instance(account, identifier)

    def renew_db_instance(self, account: str, identifier: str) -> str:
        """Give an RDS instance a DbiResourceId of its own, as one restored from a snapshot has; returns it."""
        with self._lock:
            # moto gives all of them one and the same.
            instance = rds_backends[account][self.region].databases[identifier]
            instance.dbi_resource_id = "db-" + secrets.token_hex(13).upper()
            return str(instance.dbi_resource_id)

    def put_parameters(self, account: str, values: Mapping[str, str]) -> None:
        """Make SSM parameters."""
        with self._lock:
            for name, value in values.items():
                ssm_backends[account][self.region].put_parameter(
                    name, "", value, "String", "", "", True, [], "text", None, None
                )

    def put_secret(self, account: str, name: str, payload: Mapping[str, object]) -> str:
        """Make a secret, or give one that is there another current value; returns its ARN."""
        with self._lock:
            backend = secretsmanager_backends[account][self.region]
            content = json.dumps(payload)
            if name in backend.secrets:
                backend.put_secret_value(
                    secret_id=name,
                    secret_string=content,
                    secret_binary="",
                    client_request_token=str(uuid.uuid4()),
                    version_stages=["AWSCURRENT"],
                )
            else:
                backend.create_secret(name, content, None, None, [], None, None, [], False)
            return str(backend.secrets[name].arn)

    def create_replication_group(self, account: str, name: str, *, host: str, port: int, group_id: str) -> CacheUsers:
        """Make an ElastiCache replication group at a real address, with TLS and a user group that lets nobody in yet.

        As an account has it before anything is provisioned: the group holds a ``default`` user that is off. Returns the
        users of that account, for a server to be attached.
        """
        with self._lock:
            users = cache_users(account, self.region)
            # The obligatory user named default: "new-default" stands for it in the examples of the User Guide.
            default = users.create_user(
                f"{name}-default", "default", "redis", "off -@all", ("no-password-required", ())
            )
            users.create_group(group_id, "redis", [default.user_id]).busy = False
            create_replication_group(account, self.region, name, host=host, port=port, group_id=group_id)
            return users

    # --- for the gates

    def may_connect_to_cache(self, token: str, *, user: str, cache: str, account: str, serverless: bool = False) -> str:
        """Check an ElastiCache IAM token and the policy behind it; returns the ARN of whoever signed it.

        Source: "Authenticating with IAM", Amazon ElastiCache User Guide: ``elasticache:Connect`` is needed on the cache
        and on the user.

        Raises:
            Fault: the token does not hold, or its signer may not connect as ``user``.
        """
        kind = "ServerlessCache" if serverless else None
        expected = {"Action": "connect", "User": user, "ResourceType": kind}
        principal = self._signer(token, host=cache, service="elasticache", expected=expected)
        prefix = f"arn:aws:elasticache:{self.region}:{account}"
        for resource in (
            f"{prefix}:{'serverlesscache' if serverless else 'replicationgroup'}:{cache}",
            f"{prefix}:user:{user}",
        ):
            _must_connect(principal, account, "elasticache:Connect", resource)
        return principal.arn

    def may_connect(self, token: str, *, user: str, host: str, port: int, account: str, resource_id: str) -> str:
        """Check an RDS IAM token and the policy behind it; returns the ARN of whoever signed it.

        Raises:
            Fault: the token does not hold, or its signer may not connect as ``user``.
        """
        expected = {"Action": "connect", "DBUser": user}
        principal = self._signer(token, host=f"{host}:{port}", service="rds-db", expected=expected)
        resource = f"arn:aws:rds-db:{self.region}:{account}:dbuser:{resource_id}/{user}"
        _must_connect(principal, account, "rds-db:connect", resource)
        return principal.arn

    def _signer(self, token: str, *, host: str, service: str, expected: Mapping[str, str | None]) -> Principal:
        now = time.time()
        scope = verify_presigned(token, host=host, lookup=self.directory.keys, now=now, expected=expected)
        if (scope.service, scope.region) != (service, self.region):
            raise Fault("malformed", f"the token is signed for {scope.service} in {scope.region}")
        principal = self.directory.principal(scope.access_key)
        if principal is None:
            raise Fault("unknown key", "there is no such access key")
        if principal.expires is not None and now >= principal.expires:
            raise Fault("expired", "the session that signed the token has expired")
        return principal

    # --- the guard

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request (WSGI)."""
        json_protocol = "HTTP_X_AMZ_TARGET" in environ
        try:
            declared = environ.get("CONTENT_LENGTH") or "0"
            length = int(declared) if declared.isdecimal() else _MAX_BODY + 1
            if length > _MAX_BODY:
                raise _Refused("RequestEntityTooLarge", 413, "the request is too large")
            body = environ["wsgi.input"].read(length)
            return self._answer(environ, body, start_response)
        except _Refused as refusal:
            return _refuse(refusal, json_protocol, start_response)

    def _answer(self, environ: dict[str, Any], body: bytes, start_response: StartResponse) -> Iterable[bytes]:
        request = _signed_request(environ, body)
        json_protocol = "x-amz-target" in request.headers
        faults = _JSON_FAULTS if json_protocol else _QUERY_FAULTS
        try:
            with self._lock:
                scope = verify_request(request, self.directory.keys, time.time())
                principal = self.directory.principal(scope.access_key)
            if principal is None:
                raise Fault("unknown key", "gone meanwhile")
            if principal.expires is not None and time.time() >= principal.expires:
                raise Fault("expired", "")
        except Fault as fault:
            kind = "unknown key" if fault.kind == "token" else fault.kind
            code, status, text = faults[kind]
            raise _Refused(code, status, text or _SIGNATURE_TEXT) from fault
        if scope.service not in SERVICES or (scope.service in JSON_SERVICES) != json_protocol:
            raise _Refused("UnknownOperationException", 404, f"{scope.service} is not part of the local environment")
        action, data = _operation(request, json_protocol)
        with self._lock:
            self._authorise(principal, scope.service, action, data, scope.region)
            forwarded = body
            errors: list[dict[str, str]] = []
            if (scope.service, action) == ("secretsmanager", "BatchGetSecretValue"):
                forwarded, errors = self._batch(principal, data, scope.region)
            environ = {
                **environ,
                "wsgi.input": io.BytesIO(forwarded),
                "CONTENT_LENGTH": str(len(forwarded)),
                "HTTP_X_MOTO_ACCOUNT_ID": principal.account,
                "PATH_INFO": "/",
            }
            return self._forward(environ, errors, start_response)

    def _forward(
        self, environ: dict[str, Any], errors: list[dict[str, str]], start_response: StartResponse
    ) -> Iterable[bytes]:
        kept: dict[str, Any] = {}

        def keep(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
            kept.update(status=status, headers=headers)

        answer = self._moto(environ, keep)
        try:
            content = b"".join(answer)
        finally:
            if hasattr(answer, "close"):
                answer.close()
        if errors and kept["status"].startswith("200"):
            payload = json.loads(content)
            payload["Errors"] = [*payload.get("Errors", []), *errors]
            content = json.dumps(payload).encode()
        headers = [(name, value) for name, value in kept["headers"] if name.lower() not in {"content-length", "server"}]
        start_response(kept["status"], [*headers, ("Content-Length", str(len(content)))])
        return [content]

    def _secret_arn(self, account: str, region: str, name: str) -> str | None:
        secret = secretsmanager_backends[account][region].secrets.get(name)
        return None if secret is None else str(secret.arn)

    def _authorise(
        self, principal: Principal, service: str, action: str, data: Mapping[str, object], region: str
    ) -> None:
        if (service, action) == ("sts", "GetCallerIdentity"):
            return  # "No permissions are required to perform this operation" (STS API reference)
        context = {"aws:requestedregion": region, "aws:securetransport": "false"}
        if (service, action) == ("sts", "AssumeRole"):
            self._authorise_assume_role(principal, data, context)
            return
        if service == "sts":
            # moto would give a session of any role, whatever its trust policy says (AssumeRoleWithWebIdentity).
            raise _Refused("InvalidAction", 400, f"{action} is not part of the local environment")
        for access in accesses(
            service,
            action,
            data,
            account=principal.account,
            region=region,
            find_secret=lambda name: self._secret_arn(principal.account, region, name),
        ):
            decision = principal.decide(access.action, access.resource, {**context, **access.context})
            if decision is not Decision.ALLOWED:
                raise _denied(principal, access.action, access.shown, decision, service)

    def _authorise_assume_role(self, principal: Principal, data: Mapping[str, object], context: dict[str, str]) -> None:
        role_arn = str(data.get("RoleArn", ""))
        if data.get("ExternalId"):
            context["sts:externalid"] = str(data["ExternalId"])
        context["sts:rolesessionname"] = str(data.get("RoleSessionName", ""))
        own = principal.decide("sts:AssumeRole", role_arn, context)
        trust, named = self.directory.role_trust(role_arn, principal, context)
        same_account = role_arn.split(":")[4:5] == [principal.account]
        # Within an account a trust policy that names the caller is enough; across accounts both sides must agree.
        allowed = own is Decision.ALLOWED or (own is Decision.NOT_ALLOWED and named and same_account)
        if not (trust is Decision.ALLOWED and allowed):
            raise _denied(principal, "sts:AssumeRole", role_arn, Decision.NOT_ALLOWED, "sts", because=False)

    def _batch(
        self, principal: Principal, data: Mapping[str, object], region: str
    ) -> tuple[bytes, list[dict[str, str]]]:
        """Split a BatchGetSecretValue into what its caller may read and an entry of Errors for each of the others."""
        allowed: list[str] = []
        errors: list[dict[str, str]] = []
        ids = data.get("SecretIdList")
        if not isinstance(ids, list) or not ids or data.get("Filters"):
            # By filter, AWS decides per secret found; nothing of ours asks that way, so it is not emulated. With both,
            # moto would go by the filter once no secret of the list is left.
            raise _Refused("InvalidParameterException", 400, "the local environment needs SecretIdList, and no Filters")
        for secret_id in map(str, ids):
            try:
                self._authorise(principal, "secretsmanager", "GetSecretValue", {"SecretId": secret_id}, region)
            except _Refused as refusal:
                errors.append({"SecretId": secret_id, "ErrorCode": refusal.code, "Message": str(refusal)})
            else:
                allowed.append(secret_id)
        return json.dumps({**data, "SecretIdList": allowed}).encode(), errors


def _must_connect(principal: Principal, account: str, action: str, resource: str) -> None:
    # Neither service knows resource policies, hence nobody of another account.
    if principal.account != account or principal.decide(action, resource, {}) is not Decision.ALLOWED:
        raise Fault("denied", f"{principal.arn} may not perform {action} on {resource}")


def _signed_request(environ: Mapping[str, Any], body: bytes) -> SignedRequest:
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_") or (name in {"CONTENT_TYPE", "CONTENT_LENGTH"} and value)
    }
    path = environ.get("PATH_INFO", "/")
    return SignedRequest(environ["REQUEST_METHOD"], path, environ.get("QUERY_STRING", ""), headers, body)


def _operation(request: SignedRequest, json_protocol: bool) -> tuple[str, Mapping[str, object]]:
    """The operation and its parameters, of the JSON or the query protocol."""
    malformed = _Refused("SerializationException", 400, "the request body is malformed")
    if request.path != "/" or request.query or request.method != "POST":
        raise malformed
    try:
        if json_protocol:
            data = json.loads(request.body or b"{}")
            if not isinstance(data, dict):
                raise malformed
            return request.headers["x-amz-target"].rpartition(".")[2], data
        pairs = parse_qsl(request.body.decode(), keep_blank_values=True)
    except (ValueError, RecursionError) as error:
        raise malformed from error
    values: dict[str, object] = dict(pairs)
    # Two values of one name would let the guard check one and moto use the other.
    if len(values) != len(pairs) or not values.get("Action"):
        raise malformed
    return str(values["Action"]), values


def _denied(
    principal: Principal, action: str, resource: str, decision: Decision, service: str, *, because: bool = True
) -> _Refused:
    message = f"User: {principal.arn} is not authorized to perform: {action} on resource: {resource}"
    if because and decision is Decision.DENIED:
        message += " with an explicit deny in an identity-based policy"
    elif because:
        message += f" because no identity-based policy allows the {action} action"
    if service in JSON_SERVICES:
        return _Refused("AccessDeniedException", 400, message)
    return _Refused("AccessDenied", 403, message)


def _refuse(refusal: _Refused, json_protocol: bool, start_response: StartResponse) -> Iterable[bytes]:
    request_id = str(uuid4())
    if json_protocol:
        content = json.dumps({"__type": refusal.code, "message": str(refusal), "Message": str(refusal)}).encode()
        kind = "application/x-amz-json-1.1"
    else:
        content = (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>{escape(refusal.code)}</Code>"
            f"<Message>{escape(str(refusal))}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
        ).encode()
        kind = "text/xml"
    headers = [("Content-Type", kind), ("Content-Length", str(len(content))), ("x-amzn-RequestId", request_id)]
    if refusal.status == 413:
        # The body was not read: what follows on this connection would be taken for the next request.
        headers.append(("Connection", "close"))
    start_response(f"{refusal.status} Refused", headers)
    return [content]
