"""Which keys hold a secret or personal data: decided by their words, once per key.

``dbPassword``, ``db-password``, ``DB_PASSWORD`` and ``db.password`` are the same words. A key that speaks *about* a
secret (``token_count``, ``password_changed_at``, ``secret_id``) holds none: its last word says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum, auto

from soa_db.errors import ConfigurationError

__all__ = ["HIDDEN", "VALUES", "Decision", "KeyRules"]


class Decision(Enum):
    """What becomes of the value of a key."""

    KEEP = auto()
    REDACT = auto()
    REDACT_TEXT = auto()  # unless it is a number: ``max_tokens=100``; in an object, as PERSON
    PERSON = auto()  # kept, and a ``name`` in it is somebody's
    NAME = auto()  # kept, unless it is somebody's
    VALUE = auto()  # kept, unless it is that of a secret named beside it


# The value, or a text as the value, is not shown.
HIDDEN = frozenset({Decision.REDACT, Decision.REDACT_TEXT})

# What the value is called in objects like ``{"name": "DB_PASSWORD", "value": …}``.
VALUES = frozenset({"value", "Value", "values", "default"})

# A word of the key is this, wherever it stands.
_WORDS = frozenset(
    "password passwords passwd pwd passphrase passcode secret secrets credential credentials authorization "  # noqa: SIM905
    "authentication cookie cookies email emails mail dob birthday birthdate surname nickname token otp cvv cvc ssn "
    "iban jwt bearer phone telephone signature".split()
)

# The key is, or ends in, these words one after the other.
_ENDINGS = frozenset(
    "pass, pw, input, inputs, input value, payload, payloads, body, bodies, born, username, forename, "  # noqa: SIM905
    "e mail, email id, "
    "session id, session key, api key, api keys, private key, secret key, access key, encryption key, signing key, "
    "master key, account key, shared key, auth key, ssh key, basic auth, http auth, "
    "first name, first names, last name, last names, full name, full names, middle name, given name, family name, "
    "maiden name, birth name, legal name, preferred name, real name, display name, sur name, nick name, user name, "
    "date of birth, birth date, birth day, birth year, place of birth, born on, "
    "phone number, mobile number, card number, account number, passport number, social security number, "
    "street address, home address, postal address, mailing address, billing address, shipping address, "
    "client assertion, code verifier, auth code, "
    "pin code, mfa code, verification code, recovery code, recovery codes".split(", ")
)

# The whole key is this.
_WHOLE = frozenset({"auth", "sid", "pin"})

# Written together with something else, no word can be told apart: ``pgpassword``, ``sessionid``, ``x-apikey``.
_JOINED = re.compile(
    r"passw(?:or)?d|passphrase|secret(?!ar)|credential|authorization|cookie|apikey|privatekey|accesskey|"
    r"sessionid|sessionkey|token$|email|dateofbirth|birthdate|firstname|lastname|fullname|surname|givenname|familyname|"
    r"displayname|middlename|phonenumber"
)

# A key that ends so speaks about the thing and does not hold it.
_ABOUT = frozenset(
    "count counts length len size sizes bytes type types id ids arn arns version versions stage stages expiry "  # noqa: SIM905
    "expires expired expiration at age ttl status state valid verified enabled required changed rotated created "
    "updated used limit source kind provider algorithm format policy env max min ms seconds s method scheme error "
    "errors reason hint url uri endpoint domain lag percent rate latency found missing present".split()
)
# … and ``name`` does so for these: the name of a secret or cookie is no person's.
_NAMED_THINGS = frozenset({"secret", "cookie", "token", "credential", "credentials", "parameter"})

_PERSONS = frozenset(
    "user person customer student pupil teacher guardian parent child children people patient employee contact "  # noqa: SIM905
    "member profile author recipient sender actor learner tutor instructor applicant".split()
)

# A text that says who one of these is says a name. Of the others it may be an account or a part of a program.
_PUPILS = frozenset(
    {"student", "pupil", "learner", "teacher", "tutor", "instructor", "guardian", "patient", "applicant"}
)

# Plural of what is counted: a number there is no token.
_COUNTED = frozenset({"tokens"})

_SPLIT = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_]+")

_PLAIN = re.compile(r"[\w./-]+", re.ASCII)

# Keys come from outside too: whoever sends ever new ones must not fill the memory.
_CACHED = 4096
_LONGEST = 256


class KeyRules:
    """Decides about keys, and remembers.

    Args:
        redact: further keys, written in any way (``"student_number"``); a key that is, or ends in, these words is
            redacted. What is said here wins over everything built in.
        keep: keys that are to be kept, whole keys, written in any way; wins over ``redact`` too.

    Raises:
        ConfigurationError: a key has no letter or digit.
    """

    def __init__(self, redact: Iterable[str] = (), keep: Iterable[str] = ()) -> None:
        self._redact = frozenset(_named("redact", redact))
        self._keep = frozenset(_named("keep", keep))
        self.known: dict[str, Decision] = {}

    def decide(self, key: str) -> Decision:
        """What becomes of the value of ``key``; what is ``known`` needs not be asked."""
        decision = self.known.get(key)
        if decision is None:
            decision = self._judge(_words(key[:_LONGEST]))
            # Such only as are shown as they are: so whoever finds a key there need not look at it again.
            if len(key) <= _LONGEST and _PLAIN.fullmatch(key):
                if len(self.known) >= _CACHED:
                    self.known.clear()
                self.known[key] = decision
        return decision

    def _judge(self, words: tuple[str, ...]) -> Decision:  # noqa: PLR0911  # one for each rule
        whole = " ".join(words)
        endings = _endings(words)
        if whole in VALUES and (whole in self._keep or endings.isdisjoint(self._redact)):
            return Decision.VALUE
        if not words or whole in self._keep:
            return Decision.KEEP
        if not endings.isdisjoint(self._redact | _ENDINGS) or whole in _WHOLE:
            return Decision.REDACT
        last = words[-1]
        is_name = last in {"name", "names"}
        if last in _ABOUT or (is_name and not _NAMED_THINGS.isdisjoint(words)):
            return Decision.KEEP
        of_person = is_name and not _PERSONS.isdisjoint(map(_singular, words[:-1]))
        if of_person or not _WORDS.isdisjoint(words) or _JOINED.search("".join(words)):
            return Decision.REDACT
        if not _COUNTED.isdisjoint(words) or last in _PUPILS:
            return Decision.REDACT_TEXT
        if whole in {"name", "names"}:
            return Decision.NAME
        return Decision.PERSON if _singular(last) in _PERSONS else Decision.KEEP


def _words(key: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _SPLIT.findall(key))


def _endings(words: tuple[str, ...]) -> frozenset[str]:
    return frozenset(" ".join(words[start:]) for start in range(max(0, len(words) - 6), len(words)))


def _singular(word: str) -> str:
    return word.removesuffix("s")


def _named(argument: str, keys: Iterable[str]) -> list[str]:
    if isinstance(keys, str):
        raise ConfigurationError(f"{argument} is a list of keys, not one text", hint=f"{argument}=[{keys!r}]")
    found = []
    for key in keys:
        words = _words(key)
        if not words:
            raise ConfigurationError(f"{argument}: {key!r} is no key", hint="a key has a letter or a digit")
        found.append(" ".join(words))
    return found
