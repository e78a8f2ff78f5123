"""Who is who in the emulated AWS: principals by access key, their policies, and roles to assume.

The users, roles and sessions are moto's; moto's own checking of them is not used (it knows no resources but STS's, lets
expired sessions in, and never matches an account's root), only its storage.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.iam.exceptions import NotFoundException
from moto.iam.models import IAMBackend, iam_backends
from moto.sts.models import AssumedRole, sts_backends

from soa_db.local.policy import Decision, Question, evaluate, trusts
from soa_db.local.sigv4 import Keys

__all__ = ["Directory", "Principal"]

_PARTITION = "aws"


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody with an access key.

    Attributes:
        account: account id.
        arn: as GetCallerIdentity shows it.
        names: what a trust policy may call it by.
        policies: its identity-based policies.
        session_policy: what the session was narrowed to when the role was assumed.
        expires: Unix time at which the session ends; None for a user.
        context: condition keys that follow from who it is.
    """

    account: str
    arn: str
    names: tuple[str, ...]
    policies: tuple[Mapping[str, object], ...]
    session_policy: Mapping[str, object] | None = None
    expires: float | None = None
    context: Mapping[str, str] = field(default_factory=dict)

    def decide(self, action: str, resource: str, context: Mapping[str, str]) -> Decision:
        """What its policies say."""
        question = Question(action, resource, {**self.context, **context})
        decision = evaluate(self.policies, question)
        if self.session_policy is None or decision is not Decision.ALLOWED:
            return decision
        return evaluate([self.session_policy], question)


def _parsed(document: str | Mapping[str, object]) -> Mapping[str, object]:
    """A policy document; one that is not JSON allows nothing."""
    if not isinstance(document, str):
        return document
    try:
        parsed = json.loads(document)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


class Directory:
    """A view of moto's IAM and STS over a fixed set of accounts."""

    def __init__(self, accounts: tuple[str, ...]) -> None:
        self._accounts = accounts
        # moto keeps sessions in a list; this one finds them by key.
        self._sessions: dict[str, AssumedRole] = {}

    def _iam(self, account: str) -> IAMBackend:
        return iam_backends[account][_PARTITION]

    def keys(self, access_key: str) -> Keys | None:
        """The keys of an access key id, None when there is none or it is inactive."""
        session = self._session(access_key)
        if session is not None:
            return Keys(session.secret_access_key, session.session_token)
        found = self._user_key(access_key)
        return None if found is None else Keys(found[2], None)

    def principal(self, access_key: str) -> Principal | None:
        """Whose key this is, with the policies of now."""
        session = self._session(access_key)
        if session is not None:
            return self._session_principal(session)
        found = self._user_key(access_key)
        if found is None:
            return None
        account, user_name, _ = found
        user = self._iam(account).get_user(user_name)
        documents = [*user.policies.values(), *_managed(user)]
        return Principal(
            account=account,
            arn=user.arn,
            names=(user.arn, *_account_names(account)),
            policies=tuple(_parsed(document) for document in documents),
            context={"aws:principalarn": user.arn, "aws:principalaccount": account, "aws:username": user_name},
        )

    def role_trust(self, role_arn: str, principal: Principal, context: Mapping[str, str]) -> tuple[Decision, bool]:
        """What a role's trust policy says to a principal, and whether it names it itself (not its account)."""
        parts = role_arn.split(":")
        role = None
        if len(parts) == 6 and parts[4] in self._accounts:
            role = next((item for item in self._iam(parts[4]).roles.values() if item.arn == role_arn), None)
        if role is None:
            return Decision.NOT_ALLOWED, False
        document = _parsed(role.assume_role_policy_document)
        question = Question("sts:AssumeRole", role_arn, {**principal.context, **context})
        own = tuple(name for name in principal.names if name not in _account_names(principal.account))
        named = trusts(document, question, own) is Decision.ALLOWED
        return trusts(document, question, principal.names), named

    def _session(self, access_key: str) -> AssumedRole | None:
        if access_key not in self._sessions:
            for account in self._accounts:
                for session in sts_backends[account][_PARTITION].assumed_roles:
                    self._sessions.setdefault(session.access_key_id, session)
        return self._sessions.get(access_key)

    def _user_key(self, access_key: str) -> tuple[str, str, str] | None:
        for account in self._accounts:
            for user in self._iam(account).users.values():
                for key in user.access_keys:
                    if key.access_key_id == access_key and key.status == "Active":
                        return account, user.name, key.secret_access_key
        return None

    def _session_principal(self, session: AssumedRole) -> Principal:
        account = session.role_arn.split(":")[4]
        documents: list[Any] = []
        try:
            role = self._iam(account).get_role_by_arn(session.role_arn)
            documents += role.policies.values()
            documents += _managed(role)
        except (NotFoundException, JsonRESTError):
            pass  # the role was deleted while the session lives: it may do nothing any more
        return Principal(
            account=account,
            arn=session.arn,
            names=(session.arn, session.role_arn, *_account_names(account)),
            policies=tuple(_parsed(document) for document in documents),
            session_policy=_parsed(session.policy) if session.policy else None,
            expires=session.expiration.replace(tzinfo=UTC).timestamp(),
            context={
                "aws:principalarn": session.role_arn,
                "aws:principalaccount": account,
                "sts:rolesessionname": session.session_name,
            },
        )


def _managed(owner: Any) -> list[Any]:
    """The documents of the managed policies attached to a user or role, in their default version."""
    return [
        version.document
        for policy in owner.managed_policies.values()
        for version in policy.versions
        if version.is_default_version
    ]


def _account_names(account: str) -> tuple[str, str]:
    return account, f"arn:{_PARTITION}:iam::{account}:root"
