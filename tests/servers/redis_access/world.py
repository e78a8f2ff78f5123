"""A self-run Redis, the AWS that knows about it, and runs that can be killed at every command and call."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.servers.aws_kit import stored_payload
from tests.servers.knife import Knife, cut_aws

from soa_db.access.engine import Request
from soa_db.access.plan import PlanOptions, ServerPlan
from soa_db.access.redis.entry import redis_provisioner
from soa_db.access.redis.self_run import SelfRun
from soa_db.access.redis.session import Session, opens
from soa_db.access.settings import EnvironmentSettings, RedisBackend, Settings
from soa_db.access.spec import RedisSpec, Spec, SpecSet
from soa_db.config import RedisConfig
from soa_db.errors import SecretNotFound
from soa_db.local.redis import RedisCluster
from soa_db.names import Env, redis_admin_secret_ssm_path, redis_endpoint_ssm_path, redis_secret_name, redis_user

if TYPE_CHECKING:
    import pytest

    from soa_db.access.plan import ProgressEvent
    from soa_db.access.redis.provision import RedisProvisioner
    from soa_db.aws import AwsClients
    from soa_db.local.redis import RedisServer


def spec(service: str, **redis: Any) -> Spec:
    """A service with a ``redis`` part."""
    return Spec(version=1, service=service, redis=RedisSpec(**redis))


@dataclass
class World:
    """A server in an environment; its administrator and its endpoint as AWS knows them."""

    server: RedisServer | RedisCluster
    aws: AwsClients
    env: Env = "mirror"
    backend: RedisBackend = "self"
    settings: Settings = field(init=False)

    def __post_init__(self) -> None:
        self.settings = Settings(environments={self.env: EnvironmentSettings(redis_backend=self.backend)})
        # The emulator is the session's: what other tests have stored for services of the same names goes first.
        for secret in self.aws.call("secretsmanager", "list_secrets", MaxResults=100)["SecretList"]:
            if secret["Name"].startswith(f"{self.env}/redis/"):
                self.aws.call(
                    "secretsmanager", "delete_secret", SecretId=secret["ARN"], ForceDeleteWithoutRecovery=True
                )
        self.announce()

    def announce(self) -> None:
        """Write the parameters and the administrator's secret."""
        name = f"admin-of-redis-{self.env}"
        payload = json.dumps({"username": self.server.admin_user, "password": self.server.admin_password})
        try:
            self.aws.call("secretsmanager", "put_secret_value", SecretId=name, SecretString=payload)
        except SecretNotFound:
            self.aws.call("secretsmanager", "create_secret", Name=name, SecretString=payload)
        self.aws.secret(name, force=True)
        for path, value in (
            (redis_endpoint_ssm_path(self.env), f"{self.server.host}:{self.server.port}"),
            (redis_admin_secret_ssm_path(self.env), name),
        ):
            self.aws.call("ssm", "put_parameter", Name=path, Value=value, Type="String", Overwrite=True)

    def provisioner(
        self,
        *specs: Spec,
        told: list[str] | None = None,
        act: Callable[[str], None] = lambda _: None,
        admin_url: str | None = None,
        **options: Any,
    ) -> RedisProvisioner:
        """What provisions these specs; each step is told, and something may happen at it."""

        def progress(event: ProgressEvent) -> None:
            if told is not None:
                told.append(f"{event.step}: {event.message}")
            act(event.message)

        found = redis_provisioner(
            Request(
                SpecSet(specs),
                self.env,
                PlanOptions(**options),
                self.aws,
                self.settings,
                admin_url,
                progress,
            )
        )
        if isinstance(found.server, SelfRun):
            found.server.lock_ttl = 3.0  # a run that was killed is waited for no longer than this
        return found

    def plan(self, *specs: Spec, **options: Any) -> ServerPlan:
        """What would be done."""
        return self.provisioner(*specs, **options).plan()

    def apply(self, *specs: Spec, **options: Any) -> tuple[ServerPlan, ServerPlan]:
        """Provision, as ``provisioner`` has it: the plan and what is left after it."""
        with self.provisioner(*specs, **options).locked(60) as locked:
            plan = locked.plan()
            return plan, locked.carry_out(plan) if plan.changes or plan.errors else plan

    def payload(self, service: str, stage: str = "AWSCURRENT") -> dict[str, Any] | None:
        """What a stage of the service's secret holds, past every cache."""
        return stored_payload(self.aws, redis_secret_name(self.env, service), stage)

    def password(self, service: str, stage: str = "AWSCURRENT") -> str:
        """The password in a stage."""
        payload = self.payload(service, stage)
        assert payload is not None, f"{service} has nothing in {stage}"
        return str(payload["password"])

    def config(self, **changes: Any) -> RedisConfig:
        """How services reach it."""
        config = RedisConfig.from_url(self.server.admin_url, instance_name="test")
        return config.model_copy(update={"user": None, **changes})

    def opens(self, service: str, password: str) -> bool:
        """Whether a password opens the server for a service's user."""
        return opens(self.config(), redis_user(service, self.env), password)

    def users(self) -> str:
        """ACL LIST of the (first) server."""
        with self.admin() as client:
            return "\n".join(client.acl_list())

    def admin(self) -> Any:
        """An administrator's client."""
        server = self.server.nodes[0] if isinstance(self.server, RedisCluster) else self.server
        return server.admin()


_READS = {"GET", "EXISTS", "ACL LIST", "ACL CAT", "ACL WHOAMI", "INFO", "CLIENT LIST", "CLIENT SETNAME", "CONFIG GET"}
_READS |= {"CLUSTER NODES", "AUTH", "WATCH", "UNWATCH", "MULTI"}


@contextmanager
def knife_at_work(monkeypatch: pytest.MonkeyPatch, knife: Knife) -> Iterator[Knife]:
    """Put the knife between the code and both Redis and AWS."""
    pipeline = Session.pipeline

    def pipelined(self: Session, commands: list[tuple[str | int, ...]]) -> list[Any]:
        words = [str(word).upper() for word in commands[0][:2]]
        name = words[0] if words[0] not in {"ACL", "CONFIG", "CLIENT", "CLUSTER"} else " ".join(words)
        if name in _READS:
            return pipeline(self, commands)
        found: list[Any] = knife.cut(f"redis {name}", lambda: pipeline(self, commands))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Session, "pipeline", pipelined)
        cut_aws(patch, knife)
        yield knife


def acl_file(server: RedisServer | RedisCluster) -> str:
    """What the (first) server would begin with after a restart."""
    first = server.nodes[0] if isinstance(server, RedisCluster) else server
    return first.acl_file.read_text("utf-8")
