"""Logging in: where an identity must get in, where it must not, and in which ways nobody must.

libpq hands on no SQLSTATE while connecting, so a refusal is known by the server's words (postinit.c, auth.c; for IAM
RDS's own), which are English unless ``lc_messages`` says otherwise; in another language these probes are inconclusive.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from enum import Enum
from typing import TYPE_CHECKING, Any

from soa_db.access.report import Aspect, Check, Outcome, Probe
from soa_db.access.roots import unrelated_root
from soa_db.config import Dial, PasswordAuth, TlsConfig
from soa_db.errors import SoaDbError, TlsVerificationFailed

if TYPE_CHECKING:
    import psycopg

    from soa_db.config import PostgresConfig

__all__ = ["Connect", "Refusal", "probe_authentication", "probe_no_entry", "probe_token_of_another", "refusal_of"]

Connect = Callable[["PostgresConfig"], "psycopg.Connection[Any]"]
_AGAIN = "run verify again; if it persists, look at the error"


class Refusal(Enum):
    """Why a login did not succeed."""

    NO_CONNECT = "42501: no CONNECT privilege"
    PASSWORD = "28P01: wrong password"  # noqa: S105  (names a refusal)
    PAM = "28000: not a valid token"
    NO_ENCRYPTION = "28000: not without TLS"
    NOT_ADMITTED = "28000: pg_hba.conf does not admit it"
    CERTIFICATE = "the client refused the certificate"
    OTHER = "another error"


_WORDS: tuple[tuple[Refusal, str], ...] = (
    (Refusal.NO_CONNECT, r"permission denied for database"),
    (Refusal.PAM, r"PAM authentication failed for user"),
    (Refusal.PASSWORD, r"password authentication failed for user|no password supplied"),
    (Refusal.NO_ENCRYPTION, r"pg_hba\.conf .*for host .*(?:no encryption|SSL off)"),
    (Refusal.NOT_ADMITTED, r"no pg_hba\.conf entry|pg_hba\.conf rejects connection"),
)


def refusal_of(error: BaseException) -> Refusal:
    """Why a connection attempt failed, from our typed error or the driver's."""
    text = str(error)
    cause = error.__cause__
    while cause is not None:
        text += "\n" + str(cause)
        cause = cause.__cause__
    for refusal, words in _WORDS:
        if re.search(words, text):
            return refusal
    if isinstance(error, TlsVerificationFailed) or re.search(
        r"certificate verify failed|does not match host name", text
    ):
        return Refusal.CERTIFICATE
    return Refusal.OTHER


def _try(connect: Connect, config: PostgresConfig) -> tuple[Refusal | None, str]:
    """Log in and out again: why it was refused (None: it was not) and a line about it."""
    import psycopg

    try:
        connect(config).close()
    except (SoaDbError, psycopg.Error) as error:
        refusal = refusal_of(error)
        line = " ".join(str(getattr(error, "message", "") or error).split())
        return refusal, line if refusal is Refusal.OTHER else refusal.value
    return None, "the login succeeded"


def _judge(
    probe: Probe, seen: tuple[Refusal | None, str], expected: Refusal, *, wrong: tuple[Refusal | None, ...], mend: str
) -> Check:
    refusal, line = seen
    if refusal is expected:
        return Check(probe, Outcome.OK, line)
    if refusal in wrong:
        return Check(probe, Outcome.VIOLATED, line, mend)
    return Check(probe, Outcome.INCONCLUSIVE, line, _AGAIN)


def probe_no_entry(
    connect: Connect, config: PostgresConfig, *, user: str, database: str, isolated: bool, mend: str
) -> Check:
    """Log in to a database the identity has no business in, with credentials that are good."""
    what = "connect to this isolated database" if isolated else "connect"
    probe = Probe(user, database, "connect", what, "cannot", "login")
    return _judge(probe, _try(connect, config), Refusal.NO_CONNECT, wrong=(None,), mend=mend)


def probe_authentication(connect: Connect, config: PostgresConfig, *, user: str, iam: bool) -> Iterator[Check]:
    """Log in in the ways that must not work. No real credential is sent: they are all made up.

    Args:
        connect: makes one connection.
        config: the identity's own configuration, good as it is.
        user: the identity.
        iam: whether it is to log in by IAM token, over TLS (mirror and prod).
    """

    def ask(aspect: Aspect, what: str) -> Probe:
        return Probe(user, config.database, aspect, what, "cannot", "login")

    fake = config.model_copy(update={"auth": PasswordAuth.model_validate({"password": secrets.token_urlsafe(24)})})
    if not iam:
        yield _judge(
            ask("auth", "log in with a wrong password"),
            _try(connect, fake),
            Refusal.PASSWORD,
            wrong=(None,),
            mend="pg_hba.conf must ask for scram-sha-256, not trust",
        )
        reason = "in dev TLS is off by default and logins are by password"
        yield Check(ask("tls", "connect without TLS, or trust a wrong certificate"), Outcome.NOT_APPLICABLE, reason)
        return
    yield _judge(
        ask("auth", "log in with a password"),
        _try(connect, fake),
        Refusal.PAM,
        wrong=(None, Refusal.PASSWORD),
        mend="GRANT rds_iam TO the user, and turn IAM authentication on for the instance",
    )
    yield _judge(
        ask("tls", "connect in plain text"),
        _try(connect, fake.model_copy(update={"tls": None})),
        Refusal.NO_ENCRYPTION,
        # Whoever is asked for a password was let in without TLS.
        wrong=(None, Refusal.PASSWORD, Refusal.PAM, Refusal.NO_CONNECT),
        mend="set rds.force_ssl = 1 in the parameter group",
    )
    tls = fake.tls or TlsConfig()
    stranger = tls.model_copy(update={"ca_pem": unrelated_root(), "ca_file": None})
    yield _judge(
        ask("tls", "be fooled by a certificate of an unknown authority"),
        _try(connect, fake.model_copy(update={"tls": stranger})),
        Refusal.CERTIFICATE,
        wrong=(None, Refusal.PASSWORD, Refusal.PAM, Refusal.NO_CONNECT),
        mend="leave tls.verify at full",
    )
    dial = fake.dial or Dial(host=fake.host, port=fake.port)
    yield _judge(
        ask("tls", "be fooled by another host's certificate"),
        _try(connect, fake.model_copy(update={"host": "soa-db-probe.invalid", "dial": dial})),
        Refusal.CERTIFICATE,
        wrong=(None, Refusal.PASSWORD, Refusal.PAM, Refusal.NO_CONNECT),
        mend="leave tls.verify at full",
    )


def probe_token_of_another(connect: Connect, config: PostgresConfig, *, user: str, other: str) -> Check:
    """With ``user``'s AWS rights, mint a token for ``other`` and try to log in with it.

    Args:
        connect: makes one connection.
        config: ``other``'s configuration, to be signed with ``user``'s AWS rights.
        user: the identity whose rights are in question.
        other: the user it must not become.
    """
    probe = Probe(user, "", "aws", f"log in as {other} with its own AWS rights", "cannot", "aws")
    return _judge(
        probe,
        _try(connect, config),
        Refusal.PAM,
        # NO_CONNECT comes after authentication.
        wrong=(None, Refusal.NO_CONNECT),
        mend="narrow rds-db:connect to the user itself: `soa-db policy --apply`",
    )
