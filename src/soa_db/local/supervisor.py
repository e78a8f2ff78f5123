"""The one process that runs a local environment: emulated AWS, gates and, as its children, the servers.

``python -m soa_db.local.supervisor follow|stay STATE_DIR`` tells its parent in JSON lines on standard output how it
gets on. It ends with its parent (``follow``) or leaves it at once (``stay``). Servers are each run from a thread of
their own that lives as long as this process: Linux ends them (PR_SET_PDEATHSIG) when that thread ends, so that kill -9
of the supervisor leaves none.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import os
import secrets
import signal
import ssl
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from soa_db import names
from soa_db.errors import MissingExtra, ServerUnavailable, SoaDbError
from soa_db.local import processes, state
from soa_db.local.engines import Engine, check_engine
from soa_db.local.mongo_runner import MongoRunner
from soa_db.local.postgres_runner import PostgresRunner
from soa_db.local.redis_runner import RedisRunner
from soa_db.local.runner import ACCOUNTS, Runner
from soa_db.local.tls import ServerTls
from soa_db.names import DEFAULT_REGION, ENVS, Env

if TYPE_CHECKING:
    from soa_db.local.aws import EmulatedAws, UserKeys

__all__ = ["main"]

RUNNERS: Final[tuple[type[Runner], ...]] = (PostgresRunner, RedisRunner, MongoRunner)
PROD_ROLE = "soa-db-admin"
EXTERNAL_ID = "soa-db-local"


_Certificate = asyncio.Task[tuple[ssl.SSLContext, ServerTls]]


class _Tell(Protocol):
    def __call__(self, **message: object) -> None: ...


class _Supervisor:
    def __init__(self, directory: Path, tell: _Tell) -> None:
        self.directory = directory
        self.tell = tell
        self.runners: dict[Engine, dict[Env, Runner]] = {
            runner.engine: {env: runner(directory, env) for env in ENVS} for runner in RUNNERS
        }
        self.aws: EmulatedAws | None = None
        self.token = secrets.token_urlsafe(24)
        self.stopping = asyncio.Event()
        self._lock = self._seen_lock()
        self._state: state.State | None = None

    async def start(self) -> None:
        """Bring everything up, side by side."""
        async with asyncio.TaskGroup() as group:
            aws = group.create_task(asyncio.to_thread(_start_aws))
            certificate = group.create_task(asyncio.to_thread(_make_certificate, self.directory))
            for runner in self._every():
                group.create_task(self._start_server(runner, certificate))
        self.aws = aws.result()
        context, _ = certificate.result()
        for runner in self._every():
            await runner.open(self.aws, context)
            runner.publish(self.aws)
        keys = self._admit()
        control = await asyncio.start_server(self._control, "127.0.0.1", 0)
        exports = self._exports(keys)
        state.write_private(self.directory / "soa-db.toml", _settings(self.aws.endpoint))
        own = processes.find(os.getpid())
        self._state = state.State(
            pid=os.getpid(),
            started=own.started if own else "",
            control_port=control.sockets[0].getsockname()[1],
            control_token=self.token,
            exports=exports,
            servers={
                engine: {env: runner.state() for env, runner in runners.items()}
                for engine, runners in self.runners.items()
            },
        )
        state.write_state(self.directory, self._state)

    def _every(self) -> list[Runner]:
        return [runner for runners in self.runners.values() for runner in runners.values()]

    async def _start_server(self, runner: Runner, certificate: _Certificate) -> None:
        if runner.speaks_tls:
            _, tls = await certificate
            runner.certify(tls)
        await runner.start()
        self.tell(progress=f"{runner.env}: {runner.server.product} is up")

    def _admit(self) -> UserKeys:
        """Make who may use the emulated AWS: the developer, and the role by which the developer gets into prod."""
        assert self.aws is not None
        from soa_db.local.aws import ALLOW_ALL

        developer = {"AWS": f"arn:aws:iam::{ACCOUNTS['dev']}:root"}
        condition = {"StringEquals": {"sts:ExternalId": EXTERNAL_ID}}
        statement = {"Effect": "Allow", "Principal": developer, "Action": "sts:AssumeRole", "Condition": condition}
        trust = {"Version": "2012-10-17", "Statement": [statement]}
        self.aws.create_role(ACCOUNTS["prod"], PROD_ROLE, trust=trust, policy=ALLOW_ALL)
        return self.aws.create_user(ACCOUNTS["dev"], "developer")

    def _exports(self, keys: UserKeys) -> dict[str, str]:
        assert self.aws is not None
        return {
            "AWS_ENDPOINT_URL": self.aws.endpoint,
            "AWS_ACCESS_KEY_ID": keys.access_key,
            "AWS_SECRET_ACCESS_KEY": keys.secret_key,
            # Both: botocore reads the latter, other SDKs the former.
            "AWS_REGION": DEFAULT_REGION,
            "AWS_DEFAULT_REGION": DEFAULT_REGION,
            "SOA_DB_CA_FILE": str(self.directory / "ca.pem"),
            "SOA_DB_SETTINGS": str(self.directory / "soa-db.toml"),
        }

    async def _control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Obey one command: a line of JSON, answered by one."""
        answer: dict[str, object] = {"error": "refused"}
        try:
            request = json.loads(await reader.readline())
            if hmac.compare_digest(str(request["token"]).encode(), self.token.encode()):
                env, engine = names.check_env(request["env"]), check_engine(request["engine"])
                runner = self.runners[engine][env]
                if request["command"] == "restore":
                    await self._restore(engine, env, names.check_env(request["source"]))
                else:
                    await runner.command(str(request["command"]))
                if self._state is not None:
                    self._state = self._state.with_server(engine, env, runner.state())
                    state.write_state(self.directory, self._state)
                answer = {"pid": runner.server.pid}
        except SoaDbError as error:
            answer = {"error": str(error)}
        except (ValueError, KeyError, TypeError, OSError, RecursionError):
            answer = {"error": "malformed"}
        with suppress(OSError):
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()

    async def _restore(self, engine: Engine, env: Env, source: Env) -> None:
        if self.aws is None or env == source:
            raise ServerUnavailable("the environment is not ready, or would be restored from itself")
        await self.runners[engine][env].restore(self.runners[engine][source], self.aws)

    def _seen_lock(self) -> int | None:
        """The inode of the lock file that stands in the folder; while we hold ours, no other file has its number."""
        try:
            return (self.directory / state.SUPERVISOR_LOCK).stat().st_ino
        except OSError:
            return None

    @property
    def displaced(self) -> bool:
        """Whether the folder was deleted under us, and perhaps made anew by another environment."""
        return self._lock != self._seen_lock()

    async def watch(self) -> None:
        """Stop when the folder is deleted (``rm -rf``): nobody could find us any more to tell us to."""
        while not self.displaced:  # noqa: ASYNC110  # a folder that goes tells nobody
            await asyncio.sleep(1.0)
        self.stopping.set()

    async def close(self) -> None:
        """Take everything down and delete what was made."""
        displaced = self.displaced
        if not displaced:
            (self.directory / state.STATE_FILE).unlink(missing_ok=True)
        closing = (runner.close(displaced=displaced) for runner in self._every())
        await asyncio.gather(*closing, return_exceptions=True)
        if displaced:
            return
        for name in ("ca.pem", "soa-db.toml"):
            (self.directory / name).unlink(missing_ok=True)


def _start_aws() -> EmulatedAws:
    # Its import takes half of the whole start: in a thread, while initdb runs.
    from soa_db.local.aws import EmulatedAws

    aws = EmulatedAws((ACCOUNTS["dev"], ACCOUNTS["prod"]), region=DEFAULT_REGION)
    aws.start()
    return aws


def _make_certificate(directory: Path) -> tuple[ssl.SSLContext, ServerTls]:
    """A CA of this environment's own, written to ``ca.pem``, and a certificate it signed, for gates and for servers."""
    try:
        import trustme
    except ImportError as error:  # pragma: no cover (the tests run with the extra installed)
        raise MissingExtra("the local environment needs trustme", hint="pip install 'soa-db[local]'") from error

    authority = trustme.CA(organization_name="soa-db local environment")
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # As PostgreSQL itself (be-secure-openssl.c): libpq resumes no session.
    context.num_tickets = 0
    certificate.configure_cert(context)
    state.write_private(directory / "ca.pem", authority.cert_pem.bytes().decode())
    chain = b"".join(part.bytes() for part in certificate.cert_chain_pems)
    return context, ServerTls(chain, certificate.private_key_pem.bytes(), ca_pem=authority.cert_pem.bytes())


def _settings(endpoint: str) -> str:
    prod = f'role_arn = "arn:aws:iam::{ACCOUNTS["prod"]}:role/{PROD_ROLE}"\nexternal_id = "{EXTERNAL_ID}"\n'
    parts = [
        f'[environments.{env}]\naccount = "{ACCOUNTS[env]}"\nregion = "{DEFAULT_REGION}"\n'
        f'endpoint_url = "{endpoint}"\nredis = "{"self" if env == "dev" else "elasticache"}"\n'
        f"{prod if env == 'prod' else ''}"
        for env in ENVS
    ]
    return "# Written by the local environment; gone when it goes down.\n" + "\n".join(parts)


async def _supervise(directory: Path, tell: _Tell, *, follow_parent: bool) -> None:
    supervisor = _Supervisor(directory, tell)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, supervisor.stopping.set)
    if follow_parent:
        # The parent holds the other end; it is closed when the parent ends, however it ends.
        loop.add_reader(sys.stdin.fileno(), supervisor.stopping.set)
    starting = asyncio.create_task(supervisor.start())
    stopping = asyncio.create_task(supervisor.stopping.wait())
    watching = asyncio.create_task(supervisor.watch())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            tell(ready=True)
            await stopping
    finally:
        # What is still starting would make what was just deleted: let it end first.
        with suppress(Exception, asyncio.CancelledError):
            await starting
        stopping.cancel()
        watching.cancel()
        await supervisor.close()


def main(arguments: list[str]) -> int:
    """Run an environment until told to stop (SIGTERM, or the end of standard input for ``follow``)."""
    mode, directory = arguments[0], Path(arguments[1])
    if mode == "stay" and os.fork():
        # Whoever called `up` waits for this process and is then done with us: init reaps the one that stays.
        os._exit(0)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")

    def tell(**message: object) -> None:
        # A parent that was killed no longer listens.
        with suppress(OSError):
            os.write(1, json.dumps(message).encode() + b"\n")

    with state.lock(directory / state.SUPERVISOR_LOCK, wait=False) as ours:
        if not ours:
            tell(error="another supervisor runs here already")
            return 1
        try:
            asyncio.run(_supervise(directory, tell, follow_parent=mode == "follow"))
        except BaseExceptionGroup as group:
            failure = _first(group)
            tell(error=str(failure))
            return 1
        except SoaDbError as error:
            tell(error=str(error))
            return 1
    return 0


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
