"""Canaries: secrets that a test knows, looked for in everything that was printed, logged, saved or shown."""

from __future__ import annotations

import base64
import json
import logging
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg
from redis import Redis

if TYPE_CHECKING:
    from soa_db.aws import AwsClients

__all__ = ["Leaks", "every_command_seen", "every_statement_logged"]

# What every presigned token holds; no output has a reason to.
_TOKEN = "X-Amz-Signature="


class Leaks:
    """Collects secrets and output in any order; ``check`` compares all of the one with all of the other."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()
        self._seen: dict[str, str] = {}

    def secret(self, *values: str) -> None:
        """Take values that must be seen nowhere."""
        assert all(len(value) >= 8 for value in values), "a short one would be found by chance"
        self._secrets.update(values)

    def secrets_of(self, aws: AwsClients, *names: str) -> None:
        """Take the password in every version of these secrets."""
        for name in names:
            versions = aws.call("secretsmanager", "list_secret_version_ids", SecretId=name, IncludeDeprecated=True)
            for version in versions["Versions"]:
                value = aws.call("secretsmanager", "get_secret_value", SecretId=name, VersionId=version["VersionId"])
                self.secret(json.loads(value["SecretString"])["password"])

    def saw(self, where: str, *things: object) -> None:
        """Look at objects as they are printed, shown and raised."""
        for thing in things:
            chain = [thing]
            while isinstance(chain[-1], BaseException) and (chain[-1].__cause__ or chain[-1].__context__):
                chain.append(chain[-1].__cause__ or chain[-1].__context__)
            self._seen[where] = self._seen.get(where, "") + "".join(f"{each!s}\n{each!r}\n" for each in chain)

    def saw_file(self, path: str | Path, *, since: int = 0) -> None:
        """Look at a file from an offset on."""
        self.saw(str(path), Path(path).read_bytes()[since:].decode("utf-8", "replace"))

    def saw_processes(self) -> None:
        """Look at the process list."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                self.saw("process list", path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
            except OSError:
                continue  # it has ended

    def saw_log(self, records: list[logging.LogRecord]) -> None:
        """Look at log records, their arguments and what hangs on them."""
        for record in records:
            self.saw(f"log of {record.name}", record.getMessage(), record.args, record.__dict__)

    def check(self, *, at_least: int) -> None:
        """Fail when a secret was seen anywhere, whole or in one of its usual spellings.

        Args:
            at_least: how many secrets there must be: a search for nothing finds nothing.
        """
        assert len(self._secrets) >= at_least
        assert self._seen
        for where, text in self._seen.items():
            assert _TOKEN not in text, f"a token in {where}"
            for value in self._secrets:
                for spelling in _spellings(value):
                    # Not the secret itself in the message: a failing test is read in public.
                    assert spelling not in text, f"a secret of {len(value)} characters in {where}"


def _spellings(value: str) -> set[str]:
    plain = value.encode()
    return {
        value,
        quote(value, safe=""),
        repr(value)[1:-1],
        json.dumps(value)[1:-1],
        value.replace("'", "''"),
        base64.b64encode(plain).decode().rstrip("="),
        plain.hex(),
    }


@contextmanager
def every_statement_logged(superuser_conninfo: str, log_file: str, leaks: Leaks) -> Iterator[None]:
    """Let a server write every statement, parameter and connection to its log; look at what it wrote."""
    settings = {"log_statement": "'all'", "log_connections": "on", "log_parameter_max_length_on_error": "-1"}
    start = Path(log_file).stat().st_size
    with psycopg.connect(superuser_conninfo, autocommit=True) as superuser:
        for name, value in settings.items():
            superuser.execute(f"ALTER SYSTEM SET {name} = {value}".encode())
        superuser.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            for name in settings:
                superuser.execute(f"ALTER SYSTEM RESET {name}".encode())
            superuser.execute("SELECT pg_reload_conf()")
    written = Path(log_file).read_bytes()[start:]
    assert b"statement:" in written, "the server wrote its log"
    leaks.saw_file(log_file, since=start)


@contextmanager
def every_command_seen(admin_url: str, log_file: str, leaks: Leaks) -> Iterator[None]:
    """Look at what a Redis shows of commands: MONITOR, SLOWLOG of every one of them, ACL LOG, CLIENT LIST, its log.

    The administrator's password in ``admin_url`` is one more secret.
    """
    settings = {"slowlog-log-slower-than": "0", "slowlog-max-len": "100000", "loglevel": "debug"}
    start = Path(log_file).stat().st_size
    last = f"end-{secrets.token_hex(8)}"
    watching = threading.Event()
    monitored: list[str] = []

    def monitor() -> None:
        with (
            Redis.from_url(admin_url, decode_responses=True, socket_timeout=None) as client,
            client.monitor() as monitor,
        ):
            watching.set()
            for command in monitor.listen():
                monitored.append(str(command))
                if last in command["command"]:
                    return

    with Redis.from_url(admin_url, decode_responses=True) as client:
        leaks.secret(str(client.connection_pool.connection_kwargs["password"]))
        before = {name: client.config_get(name)[name] for name in settings}
        client.slowlog_reset()
        client.acl_log_reset()
        for name, value in settings.items():
            client.config_set(name, value)
        watcher = threading.Thread(target=monitor)
        watcher.start()
        assert watching.wait(30)
        try:
            yield
        finally:
            client.echo(last)
            watcher.join(30)
            slow = client.execute_command("SLOWLOG", "GET", -1)
            leaks.saw("MONITOR", *monitored)
            leaks.saw("SLOWLOG", slow)
            leaks.saw("ACL LOG", client.acl_log())
            leaks.saw("CLIENT LIST", client.client_list())
            for name, value in before.items():
                client.config_set(name, value)
            leaks.saw_file(log_file, since=start)
    assert last in monitored[-1], "MONITOR showed the last command"
    assert len(slow) > 3, "SLOWLOG has every command"
