"""What asyncpg's errors of an attempt to connect are taken for."""

from __future__ import annotations

import ssl

import asyncpg
import pytest

import soa_db.asyncpg
from soa_db._core.classify import Category
from soa_db.asyncpg.failures import category_of, forget_frames, text_of


@pytest.mark.parametrize(
    ("error", "category"),
    [
        (asyncpg.InvalidPasswordError("Passwort-Authentifizierung fehlgeschlagen"), Category.AUTHENTICATION),
        (
            asyncpg.InvalidAuthorizationSpecificationError('PAM authentication failed for user "a"'),
            Category.AUTHENTICATION,
        ),
        (asyncpg.InvalidAuthorizationSpecificationError('no pg_hba.conf entry for host "h"'), Category.AUTHORIZATION),
        (asyncpg.InvalidAuthorizationSpecificationError("in einer anderen Sprache"), Category.AUTHENTICATION),
        (asyncpg.InvalidCatalogNameError("die Datenbank gibt es nicht"), Category.DATABASE_MISSING),
        (asyncpg.InsufficientPrivilegeError("permission denied for database"), Category.AUTHORIZATION),
        (asyncpg.TooManyConnectionsError("zu viele"), Category.UNREACHABLE),
        (asyncpg.CannotConnectNowError("startet"), Category.UNREACHABLE),
        (asyncpg.InterfaceError("unknown way to authenticate"), Category.STARTUP_REFUSED),
        (ssl.SSLEOFError(8, "EOF occurred"), Category.UNREACHABLE),
        (ssl.SSLError(1, "wrong version number"), Category.CERTIFICATE),
        (ConnectionError('PostgreSQL server at "h:1" rejected SSL upgrade'), Category.CERTIFICATE),
        (ConnectionRefusedError(111, "Connection refused"), Category.UNREACHABLE),
        (TimeoutError(), Category.UNREACHABLE),
        (OSError(), Category.UNREACHABLE),
    ],
    ids=lambda value: value.name if isinstance(value, Category) else type(value).__name__,
)
def test_an_error_is_told_by_its_code_and_then_by_its_text(error: Exception, category: Category) -> None:
    """In whatever language the server speaks."""
    assert category_of(error) is category
    assert text_of(error)


def test_the_frames_of_a_whole_chain_are_forgotten() -> None:
    """Groups and cycles included."""
    errors: list[BaseException] = []
    for text in "abc":
        try:
            raise ValueError(text)
        except ValueError as error:
            errors.append(error)
    group = ExceptionGroup("several", [error for error in errors if isinstance(error, Exception)])
    errors[0].__cause__ = group
    errors[1].__context__ = KeyError("handled")
    outer = errors[2]
    forget_frames(group, until=outer)
    assert [error.__traceback__ is None for error in errors] == [True, True, False]


def test_the_public_face_gives_the_loader_too() -> None:
    """soa_db.postgres, where it stands otherwise, needs psycopg."""
    from soa_db._async.postgres.loader import aload_postgres_config_from_aws

    assert soa_db.asyncpg.aload_postgres_config_from_aws is aload_postgres_config_from_aws
    assert dir(soa_db.asyncpg) == sorted(soa_db.asyncpg.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = soa_db.asyncpg.nonsense
