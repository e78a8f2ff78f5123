"""Credentials at connect time, both kinds, on an emulated AWS: rotation, tokens, who is asked how often."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr
from tests.servers.aws_kit import ACCOUNT, OTHER_ACCOUNT, REGION, Clients, CountingAws, Make, allow, settle, trust

from soa_db import IamAuth, NoAuth, PasswordAuth, PostgresConfig, SecretAuth
from soa_db._async.credentials import postgres_credentials as async_credentials
from soa_db._runtime._sync import gather
from soa_db._runtime.clock import Clock
from soa_db._sync.credentials import postgres_credentials as sync_credentials
from soa_db.aws import AsyncAwsClients, AwsClients
from soa_db.credentials import Credentials
from soa_db.errors import ConfigurationError, SecretMalformed

Provide = Callable[..., Any]


def config(auth: PasswordAuth | SecretAuth | IamAuth | NoAuth, **changes: Any) -> PostgresConfig:
    """A config with this way to authenticate."""
    fields = {"instance_name": "chat", "host": "db.example", "database": "chat", "user": "u", "auth": auth}
    return PostgresConfig(**{**fields, **changes})


def provide(clients: Clients, shown: PostgresConfig, **more: Any) -> Any:
    """The credential provider of the clients' kind."""
    make: Provide = async_credentials if isinstance(clients, AsyncAwsClients) else sync_credentials
    return make(shown, aws=clients, **more)


async def put(clients: Clients, secret_id: str, stage: str, **payload: object) -> None:
    """Write a version of a secret with one stage."""
    text = json.dumps(payload)
    await settle(
        clients.call("secretsmanager", "put_secret_value", SecretId=secret_id, SecretString=text, VersionStages=[stage])
    )


async def test_a_password_of_the_config_is_all_there_is(make: Make) -> None:
    """Once refused, there is no other."""
    for auth, secret in ((PasswordAuth(password=SecretStr("p")), "p"), (NoAuth(), "")):
        credentials = provide(make(), config(auth))
        found = await settle(credentials.get())
        assert (found.user, found.secret) == ("u", secret)
        assert await settle(credentials.refresh(found)) is None


async def test_a_rotation_is_followed_at_every_step(aws: CountingAws, make: Make, unique_name: str) -> None:
    """Old password live, new one set but pending, promoted, and rolled back."""
    aws.put_secret(ACCOUNT, unique_name, {"username": "v", "password": "old"})
    clients = make()
    credentials = provide(clients, config(SecretAuth(secret_id=unique_name), user=None))
    old = await settle(credentials.get())
    assert old == Credentials("v", "old", source=unique_name)
    assert await settle(credentials.refresh(old)) is None  # refused for another reason: no rotation is under way

    await put(clients, unique_name, "AWSPENDING", username="v", password="new")
    new = await settle(credentials.refresh(old))
    assert new == Credentials("v", "new", source=unique_name)
    assert await settle(credentials.get()) == new  # AWSCURRENT is still the old one

    await put(clients, unique_name, "AWSCURRENT", username="v", password="new")
    assert await settle(credentials.get()) == new
    await put(clients, unique_name, "AWSCURRENT", username="v", password="newer")
    newer = await settle(credentials.refresh(new))
    assert newer.secret == "newer"
    assert await settle(credentials.get()) == newer


async def test_a_rotation_that_is_rolled_back_is_followed_too(aws: CountingAws, make: Make, unique_name: str) -> None:
    """The pending password is refused, the current one is good again."""
    aws.put_secret(ACCOUNT, unique_name, {"password": "old"})
    clients = make()
    credentials = provide(clients, config(SecretAuth(secret_id=unique_name)))
    old = await settle(credentials.get())
    await put(clients, unique_name, "AWSPENDING", password="new")
    new = await settle(credentials.refresh(old))
    assert await settle(credentials.refresh(new)) == old
    assert await settle(credentials.get()) == old


async def test_the_config_names_the_user_unless_it_leaves_that_to_the_secret(
    aws: CountingAws, make: Make, unique_name: str
) -> None:
    """One of them has to."""
    aws.put_secret(ACCOUNT, unique_name, {"password": "p"})
    shown = config(SecretAuth(secret_id=unique_name))
    assert (await settle(provide(make(), shown).get())).user == "u"
    with pytest.raises(SecretMalformed, match="'username'"):
        await settle(provide(make(), config(SecretAuth(secret_id=unique_name), user=None)).get())
    with pytest.raises(ConfigurationError, match="user"):
        provide(make(), config(IamAuth(region=REGION), user=None))


async def test_a_thousand_refusals_cause_two_reads(aws: CountingAws, unique_name: str) -> None:
    """One of AWSCURRENT, one of AWSPENDING, however many connections were refused, at once or late."""
    aws.put_secret(ACCOUNT, unique_name, {"password": "old"})
    async with AsyncAwsClients() as clients:
        credentials = async_credentials(config(SecretAuth(secret_id=unique_name)), aws=clients)
        old = await credentials.get()
        await put(clients, unique_name, "AWSPENDING", password="new")
        aws.seen.clear()

        async def refused(number: int) -> Credentials | None:
            # A hundred at once, the others one by one, before the first answer and after it.
            await asyncio.sleep(max(0, number - 100) * 1e-4)
            return await credentials.refresh(old)

        found = await asyncio.gather(*(refused(number) for number in range(1000)))
        assert {one and one.secret for one in found} == {"new"}
        assert aws.seen == {"GetSecretValue": 2}


def test_refused_threads_cause_two_reads_too(aws: CountingAws, unique_name: str) -> None:
    """The blocking twin: the first one refused reads for all."""
    aws.put_secret(ACCOUNT, unique_name, {"password": "old"})
    with AwsClients() as clients:
        credentials = sync_credentials(config(SecretAuth(secret_id=unique_name)), aws=clients)
        old = credentials.get()
        version = {"SecretId": unique_name, "SecretString": '{"password": "new"}', "VersionStages": ["AWSPENDING"]}
        clients.call("secretsmanager", "put_secret_value", **version)
        aws.seen.clear()
        found = gather(*(lambda: credentials.refresh(old) for _ in range(50)))
        assert {one and one.secret for one in found} == {"new"}
        assert aws.seen == {"GetSecretValue": 2}


async def test_a_password_that_came_back_is_searched_for_anew_when_it_is_refused_again(
    aws: CountingAws, make: Make, unique_name: str
) -> None:
    """A rotation was rolled back unnoticed, the next one is on: what replaced the password then is dead."""
    aws.put_secret(ACCOUNT, unique_name, {"password": "old"})
    clients = make()
    credentials = provide(clients, config(SecretAuth(secret_id=unique_name)))
    old = await settle(credentials.get())
    await put(clients, unique_name, "AWSCURRENT", password="given up")
    assert (await settle(credentials.refresh(old))).secret == "given up"
    await put(clients, unique_name, "AWSCURRENT", password="old")
    await settle(clients.secret(unique_name, force=True))  # renewed ahead, by whomever
    assert await settle(credentials.get()) == old
    await put(clients, unique_name, "AWSPENDING", password="next")
    assert (await settle(credentials.refresh(old))).secret == "next"


async def test_a_refused_caller_who_is_cancelled_leaves_the_search_to_the_others(
    aws: CountingAws, unique_name: str
) -> None:
    """Also when it is the one who began it."""
    aws.put_secret(ACCOUNT, unique_name, {"password": "old"})
    async with AsyncAwsClients() as clients:
        credentials = async_credentials(config(SecretAuth(secret_id=unique_name)), aws=clients)
        old = await credentials.get()
        await put(clients, unique_name, "AWSPENDING", password="new")
        aws.seen.clear()
        first, second = (asyncio.create_task(credentials.refresh(old)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        found = await second
        assert found is not None
        assert found.secret == "new"
        with pytest.raises(asyncio.CancelledError):
            await first
        assert aws.seen == {"GetSecretValue": 2}


async def test_a_token_is_minted_for_the_real_host_and_kept_while_it_is_good(aws: CountingAws, make: Make) -> None:
    """900 seconds less a minute, by the monotonic clock; nothing is asked of AWS."""
    now, start = [1000.0], time.time()
    clock = Clock(monotonic=lambda: now[0], wall=lambda: start + now[0] - 1000.0)
    shown = config(IamAuth(region=REGION), host="db.example", port=5433, dial={"host": "localhost", "port": 1})
    credentials = provide(make(), shown, clock=clock)
    first = await settle(credentials.get())
    assert first.user == "u"
    assert first.secret.startswith("db.example:5433/?Action=connect&DBUser=u&")
    assert first.expires_at == 1840.0
    assert first.secret not in repr(first)
    now[0] = 1839.0
    assert await settle(credentials.get()) is first
    now[0] = 1840.0
    assert await settle(credentials.get()) is not first
    assert not aws.seen


async def test_a_token_ends_with_the_credentials_that_signed_it(aws: CountingAws, make: Make, unique_name: str) -> None:
    """A session that has less than fifteen minutes left shortens its tokens."""
    role = aws.create_role(OTHER_ACCOUNT, unique_name, trust=trust(ACCOUNT), policy=allow(("*", "*")))
    ahead = 3600 - 400  # this far into the session
    wall = [0.0]
    clock = Clock(monotonic=lambda: 0.0, wall=lambda: time.time() + wall[0])
    clients = make(role_arn=role)
    credentials = provide(clients, config(IamAuth(region=REGION)), clock=clock)
    session = await settle(clients.credentials())
    wall[0] = ahead
    found = await settle(credentials.get())
    assert found.expires_at == pytest.approx(session.expires_at - time.time() - ahead - 60, abs=5)
    assert found.expires_at < 840 - 60


async def test_a_refused_token_is_replaced_only_by_other_credentials(
    aws: CountingAws, make: Make, monkeypatch: pytest.MonkeyPatch, unique_name: str
) -> None:
    """A missing rds-db:connect is not mended by another token; revoked credentials are by new ones."""
    clients = make()
    credentials = provide(clients, config(IamAuth(region=REGION)))
    first = await settle(credentials.get())
    assert await settle(credentials.refresh(first)) is None
    keys = aws.create_user(ACCOUNT, f"{unique_name}-new")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key)
    second = await settle(credentials.refresh(first))
    assert keys.access_key in second.secret
    assert await settle(credentials.refresh(first)) is second
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert await settle(credentials.refresh(second)) is None


async def test_a_refused_token_is_replaced_when_the_credentials_have_been_renewed_meanwhile(
    aws: CountingAws, make: Make, monkeypatch: pytest.MonkeyPatch, unique_name: str
) -> None:
    """The cache has new ones already: renewing brings those again, and they did not sign what was refused."""
    clients = make()
    credentials = provide(clients, config(IamAuth(region=REGION)))
    first = await settle(credentials.get())
    keys = aws.create_user(ACCOUNT, f"{unique_name}-new")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key)
    await settle(clients.credentials(force=True))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")  # and nothing is resolved for it
    second = await settle(credentials.refresh(first))
    assert keys.access_key in second.secret
    assert await settle(credentials.refresh(second)) is None


async def test_a_refused_token_is_not_replaced_by_one_that_has_ended(aws: CountingAws, make: Make) -> None:
    """What another minted meanwhile may be past its time as well."""
    now, start = [1000.0], time.time()
    clock = Clock(monotonic=lambda: now[0], wall=lambda: start + now[0] - 1000.0)
    credentials = provide(make(), config(IamAuth(region=REGION)), clock=clock)
    first = await settle(credentials.get())
    now[0] += 840
    second = await settle(credentials.get())
    now[0] += 840
    third = await settle(credentials.refresh(first))
    assert third.secret not in {first.secret, second.secret}
    assert third.expires_at == now[0] + 840


async def test_without_clients_of_the_caller_the_configs_target_is_asked(aws: CountingAws, unique_name: str) -> None:
    """The config carries where and as whom."""
    aws.put_secret(ACCOUNT, unique_name, {"password": "p"})
    credentials = sync_credentials(config(SecretAuth(secret_id=unique_name)))
    assert credentials.get().secret == "p"
    credentials = sync_credentials(config(IamAuth(region=REGION)))
    assert credentials.get().source == "rds-iam"
