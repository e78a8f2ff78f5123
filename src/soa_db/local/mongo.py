"""A real MongoDB server of our own: made, started, stopped, killed, paused and restarted on request.

It has what a self-run MongoDB has: an administrator ``master`` with the role ``root``, authentication by SCRAM-SHA-256,
members that know each other by a key. The localhost exception is never open: at the very first start the administrator
is made by the internal user ``__system``, whose password is the key (``security.keyFile`` in MongoDB's manual), which
none but the user that runs the server can read.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from soa_db.errors import ConfigurationError, ServerUnavailable
from soa_db.local import processes
from soa_db.local.mongo_binaries import find_mongod
from soa_db.local.programs import Program, text
from soa_db.local.server import Server

if TYPE_CHECKING:
    from pymongo import MongoClient

    from soa_db.local.tls import ServerTls

__all__ = ["ADMIN_USER", "MECHANISM", "MongoDeployment", "MongoServer", "create_user", "new_key", "remove_mongo"]

ADMIN_USER = "master"
MECHANISM = "SCRAM-SHA-256"
_CONFIGURATION, _LOG, _KEY, _DATA, _CA = "mongod.conf", "mongod.log", "key", "data", "ca.crt"
_CERTIFICATE, _COPY = "server.pem", "copy"
_BOOTSTRAPPED = "bootstrapped"
# Error codes (src/mongo/base/error_codes.yml): what a member says of a set that it does not know yet, or whose
# configuration no longer names it.
_NOT_YET_INITIALIZED = 94

# 300 MB a server otherwise.
_JOURNAL = "log=(file_max=10MB,prealloc=false)"
_PARAMETERS: Mapping[str, object] = {
    "enableLocalhostAuthBypass": False,
    # Some 100 MB of statistics in time, for nobody to read.
    "diagnosticDataCollectionEnabled": False,
    # Told to stop, a member of a set would first be quiet for 15 seconds, so that clients find another.
    "shutdownTimeoutMillisForSignaledShutdown": 0,
}


def new_key() -> str:
    """A key for the members of a replica set, of the characters a key file may hold."""
    return base64.b64encode(secrets.token_bytes(48)).decode()


class MongoDeployment(ABC):
    """What a server and a replica set of several have in common: users, and URLs to reach them.

    Args:
        tls: certificate it speaks TLS with.
        replica_set: the set's name; None for a standalone.
        auth: whether users must log in.
        admin_password: password of ``master``.
    """

    host = "localhost"
    admin_user = ADMIN_USER

    def __init__(
        self, *, tls: ServerTls | None, replica_set: str | None, auth: bool, admin_password: str | None
    ) -> None:
        if tls is not None and tls.ca_pem is None:
            raise ConfigurationError(
                "a MongoDB with TLS needs the CA of its certificate too", hint="give ServerTls.ca_pem"
            )
        self.tls = tls
        self.replica_set = replica_set
        self.auth = auth
        self.admin_password = admin_password or secrets.token_urlsafe(24)

    @property
    @abstractmethod
    def hosts(self) -> tuple[tuple[str, int], ...]:
        """Host and port of every member."""

    @property
    @abstractmethod
    def folder(self) -> Path:
        """Where the files of its (first) member are."""

    @property
    def ca_file(self) -> Path | None:
        """The CA of its certificate, as a file; None without TLS."""
        return self.folder / _CA if self.tls is not None else None

    @property
    def _tls_files(self) -> dict[str, str]:
        """The driver's options; where client certificates are demanded, the server's own serves as one."""
        demanded = self.tls is not None and self.tls.client_ca_pem is not None
        own = {"tlsCertificateKeyFile": str(self.folder / _CERTIFICATE)} if demanded else {}
        return {"tlsCAFile": str(self.folder / _CA), **own}

    @property
    def admin_url(self) -> str:
        """The administrator's URL. Holds the password; with TLS it names ``ca_file`` as the CA to verify by."""
        return self.url(ADMIN_USER, self.admin_password)

    def url(self, user: str, password: str, *, database: str = "", auth_source: str = "admin") -> str:
        """Any user's URL, as ``MongoClient`` takes it. Holds the password.

        Args:
            user: who.
            password: its password.
            database: the default database.
            auth_source: the database the user is kept in.
        """
        login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if self.auth else ""
        options = {
            **({"authSource": auth_source} if self.auth else {}),
            **({"replicaSet": self.replica_set} if self.replica_set is not None else {}),
            **({"tls": "true", **self._tls_files} if self.tls is not None else {}),
        }
        hosts = ",".join(f"{host}:{port}" for host, port in self.hosts)
        return f"mongodb://{login}{hosts}/{quote(database, safe='')}?{urlencode(options)}"

    def admin(self, *, timeout: float = 10.0) -> MongoClient[dict[str, Any]]:
        """An administrator's client, to be closed by the caller (``with server.admin() as client``).

        Args:
            timeout: seconds to wait for a member it can talk to, and for an answer, before it raises.
        """
        from pymongo import MongoClient

        return MongoClient(self.admin_url, **_patience(timeout))

    def create_user(self, user: str, password: str, *, database: str, roles: Sequence[str] = ("readWrite",)) -> None:
        """Make a user that is kept in ``database`` and has built-in roles there."""
        with self.admin() as client:
            create_user(client, user, password, database=database, roles=roles)


class MongoServer(MongoDeployment, Server):
    """One server in one folder: a standalone, or a replica set of one.

    The folder holds its configuration, its data, its key and its log, for nobody but the user that runs it to read.

    Args:
        directory: where it lives; made when missing. Starting again in the same folder finds the same data.
        binary: a program, instead of looking for one.
        port: TCP port; a free one when left out.
        tls: certificate to speak TLS with, and TLS only; it must be for ``localhost``, and its ``ca_pem`` be given.
        replica_set: name of the set it is the only member of; a standalone when left out.
        auth: whether users must log in; without it there is no ``master``.
        admin_password: password of ``master``, set when the folder is made; a random one when left out.
        key: what members of a set know each other by, and ``__system`` logs in with; a random one when left out.
        parameters: server parameters (``setParameter``), e.g. ``{"enableTestCommands": True}``.
        die_with_parent: end at once when the thread that called ``start`` ends, however it ends (Linux).
    """

    stop_signal = signal.SIGTERM
    # What it has acknowledged is in its journal; and a paused one would not hear anything milder.
    orphan_signal = signal.SIGKILL

    def __init__(
        self,
        directory: Path,
        *,
        binary: Program | None = None,
        port: int | None = None,
        tls: ServerTls | None = None,
        replica_set: str | None = None,
        auth: bool = True,
        admin_password: str | None = None,
        key: str | None = None,
        parameters: Mapping[str, object] | None = None,
        die_with_parent: bool = True,
    ) -> None:
        MongoDeployment.__init__(self, tls=tls, replica_set=replica_set, auth=auth, admin_password=admin_password)
        Server.__init__(self, directory, port=port, die_with_parent=die_with_parent)
        self.binary = binary or find_mongod()
        self.product = f"{self.binary.product} {text(self.binary.version)}"
        self.parameters = dict(parameters or {})
        self._key = key

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor version of the program."""
        return self.binary.version

    @property
    def hosts(self) -> tuple[tuple[str, int], ...]:
        """Its own host and port."""
        return ((self.host, self.port),)

    @property
    def log_file(self) -> Path:
        """The server's log."""
        return self.directory / _LOG

    @property
    def data_directory(self) -> Path:
        """Its dbpath."""
        return self.directory / _DATA

    @property
    def folder(self) -> Path:
        """Its own."""
        return self.directory

    def system(self, *, timeout: float = 10.0) -> MongoClient[dict[str, Any]]:
        """A client of this very member as ``__system``, which may do anything: to set up and to assert, not to test.

        Args:
            timeout: seconds to wait for an answer before it raises.
        """
        from pymongo import MongoClient

        key = (self.directory / _KEY).read_text("utf-8").strip() if self.auth else ""
        login = {"username": "__system", "password": key, "authSource": "local", "authMechanism": MECHANISM}
        tls = {"tls": True, **self._tls_files} if self.tls is not None else {}
        options: dict[str, Any] = {**(login if self.auth else {}), **tls, **_patience(timeout)}
        return MongoClient(self.host, self.port, directConnection=True, **options)

    # --- life

    def restore(self, source: MongoServer) -> None:
        """Replace all it holds by what another server holds, which goes on serving; it runs afterwards.

        What a snapshot of a server brings: its databases, and its users with their passwords, ``master`` among them.
        The other's writes wait while its files are copied. Whatever interrupts it, done again it comes to the same.

        Args:
            source: a running server of the same version; a replica set of the same name, or a standalone likewise.

        Raises:
            ServerUnavailable: the copy could not be made, and nothing was changed; or the server did not come up.
        """
        copy = self.directory / _COPY
        shutil.rmtree(copy, ignore_errors=True)
        source.copy_data(copy)
        self.stop()
        shutil.rmtree(self.data_directory, ignore_errors=True)
        copy.rename(self.data_directory)
        self.start()

    def copy_data(self, target: Path) -> None:
        """Copy its files as they are at one moment; whoever writes meanwhile waits.

        Source: "Back Up and Restore with Filesystem Snapshots", MongoDB manual.

        Raises:
            ServerUnavailable: it does not answer.
        """
        from pymongo.errors import PyMongoError

        if not self.is_running:
            raise ServerUnavailable(f"the data of {self.product} in {self.directory} cannot be copied: it does not run")
        try:
            with self.system(timeout=30.0) as client:
                # One that was left by a copy which could not undo it any more.
                _unlock(client)
                client.admin.command("fsync", lock=True)
                try:
                    shutil.copytree(self.data_directory, target, ignore=shutil.ignore_patterns("mongod.lock"))
                finally:
                    _unlock(client)
        except (PyMongoError, OSError) as error:
            raise ServerUnavailable(
                f"the data of {self.product} in {self.directory} could not be copied: {error}", log=self.log_file
            ) from error

    def set_admin_password(self, password: str) -> None:
        """Give ``master`` another password."""
        with self.system() as client:
            client.admin.command(
                "updateUser", ADMIN_USER, pwd=password, mechanisms=[MECHANISM], writeConcern={"w": "majority"}
            )
        self.admin_password = password

    def remove(self) -> None:
        """Kill it and delete its folder."""
        self.kill()
        remove_mongo(self.directory)

    # --- making it

    @property
    def _marker(self) -> Path:
        """Is there once set and administrator are."""
        return self.directory / _BOOTSTRAPPED

    def _settle(self, deadline: float) -> None:
        """Make a set of it, if it is to be one, and an administrator, once; wait until it takes writes."""
        from pymongo.errors import PyMongoError

        fresh = not self._marker.exists()
        try:
            with self.system() as client:
                if self.replica_set is not None:
                    if fresh:
                        client.admin.command("replSetInitiate", self._set_configuration(self.replica_set))
                    self._become_primary(client, deadline)
                if fresh and self.auth:
                    create_user(client, ADMIN_USER, self.admin_password, database="admin", roles=["root"])
        except PyMongoError as error:
            raise ServerUnavailable(f"{self.product} started and then failed: {error}", log=self.log_file) from error
        self._marker.touch(mode=0o600)

    def _set_configuration(self, name: str) -> dict[str, Any]:
        return {"_id": name, "members": [{"_id": 0, "host": f"{self.host}:{self.port}"}]}

    def _become_primary(self, client: MongoClient[dict[str, Any]], deadline: float) -> None:
        """Wait until it takes writes."""
        from pymongo.errors import AutoReconnect

        while time.monotonic() < deadline:
            try:
                told = client.admin.command("hello")
                if told["isWritablePrimary"]:
                    return
                if "setName" not in told:
                    self._name_itself(client)
            except AutoReconnect:
                # A member that finds itself out of its set, or in again, hangs up on everybody.
                if not self.is_running:
                    break
            time.sleep(0.01)
        raise ServerUnavailable(f"{self.product} does not become primary of its set", log=self.log_file)

    def _name_itself(self, client: MongoClient[dict[str, Any]]) -> None:
        """Make a configuration that names another (this server at another port, the one it is a copy of) name it."""
        from pymongo.errors import OperationFailure

        try:
            found = client.admin.command("replSetGetConfig")["config"]
        except OperationFailure as error:
            if error.code != _NOT_YET_INITIALIZED:
                raise
            return
        own = self._set_configuration(found["_id"])["members"]
        if [member["host"] for member in found["members"]] != [member["host"] for member in own]:
            found |= {"version": found["version"] + 1, "members": own}
            client.admin.command("replSetReconfig", found, force=True)

    def _prepare(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        _end_leftover(self.directory)
        if not self._marker.exists():
            # Half made: begin again.
            shutil.rmtree(self.data_directory, ignore_errors=True)
        self.data_directory.mkdir(mode=0o700, exist_ok=True)
        if self._key is not None or not (self.directory / _KEY).exists():
            self._write(_KEY, self._key or new_key())

    def _command(self, port: int) -> list[str]:
        net: dict[str, object] = {
            # Over TCP only: a socket in /tmp would outlive kill -9.
            "unixDomainSocket": {"enabled": False},
            "bindIp": "127.0.0.1",
            "port": port,
            **({"tls": self._tls_settings(self.tls)} if self.tls is not None else {}),
        }
        settings: dict[str, object] = {
            "net": net,
            "storage": {
                "dbPath": str(self.data_directory),
                # Half of the machine's memory otherwise; less than this it does not take.
                "wiredTiger": {"engineConfig": {"cacheSizeGB": 0.25, "configString": _JOURNAL}},
            },
            "setParameter": {**_PARAMETERS, **self.parameters},
        }
        if self.auth:
            settings["security"] = {"keyFile": str(self.directory / _KEY), "authorization": "enabled"}
        if self.replica_set is not None:
            settings["replication"] = {"replSetName": self.replica_set, "oplogSizeMB": 64}
        # YAML 1.2 has JSON in it, and the server reads that.
        configuration = self._write(_CONFIGURATION, json.dumps(settings, indent=1))
        return self._launch(os.geteuid(), os.getegid(), [str(self.binary.path), "--config", str(configuration)])

    def _tls_settings(self, tls: ServerTls) -> dict[str, object]:
        certificate = self._write(_CERTIFICATE, tls.cert_pem + tls.key_pem)
        self._write(_CA, tls.ca_pem or b"")
        # Members of a set show each other the server's certificate, so that the CAs it takes must hold its own.
        trusted = self._write("trusted.crt", (tls.client_ca_pem or b"") + (tls.ca_pem or b""))
        return {
            "mode": "requireTLS",
            "certificateKeyFile": str(certificate),
            "CAFile": str(trusted),
            "allowConnectionsWithoutCertificates": tls.client_ca_pem is None,
        }

    def _write(self, name: str, content: str | bytes) -> Path:
        path = self.directory / name
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def _ready(self, log: str) -> bool:
        # Logged once it listens: "Waiting for connections" (src/mongo/transport/transport_layer_asio.cpp).
        return '"id":23016,' in log

    def _port_taken(self, log: str) -> bool:
        return "Address already in use" in log


def _patience(seconds: float) -> dict[str, Any]:
    return {"serverSelectionTimeoutMS": seconds * 1000, "timeoutMS": seconds * 1000}


def create_user(
    client: MongoClient[dict[str, Any]], user: str, password: str, *, database: str, roles: Sequence[str]
) -> None:
    """Make a user through somebody's client, where a majority of the set has it when this returns."""
    client[database].command(
        "createUser", user, pwd=password, roles=list(roles), mechanisms=[MECHANISM], writeConcern={"w": "majority"}
    )


def _unlock(client: MongoClient[dict[str, Any]]) -> None:
    while client.admin.command("currentOp").get("fsyncLock"):
        client.admin.command("fsyncUnlock")


def remove_mongo(directory: Path) -> None:
    """Delete the folder of a server, killing the server if it was left running in it."""
    _end_leftover(directory)
    shutil.rmtree(directory, ignore_errors=True)


def _end_leftover(directory: Path) -> None:
    """Kill a server that still runs in a folder because whoever started it was killed."""
    try:
        pid = int((directory / _DATA / "mongod.lock").read_text("utf-8"))
    except (OSError, ValueError):
        return
    # The pid may be another's by now: a server of ours names its configuration.
    if pid > 0 and str(directory / _CONFIGURATION) in processes.command_line(pid):
        processes.kill_tree(pid)
