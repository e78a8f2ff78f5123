"""PostgreSQL in a local environment: plain in dev, behind TLS and the RDS IAM gate in mirror and prod."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from soa_db import names
from soa_db.local.gate import Backend, IamGate
from soa_db.local.gates import TokenRefused
from soa_db.local.postgres import MASTER_USER, PostgresServer
from soa_db.local.runner import HOST, Runner

if TYPE_CHECKING:
    import ssl

    from soa_db.local.aws import EmulatedAws
    from soa_db.local.engines import Engine
    from soa_db.local.server import Server
    from soa_db.local.state import ServerState
    from soa_db.names import Env

__all__ = ["PostgresRunner"]


class PostgresRunner(Runner):
    """One environment's PostgreSQL."""

    engine: ClassVar[Engine] = "postgres"

    def __init__(self, directory: Path, env: Env) -> None:
        super().__init__(directory, env)
        self.server: PostgresServer = PostgresServer(
            self.folder, master_password=self.password, auth="password" if env == "dev" else "iam"
        )
        self.resource_id: str | None = None
        self._instance = f"{env}-postgres"

    async def open(self, aws: EmulatedAws, tls: ssl.SSLContext) -> None:
        """In mirror and prod: the gate, and an RDS instance at its address."""
        server = self.server
        if self.env == "dev":
            self.port = server.port
            return

        def check(token: str, user: str) -> None:
            from soa_db.local.sigv4 import Fault

            try:
                aws.may_connect(
                    token,
                    user=user,
                    host=HOST,
                    port=self.port,
                    account=self.account,
                    resource_id=str(self.resource_id),
                )
            except Fault as fault:
                raise TokenRefused(str(fault)) from fault

        self.gate = IamGate(Backend(server.host, server.port, server.socket_directory), check=check, tls=tls)
        self.port = await self.gate.open()
        self.resource_id = aws.create_db_instance(self.account, self._instance, host=HOST, port=self.port)

    def _restore(self, source: Server, password: str) -> None:
        assert isinstance(source, PostgresServer)
        self.server.restore(source)
        self.server.set_master_password(password)

    async def restore(self, source: Runner, aws: EmulatedAws) -> None:
        """Restore it, as an instance with another DbiResourceId."""
        await super().restore(source, aws)
        self.resource_id = aws.renew_db_instance(self.account, self._instance)

    def publish(self, aws: EmulatedAws) -> None:
        """The administrator's endpoint, port and secret."""
        payload = {"username": MASTER_USER, "password": self.password, "host": HOST, "port": self.port}
        arn = aws.put_secret(self.account, f"{self.env}/postgres-master", payload)
        aws.put_parameters(
            self.account,
            {
                names.postgres_admin_endpoint_ssm_path(self.env): HOST,
                names.postgres_admin_port_ssm_path(self.env): str(self.port),
                names.postgres_admin_secret_ssm_path(self.env): arn,
            },
        )

    def state(self) -> ServerState:
        """What the state file says of it."""
        return self._state(
            version=self.server.version, resource_id=self.resource_id, superuser_conninfo=self.server.superuser_conninfo
        )
