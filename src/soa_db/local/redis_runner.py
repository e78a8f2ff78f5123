"""Redis in a local environment: self-run in dev, behind TLS as an ElastiCache replication group in mirror and prod."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from soa_db import names
from soa_db.local.gates import TokenRefused
from soa_db.local.redis import ADMIN_USER, RedisServer
from soa_db.local.redis_gate import RedisGate
from soa_db.local.runner import HOST, Runner

if TYPE_CHECKING:
    import ssl

    from soa_db.local.aws import EmulatedAws
    from soa_db.local.elasticache import CacheUsers
    from soa_db.local.engines import Engine
    from soa_db.local.state import ServerState
    from soa_db.names import Env

__all__ = ["RedisRunner"]


class RedisRunner(Runner):
    """One environment's Redis: in mirror and prod its users are those of ElastiCache's user group, and no others."""

    engine: ClassVar[Engine] = "redis"

    def __init__(self, directory: Path, env: Env) -> None:
        super().__init__(directory, env)
        self.server: RedisServer = RedisServer(self.folder, admin_password=self.password)
        self.cache_name: str | None = None if env == "dev" else f"{env}-cache"
        self._users: CacheUsers | None = None

    async def open(self, aws: EmulatedAws, tls: ssl.SSLContext) -> None:
        """In mirror and prod: the gate, a replication group at its address, and the server as that group."""
        if self.cache_name is None:
            self.port = self.server.port
            return
        cache = self.cache_name

        def check(token: str, user: str) -> None:
            from soa_db.local.sigv4 import Fault

            try:
                aws.may_connect_to_cache(token, user=user, cache=cache, account=self.account)
            except Fault as fault:
                raise TokenRefused(str(fault)) from fault

        gate = RedisGate(self.server.host, self.server.port, secret_of=self._secret_of, check=check, tls=tls)
        self.gate = gate
        self.port = await gate.open()
        group = names.redis_user_group(self.env)
        self._users = aws.create_replication_group(self.account, cache, host=HOST, port=self.port, group_id=group)
        await self.run(partial(self._users.attach, cache, self.server))

    def _secret_of(self, user: str) -> str | None:
        if self._users is None or self.cache_name is None:
            return None
        return self._users.token_secret(self.cache_name, user)

    async def start(self) -> None:
        """Start the server; changes to its users that came while it was down are made up for."""
        await super().start()
        if self._users is not None and self.cache_name is not None:
            await self.run(partial(self._users.synchronise, [self.cache_name]))

    def publish(self, aws: EmulatedAws) -> None:
        """The endpoint, and in dev the administrator's secret: ElastiCache has no administrator who logs in."""
        parameters = {names.redis_endpoint_ssm_path(self.env): f"{HOST}:{self.port}"}
        if self.cache_name is None:
            payload = {"username": ADMIN_USER, "password": self.password, "host": HOST, "port": self.port}
            arn = aws.put_secret(self.account, f"{self.env}/redis-master", payload)
            parameters[names.redis_admin_secret_ssm_path(self.env)] = arn
        aws.put_parameters(self.account, parameters)

    def state(self) -> ServerState:
        """What the state file says of it."""
        return self._state(version=self.server.version[0], resource_id=self.cache_name, admin_url=self.server.admin_url)
