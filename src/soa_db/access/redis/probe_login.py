"""Logging in: the ways in which nobody must get in. No real credential is sent in any of them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from soa_db.access.redis.probe_session import DATABASE
from soa_db.access.redis.session import CommandRefused, Session
from soa_db.access.report import Aspect, Check, Outcome, Probe
from soa_db.access.roots import unrelated_root
from soa_db.access.undecided import AGAIN
from soa_db.config import Dial
from soa_db.errors import ServerUnavailable, SoaDbError, TlsVerificationFailed

if TYPE_CHECKING:
    from soa_db.config import RedisConfig

__all__ = ["probe_login"]

_REFUSED = frozenset({"WRONGPASS", "NOAUTH"})


def probe_login(config: RedisConfig, user: str, *, default_off: bool, mend: str) -> Iterator[Check]:
    """Try to get in without what it takes.

    Args:
        config: how the user reaches the server, good as it is.
        user: its name.
        default_off: whether ``default`` must be off (in dev it need not).
        mend: the command that provisions.
    """

    def ask(aspect: Aspect, what: str) -> Probe:
        return Probe(user, DATABASE, aspect, what, "cannot", "login")

    made_up = secrets.token_urlsafe(24)
    yield _refused(ask("auth", "log in with a wrong password"), config, ("AUTH", user, made_up), mend)
    yield _refused(ask("auth", "log in without a password"), config, ("AUTH", user, ""), mend)
    for what, words in (
        ("get in without logging in", ("PING",)),
        ("log in as default", ("AUTH", "default", made_up)),
    ):
        check = _refused(ask("auth", what), config, words, mend)
        if not default_off and check.outcome is Outcome.VIOLATED:
            check = Check(check.probe, Outcome.NOT_APPLICABLE, "in dev the user default may be on")
        yield check
    if config.tls is None:
        reason = "this Redis has no TLS"
        yield Check(ask("tls", "connect without TLS, or trust a wrong certificate"), Outcome.NOT_APPLICABLE, reason)
        return
    yield _plain(ask("tls", "connect in plain text"), config.model_copy(update={"tls": None}))
    stranger = config.tls.model_copy(update={"ca_pem": unrelated_root(), "ca_file": None})
    yield _certificate(
        ask("tls", "be fooled by a certificate of an unknown authority"), config.model_copy(update={"tls": stranger})
    )
    dial = config.dial or Dial(host=config.host, port=config.port)
    yield _certificate(
        ask("tls", "be fooled by another host's certificate"),
        config.model_copy(update={"host": "soa-db-probe.invalid", "dial": dial}),
    )


def _refused(probe: Probe, config: RedisConfig, words: tuple[str, ...], mend: str) -> Check:
    try:
        with Session(config) as session:
            session.call(*words)
    except CommandRefused as error:
        # Somebody who is in, but for whom PING is denied, is told NOPERM.
        if error.code in _REFUSED:
            return Check(probe, Outcome.OK, error.code)
        outcome: Literal[Outcome.VIOLATED, Outcome.INCONCLUSIVE]
        outcome = Outcome.VIOLATED if error.code == "NOPERM" else Outcome.INCONCLUSIVE
        return Check(probe, outcome, error.message, mend if outcome is Outcome.VIOLATED else AGAIN)
    except SoaDbError as error:
        return Check(probe, Outcome.INCONCLUSIVE, error.message, AGAIN)
    return Check(probe, Outcome.VIOLATED, "the server let it in", mend)


def _plain(probe: Probe, config: RedisConfig) -> Check:
    """A port that speaks TLS ends a connection that does not, or answers with what is no RESP."""
    mend = "transit encryption must be required (ElastiCache), or `port 0` be in redis.conf"
    try:
        session = Session(config)
    except SoaDbError as error:
        return Check(probe, Outcome.INCONCLUSIVE, error.message, AGAIN)
    try:
        with session:
            session.call("PING")
    except CommandRefused as error:
        return Check(probe, Outcome.VIOLATED, f"the server answered: {error.message}", mend)
    except ServerUnavailable as error:
        if isinstance(error.__cause__, TimeoutError):
            return Check(probe, Outcome.INCONCLUSIVE, error.message, AGAIN)
        return Check(probe, Outcome.OK, "the server ended the connection")
    return Check(probe, Outcome.VIOLATED, "the server answered", mend)


def _certificate(probe: Probe, config: RedisConfig) -> Check:
    try:
        Session(config).close()
    except TlsVerificationFailed as error:
        return Check(probe, Outcome.OK, error.message)
    except SoaDbError as error:
        return Check(probe, Outcome.INCONCLUSIVE, error.message, AGAIN)
    return Check(probe, Outcome.VIOLATED, "the certificate was taken", "leave tls.verify at full")
