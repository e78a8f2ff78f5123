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
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from soa_db import names
from soa_db.errors import MissingExtra, ServerUnavailable, SoaDbError
from soa_db.local import processes, state
from soa_db.local.gate import Backend, IamGate, TokenRefused
from soa_db.local.postgres import MASTER_USER, PostgresServer
from soa_db.names import DEFAULT_REGION, ENVS, Env

if TYPE_CHECKING:
    from soa_db.local.aws import EmulatedAws, UserKeys

__all__ = ["main"]

ACCOUNTS: Final[Mapping[Env, str]] = {"dev": "111111111111", "mirror": "111111111111", "prod": "222222222222"}
PROD_ROLE = "soa-db-admin"
EXTERNAL_ID = "soa-db-local"
HOST = "localhost"


class _Tell(Protocol):
    def __call__(self, **message: object) -> None: ...


class _Runner:
    """One server and the thread that runs it."""

    def __init__(self, directory: Path, env: Env) -> None:
        self.env = env
        self.password = secrets.token_urlsafe(24)
        self.server = PostgresServer(
            directory / env, master_password=self.password, auth="password" if env == "dev" else "iam"
        )
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"soa-db-{env}")
        self.gate: IamGate | None = None
        self.port = 0

    async def run(self, function: Callable[[], None]) -> None:
        """Run something of the server's in its thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def command(self, name: str) -> None:
        """Do one of the things a server can be told."""
        match name:
            case "start":
                await self.run(self.server.start)
            case "stop":
                await self.run(self.server.stop)
            case "kill":
                await self.run(self.server.kill)
            case "restart":
                await self.run(self.server.restart)
            case "pause":
                await self.run(self.server.pause)
            case "resume":
                await self.run(self.server.resume)
            case _:
                raise ServerUnavailable(f"unknown command {name!r}")

    async def close(self, *, displaced: bool) -> None:
        """Close the gate, stop the server and delete its folder, unless that is no longer ours."""
        if self.gate is not None:
            await self.gate.close()
        await self.run(self.server.abandon if displaced else self.server.remove)
        self._thread.shutdown(wait=False)


class _Supervisor:
    def __init__(self, directory: Path, tell: _Tell) -> None:
        self.directory = directory
        self.tell = tell
        self.runners = {env: _Runner(directory, env) for env in ENVS}
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
            for env, runner in self.runners.items():
                group.create_task(self._start_server(env, runner))
        self.aws = aws.result()
        resources = {env: await self._open(env, certificate.result()) for env in ENVS}
        keys = self._publish()
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
            servers={env: self._server_state(env, resources[env]) for env in ENVS},
        )
        state.write_state(self.directory, self._state)

    async def _start_server(self, env: Env, runner: _Runner) -> None:
        await runner.run(runner.server.start)
        self.tell(progress=f"{env}: PostgreSQL {runner.server.version} is up")

    async def _open(self, env: Env, tls: ssl.SSLContext) -> str | None:
        """Give an environment its public port; the DbiResourceId in mirror and prod."""
        assert self.aws is not None
        runner = self.runners[env]
        if env == "dev":
            runner.port = runner.server.port
            return None
        server = runner.server
        check = _TokenCheck(self.aws, ACCOUNTS[env])
        runner.gate = IamGate(Backend(server.host, server.port, server.socket_directory), check=check, tls=tls)
        runner.port = check.port = await runner.gate.open()
        check.resource_id = self.aws.create_db_instance(ACCOUNTS[env], f"{env}-postgres", host=HOST, port=runner.port)
        return check.resource_id

    def _publish(self) -> UserKeys:
        """Put coordinates and administrators' secrets where the contract says, and make who may read them."""
        assert self.aws is not None
        for env, runner in self.runners.items():
            account = ACCOUNTS[env]
            payload = {"username": MASTER_USER, "password": runner.password, "host": HOST, "port": runner.port}
            arn = self.aws.put_secret(account, f"{env}/postgres-master", payload)
            self.aws.put_parameters(
                account,
                {
                    names.postgres_admin_endpoint_ssm_path(env): HOST,
                    names.postgres_admin_port_ssm_path(env): str(runner.port),
                    names.postgres_admin_secret_ssm_path(env): arn,
                },
            )
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

    def _server_state(self, env: Env, resource_id: str | None) -> state.ServerState:
        runner = self.runners[env]
        return state.ServerState(
            host=HOST,
            port=runner.port,
            backend_port=runner.server.port,
            pid=runner.server.pid,
            version=runner.server.version,
            superuser_conninfo=runner.server.superuser_conninfo,
            log_file=str(runner.server.log_file),
            resource_id=resource_id,
            account=ACCOUNTS[env],
        )

    async def _control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Obey one command: a line of JSON, answered by one."""
        answer: dict[str, object] = {"error": "refused"}
        try:
            request = json.loads(await reader.readline())
            if hmac.compare_digest(str(request["token"]).encode(), self.token.encode()):
                env = names.check_env(request["env"])
                await self.runners[env].command(str(request["command"]))
                if self._state is not None:
                    self._state = self._state.with_pid(env, self.runners[env].server.pid)
                    state.write_state(self.directory, self._state)
                answer = {"pid": self.runners[env].server.pid}
        except SoaDbError as error:
            answer = {"error": str(error)}
        except (ValueError, KeyError, TypeError, OSError, RecursionError):
            answer = {"error": "malformed"}
        with suppress(OSError):
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()

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
        closing = (runner.close(displaced=displaced) for runner in self.runners.values())
        await asyncio.gather(*closing, return_exceptions=True)
        if displaced:
            return
        for name in ("ca.pem", "soa-db.toml"):
            (self.directory / name).unlink(missing_ok=True)


@dataclass(slots=True)
class _TokenCheck:
    """Decides about tokens for one RDS instance; port and resource id are known once its gate is open."""

    aws: EmulatedAws
    account: str
    port: int = 0
    resource_id: str = ""

    def __call__(self, token: str, user: str) -> None:
        from soa_db.local.sigv4 import Fault

        try:
            self.aws.may_connect(
                token, user=user, host=HOST, port=self.port, account=self.account, resource_id=self.resource_id
            )
        except Fault as fault:
            raise TokenRefused(str(fault)) from fault


def _start_aws() -> EmulatedAws:
    # Its import takes half of the whole start: in a thread, while initdb runs.
    from soa_db.local.aws import EmulatedAws

    aws = EmulatedAws((ACCOUNTS["dev"], ACCOUNTS["prod"]), region=DEFAULT_REGION)
    aws.start()
    return aws


def _make_certificate(directory: Path) -> ssl.SSLContext:
    """A CA of this environment's own, written to ``ca.pem``, and a context with a certificate it signed."""
    try:
        import trustme
    except ImportError as error:  # pragma: no cover (the tests run with the extra installed)
        raise MissingExtra("the local environment needs trustme", hint="pip install 'soa-db[local]'") from error
    authority = trustme.CA(organization_name="soa-db local environment")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # As PostgreSQL itself (be-secure-openssl.c): libpq resumes no session.
    context.num_tickets = 0
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    state.write_private(directory / "ca.pem", authority.cert_pem.bytes().decode())
    return context


def _settings(endpoint: str) -> str:
    prod = f'role_arn = "arn:aws:iam::{ACCOUNTS["prod"]}:role/{PROD_ROLE}"\nexternal_id = "{EXTERNAL_ID}"\n'
    parts = [
        f'[environments.{env}]\naccount = "{ACCOUNTS[env]}"\nregion = "{DEFAULT_REGION}"\n'
        f'endpoint_url = "{endpoint}"\n{prod if env == "prod" else ""}'
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
