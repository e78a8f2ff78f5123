"""What a login that did not come about says of the identity."""

from __future__ import annotations

from typing import NoReturn

import pytest

from soa_db.access.postgres.expect import expected_access
from soa_db.access.postgres.probe import Run
from soa_db.access.report import Outcome
from soa_db.access.spec import Spec, SpecSet
from soa_db.errors import AccessDenied, CredentialError, SecretNotFound


class _NoLogins:
    """Fails as AWS did."""

    def __init__(self, error: CredentialError) -> None:
        self.error = error

    def _fail(self, *_about: object) -> NoReturn:
        raise self.error

    config = impostor = connect = _fail


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (CredentialError("no AWS credentials", hint="give AWS_PROFILE"), Outcome.INCONCLUSIVE),
        (SecretNotFound("no secret x"), Outcome.VIOLATED),
        (AccessDenied("secretsmanager:GetSecretValue on x is denied"), Outcome.VIOLATED),
    ],
)
def test_without_aws_credentials_nothing_is_decided(error: CredentialError, outcome: Outcome) -> None:
    """That whoever verifies has none says nothing about the service; a secret that is missing or withheld does."""
    specs = SpecSet((Spec.model_validate({"version": 1, "service": "chat-api", "postgres": {}}),))
    run = Run(expected_access(specs), _NoLogins(error), False, "soa-db provision --env dev")
    entry = next(check for check in run.identity(specs.postgres_identities()[0], None))
    assert entry.outcome is outcome
