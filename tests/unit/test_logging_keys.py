"""Which keys are redacted, and which are not."""

import pytest

from soa_db.errors import ConfigurationError
from soa_db.logging.keys import Decision, KeyRules

SECRET = """password PGPASSWORD dbPassword db-password DB.PASSWORD password_hash pwd user_pass token accessToken
csrfmiddlewaretoken refresh_token X-Api-Key apikey secret client_secret secret_key AWS_SECRET_ACCESS_KEY
AWS_SESSION_TOKEN Authorization proxy-authorization HTTP_AUTHORIZATION cookie Set-Cookie X-Amz-Signature session_id
sessionid sessionToken auth credentials privateKey otp""".split()  # noqa: SIM905
PERSONAL = """email userEmail emailAddress e-mail email_id firstName first_name lastname FULL_NAME student_name userName
username dob dateOfBirth date-of-birth birthDate phone_number surname displayName GuardianNames""".split()  # noqa: SIM905
WHOLE = "input payload body request_body rawBody event_payload user-input".split()  # noqa: SIM905
INNOCUOUS = """hostname filename table_name instance_name event_name database service host port user_id author_id
token_count token_type password_changed_at secret_id secret_name secret_arn cookie_name cache_key primary_key
access_key_id body_size payload_bytes input_tokens_count antibody secretary tokenizer bypass passed display file_name
email_verified credential_age auth_method module funcName logger_name status_code session pass_rate monkey authority
role pool""".split()  # noqa: SIM905


@pytest.mark.parametrize("key", [*SECRET, *PERSONAL, *WHOLE])
def test_keys_of_secrets_and_personal_data_are_redacted(key: str) -> None:
    """However they are written, and whatever stands before the word."""
    assert KeyRules().decide(key) is Decision.REDACT


@pytest.mark.parametrize("key", [*INNOCUOUS, "", "…", "_", "\x00"])
def test_innocuous_keys_are_kept(key: str) -> None:
    """What speaks about a secret, or only looks like its word, is needed to find a fault."""
    assert KeyRules().decide(key) is Decision.KEEP


def test_a_name_is_somebodys_only_in_a_person() -> None:
    """A pool has a name too."""
    assert KeyRules().decide("name") is Decision.NAME
    assert {KeyRules().decide(key) for key in ("user", "students", "billingContact")} == {Decision.PERSON}


def test_tokens_may_be_counted() -> None:
    """Language models count them."""
    assert KeyRules().decide("max_tokens") is Decision.REDACT_TEXT


def test_more_keys_can_be_redacted_and_some_kept() -> None:
    """Written in one way, found in every way; what is kept wins."""
    rules = KeyRules(redact=["student_number", "host"], keep=["userEmail", "host"])
    assert rules.decide("studentNumber") is Decision.REDACT
    assert rules.decide("old-student-number") is Decision.REDACT
    assert rules.decide("user_email") is Decision.KEEP
    assert rules.decide("email") is Decision.REDACT
    assert rules.decide("host") is Decision.KEEP


def test_what_is_redacted_must_be_keys() -> None:
    """One text in the place of a list would redact its letters."""
    with pytest.raises(ConfigurationError, match="not one text"):
        KeyRules(redact="email")
    with pytest.raises(ConfigurationError, match="no key"):
        KeyRules(keep=["--"])


def test_decisions_are_remembered_for_plain_keys_and_never_without_bound() -> None:
    """Whoever sends ever new keys fills no memory."""
    rules = KeyRules()
    for number in range(10_000):
        rules.decide(f"key{number}")
    rules.decide("x" * 1000)
    rules.decide("ключ")
    assert 0 < len(rules.known) <= 4096
    assert "ключ" not in rules.known
    assert "x" * 1000 not in rules.known
