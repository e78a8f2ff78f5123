"""Every error of the driver has a meaning, and a failed attempt to connect becomes the right typed error."""

import inspect

import psycopg
import psycopg.errors
import psycopg_pool
import pytest

from soa_db import errors
from soa_db._core.classify import Category, Failure, classify
from soa_db._core.refusal import connection_error, is_final

DRIVER_ERRORS = sorted(
    {
        cls
        for module in (psycopg, psycopg.errors, psycopg_pool)
        for cls in vars(module).values()
        if inspect.isclass(cls) and issubclass(cls, psycopg.Error | psycopg.Warning)
    },
    key=lambda cls: cls.__name__,
)


def test_there_are_errors_to_look_at() -> None:
    """The list is not empty by mistake."""
    assert len(DRIVER_ERRORS) > 250


@pytest.mark.parametrize("cls", DRIVER_ERRORS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("broken", [False, True])
def test_every_class_of_the_driver_is_classified(cls: type[Exception], broken: bool) -> None:
    """A new release of psycopg with a new class must be looked at."""
    failure = Failure(kind=cls.__name__, sqlstate=getattr(cls, "sqlstate", None), broken=broken)
    assert classify(failure) is not Category.UNKNOWN


def test_an_unheard_of_code_or_class_is_unknown() -> None:
    """Nothing is guessed."""
    assert classify(Failure(kind="Error", sqlstate="ZZ999")) is Category.UNKNOWN
    assert classify(Failure(kind="BrandNewError")) is Category.UNKNOWN


@pytest.mark.parametrize(
    ("sqlstate", "category"),
    [
        ("57P01", Category.SERVER_GONE),
        ("57P02", Category.SERVER_GONE),
        ("57P03", Category.SERVER_GONE),
        ("08006", Category.SERVER_GONE),
        ("25006", Category.READ_ONLY),
        ("25P03", Category.SESSION_ENDED),
        ("40001", Category.RETRY),
        ("40P01", Category.RETRY),
        ("42501", Category.PRIVILEGE),
        ("28P01", Category.PRIVILEGE),
        ("23505", Category.INTEGRITY),
        ("57014", Category.CANCELLED),
        ("42P01", Category.PROGRAMMING),
    ],
)
def test_a_code_in_a_session_has_its_meaning(sqlstate: str, category: Category) -> None:
    """28P01 in a session is dblink's affair, not a refusal of our own login."""
    assert classify(Failure(kind="Error", sqlstate=sqlstate)) is category


def test_a_broken_socket_means_the_server_is_gone() -> None:
    """libpq makes the error up itself, so it carries no SQLSTATE."""
    assert classify(Failure(kind="OperationalError", broken=True)) is Category.SERVER_GONE
    assert classify(Failure(kind="OperationalError")) is Category.CLIENT
    assert classify(Failure(kind="PoolTimeout", broken=True)) is Category.POOL


FATAL = 'connection failed: connection to server at "10.0.0.1", port 5432 failed: FATAL:  '
CONNECTING = [
    (FATAL + 'password authentication failed for user "u"', Category.AUTHENTICATION),
    (FATAL + 'PAM authentication failed for user "u"', Category.AUTHENTICATION),
    (FATAL + 'role "u" does not exist', Category.AUTHENTICATION),
    ("connection failed: fe_sendauth: no password supplied", Category.AUTHENTICATION),
    (FATAL + "SASL authentication failed", Category.AUTHENTICATION),
    (FATAL + "This RDS proxy has no credentials for the role u. Check the credentials", Category.AUTHENTICATION),
    (FATAL + "The IAM authentication failed for the role u. Check the IAM token", Category.AUTHENTICATION),
    (FATAL + 'database "d" does not exist', Category.DATABASE_MISSING),
    (FATAL + "no such database: d", Category.DATABASE_MISSING),
    (FATAL + 'permission denied for database "d"\nDETAIL:  User does not have CONNECT', Category.AUTHORIZATION),
    (FATAL + 'no pg_hba.conf entry for host "1.2.3.4", user "u", no encryption', Category.AUTHORIZATION),
    (FATAL + 'role "u" is not permitted to log in', Category.AUTHORIZATION),
    (FATAL + "the database system is starting up", Category.UNREACHABLE),
    (FATAL + "the database system is shutting down", Category.UNREACHABLE),
    (FATAL + "sorry, too many clients already", Category.UNREACHABLE),
    (FATAL + 'too many connections for role "u"', Category.UNREACHABLE),
    (FATAL + "remaining connection slots are reserved for roles with SUPERUSER", Category.UNREACHABLE),
    (FATAL + "Timed-out waiting to acquire database connection", Category.UNREACHABLE),
    (FATAL + 'unrecognized configuration parameter "x"', Category.STARTUP_REFUSED),
    (FATAL + "unsupported startup parameter: options", Category.STARTUP_REFUSED),
    (FATAL + "RDS Proxy currently doesn't support command-line options.", Category.STARTUP_REFUSED),
    ("connection failed: SSL error: certificate verify failed", Category.CERTIFICATE),
    ('server certificate for "a" does not match host name "b"', Category.CERTIFICATE),
    ("server does not support SSL, but SSL was required", Category.CERTIFICATE),
    ('root certificate file "/x" does not exist', Category.CERTIFICATE),
    ("could not read certificate file: No such file or directory", Category.CERTIFICATE),
    ("SSL SYSCALL error: EOF detected", Category.UNREACHABLE),
    ("connection refused\n\tIs the server running on that host", Category.UNREACHABLE),
    ("connection timeout expired", Category.UNREACHABLE),
    ("received invalid response to SSL negotiation: H", Category.UNREACHABLE),
    ("expected authentication request from server, but received H", Category.UNREACHABLE),
    ("server closed the connection unexpectedly", Category.UNREACHABLE),
    ("failed to resolve host 'x': [Errno -2] Name or service not known", Category.UNREACHABLE),
    (
        (
            'FATAL: database "d" does not exist\nMultiple connection attempts failed. All failures were:\n'
            "- host: 'localhost', hostaddr: '::1': Connection refused\n- … database \"d\" does not exist"
        ),
        Category.DATABASE_MISSING,
    ),
]


@pytest.mark.parametrize(("message", "category"), CONNECTING)
def test_a_failed_attempt_is_told_by_its_text(message: str, category: Category) -> None:
    """libpq hands on no SQLSTATE for it."""
    assert classify(Failure(kind="OperationalError", message=message, connecting=True)) is category


@pytest.mark.parametrize(
    ("used_password", "category"), [(True, Category.AUTHENTICATION), (False, Category.UNREACHABLE)]
)
def test_a_text_in_another_language_is_told_by_libpqs_flag(used_password: bool, category: Category) -> None:
    """The server's lc_messages decides its language, before any session can set another."""
    text = "ВАЖНО:  пользователь не прошёл проверку"
    assert classify(Failure("OperationalError", message=text, connecting=True, used_password=used_password)) is category


def test_parameters_the_driver_cannot_read_are_no_matter_of_the_server() -> None:
    """psycopg raises ProgrammingError before anything is sent."""
    failure = Failure("ProgrammingError", message="invalid sslmode value", connecting=True)
    assert classify(failure) is Category.STARTUP_REFUSED


@pytest.mark.parametrize(
    ("category", "cls", "final"),
    [
        (Category.AUTHENTICATION, errors.AuthenticationFailed, True),
        (Category.AUTHORIZATION, errors.AuthenticationFailed, True),
        (Category.CERTIFICATE, errors.TlsVerificationFailed, True),
        (Category.DATABASE_MISSING, errors.ConnectionFailed, True),
        (Category.STARTUP_REFUSED, errors.ConfigurationError, True),
        (Category.UNREACHABLE, errors.ServerUnavailable, False),
    ],
)
def test_a_category_becomes_its_typed_error(category: Category, cls: type[errors.SoaDbError], final: bool) -> None:
    """Only a server that is not there now is worth another try."""
    error = connection_error(category, "connection failed: why", source="config", host="h:1", user="u")
    assert type(error) is cls
    assert is_final(error) is final
    assert error.message.endswith(": why")
    assert error.hint
    assert error.context == {"host": "h:1", "user": "u", "credentials": "config"}


def test_a_refused_login_names_the_secret_and_never_its_value() -> None:
    """Even a server that repeats the password does not get it into our message."""
    text = f'{FATAL}password authentication failed for user "u" with hunter22'
    error = connection_error(Category.AUTHENTICATION, text, source="dev/x/app", secret="hunter22", user="u")
    assert "dev/x/app" in str(error)
    assert "hunter22" not in str(error)


@pytest.mark.parametrize(
    ("category", "text", "source", "hint"),
    [
        (Category.UNREACHABLE, "FATAL: sorry, too many clients already", "config", "max_size"),
        (Category.UNREACHABLE, "FATAL: remaining connection slots are reserved for roles", "config", "max_size"),
        (Category.CERTIFICATE, "SSL error: certificate verify failed: certificate has expired", "config", "renew"),
        (Category.AUTHENTICATION, "x", "rds-iam", "rds-db:connect"),
        (Category.AUTHENTICATION, "x", "none", "no credentials"),
        (Category.AUTHENTICATION, "x", "config", "check user and password"),
        (Category.AUTHORIZATION, "no pg_hba.conf entry for host, no encryption", "config", "turn TLS on"),
        (Category.AUTHORIZATION, "no pg_hba.conf entry for host, SSL encryption", "config", "pg_hba.conf"),
        (Category.AUTHORIZATION, "permission denied for database", "config", "grant"),
        (Category.CERTIFICATE, "server does not support SSL", "config", "speaks no TLS"),
        (Category.CERTIFICATE, "does not match host name", "config", "`dial`"),
        (Category.CERTIFICATE, "certificate verify failed", "config", "SOA_DB_CA_FILE"),
        (Category.UNREACHABLE, "received invalid response to SSL negotiation: H", "config", "something else than"),
        (Category.UNREACHABLE, "failed to resolve host", "config", "host name"),
        (Category.UNREACHABLE, "refused", "config", "check that the server runs"),
        (Category.STARTUP_REFUSED, "unsupported startup parameter: options", "config", "session.proxy"),
    ],
)
def test_the_hint_is_the_next_step(category: Category, text: str, source: str, hint: str) -> None:
    """It fits what really went wrong."""
    assert hint in connection_error(category, text, source=source).hint
