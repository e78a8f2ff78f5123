"""What credentials cost: minting a token, and 1,000 callers who all need them in the same instant, cold.

Requests are counted by a proxy before the emulated AWS. The event loop is watched by a task that wakes every
millisecond; what else the machine does can only lengthen a stall, so the shortest of the rounds is taken, and held
against that of a crowd that only waits. Each crowd is a new process: the AWS library is imported, and everything
resolved, while it waits. Where the callers also connect, psycopg itself stops the loop for as long as it takes to begin
a login, so the stall is measured without.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import boto3

from bench.counting import CountingProxy
from bench.environment import SERVICE, child_environment, provisioned
from bench.report import Row
from bench.timing import alternate, lower_decile
from soa_db._aws.signing import rds_token
from soa_db._sync.credentials import postgres_credentials
from soa_db.access.settings import load_settings
from soa_db.aws import AwsClients
from soa_db.config import AwsTarget, PoolConfig, PostgresConfig
from soa_db.postgres import load_postgres_config_from_aws

ROUNDS = 5
MINTED = 50
CALLERS = 1000


@dataclass(frozen=True, slots=True)
class Case:
    """Who connects where, and whether its AWS credentials are a container's or those of the environment."""

    config: PostgresConfig
    target: AwsTarget
    container: bool


@dataclass(slots=True)
class Crowd:
    """What the rounds of one kind of crowd gave."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, figures: dict[str, float], counts: Counter[str]) -> None:
        """Add a round: its times, and the highest count of each operation so far."""
        self.wall.append(figures["wall"])
        self.processor.append(figures["processor"])
        self.seconds.append(figures["seconds"])
        self.counts |= counts


def _minting(config: PostgresConfig, clients: AwsClients) -> list[Row]:
    credentials = clients.credentials()
    host, port, user, region = config.host, config.port, config.user or "", clients.region()
    rds = boto3.Session(credentials.access_key, credentials.secret_key, credentials.token, region).client("rds")
    provider = postgres_credentials(config, aws=clients)

    def ours() -> float:
        start = time.perf_counter()
        for _ in range(MINTED):
            rds_token(credentials, host=host, port=port, user=user, region=region, now=time.time())
        return time.perf_counter() - start

    def boto() -> float:
        start = time.perf_counter()
        for _ in range(MINTED):
            rds.generate_db_auth_token(host, port, user)
        return time.perf_counter() - start

    def asked() -> float:
        start = time.perf_counter()
        for _ in range(MINTED):
            provider.get()
        return time.perf_counter() - start

    times = lower_decile(alternate({"ours": ours, "boto3": boto, "asked": asked}, 60), scale=1e6 / MINTED)
    return [
        Row("minting a token", times["ours"], "us", times["boto3"], "boto3, client reused"),
        Row("credentials for a connect", times["asked"], "us", times["boto3"], "boto3, client reused"),
    ]


def _container_role(proxy: CountingProxy) -> None:
    """Make a role in the account of dev and mirror, and have the proxy give a session of it."""
    account = boto3.client("sts").get_caller_identity()["Account"]
    principal = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{account}:root"}, "Action": "sts:AssumeRole"}
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    iam, name = boto3.client("iam"), f"{SERVICE}-app"
    trust = json.dumps({"Version": "2012-10-17", "Statement": [principal]})
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    policy = json.dumps({"Version": "2012-10-17", "Statement": [everything]})
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=policy)
    session = boto3.client("sts").assume_role(RoleArn=arn, RoleSessionName="bench")["Credentials"]
    proxy.role = {
        "AccessKeyId": session["AccessKeyId"],
        "SecretAccessKey": session["SecretAccessKey"],
        "Token": session["SessionToken"],
        "Expiration": session["Expiration"].isoformat(),
    }


def _crowd(what: str, case: Case, endpoint: str) -> dict[str, float]:
    given = {"config": case.config.model_dump(mode="json"), "target": case.target.model_dump(mode="json")}
    environment = child_environment(AWS_ENDPOINT_URL=endpoint)
    if case.container:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            del environment[name]
        environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = f"{endpoint}/credentials"
    run = subprocess.run(
        [sys.executable, "-m", "bench.crowd", what],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=180,
    )
    if run.returncode:
        raise RuntimeError(f"the crowd of {what} failed: {run.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(run.stdout)
    return figures


def _cases() -> dict[str, Case]:
    patient = PoolConfig(connect_timeout=120)
    role = load_settings().environment("prod").target.model_copy(update={"endpoint_url": None})
    cases = {}
    for name, env, target in (
        ("parity secret", "dev", AwsTarget()),
        ("IAM", "mirror", AwsTarget()),
        ("IAM, role assumed", "prod", role),
    ):
        with AwsClients.from_target(target) as clients:
            config = load_postgres_config_from_aws(env=env, service=SERVICE, aws=clients, pool=patient)
        cases[name] = Case(config, target, container=env != "prod")
    return cases


def run() -> list[Row]:
    """Minting first, then the crowds."""
    with (
        provisioned(max_connections=CALLERS + 100) as local,
        CountingProxy(local.exports()["AWS_ENDPOINT_URL"]) as proxy,
    ):
        _container_role(proxy)
        cases = _cases()
        with AwsClients() as clients:
            rows = _minting(cases["IAM"].config, clients)
        crowds: dict[tuple[str, str], Crowd] = {}
        kinds = [("wait", "IAM"), *(("ask", name) for name in cases)]
        once = [("connect", "parity secret"), ("connect", "IAM")]
        _crowd("ask", cases["IAM"], proxy.endpoint)  # writes the bytecode
        for what, name in (*kinds * ROUNDS, *once):
            proxy.take()
            figures = _crowd(what, cases[name], proxy.endpoint)
            crowds.setdefault((what, name), Crowd()).add(figures, proxy.take())
    alone = min(crowds["wait", "IAM"].wall) * 1e3
    for (what, name), crowd in crowds.items():
        if what == "wait":
            continue
        title = f"1,000 {'connects' if what == 'connect' else 'callers'}, {name}"
        resolutions = crowd.counts["AssumeRole"] + crowd.counts["credentials"]
        rows += [
            Row(f"{title}: credential resolutions", resolutions, "requests", bar=1, bar_is="value"),
            Row(f"{title}: secret reads", crowd.counts["GetSecretValue"], "requests", bar=1, bar_is="value"),
        ]
        stall, processor = min(crowd.wall) * 1e3, min(crowd.processor) * 1e3
        if what == "ask":
            rows += [
                Row(f"{title}: longest stall", stall, "ms", alone, "1,000 that only wait", 10, "difference"),
                Row(f"{title}: longest step of the loop", processor, "ms CPU"),
            ]
        rows.append(Row(f"{title}: all done", statistics.median(crowd.seconds) * 1e3, "ms"))
    return rows
