"""`soa_db.testing`: a service's own tests get a provisioned MongoDB, empty for each test, or one of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.test_testing_plugin import run

SPEC = """\
version: 1
service: chat-api
mongo:
  shared_with: [{service: ledger-api, collections: [logins]}]
"""

READER = """\
version: 1
service: ledger-api
mongo:
  reads: [{service: chat-api, collections: [logins]}]
"""

TESTS = """\
import asyncio
import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure
from soa_db.errors import ConfigurationError
from soa_db.mongo import MongoProvider

LEFT = []

@pytest.mark.parametrize("number", [1, 2])
def test_each_begins_empty(soa_db_mongo_provider, number):
    chat, ledger = soa_db_mongo_provider(service="chat-api"), soa_db_mongo_provider(service="ledger-api")
    assert chat.database.list_collection_names() == []
    chat.database.logins.insert_one({"_id": number})
    chat.database.rooms.insert_one({"_id": number})
    assert ledger.client.chat_api_db.logins.find_one() == {"_id": number}
    LEFT.append(chat.database.rooms.find(batch_size=1))
    for refused in (
        lambda: ledger.client.chat_api_db.rooms.find_one(),
        lambda: ledger.client.chat_api_db.logins.insert_one({}),
        lambda: chat.client.ledger_api_db.accounts.find_one(),
        lambda: chat.client.admin.command("listDatabases", authorizedDatabases=False),
    ):
        with pytest.raises(OperationFailure) as caught:
            refused()
        assert caught.value.code == 13

def test_asynchronous(soa_db_async_mongo_provider):
    async def ask():
        async with soa_db_async_mongo_provider(service="chat-api") as provider:
            await provider.database.rooms.insert_one({"_id": 1})
            return await provider.database.rooms.count_documents({})
    assert asyncio.run(ask()) == 1

def test_the_services_own_code_connects(soa_db_mongo):
    with MongoProvider.from_aws(env="dev", service="chat-api") as provider:
        assert provider.ping()
    with MongoClient(soa_db_mongo.admin_url) as admin:
        assert admin.admin.command("usersInfo", {"forAllDBs": True})["users"]

def test_wrong_service_is_named(soa_db_mongo_config):
    with pytest.raises(ConfigurationError, match="no spec is given for 'other'"):
        soa_db_mongo_config(service="other")
"""

OWN = """\
from soa_db.testing import AsyncLocalMongoProvider, LocalMongoProvider

def test_one_of_its_own(soa_db_local_mongo):
    assert isinstance(soa_db_local_mongo, LocalMongoProvider)
    soa_db_local_mongo.database.rooms.insert_one({"_id": 1})
"""


def test_a_service_tests_with_its_own_user_on_an_empty_mongo(server_folder: Path, tmp_path: Path) -> None:
    """Its roles and shared collections and no more, emptied after each test, whatever is left open ended."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\nsoa_db_specs = .\n")
    for service, text in (("chat", SPEC), ("ledger", READER)):
        folder = tmp_path / service
        folder.mkdir()
        (folder / "db-access.yaml").write_text(text)
    (tmp_path / "test_service.py").write_text(TESTS)
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


def test_no_spec_is_needed_for_one_of_its_own(server_folder: Path, tmp_path: Path) -> None:
    """Nor an environment."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    (tmp_path / "test_service.py").write_text(OWN)
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_spec_without_a_mongo_part_is_named(server_folder: Path) -> None:
    """All of them, or the one that is asked for."""
    from soa_db.access.spec import MongoSpec, Spec, SpecSet
    from soa_db.errors import ConfigurationError
    from soa_db.local.environment import LocalEnvironment
    from soa_db.testing.mongo import TestMongo

    never_started = LocalEnvironment(server_folder / "never-started")
    bare, with_mongo = Spec(version=1, service="jobs-api"), Spec(version=1, service="chat-api", mongo=MongoSpec())
    with pytest.raises(ConfigurationError, match="no spec has a `mongo` part"):
        TestMongo(never_started, SpecSet((bare,))).prepare()
    both = TestMongo(never_started, SpecSet((bare, with_mongo)))
    with pytest.raises(ConfigurationError, match="the spec of jobs-api has no `mongo` part"):
        both.config(service="jobs-api")
    with pytest.raises(ConfigurationError, match="say which service is meant"):
        both.config()
