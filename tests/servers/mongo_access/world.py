"""A MongoDB, the AWS that knows about it, and runs that can be killed at every command and call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.servers.aws_kit import stored_payload
from tests.servers.knife import Knife, cut_aws

from soa_db.access.engine import Request, Selection
from soa_db.access.mongo.entry import mongo_passwords, mongo_provisioner
from soa_db.access.mongo.rotate import rotate_mongo
from soa_db.access.mongo.session import Session, opens
from soa_db.access.mongo.state import UserName
from soa_db.access.plan import PlanOptions, ServerPlan
from soa_db.access.settings import Settings
from soa_db.access.spec import MongoRead, MongoShare, MongoSpec, Spec, SpecSet
from soa_db.config import MongoConfig, MongoHost, TlsConfig
from soa_db.errors import SecretNotFound
from soa_db.names import (
    MONGO_LOCK_DATABASE,
    Env,
    mongo_admin_secret_ssm_path,
    mongo_ca_secret_ssm_path,
    mongo_database,
    mongo_endpoint_ssm_path,
    mongo_hosts_ssm_path,
    mongo_port_ssm_path,
    mongo_replica_set_ssm_path,
    mongo_secret_name,
    mongo_user,
)

if TYPE_CHECKING:
    import pytest

    from soa_db.access.mongo.provision import MongoProvisioner
    from soa_db.access.rotate import RotateResult
    from soa_db.aws import AwsClients
    from soa_db.local.mongo import MongoDeployment

# A run that was killed is waited for no longer than this.
LOCK_SECONDS = 2.0
ADMIN, ADMIN_PASSWORD = "provisioner", "password-of-the-provisioner"
ADMIN_ROLES = ({"role": "userAdminAnyDatabase", "db": "admin"}, {"role": "readWrite", "db": MONGO_LOCK_DATABASE})


def spec(service: str, **mongo: Any) -> Spec:
    """A service with a ``mongo`` part."""
    return Spec(version=1, service=service, mongo=MongoSpec(**mongo))


def reads(service: str, *collections: str) -> tuple[MongoRead, ...]:
    """Collections another service owns."""
    return (MongoRead(service=service, collections=collections),)


def shares(service: str, *collections: str) -> tuple[MongoShare, ...]:
    """Collections for another service."""
    return (MongoShare(service=service, collections=collections),)


def clear(server: MongoDeployment) -> None:
    """Take away every user, role and document but the administrator's."""
    with server.admin() as client:
        for user in client.admin.command({"usersInfo": {"forAllDBs": True}})["users"]:
            if user["user"] != server.admin_user:
                client[user["db"]].command("dropUser", user["user"])
        for role in list(client.admin["system.roles"].find()):
            client[role["db"]].command("dropRole", role["role"])
        for name in client.list_database_names():
            if name not in {"admin", "config", "local"}:
                client.drop_database(name)


@dataclass
class World:
    """A server in an environment; its administrator and its whereabouts as AWS knows them.

    The administrator has the least that is enough (``access/mongo/admin.py``). A server that is ``shared`` with other
    tests is left as it is: names of the test's own.
    """

    server: MongoDeployment
    aws: AwsClients
    env: Env = "mirror"
    shared: bool = False
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        for secret in self.aws.call("secretsmanager", "list_secrets", MaxResults=100)["SecretList"]:
            if "mongo" in secret["Name"]:
                self.aws.call(
                    "secretsmanager", "delete_secret", SecretId=secret["ARN"], ForceDeleteWithoutRecovery=True
                )
        if not self.shared:
            self.clear()
        with self.server.admin() as client:
            if self.shared and client.admin.command("usersInfo", ADMIN)["users"]:
                client.admin.command("dropUser", ADMIN)
            client.admin.command(
                "createUser",
                ADMIN,
                pwd=ADMIN_PASSWORD,
                roles=[*ADMIN_ROLES],
            )
        self.announce()

    def clear(self) -> None:
        """Take away every user, role and document that a test before this one has left."""
        clear(self.server)

    def announce(self, user: str = ADMIN, password: str = ADMIN_PASSWORD) -> None:
        """Write the parameters, the administrator's secret and that of the CA."""
        hosts = ",".join(f"{host}:{port}" for host, port in self.server.hosts)
        master = f"admin-of-mongo-{self.env}"
        self.write_secret(master, {"username": user, "password": password})
        told = {mongo_admin_secret_ssm_path(self.env): master}
        if self.env == "mirror":
            ((host, port),) = self.server.hosts
            told |= {mongo_endpoint_ssm_path(): host, mongo_port_ssm_path(): str(port)}
        else:
            told[mongo_hosts_ssm_path(self.env)] = hosts
        if self.env != "dev":
            assert self.server.tls is not None
            assert self.server.tls.ca_pem is not None
            self.write_secret(f"ca-of-mongo-{self.env}", {"ca_cert": self.server.tls.ca_pem.decode()})
            told[mongo_ca_secret_ssm_path(self.env)] = f"ca-of-mongo-{self.env}"
            told[mongo_replica_set_ssm_path(self.env)] = self.server.replica_set or ""
        for path, value in told.items():
            self.aws.call("ssm", "put_parameter", Name=path, Value=value, Type="String", Overwrite=True)

    def write_secret(self, name: str, payload: dict[str, object]) -> None:
        """Write a secret and forget what was read of it before."""
        text = json.dumps(payload)
        try:
            self.aws.call("secretsmanager", "put_secret_value", SecretId=name, SecretString=text)
        except SecretNotFound:
            self.aws.call("secretsmanager", "create_secret", Name=name, SecretString=text)
        self.aws.secret(name, force=True)

    def request(self, *specs: Spec, told: list[str] | None = None, url: str | None = None, **options: Any) -> Request:
        """What a command would ask for."""
        return Request(
            SpecSet(specs),
            self.env,
            PlanOptions(**options),
            self.aws,
            self.settings,
            url,
            lambda event: None if told is None else told.append(f"{event.step}: {event.message}"),
        )

    def provisioner(
        self, *specs: Spec, told: list[str] | None = None, url: str | None = None, **options: Any
    ) -> MongoProvisioner:
        """What provisions these specs."""
        found = mongo_provisioner(self.request(*specs, told=told, url=url, **options))
        found.lock_seconds = LOCK_SECONDS
        return found

    def plan(self, *specs: Spec, **options: Any) -> ServerPlan:
        """What would be done."""
        return self.provisioner(*specs, **options).plan()

    def apply(self, *specs: Spec, told: list[str] | None = None, **options: Any) -> tuple[ServerPlan, ServerPlan]:
        """Provision: the plan and what is left after it."""
        with self.provisioner(*specs, told=told, **options).locked(60) as locked:
            plan = locked.plan()
            return plan, locked.carry_out(plan) if plan.changes or plan.errors else plan

    def rotate(self, *specs: Spec, told: list[str] | None = None, **selection: Any) -> RotateResult:
        """Rotate their passwords."""
        request = self.request(*specs, told=told)
        chosen = Selection(**{"all_consumers_reread": True, **selection})
        return rotate_mongo(mongo_passwords(request), chosen, progress=request.progress, lock_seconds=LOCK_SECONDS)

    def payload(self, service: str, stage: str = "AWSCURRENT") -> dict[str, Any] | None:
        """What a stage of the service's secret holds, past every cache."""
        return stored_payload(self.aws, mongo_secret_name(self.env, service), stage)

    def password(self, service: str, stage: str = "AWSCURRENT") -> str:
        """The password in a stage."""
        payload = self.payload(service, stage)
        assert payload is not None, f"{service} has nothing in {stage}"
        return str(payload["password"])

    @property
    def config(self) -> MongoConfig:
        """How services reach it, as nobody yet."""
        tls = self.server.tls
        return MongoConfig(
            instance_name="test",
            hosts=tuple(MongoHost(host=host, port=port) for host, port in self.server.hosts),
            database="admin",
            replica_set=self.server.replica_set,
            tls=None if tls is None or tls.ca_pem is None else TlsConfig(ca_pem=tls.ca_pem.decode()),
        )

    def opens(self, service: str, password: str) -> bool:
        """Whether a password opens the server for a service's user."""
        return opens(self.config, UserName(mongo_database(service), mongo_user(service)), password)

    def user(self, name: str, database: str) -> dict[str, Any] | None:
        """What the server says about a user."""
        with self.server.admin() as client:
            command = {"usersInfo": {"user": name, "db": database}, "showAuthenticationRestrictions": True}
            users = client.admin.command(command)["users"]
        found: dict[str, Any] | None = users[0] if users else None
        return found

    def run(self, database: str, command: dict[str, Any]) -> None:
        """Run a command as ``master``."""
        with self.server.admin() as client:
            client[database].command(command)


@contextmanager
def knife_at_work(monkeypatch: pytest.MonkeyPatch, knife: Knife) -> Iterator[Knife]:
    """Put the knife between the code and both MongoDB (the lock aside) and AWS."""
    command = Session.command

    def commanded(self: Session, database: str, body: dict[str, Any], *, what: str) -> Any:
        return knife.cut(f"mongo {next(iter(body))}", lambda: command(self, database, body, what=what))

    with monkeypatch.context() as patch:
        patch.setattr(Session, "command", commanded)
        cut_aws(patch, knife)
        yield knife
