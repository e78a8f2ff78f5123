"""The emulated ElastiCache: its rules as AWS has them, its users on a real server, its tokens really checked."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import mock

import boto3
import pytest
import redis
from botocore.signers import RequestSigner
from redis import asyncio as aioredis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.retry import Retry
from tests.servers.test_local_aws import DEV, PROD, REGION, allow, client, refusal, trust

from soa_db.local.aws import EmulatedAws
from soa_db.local.gates import TokenRefused
from soa_db.local.redis_gate import RedisGate
from soa_db.local.sigv4 import Fault

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import RedisServerFactory

    from soa_db.local.elasticache import CacheUsers
    from soa_db.local.redis import RedisServer
    from soa_db.local.tls import ServerTls

CACHE, GROUP = "test-cache", "cache-test"
ARN = f"arn:aws:elasticache:{REGION}:{DEV}"
PASSWORD, OTHER_PASSWORD = "password-number-one", "password-number-two"


@pytest.fixture(scope="module")
def aws() -> Iterator[EmulatedAws]:
    """One emulator in this process."""
    emulator = EmulatedAws((DEV, PROD), region=REGION)
    emulator.start()
    yield emulator
    emulator.stop()


@pytest.fixture(scope="module")
def users(aws: EmulatedAws) -> CacheUsers:
    """The users of an account with one cache."""
    return aws.create_replication_group(DEV, CACHE, host="localhost", port=6379, group_id=GROUP)


@pytest.fixture(scope="module")
def elasticache(aws: EmulatedAws, users: CacheUsers) -> Any:
    """An administrator's client."""
    return client(aws, "elasticache", aws.create_user(DEV, "elasticache-admin"))


@pytest.fixture
def server(redis_server_factory: RedisServerFactory, users: CacheUsers) -> RedisServer:
    """A real server that is the cache."""
    server = redis_server_factory()
    users.attach(CACHE, server)
    return server


@pytest.fixture
def make_user(elasticache: Any, unique_name: str) -> Callable[..., str]:
    """Make a user; its id and name."""

    def make(access: str = "on ~* +@read +@write +@connection -@dangerous +acl|whoami", **options: Any) -> str:
        name = f"{unique_name}-{secrets.token_hex(3)}"
        proof = options or {"Passwords": [PASSWORD]}
        elasticache.create_user(UserId=name, UserName=name, Engine="redis", AccessString=access, **proof)
        return name

    return make


def settle(elasticache: Any, user: str) -> str:
    """Look until a user and the group are active; the statuses seen."""
    seen = [elasticache.describe_users(UserId=user)["Users"][0]["Status"] for _ in range(2)]
    elasticache.describe_user_groups(UserGroupId=GROUP)
    return " ".join(seen)


def join(elasticache: Any, *names: str) -> None:
    """Take users into the cache's group."""
    elasticache.modify_user_group(UserGroupId=GROUP, UserIdsToAdd=list(names))
    elasticache.describe_user_groups(UserGroupId=GROUP)


def login(server: RedisServer, user: str, password: str = PASSWORD) -> redis.Redis:
    """A client of a user's own that tries once."""
    return redis.Redis(port=server.port, username=user, password=password, retry=Retry(NoBackoff(), 0))


# --- the API


def test_a_user_is_shown_without_its_passwords(elasticache: Any, make_user: Callable[..., str]) -> None:
    """With its access string as AWS stores it, how it proves who it is, and its ARN."""
    name = make_user("on ~a:* +@read -scan", Passwords=[PASSWORD, OTHER_PASSWORD])
    answer = elasticache.describe_users(UserId=name)
    assert PASSWORD not in str(answer)
    (user,) = answer["Users"]
    assert user["AccessString"] == "on ~a:* -@all +@read -scan"
    assert user["Authentication"] == {"Type": "password", "PasswordCount": 2}
    assert (user["Status"], user["UserGroupIds"], user["ARN"]) == ("active", [], f"{ARN}:user:{name}")
    iam = make_user(AuthenticationMode={"Type": "iam"})
    (user,) = elasticache.describe_users(UserId=iam)["Users"]
    assert user["Authentication"] == {"Type": "iam"}
    open_ = make_user(NoPasswordRequired=True)
    assert elasticache.describe_users(UserId=open_)["Users"][0]["Authentication"] == {"Type": "no-password"}
    assert {name, iam, open_} <= {user["UserId"] for user in elasticache.describe_users()["Users"]}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"UserId": "two--hyphens"}, "InvalidParameterValue"),
        ({"UserId": "ends-with-"}, "InvalidParameterValue"),
        ({"UserId": "1st"}, "InvalidParameterValue"),
        ({"UserId": "x" * 41}, "InvalidParameterValue"),
        ({"UserName": "with space"}, "InvalidParameterValue"),
        ({"UserName": "master"}, "InvalidParameterValue"),
        ({"Engine": "memcached"}, "InvalidParameterValue"),
        ({"Passwords": ["too short"]}, "InvalidParameterValue"),
        ({"Passwords": ["x" * 129]}, "InvalidParameterValue"),
        ({"Passwords": [PASSWORD] * 3}, "InvalidParameterCombination"),
        ({"Passwords": None}, "InvalidParameterValue"),
        ({"NoPasswordRequired": True}, "InvalidParameterCombination"),
        ({"AuthenticationMode": {"Type": "iam"}}, "InvalidParameterCombination"),
        (
            {"AuthenticationMode": {"Type": "iam"}, "Passwords": None, "UserName": "other"},
            "InvalidParameterCombination",
        ),
        ({"AuthenticationMode": {"Type": "password"}, "Passwords": None}, "InvalidParameterCombination"),
        ({"AuthenticationMode": {"Type": "password", "Passwords": [PASSWORD]}}, "InvalidParameterCombination"),
        ({"AuthenticationMode": {"Type": "magic"}}, "InvalidParameterValue"),
        ({"AccessString": "on >secret-of-mine"}, "InvalidParameterValue"),
        ({"AccessString": "on +no-such-command"}, "InvalidParameterValue"),
        ({"AccessString": "on +@nonsense"}, "InvalidParameterValue"),
    ],
)
def test_users_that_aws_refuses(
    elasticache: Any, server: RedisServer, unique_name: str, change: dict[str, Any], code: str
) -> None:
    """By its rules; which commands there are, a real server says."""
    good = {
        "UserId": unique_name,
        "UserName": unique_name,
        "Engine": "redis",
        "AccessString": "on ~* +@read",
        "Passwords": [PASSWORD],
    }
    wanted = {name: value for name, value in (good | change).items() if value is not None}
    got, _, text = refusal(partial(elasticache.create_user, **wanted))
    assert got == code
    assert "secret-of-mine" not in text
    with server.admin() as master:
        assert unique_name not in master.acl_users()
        assert not [name for name in master.acl_users() if name.startswith("soa-db-")]


def test_groups_need_a_default_user_and_know_no_two_of_one_name(
    elasticache: Any, make_user: Callable[..., str], unique_name: str
) -> None:
    """The rules of user groups for Redis."""
    user = make_user()
    make = partial(elasticache.create_user_group, UserGroupId=unique_name, Engine="redis")
    assert refusal(partial(make, UserIds=[user]))[0] == "DefaultUserRequired"
    assert refusal(partial(make, UserIds=["default", "nobody"]))[0] == "UserNotFound"
    assert refusal(partial(make, UserIds=["default", f"{CACHE}-default"]))[0] == "DuplicateUserName"
    made = make(UserIds=["default", user])
    assert (made["Status"], made["ReplicationGroups"]) == ("creating", [])
    assert refusal(partial(make, UserIds=["default"]))[0] == "UserGroupAlreadyExists"
    modify = partial(elasticache.modify_user_group, UserGroupId=unique_name)
    assert refusal(partial(modify, UserIdsToRemove=[user]))[0] == "InvalidUserGroupState"
    elasticache.describe_user_groups(UserGroupId=unique_name)
    assert refusal(partial(modify, UserIdsToRemove=["default"]))[0] == "DefaultUserRequired"
    assert refusal(partial(modify, UserIdsToAdd=[user]))[0] == "InvalidParameterValue"
    assert refusal(modify)[0] == "InvalidParameterCombination"
    # The default user may be exchanged for another of that name, which is how it is switched off.
    swapped = modify(UserIdsToAdd=[f"{CACHE}-default"], UserIdsToRemove=["default"])
    assert swapped["UserIds"] == [user, f"{CACHE}-default"]
    elasticache.describe_user_groups()
    assert elasticache.delete_user_group(UserGroupId=unique_name)["Status"] == "deleting"
    assert refusal(partial(elasticache.describe_user_groups, UserGroupId=unique_name))[0] == "UserGroupNotFound"
    assert refusal(partial(elasticache.delete_user_group, UserGroupId=GROUP))[0] == "InvalidUserGroupState"


def test_default_and_missing_users_cannot_be_changed(elasticache: Any, unique_name: str) -> None:
    """The one AWS makes is fixed, and one that a group needs stays."""
    modify = partial(elasticache.modify_user, AccessString="off")
    assert refusal(partial(modify, UserId="default"))[0] == "InvalidParameterValue"
    assert refusal(partial(modify, UserId=unique_name))[0] == "UserNotFound"
    for user, code in (
        ("default", "InvalidParameterValue"),
        (f"{CACHE}-default", "DefaultUserAssociatedToUserGroup"),
        (unique_name, "UserNotFound"),
    ):
        assert refusal(partial(elasticache.delete_user, UserId=user))[0] == code
    assert refusal(partial(elasticache.describe_users, UserId=unique_name))[0] == "UserNotFound"


def test_serverless_caches(elasticache: Any, unique_name: str) -> None:
    """They have one user group too."""
    create = partial(elasticache.create_serverless_cache, ServerlessCacheName=unique_name)
    assert refusal(partial(create, Engine="valkey", UserGroupId="none"))[0] == "UserGroupNotFound"
    assert refusal(partial(create, Engine="other"))[0] == "InvalidParameterValue"
    made = create(Engine="valkey", UserGroupId=GROUP)["ServerlessCache"]
    assert made["ARN"] == f"{ARN}:serverlesscache:{unique_name}"
    assert refusal(partial(create, Engine="valkey"))[0] == "ServerlessCacheAlreadyExistsFault"
    describe = partial(elasticache.describe_serverless_caches, ServerlessCacheName=unique_name)
    assert describe()["ServerlessCaches"][0]["UserGroupId"] == GROUP
    assert unique_name in [
        cache["ServerlessCacheName"] for cache in elasticache.describe_serverless_caches()["ServerlessCaches"]
    ]
    (group,) = elasticache.describe_user_groups(UserGroupId=GROUP)["UserGroups"]
    assert unique_name in group["ServerlessCaches"]
    elasticache.delete_serverless_cache(ServerlessCacheName=unique_name)
    assert refusal(describe)[0] == "ServerlessCacheNotFoundFault"


def test_users_and_groups_have_tags(elasticache: Any, make_user: Callable[..., str], unique_name: str) -> None:
    """Given when they are made, or later; gone with them."""
    tags = [{"Key": "managed-by", "Value": "soa-db"}]
    user = make_user(Passwords=[PASSWORD], Tags=tags)
    elasticache.create_user_group(UserGroupId=unique_name, Engine="redis", UserIds=["default"], Tags=tags)
    arns = [f"{ARN}:user:{user}", f"{ARN}:usergroup:{unique_name}"]
    for arn in arns:
        assert elasticache.list_tags_for_resource(ResourceName=arn)["TagList"] == tags
        elasticache.add_tags_to_resource(ResourceName=arn, Tags=[{"Key": "service", "Value": "chat"}])
        assert len(elasticache.list_tags_for_resource(ResourceName=arn)["TagList"]) == 2
    elasticache.delete_user(UserId=user)
    elasticache.describe_user_groups()
    elasticache.delete_user_group(UserGroupId=unique_name)
    for arn in arns:
        assert elasticache.list_tags_for_resource(ResourceName=arn)["TagList"] == []


def test_policies_name_users_and_groups(aws: EmulatedAws, elasticache: Any, make_user: Callable[..., str]) -> None:
    """Whoever may change one user may not change another, nor take it into a group."""
    mine, other = make_user(), make_user()
    policy = allow("elasticache:*", [f"{ARN}:user:{mine}", f"{ARN}:usergroup:{GROUP}"])
    limited = client(aws, "elasticache", aws.create_user(DEV, f"limited-{mine}", policy))
    limited.modify_user(UserId=mine, AccessString="on +get")
    code, _, text = refusal(partial(limited.modify_user, UserId=other, AccessString="on +@all"))
    assert code == "AccessDenied"
    assert f"{ARN}:user:{other}" in text
    add = partial(limited.modify_user_group, UserGroupId=GROUP)
    assert refusal(partial(add, UserIdsToAdd=[mine, other]))[0] == "AccessDenied"
    assert refusal(limited.describe_users)[0] == "AccessDenied"
    modify = partial(limited.modify_replication_group, ReplicationGroupId=CACHE, ApplyImmediately=True)
    assert refusal(partial(modify, UserGroupIdsToRemove=[GROUP]))[0] == "AccessDenied"


# --- what it does to a server


def test_a_member_of_the_group_exists_on_the_server_and_nobody_else(
    elasticache: Any, users: CacheUsers, server: RedisServer, make_user: Callable[..., str]
) -> None:
    """With its access string; it is gone once it has left."""
    name, stranger = make_user("on ~a:* +@read +@write +@connection -@dangerous -scan"), make_user()
    join(elasticache, name)
    with login(server, name) as user:
        user.set("a:1", "x")
        for forbidden in (partial(user.get, "b:1"), user.scan, user.flushall):
            with pytest.raises(NoPermissionError):
                forbidden()
        with login(server, stranger) as nobody, pytest.raises(AuthenticationError):
            nobody.ping()
        with redis.Redis(port=server.port) as default, pytest.raises(AuthenticationError):
            default.ping()
        elasticache.modify_user_group(UserGroupId=GROUP, UserIdsToRemove=[name])
        with pytest.raises((AuthenticationError, redis.exceptions.ConnectionError)):
            user.get("a:1")
    elasticache.describe_user_groups()
    with server.admin() as master:
        assert set(master.acl_users()) == {"master", *users.users_of(CACHE)}
        assert name not in master.acl_users()


def test_two_passwords_are_how_to_rotate(elasticache: Any, server: RedisServer, make_user: Callable[..., str]) -> None:
    """Both work until the first is taken away; a change is `modifying` until it has been looked at."""
    name = make_user()
    join(elasticache, name)
    changed = elasticache.modify_user(UserId=name, Passwords=[PASSWORD, OTHER_PASSWORD])
    assert (changed["Status"], changed["Authentication"]["PasswordCount"]) == ("modifying", 2)
    again = partial(elasticache.modify_user, UserId=name, Passwords=[OTHER_PASSWORD])
    assert refusal(again)[0] == "InvalidUserState"
    (group,) = elasticache.describe_user_groups(UserGroupId=GROUP)["UserGroups"]
    assert group["Status"] == "modifying"
    assert settle(elasticache, name) == "modifying active"
    for password in (PASSWORD, OTHER_PASSWORD):
        with login(server, name, password) as user:
            assert user.ping()
    again()
    settle(elasticache, name)
    with login(server, name) as old, pytest.raises(AuthenticationError):
        old.ping()
    with login(server, name, OTHER_PASSWORD) as new:
        assert new.ping()


def test_rights_can_be_replaced_and_added_to(
    elasticache: Any, server: RedisServer, make_user: Callable[..., str]
) -> None:
    """AccessString and AppendAccessString."""
    name = make_user("on ~a:* +get")
    join(elasticache, name)
    both = partial(elasticache.modify_user, UserId=name, AccessString="on", AppendAccessString="on")
    assert refusal(both)[0] == "InvalidParameterCombination"
    assert elasticache.modify_user(UserId=name, AppendAccessString="+set")["AccessString"] == "on ~a:* -@all +get +set"
    settle(elasticache, name)
    with login(server, name) as user:
        user.set("a:1", "x")
    elasticache.modify_user(UserId=name, AccessString="off ~a:* +get")
    settle(elasticache, name)
    with login(server, name) as user, pytest.raises(AuthenticationError):
        user.ping()


def test_a_deleted_user_leaves_the_group_and_the_server(
    elasticache: Any, server: RedisServer, make_user: Callable[..., str]
) -> None:
    """Shown once more as `deleting`."""
    name = make_user()
    join(elasticache, name)
    assert elasticache.delete_user(UserId=name)["Status"] == "deleting"
    assert elasticache.describe_users(UserId=name)["Users"][0]["Status"] == "deleting"
    assert refusal(partial(elasticache.describe_users, UserId=name))[0] == "UserNotFound"
    (group,) = elasticache.describe_user_groups(UserGroupId=GROUP)["UserGroups"]
    assert name not in group["UserIds"]
    with server.admin() as master:
        assert name not in master.acl_users()


def test_a_cache_without_groups_is_open_as_in_aws(
    elasticache: Any, server: RedisServer, make_user: Callable[..., str]
) -> None:
    """Until a group closes it; a replication group has one at most."""
    modify = partial(elasticache.modify_replication_group, ReplicationGroupId=CACHE, ApplyImmediately=True)
    assert modify(UserGroupIdsToRemove=[GROUP])["ReplicationGroup"]["UserGroupIds"] == []
    try:
        with redis.Redis(port=server.port) as anybody:
            assert anybody.ping()
        assert refusal(partial(modify, UserGroupIdsToRemove=[GROUP]))[0] == "InvalidParameterCombination"
        assert refusal(partial(modify, UserGroupIdsToAdd=["nothing"]))[0] == "UserGroupNotFound"
        missing = partial(elasticache.modify_replication_group, ReplicationGroupId="nothing")
        assert refusal(partial(missing, UserGroupIdsToAdd=[GROUP]))[0] == "ReplicationGroupNotFoundFault"
    finally:
        modify(UserGroupIdsToAdd=[GROUP])
    with redis.Redis(port=server.port) as anybody, pytest.raises(AuthenticationError):
        anybody.ping()
    (group,) = elasticache.describe_user_groups(UserGroupId=GROUP)["UserGroups"]
    assert group["ReplicationGroups"] == [CACHE]


def test_what_was_changed_while_the_server_was_down_is_made_up_for(
    elasticache: Any, users: CacheUsers, server: RedisServer, make_user: Callable[..., str]
) -> None:
    """The API does not wait for it."""
    name = make_user()
    server.kill()
    join(elasticache, name)
    server.start()
    with login(server, name) as user, pytest.raises(AuthenticationError):
        user.ping()
    users.synchronise()
    with login(server, name) as user:
        assert user.ping()
    # And what was there before the crash is there after it.
    server.kill()
    server.start()
    with login(server, name) as user:
        assert user.ping()


# --- IAM


@pytest.fixture
def iam_user(elasticache: Any, server: RedisServer, make_user: Callable[..., str]) -> str:
    """A user on IAM who may come in."""
    name = make_user(AuthenticationMode={"Type": "iam"})
    join(elasticache, name)
    return name


def session_for(aws: EmulatedAws, name: str, *resources: str) -> boto3.Session:
    """An assumed role that may connect to these."""
    role = aws.create_role(
        DEV,
        f"r-{secrets.token_hex(4)}-{name}"[:60],
        trust=trust(f"arn:aws:iam::{DEV}:root"),
        policy=allow("elasticache:Connect", list(resources)),
    )
    sts = client(aws, "sts", aws.create_user(DEV, f"u-{secrets.token_hex(4)}"))
    keys = sts.assume_role(RoleArn=role, RoleSessionName="tests")["Credentials"]
    return boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], REGION)


def token(session: boto3.Session, user: str, *, cache: str = CACHE, service: str = "elasticache", **more: str) -> str:
    """A token as the examples of the User Guide make it."""
    made = session.client(service if service == "rds" else "elasticache")
    signer = RequestSigner(
        made.meta.service_model.service_id,
        REGION,
        service,
        "v4",
        session.get_credentials(),
        session.events,
    )
    query = "&".join(f"{name}={value}" for name, value in {"Action": "connect", "User": user, **more}.items())
    request = {"method": "GET", "url": f"https://{cache}/?{query}", "body": {}, "headers": {}, "context": {}}
    url = signer.generate_presigned_url(request, operation_name="connect", expires_in=900, region_name=REGION)
    return str(url).removeprefix("https://")


@dataclass(frozen=True)
class Way:
    """To a server, through a gate."""

    aws: EmulatedAws
    users: CacheUsers
    server: RedisServer
    tls: ssl.SSLContext
    ca_file: Path

    @asynccontextmanager
    async def gate(self, **options: Any) -> AsyncIterator[int]:
        """A gate in front of the server; its port."""

        def check(token: str, user: str) -> None:
            try:
                self.aws.may_connect_to_cache(token, user=user, cache=CACHE, account=DEV)
            except Fault as fault:
                raise TokenRefused(str(fault)) from fault

        secret_of = partial(self.users.token_secret, CACHE)
        host, port = self.server.host, self.server.port
        made = RedisGate(host, port, secret_of=secret_of, check=check, tls=self.tls, **options)
        port = await made.open()
        try:
            yield port
        finally:
            await made.close()

    def client(self, port: int, user: str, password: str, **options: Any) -> Any:
        """A client at the gate that tries once."""
        return aioredis.Redis(
            host="localhost",
            port=port,
            username=user,
            password=password,
            retry=aioredis.retry.Retry(NoBackoff(), 0),
            **{"ssl": True, "ssl_ca_certs": str(self.ca_file), **options},
        )


@pytest.fixture
def tls(server_tls: ServerTls, tmp_path: Path) -> ssl.SSLContext:
    """A context with a certificate for localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pem = tmp_path / "gate.pem"
    pem.write_bytes(server_tls.cert_pem + server_tls.key_pem)
    context.load_cert_chain(pem)
    return context


@pytest.fixture
def way(aws: EmulatedAws, users: CacheUsers, server: RedisServer, tls: ssl.SSLContext, ca_file: Path) -> Way:
    """From here to the server."""
    return Way(aws, users, server, tls, ca_file)


@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_token_opens_the_gate_and_the_session_is_the_users(way: Way, iam_user: str, protocol: int) -> None:
    """By AUTH and by HELLO; the rights are those of its access string."""
    session = session_for(way.aws, iam_user, f"{ARN}:replicationgroup:{CACHE}", f"{ARN}:user:{iam_user}")
    async with way.gate() as port, way.client(port, iam_user, token(session, iam_user), protocol=protocol) as mine:
        assert (await mine.acl_whoami()) in {iam_user, iam_user.encode()}
        await mine.set("k", "v" * 300_000)
        assert await mine.strlen("k") == 300_000
        with pytest.raises(NoPermissionError):
            await mine.flushall()
        pipeline = mine.pipeline(transaction=False)
        for number in range(500):
            pipeline.set(f"k{number}", number)
            pipeline.get(f"k{number}")
        assert (await pipeline.execute())[1::2] == [str(number).encode() for number in range(500)]


async def test_what_does_not_open_the_gate(way: Way, iam_user: str) -> None:
    """In Redis's own words, whatever is wrong."""
    both = (f"{ARN}:replicationgroup:{CACHE}", f"{ARN}:user:{iam_user}")
    session = session_for(way.aws, iam_user, *both)
    half = [session_for(way.aws, iam_user, resource) for resource in both]
    elsewhere = session_for(way.aws, iam_user, *(arn.replace(DEV, PROD) for arn in both))
    past = datetime.now(UTC) - timedelta(seconds=901)
    with mock.patch("botocore.auth.get_current_datetime", return_value=past.replace(tzinfo=None)):
        old = token(session, iam_user)
    good = token(session, iam_user)
    refused = {
        "a password": PASSWORD,
        "another user's": token(session, "somebody-else"),
        "another cache's": token(session, iam_user, cache="other-cache"),
        "a serverless cache's": token(session, iam_user, ResourceType="ServerlessCache"),
        "another service's": token(session, iam_user, service="rds-db"),
        "an old one": old,
        "a changed one": good[:-1] + ("0" if good[-1] != "0" else "1"),
        "without rights on the user": token(half[0], iam_user),
        "without rights on the cache": token(half[1], iam_user),
        "with rights in another account": token(elsewhere, iam_user),
        "not ASCII": "ü" * 20,
    }
    async with way.gate() as port:
        for what, password in refused.items():
            async with way.client(port, iam_user, password) as client_:
                with pytest.raises(AuthenticationError) as caught:
                    await client_.ping()
            assert "invalid username-password pair" in str(caught.value), what
        # Past the gate a token is worth nothing.
        with login(way.server, iam_user, good) as direct, pytest.raises(AuthenticationError):
            direct.ping()
        async with way.client(port, iam_user, good) as mine:
            assert await mine.ping()


def test_a_serverless_cache_wants_tokens_of_its_own_kind(aws: EmulatedAws, unique_name: str) -> None:
    """With its kind signed into them, and rights on the serverless cache."""
    user, cache = unique_name, "some-serverless"
    session = session_for(aws, user, f"{ARN}:serverlesscache:{cache}", f"{ARN}:user:{user}")
    other = session_for(aws, user, f"{ARN}:replicationgroup:{cache}", f"{ARN}:user:{user}")
    check = partial(aws.may_connect_to_cache, user=user, cache=cache, account=DEV, serverless=True)
    marked = partial(token, user=user, cache=cache, ResourceType="ServerlessCache")
    assert "assumed-role" in check(marked(session))
    with pytest.raises(Fault, match="ResourceType"):
        check(token(session, user, cache=cache))
    with pytest.raises(Fault, match="serverlesscache"):
        check(marked(other))


async def test_passwords_pass_and_plain_text_does_not(
    way: Way, elasticache: Any, make_user: Callable[..., str]
) -> None:
    """Who is not on IAM talks to the server; nobody talks without TLS."""
    name = make_user()
    join(elasticache, name)
    async with way.gate() as port:
        async with way.client(port, name, PASSWORD) as mine:
            assert await mine.ping()
            assert (await mine.execute_command("AUTH", name, PASSWORD)) in {True, "OK", b"OK"}
        async with way.client(port, name, OTHER_PASSWORD) as wrong:
            with pytest.raises(AuthenticationError):
                await wrong.ping()
        async with way.client(port, name, PASSWORD, ssl=False, ssl_ca_certs=None) as plain:
            with pytest.raises(redis.exceptions.ConnectionError):
                await plain.ping()
        way.server.kill()
        async with way.client(port, name, PASSWORD) as nothing_there:
            with pytest.raises(redis.exceptions.ConnectionError):
                await nothing_there.ping()


async def test_a_connection_ends_unless_it_authenticates_again(way: Way, iam_user: str) -> None:
    """After twelve hours, here after one second; a new AUTH puts it off."""
    session = session_for(way.aws, iam_user, f"{ARN}:replicationgroup:{CACHE}", f"{ARN}:user:{iam_user}")
    async with way.gate(limit=1.0) as port:
        client_ = way.client(port, iam_user, token(session, iam_user), single_connection_client=True)
        async with client_ as mine:
            for _ in range(6):
                await asyncio.sleep(0.25)
                await mine.execute_command("AUTH", iam_user, token(session, iam_user))
            connection = mine.connection
            assert connection is not None
            assert connection.is_connected
            with pytest.raises(redis.exceptions.ConnectionError):
                # It reads until the gate hangs up; nothing else is coming.
                await connection.read_response(disconnect_on_error=True)
