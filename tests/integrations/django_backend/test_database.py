"""The PostgreSQL back end on real servers: who connects, how often credentials are asked for, what failures say."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.db import OperationalError, connections, transaction
from tests.integrations.django_backend.conftest import Wrapper

from soa_db.django.postgresql.base import DatabaseWrapper


def one(connection: DatabaseWrapper, sql: str, *parameters: object) -> object:
    """The first column of the first row."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchone()[0]


@pytest.mark.parametrize(("env", "role"), [("dev", "app"), ("mirror", "app"), ("mirror", "ro"), ("dev", "owner")])
def test_a_connection_is_the_roles(wrapper: Wrapper, service: str, env: str, role: str) -> None:
    """By password in dev, by an IAM token over verified TLS in mirror; autocommit, UTC, the session's timeouts."""
    connection = wrapper(OPTIONS={"env": env, "role": role, "statement_timeout": 7, "application_name": "n"})
    snake = service.replace("-", "_")
    assert one(connection, "SELECT current_user") == f"{snake}_{role}"
    assert one(connection, "SELECT current_database()") == snake
    assert one(connection, "SHOW statement_timeout") == "7s"
    assert one(connection, "SHOW idle_in_transaction_session_timeout") == "30s"
    assert one(connection, "SHOW application_name") == "n"
    assert one(connection, "SHOW timezone") == "UTC"
    assert connection.get_autocommit()
    assert connection.connection is not None
    assert bool(connection.connection.pgconn.ssl_in_use) is (env == "mirror")
