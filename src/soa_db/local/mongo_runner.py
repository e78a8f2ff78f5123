"""MongoDB in a local environment: a standalone in dev, in mirror and prod a replica set with TLS."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from soa_db import names
from soa_db.local.mongo import ADMIN_USER, MongoServer
from soa_db.local.runner import HOST, Runner

if TYPE_CHECKING:
    import ssl

    from soa_db.local.aws import EmulatedAws
    from soa_db.local.engines import Engine
    from soa_db.local.server import Server
    from soa_db.local.state import ServerState
    from soa_db.local.tls import ServerTls
    from soa_db.names import Env

__all__ = ["REPLICA_SET", "MongoRunner"]

REPLICA_SET = "saga-rs"


class MongoRunner(Runner):
    """One environment's MongoDB: it speaks TLS itself, and clients are told its own port."""

    engine: ClassVar[Engine] = "mongo"

    def __init__(self, directory: Path, env: Env) -> None:
        super().__init__(directory, env)
        self.speaks_tls = env != "dev"
        self.server: MongoServer = MongoServer(
            self.folder, admin_password=self.password, replica_set=REPLICA_SET if self.speaks_tls else None
        )

    def certify(self, tls: ServerTls) -> None:
        """Show this certificate from the next start on."""
        self.server.tls = tls

    async def open(self, aws: EmulatedAws, tls: ssl.SSLContext) -> None:
        """No gate: to AWS it is a program on a machine."""
        del aws, tls
        self.port = self.server.port

    def _restore(self, source: Server, password: str) -> None:
        assert isinstance(source, MongoServer)
        self.server.restore(source)
        self.server.set_admin_password(password)

    def publish(self, aws: EmulatedAws) -> None:
        """Where the members are, the set's name, the CA's secret and the administrator's; in dev no set and no CA."""
        payload = {"username": ADMIN_USER, "password": self.password, "host": HOST, "port": self.port}
        arn = aws.put_secret(self.account, f"{self.env}/mongodb-master", payload)
        parameters = {names.mongo_admin_secret_ssm_path(self.env): arn}
        if self.env == "mirror":
            parameters[names.mongo_endpoint_ssm_path()] = HOST
            parameters[names.mongo_port_ssm_path()] = str(self.port)
        else:
            parameters[names.mongo_hosts_ssm_path(self.env)] = f"{HOST}:{self.port}"
        if self.server.tls is not None and self.server.tls.ca_pem is not None:
            ca_secret = {"ca_cert": self.server.tls.ca_pem.decode()}
            parameters |= {
                names.mongo_ca_secret_ssm_path(self.env): aws.put_secret(
                    self.account, f"{self.env}/mongodb-ca", ca_secret
                ),
                names.mongo_replica_set_ssm_path(self.env): REPLICA_SET,
            }
        aws.put_parameters(self.account, parameters)

    def state(self) -> ServerState:
        """What the state file says of it."""
        return self._state(version=self.server.version[0], resource_id=None, admin_url=self.server.admin_url)
