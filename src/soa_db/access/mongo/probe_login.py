"""Logging in: the ways in which nobody must get in.

A password that is sent in SCRAM is not revealed by it, so the right one is tried where it must not open.
"""

from __future__ import annotations

import secrets
import socket
import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from soa_db.access.attempt import Attempt, judge
from soa_db.access.mongo.attempt import attempt
from soa_db.access.mongo.forms import INSIDE, USERS
from soa_db.access.mongo.session import connect
from soa_db.access.quoting import shown
from soa_db.access.report import Check, Outcome, Probe
from soa_db.access.roots import unrelated_root
from soa_db.access.undecided import AGAIN, one_line
from soa_db.config import NoAuth
from soa_db.errors import AuthenticationFailed, SoaDbError, TlsVerificationFailed

if TYPE_CHECKING:
    from soa_db.access.mongo.expect import UserAccess
    from soa_db.config import MongoConfig
    from soa_db.credentials import Credentials

__all__ = ["is_open", "plain_text", "probe_login", "probe_nobody", "probe_tls"]

_OP_MSG = 2013


def probe_login(
    config: MongoConfig,
    credentials: Credentials,
    user: UserAccess,
    *,
    elsewhere: Collection[str],
    others: Mapping[str, str],
    mend: str,
) -> Iterator[Check]:
    """Try to get in in wrong ways.

    Args:
        config: how the user reaches the server, good as it is.
        credentials: what it logs in with.
        user: who.
        elsewhere: databases it must not be a user of.
        others: the passwords it has in other environments, by environment.
        mend: the command that provisions.
    """
    name = credentials.user
    if name is None or not credentials.secret:
        return  # it logs in as nobody, which is said already

    def ask(what: str) -> Probe:
        return Probe(user.user.name, user.database, "auth", what, "cannot", "login")

    wrong = {"": _login(config, name, secrets.token_urlsafe(24))}
    yield judge(ask("log in with a wrong password"), wrong, mend=mend)
    found = {
        shown(source): _login(config.model_copy(update={"auth_source": source}), name, credentials.secret)
        for source in sorted(elsewhere)
    }
    step = "drop the users of that name that are kept in other databases"
    yield judge(ask("log in as a user of another database"), found, mend=step)
    for env, password in sorted(others.items()):
        probe = ask(f"log in with its password of {env}")
        yield judge(probe, {"": _login(config, name, password)}, mend="soa-db rotate: environments share no password")


def _login(config: MongoConfig, user: str, password: str) -> Attempt:
    """Whether a login succeeds; only the server's refusal (code 18) proves that it does not."""
    try:
        connect(config, user, password).close()
    except AuthenticationFailed as error:
        return Attempt(permitted=False, seen=error.message)
    except SoaDbError as error:
        return Attempt(None, one_line(error))
    return Attempt(permitted=True, seen="the server let it in")


def _certificates(config: MongoConfig) -> Iterator[Check]:
    """What the provider of services does when a certificate is not the one it should be."""
    from soa_db.mongo import MongoProvider

    tls = config.tls
    assert tls is not None
    probe = Probe("", "", "tls", "services refuse a certificate of an unknown authority", "is", "login")
    stranger = tls.model_copy(update={"ca_pem": unrelated_root(), "ca_file": None})
    provider = MongoProvider(config.model_copy(update={"tls": stranger, "user": None, "auth": NoAuth()}))
    try:
        # Nobody logs in: that it is refused comes after the handshake.
        with suppress(AuthenticationFailed), provider:
            pass
        yield Check(probe, Outcome.VIOLATED, "the certificate was taken", "leave tls.verify at full")
    except TlsVerificationFailed as error:
        yield Check(probe, Outcome.OK, error.message)
    except SoaDbError as error:
        yield Check(probe, Outcome.INCONCLUSIVE, one_line(error), AGAIN)
    probe = Probe("", "", "tls", "services verify certificates and the names in them", "is", "catalog")
    if tls.verify == "full":
        yield Check(probe, Outcome.OK)
    else:
        yield Check(probe, Outcome.VIOLATED, f"tls.verify is {tls.verify}", "leave tls.verify at full")


def is_open(config: MongoConfig) -> bool:
    """Whether the server asks nobody who they are: somebody who did not log in may list its users.

    Raises:
        SoaDbError: the server did not answer.
    """
    with connect(config, None, "") as nobody:
        return attempt(nobody, "admin", {"usersInfo": 1}).permitted is True


def probe_nobody(config: MongoConfig, databases: Collection[str], *, mark: str) -> Iterator[Check]:
    """What somebody who is no user can do.

    The localhost exception is among it: where it is open, a user can be made without a login from the server's host.

    Args:
        config: how services reach the server.
        databases: those that the specs declare.
        mark: a name that nothing has.

    Raises:
        SoaDbError: the server did not answer.
    """

    def ask(what: str) -> Probe:
        return Probe("", "", "auth", f"nobody may {what} without logging in", "is", "attempt")

    mend = "security.authorization: enabled (or a keyFile) in mongod.conf of every member"
    with connect(config, None, "") as nobody:
        listed = attempt(nobody, "admin", {"listDatabases": 1, "nameOnly": True})
        yield judge(ask("list databases"), {"": listed}, mend=mend)
        for form in INSIDE:
            if form.each:
                probe = ask(f"{form.what} in databases of services")
                results = {
                    shown(database): attempt(nobody, database, form.command(mark, mark), harmless=form.harmless)
                    for database in sorted(databases)
                }
                yield judge(probe, results, mend=mend)
        for form in USERS:
            probe = ask(form.what)
            found = attempt(nobody, "admin", form.command(mark, mark), harmless=form.harmless)
            yield judge(probe, {"": found}, mend=mend)


def probe_tls(config: MongoConfig, *, demanded: bool) -> Iterator[Check]:
    """What the server and its clients accept instead of TLS with a verified certificate.

    Args:
        config: how services reach the server.
        demanded: whether the server must have TLS.
    """
    probe = Probe("", "", "tls", "it refuses plain text", "is", "login")
    if config.tls is None and not demanded:
        yield Check(probe, Outcome.NOT_APPLICABLE, "this MongoDB has no TLS")
        return
    hosts = [(one.host, one.port) for one in config.hosts]
    if config.dial is not None:
        hosts = [(config.dial.host, config.dial.port)]
    results = {f"{host}:{port}": plain_text(host, port, timeout=config.options.connect_timeout) for host, port in hosts}
    yield judge(probe, results, mend="net.tls.mode: requireTLS in mongod.conf of every member")
    if config.tls is not None:
        yield from _certificates(config)


def plain_text(host: str, port: int, *, timeout: float) -> Attempt:
    """Say hello without TLS: a port that demands it ends the connection.

    OP_MSG, as in MongoDB's wire protocol (https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/).

    Args:
        host: the member.
        port: its port.
        timeout: seconds to wait for it.
    """
    import bson

    body = struct.pack("<iB", 0, 0) + bson.encode({"hello": 1, "$db": "admin"})
    message = struct.pack("<iiii", 16 + len(body), 1, 0, _OP_MSG) + body
    try:
        connection = socket.create_connection((host, port), timeout=timeout)
    except (OSError, UnicodeError) as error:
        return Attempt(None, f"it was not reached: {error}")
    with connection:
        try:
            connection.sendall(message)
            answer = connection.recv(16)
        except TimeoutError:
            return Attempt(None, "it did not answer in time")
        except OSError:
            answer = b""
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
    if not answer:
        return Attempt(permitted=False, seen="it ended the connection")
    if len(answer) == 16 and _opcode(answer) == _OP_MSG:
        return Attempt(permitted=True, seen="it answered")
    return Attempt(None, "it answered in another protocol")


def _opcode(header: bytes) -> Any:
    return struct.unpack("<iiii", header)[3]
