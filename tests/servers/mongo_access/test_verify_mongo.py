"""``verify`` on a MongoDB that is as the specs say, and on one with a fault: it names the fault, and nothing but it."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId
from pydantic import SecretStr
from pymongo.database import Database
from pymongo.errors import AutoReconnect, OperationFailure
from tests.servers.mongo_access.world import clear, reads, shares, spec
from tests.servers.mongo_kit import config_of

from soa_db.access.mongo.admin import AdminServer
from soa_db.access.mongo.attempt import attempt
from soa_db.access.mongo.expect import expected_access
from soa_db.access.mongo.forms import INSIDE, RENAMED, SERVER, USERS, out_to, rename_to
from soa_db.access.mongo.probe import mongo_parts
from soa_db.access.mongo.probe_login import plain_text
from soa_db.access.mongo.probe_session import probe_name
from soa_db.access.mongo.session import Session, connect
from soa_db.access.report import Outcome, VerifyReport
from soa_db.access.spec import RetiredUser, SpecSet
from soa_db.access.verify import carry_out
from soa_db.config import MongoConfig, MongoHost, MongoOptions, NoAuth, PasswordAuth, TlsConfig
from soa_db.credentials import Credentials
from soa_db.local.mongo import MongoServer

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo import MongoClient

    from soa_db.access.engine import Part
    from soa_db.access.mongo.expect import UserAccess
    from soa_db.access.report import Check
    from soa_db.credentials import CredentialProvider
    from soa_db.names import Env

PASSWORD = "password-of-every-user"
READ_ROLE = "soa-db-read-for-alpha"
SPECS = SpecSet(
    (
        spec("alpha", reads=reads("beta", "rooms")),
        spec("beta", shared_with=(*shares("alpha", "rooms", "secrets"), *shares("omega", "rooms"))),
        spec("gamma", roles=["read"], retire=[RetiredUser(user="old_app")]),
        spec("delta", roles=["dbAdmin"], database="delta_data"),
    )
)
# Written out, so that what renders users and roles has no part in it.
Commands = Sequence[tuple[str, dict[str, Any]]]
RIGHT_ROLE = {"privileges": [{"resource": {"db": "beta_db", "collection": "rooms"}, "actions": ["find"]}], "roles": []}


def _user(service: str, role: str, *more: dict[str, str], **fields: Any) -> dict[str, Any]:
    own = [{"role": role, "db": "delta_data" if service == "delta" else f"{service}_db"}] if role else []
    return {
        "pwd": PASSWORD,
        "roles": [*own, *more],
        "mechanisms": ["SCRAM-SHA-256"],
        "customData": {"soa_db": {"service": service}},
        **fields,
    }


USERS_RIGHT: Mapping[tuple[str, str], dict[str, Any]] = {
    ("alpha_db", "alpha_app"): _user("alpha", "readWrite", {"role": READ_ROLE, "db": "beta_db"}),
    ("beta_db", "beta_app"): _user("beta", "readWrite"),
    ("gamma_db", "gamma_app"): _user("gamma", "read"),
    ("delta_data", "delta_app"): _user("delta", "dbAdmin"),
}


@dataclass
class OnePassword:
    """Credentials without AWS."""

    credentials: Credentials

    def get(self) -> Credentials:
        """Them."""
        return self.credentials

    def refresh(self, rejected: Credentials) -> Credentials | None:
        """There are no others."""
        del rejected
        return None


@dataclass
class PasswordLogins:
    """Logins with one password, without a loader."""

    reach: MongoConfig
    password: str = PASSWORD

    def config(self, user: UserAccess) -> MongoConfig:
        """How it is reached."""
        auth = PasswordAuth(password=SecretStr(self.password))
        return self.reach.model_copy(
            update={"database": user.database, "auth_source": user.database, "user": user.user.name, "auth": auth}
        )

    def credentials(self, user: UserAccess, config: MongoConfig) -> CredentialProvider:
        """What it logs in with."""
        del config
        return OnePassword(Credentials(user.user.name, self.password))


@dataclass
class NoLogins(PasswordLogins):
    """To a server that asks nobody."""

    def config(self, user: UserAccess) -> MongoConfig:
        """How it is reached."""
        return self.reach.model_copy(update={"database": user.database, "user": None, "auth": NoAuth()})

    def credentials(self, user: UserAccess, config: MongoConfig) -> CredentialProvider:
        """Nothing to log in with."""
        del user, config
        return OnePassword(Credentials(None, "", source="none"))


@dataclass
class Parts:
    """A verification of these parts."""

    home: tuple[tuple[str, tuple[str, ...]], ...]
    given: list[Part]

    def parts(self) -> list[Part]:
        """Them."""
        return self.given

    def end(self) -> None:
        """Nothing to end."""


@dataclass
class Verified:
    """A server with the four users, and its verification."""

    server: MongoServer
    env: Env = "prod"
    administered: bool = True
    specs: SpecSet = SPECS
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    client: MongoClient[dict[str, Any]] = field(kw_only=True)

    def __post_init__(self) -> None:
        tls = None if self.server.tls is None else TlsConfig(ca_file=str(self.server.ca_file))
        self.admin = config_of(self.server, tls=tls, database="admin")
        self.logins = PasswordLogins(self.admin)

    def close(self) -> None:
        """Close it, and leave nothing on the server."""
        clear(self.server)
        self.client.close()

    def set_up(self) -> None:
        """Make roles and users."""
        self.run(("beta_db", {"createRole": READ_ROLE, **RIGHT_ROLE}))
        self.run(*((database, {"createUser": name, **user}) for (database, name), user in USERS_RIGHT.items()))

    def run(self, *commands: tuple[str, dict[str, Any]]) -> None:
        """Run commands as the administrator."""
        for database, command in commands:
            self.client[database].command(command)

    def verify(self, *only: str) -> VerifyReport:
        """Run the parts as the command does."""
        parts = mongo_parts(
            self.specs,
            self.env,
            clients_of=lambda service: pytest.fail(f"asked AWS about {service}"),
            only=only or None,
            administration=(lambda: AdminServer(self.admin)) if self.administered else None,
            logins=self.logins,
            passwords_elsewhere=lambda _: self.elsewhere,
        )
        home = tuple((name, (database,)) for database, name in USERS_RIGHT)
        return carry_out(self.env, [Parts(home, [part for part in parts if part[0] not in self.without])])

    def session(self, service: str) -> Session:
        """A session of a service's user."""
        database, name = next(key for key, user in USERS_RIGHT.items() if key[1] == f"{service}_app")
        return connect(self.admin.model_copy(update={"auth_source": database}), name, PASSWORD)


@pytest.fixture(scope="module")
def standing(secure_server: MongoServer) -> Iterator[Verified]:
    """Everything as the specs say, for all tests of this module: each leaves it as it was."""
    clear(secure_server)
    verified = Verified(secure_server, client=secure_server.admin())
    verified.set_up()
    yield verified
    report = verified.verify()
    verified.close()
    assert _said((*report.violations, *report.inconclusive)) == [], "every fault that was planted is undone"


@pytest.fixture
def verified(standing: Verified) -> Verified:
    """The same, to be configured by one test."""
    return replace(standing)


def _said(checks: Sequence[Check]) -> list[str]:
    return [str(check) for check in checks]


def test_a_mongodb_as_declared_is_green(verified: Verified) -> None:
    """Every kind of probe, nothing violated, nothing undecided; no password in the report."""
    report = verified.verify()
    assert _said((*report.violations, *report.inconclusive)) == []
    aspects = {check.probe.aspect for check in report.checks}
    assert aspects == {"connect", "read", "write", "ddl", "rights", "roles", "auth", "tls"}
    assert report.exit_code == 0
    assert "alpha_app" in report.to_text()
    assert {check.probe.what for check in report.notes} == {"the server runs JavaScript ($where)"}
    assert [str(check) for check in report.checks if check.outcome is Outcome.NOT_APPLICABLE] == [
        "delta_app in delta_data: the server runs JavaScript ($where): it may not find"
    ]
    assert PASSWORD not in report.to_json()


@dataclass(frozen=True)
class Fault:
    """What is wrong, how it is mended, and what ``verify`` must say: each of ``says``, and nothing beside ``also``."""

    name: str
    plant: Commands
    undo: Commands
    says: tuple[str, ...]
    also: tuple[str, ...] = ()
    only: str = "alpha"


_A = r"^alpha_app in alpha_db: "
_ROLES = f"{_A}its roles are what the spec says: "
_RIGHTS = f"{_A}its privileges are exactly what the spec says: "
_KEPT = f"{_A}is kept as the spec says: "
_S = r"^the server: "


def _alpha(role: str, database: str, says: Sequence[str], also: Sequence[str] = ()) -> Fault:
    given = [{"role": role, "db": database}]
    return Fault(
        f"{role}_on_{database}",
        [("alpha_db", {"grantRolesToUser": "alpha_app", "roles": given})],
        [("alpha_db", {"revokeRolesFromUser": "alpha_app", "roles": given})],
        (
            f"{_ROLES}beyond it: {role} on {database}",
            f"{_RIGHTS}beyond it: ",
            f"{_KEPT}it is granted {role} on {database} beyond",
            *says,
        ),
        tuple(also),
    )


def _custom(
    name: str, resource: dict[str, Any], actions: list[str], says: Sequence[str], also: Sequence[str] = ()
) -> Fault:
    """A role in ``admin`` with one privilege, granted to alpha."""
    given = [{"role": "extra", "db": "admin"}]
    privileges = [{"resource": resource, "actions": actions}]
    return Fault(
        name,
        [
            ("admin", {"createRole": "extra", "privileges": privileges, "roles": []}),
            ("alpha_db", {"grantRolesToUser": "alpha_app", "roles": given}),
        ],
        [("admin", {"dropRole": "extra"})],
        (f"{_ROLES}beyond it: extra on admin", f"{_RIGHTS}beyond it: ", f"{_KEPT}it is granted extra on admin", *says),
        tuple(also),
    )


def _dropped(name: str, database: str) -> Commands:
    return [(database, {"dropUser": name})]


def _made(name: str, database: str, **fields: Any) -> Commands:
    return [(database, {"createUser": name, "pwd": "another-password", "roles": [], **fields})]


def _set(name: str, database: str, **fields: Any) -> Commands:
    return [(database, {"updateUser": name, **fields})]


_RIGHT_ALPHA = USERS_RIGHT["alpha_db", "alpha_app"]
_IN_BETA = {"db": "beta_db", "collection": ""}
_LIST = (rf"{_A.replace('alpha_db', 'admin')}cannot see databases of others in a list: it sees ",)
FAULTS = (
    _alpha("dbAdmin", "alpha_db", [f"{_A}cannot change collections", f"{_A}cannot drop databases"]),
    _alpha(
        "userAdmin",
        "alpha_db",
        [rf"{_A}cannot {form.what}: it is permitted" for form in USERS],
        [rf"{_A}cannot .*by its privileges"],
    ),
    _alpha("read", "beta_db", [r"alpha_app in beta_db: cannot read what is not shared with it: .*find, find secrets"]),
    _alpha(
        "readWrite",
        "beta_db",
        [
            r"alpha_app in beta_db: cannot read what is not shared",
            r"alpha_app in beta_db: cannot write: it is permitted \(insert, insert secrets, update",
            r"alpha_app in beta_db: cannot make, change and drop collections",
            r"alpha_app in beta_db: cannot insert: it is permitted \(insert rooms\)",
            r"alpha_app in beta_db: cannot update",
            r"alpha_app in beta_db: cannot delete",
        ],
    ),
    _alpha("read", "gamma_db", [r"alpha_app in gamma_db: cannot read"]),
    _alpha("read", "local", [r"alpha_app in local: cannot read .*find oplog.rs", *_LIST]),
    _alpha("read", "admin", [r"alpha_app in admin: cannot read", *_LIST]),
    _alpha(
        "clusterMonitor",
        "admin",
        [
            rf"alpha_app in admin: cannot {what}"
            for what in (
                "serverStatus",
                "getLog",
                "list databases",
                "getParameter",
                "hostInfo",
                "replSetGetStatus",
                "see operations",
            )
        ],
        [r"alpha_app in (admin|config|local): cannot "],
    ),
    _alpha(
        "hostManager",
        "admin",
        [
            rf"{_A}cannot {what}"
            for what in ("shut the server down", "end operations", "lock the server", "change the server's parameters")
        ],
        [r"alpha_app in .*: cannot "],
    ),
    _alpha(
        "root",
        "admin",
        [r"alpha_app in gamma_db: cannot write", r"alpha_app in \(nobody's\): cannot write"],
        [r"alpha_app in .*: cannot "],
    ),
    _custom(
        "insert_into_others",
        _IN_BETA,
        ["insert"],
        [
            r"alpha_app in beta_db: cannot write: it is permitted \(insert, insert secrets\)",
            r"alpha_app in beta_db: cannot insert",
        ],
    ),
    _custom(
        "remove_of_others",
        _IN_BETA,
        ["remove"],
        [
            r"alpha_app in beta_db: cannot write: it is permitted \(delete, delete secrets\)",
            r"alpha_app in beta_db: cannot delete",
        ],
    ),
    _custom(
        "drop_of_others",
        _IN_BETA,
        ["dropCollection"],
        [r"alpha_app in beta_db: cannot make, change and drop collections: .*drop coll"],
    ),
    _custom("drop_of_another_database", _IN_BETA, ["dropDatabase"], [f"{_A}cannot drop databases"]),
    _custom(
        "one_collection_more",
        {"db": "beta_db", "collection": "secrets"},
        ["find"],
        [r"alpha_app in beta_db: cannot read what is not shared with it: it is permitted \(find secrets\)"],
    ),
    _custom("one_unnamed_collection", {"db": "beta_db", "collection": "unnamed"}, ["find"], []),
    _custom(
        "list_databases",
        {"cluster": True},
        ["listDatabases"],
        [r"alpha_app in admin: cannot list databases of others", *_LIST],
    ),
    _custom(
        "shutdown",
        {"cluster": True},
        ["shutdown"],
        [f"{_A}cannot shut the server down .*: it has shutdown on the cluster"],
    ),
    _custom(
        "anything",
        {"anyResource": True},
        ["anyAction"],
        [f"{_A}cannot do anything", r"alpha_app in gamma_db: cannot write"],
        [r"alpha_app in .*: cannot "],
    ),
    _custom("change_its_own_password", {"db": "alpha_db", "collection": ""}, ["changeOwnPassword"], []),
    Fault(
        "no_role_of_its_own",
        [("alpha_db", {"revokeRolesFromUser": "alpha_app", "roles": ["readWrite"]})],
        [("alpha_db", {"grantRolesToUser": "alpha_app", "roles": ["readWrite"]})],
        (
            f"{_ROLES}missing: readWrite on alpha_db",
            f"{_KEPT}it is not granted readWrite on alpha_db",
            f"{_A}can insert, find, update and delete in a collection of its own",
            *(f"{_A}can {form.what}" for form in INSIDE if "readWrite" in form.roles),
        ),
        (r"alpha_app in .*: cannot write by \$out",),
    ),
    Fault(
        "the_read_role_is_not_granted",
        [("alpha_db", {"revokeRolesFromUser": "alpha_app", "roles": [{"role": READ_ROLE, "db": "beta_db"}]})],
        [("alpha_db", {"grantRolesToUser": "alpha_app", "roles": [{"role": READ_ROLE, "db": "beta_db"}]})],
        (
            f"{_ROLES}missing: {READ_ROLE} on beta_db",
            f"{_RIGHTS}missing: find on rooms of beta_db",
            f"{_KEPT}it is not granted {READ_ROLE}",
            r"alpha_app in beta_db: can find in rooms: 13",
        ),
    ),
    Fault(
        "the_read_role_permits_more",
        [("beta_db", {"updateRole": READ_ROLE, "privileges": [{"resource": _IN_BETA, "actions": ["find"]}]})],
        [("beta_db", {"updateRole": READ_ROLE, **RIGHT_ROLE})],
        (
            f"{_RIGHTS}beyond it: find on all collections of beta_db",
            r"alpha_app in beta_db: cannot read what is not shared",
            rf"{_S}the roles defined in .* the role {READ_ROLE} on beta_db .*more: find on all",
        ),
        (rf"{_RIGHTS}.*missing: find on rooms",),
    ),
    Fault(
        "the_read_role_permits_writing",
        [
            (
                "beta_db",
                {
                    "updateRole": READ_ROLE,
                    "privileges": [
                        {"resource": {"db": "beta_db", "collection": "rooms"}, "actions": ["find", "insert"]}
                    ],
                },
            )
        ],
        [("beta_db", {"updateRole": READ_ROLE, **RIGHT_ROLE})],
        (
            f"{_RIGHTS}beyond it: insert on rooms of beta_db$",
            r"alpha_app in beta_db: cannot insert: it is permitted \(insert rooms\)",
            rf"{_S}the roles defined in .* the role {READ_ROLE} on beta_db has more: insert on rooms",
        ),
    ),
    Fault(
        "the_read_role_inherits",
        [("beta_db", {"grantRolesToRole": READ_ROLE, "roles": ["read"]})],
        [("beta_db", {"revokeRolesFromRole": READ_ROLE, "roles": ["read"]})],
        (
            f"{_ROLES}beyond it: read on beta_db",
            f"{_RIGHTS}beyond it: ",
            r"alpha_app in beta_db: cannot read what is not shared",
            rf"{_S}the roles defined in .* has more: the role read on beta_db",
        ),
    ),
    Fault(
        "a_role_nobody_agreed_on",
        [("beta_db", {"createRole": "soa-db-read-for-gamma", **RIGHT_ROLE})],
        [("beta_db", {"dropRole": "soa-db-read-for-gamma"})],
        (rf"{_S}the roles defined in .* nobody declared the role soa-db-read-for-gamma on beta_db$",),
    ),
    Fault(
        "a_role_of_somebodys",
        [("alpha_db", {"createRole": "backdoor", "privileges": [], "roles": ["readWrite"]})],
        [("alpha_db", {"dropRole": "backdoor"})],
        (rf"{_S}the roles defined in .* nobody declared the role backdoor on alpha_db$",),
    ),
    Fault(
        "sha_1_beside",
        _set("alpha_app", "alpha_db", pwd=PASSWORD, mechanisms=["SCRAM-SHA-1", "SCRAM-SHA-256"]),
        _set("alpha_app", "alpha_db", pwd=PASSWORD, mechanisms=["SCRAM-SHA-256"]),
        (f"{_KEPT}it logs in by SCRAM-SHA-1, SCRAM-SHA-256",),
    ),
    Fault(
        "another_password",
        _set("alpha_app", "alpha_db", pwd="another-password", mechanisms=["SCRAM-SHA-256"]),
        _set("alpha_app", "alpha_db", pwd=PASSWORD, mechanisms=["SCRAM-SHA-256"]),
        (f"{_A}can log in: AuthenticationFailed",),
    ),
    Fault(
        "it_may_log_in_from_elsewhere_only",
        _set("alpha_app", "alpha_db", authenticationRestrictions=[{"clientSource": ["192.0.2.1"]}]),
        _set("alpha_app", "alpha_db", authenticationRestrictions=[]),
        (f"{_A}can log in: AuthenticationFailed", f"{_KEPT}it may log in from, or to, some addresses only"),
    ),
    Fault(
        "it_is_marked_as_anothers",
        _set("alpha_app", "alpha_db", customData={"soa_db": {"service": "beta"}}),
        _set("alpha_app", "alpha_db", customData=_RIGHT_ALPHA["customData"]),
        (f"{_KEPT}it is marked as service beta's",),
    ),
    Fault(
        "the_same_user_in_admin",
        _made("alpha_app", "admin", pwd=PASSWORD),
        _dropped("alpha_app", "admin"),
        (
            rf"{_A}cannot log in as a user of another database: the server let it in \(admin\)",
            rf"{_A}no other database keeps a user of its name: there is alpha_app in admin",
        ),
    ),
    Fault(
        "the_same_user_in_a_services_database",
        _made("alpha_app", "gamma_db", pwd=PASSWORD),
        _dropped("alpha_app", "gamma_db"),
        (
            rf"{_A}cannot log in as a user of another database: the server let it in \(gamma_db\)",
            rf"{_A}no other database keeps a user of its name: there is alpha_app in gamma_db",
        ),
    ),
    Fault(
        "a_user_its_spec_no_longer_declares",
        _made("alpha_jobs", "alpha_db", customData=_RIGHT_ALPHA["customData"]),
        _dropped("alpha_jobs", "alpha_db"),
        (rf"{_S}no user made for a service is left .*: alpha_jobs in alpha_db$",),
    ),
    Fault(
        "a_retired_user",
        _made("old_app", "gamma_db", roles=["read"]),
        _dropped("old_app", "gamma_db"),
        (rf"{_S}no retired user is left: old_app in gamma_db$",),
    ),
    Fault(
        "a_stranger_reads",
        _made("analyst", "admin", roles=[{"role": "read", "db": "alpha_db"}]),
        _dropped("analyst", "admin"),
        (rf"{_S}no other user may do anything in .*: analyst in admin has .* on all collections of alpha_db",),
    ),
    Fault(
        "a_stranger_has_the_role_of_a_reader",
        _made("analyst", "gamma_db", roles=[{"role": READ_ROLE, "db": "beta_db"}]),
        _dropped("analyst", "gamma_db"),
        (rf"{_S}no other user may do anything in particular .*: analyst in gamma_db has find on rooms of beta_db$",),
    ),
    Fault(
        "a_service_that_only_reads_writes",
        [("gamma_db", {"grantRolesToUser": "gamma_app", "roles": ["readWrite"]})],
        [("gamma_db", {"revokeRolesFromUser": "gamma_app", "roles": ["readWrite"]})],
        (
            r"^gamma_app in gamma_db: its roles are",
            r"^gamma_app in gamma_db: its privileges are",
            r"^gamma_app in gamma_db: is kept as",
            *(
                rf"^gamma_app in gamma_db: cannot {form.what}"
                for form in INSIDE
                if "readWrite" in form.roles and "read" not in form.roles and form.aspect != "read"
            ),
        ),
        only="gamma",
    ),
    Fault(
        "the_user_is_missing",
        _dropped("gamma_app", "gamma_db"),
        [("gamma_db", {"createUser": "gamma_app", **USERS_RIGHT["gamma_db", "gamma_app"]})],
        (
            r"^gamma_app in gamma_db: can log in: AuthenticationFailed",
            r"^gamma_app in gamma_db: is kept .*: it is missing",
        ),
        only="gamma",
    ),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_named_with_what_follows_from_it_and_nothing_else(fault: Fault, verified: Verified) -> None:
    """Each expected violation is said with a way to mend it, and nothing beside the point.

    That all is green again when it is undone, the next test sees, and the last one (``standing``).
    """
    verified.without = ("MongoDB without a login",)  # no fault is in its way
    verified.run(*fault.plant)
    try:
        report = verified.verify(fault.only)
    finally:
        verified.run(*fault.undo)
    said = _said(report.violations)
    missing = [pattern for pattern in fault.says if not any(re.search(pattern, text) for text in said)]
    beside = [text for text in said if not any(re.search(pattern, text) for pattern in (*fault.says, *fault.also))]
    assert not missing, "\n".join(("not said:", *missing, "said:", *said))
    assert not beside, "\n".join(("beside the point:", *beside))
    assert _said(report.inconclusive) == []
    assert all(check.mend for check in report.violations)
    assert report.exit_code == 4


# --- no harm


def _everything(verified: Verified) -> dict[str, object]:
    """What a probe could have changed."""
    with verified.server.admin() as client:
        databases = sorted(set(client.list_database_names()) - {"local", "config", "admin"})
        kinds = {(name, one["name"]): one["type"] for name in databases for one in client[name].list_collections()}
        collections = [key for key, kind in kinds.items() if kind == "collection" and key[1] != "system.views"]
        return {
            "databases": client.list_database_names(),
            "collections": [sorted(map(str, client[name].list_collections())) for name in (*databases, "config")],
            "documents": {(name, one): sorted(map(str, client[name][one].find())) for name, one in collections},
            "indexes": {(name, one): client[name][one].index_information() for name, one in collections},
            "users": sorted(map(str, client.admin["system.users"].find())),
            "roles": sorted(map(str, client.admin["system.roles"].find())),
            "configuration": client.admin.command("replSetGetConfig")["config"],
            "process": client.admin.command("serverStatus")["pid"],
        }


@pytest.fixture
def everybody_is_root(verified: Verified) -> Iterator[Verified]:
    """Every user may do everything, and there is something to lose."""
    root = [{"role": role, "db": "admin"} for role in ("root", "restore", "backup")]
    root.append({"role": "extra", "db": "admin"})
    everything = [{"resource": {"anyResource": True}, "actions": ["anyAction"]}]
    verified.run(("admin", {"createRole": "extra", "privileges": everything, "roles": []}))
    verified.run(*((database, {"grantRolesToUser": name, "roles": root}) for database, name in USERS_RIGHT))
    with verified.server.admin() as client:
        for name in ("alpha_db", "beta_db", "gamma_db", "delta_data", "nobodys_db"):
            for collection in ("rooms", "secrets"):
                client[name][collection].insert_one({"_id": 1, "x": 1})
            client[name]["secrets"].create_index("x")
            client[name].command("create", "seen", viewOn="rooms", pipeline=[])
    yield verified
    verified.run(*((database, {"revokeRolesFromUser": name, "roles": root}) for database, name in USERS_RIGHT))
    verified.run(("admin", {"dropRole": "extra"}))
    with verified.server.admin() as client:
        for name in ("alpha_db", "beta_db", "gamma_db", "delta_data", "nobodys_db"):
            client.drop_database(name)


def test_nothing_happens_when_everything_is_permitted(everybody_is_root: Verified) -> None:
    """No document, collection, index, view, user, role or setting is touched, and all of it is reported."""
    before = _everything(everybody_is_root)
    report = everybody_is_root.verify()
    assert _everything(everybody_is_root) == before
    assert len(report.violations) > 100
    assert _said(report.inconclusive) == []


def test_each_form_is_harmless_and_shows_that_it_is_permitted(everybody_is_root: Verified) -> None:
    """On a database of a service, of nobody's and of the server's own, on collections that are there and on a view."""
    before = _everything(everybody_is_root)
    with everybody_is_root.session("beta") as session:
        for form in (*INSIDE, *USERS, *SERVER):
            nothing = probe_name()  # of its own: dropUser would hide what createUser has made
            for database in (
                ("admin",) if form in SERVER else ("alpha_db", "soa_db_nowhere", "config", "admin", "local")
            ):
                there = ("rooms", "seen") if database == "alpha_db" and form.each else ()
                for collection in (nothing, *there):
                    command = form.command(collection, nothing)
                    found = attempt(session, database, command, harmless=form.harmless)
                    assert found.permitted is True, (form.what, database, collection, found)
    assert _everything(everybody_is_root) == before


def test_writing_from_one_database_into_another_is_harmless_too(everybody_is_root: Verified) -> None:
    """`$out` over a collection that is there, explained; a collection that is not there, moved."""
    before = _everything(everybody_is_root)
    with everybody_is_root.session("beta") as session:
        assert attempt(session, "beta_db", out_to("alpha_db", "rooms", "rooms")).permitted is True
        moved = attempt(session, "admin", rename_to("alpha_db", "beta_db", probe_name()), harmless=RENAMED)
        assert moved.permitted is True
    assert _everything(everybody_is_root) == before


def test_nothing_but_code_13_proves_a_refusal(verified: Verified) -> None:
    """An error that is neither that nor one only somebody permitted gets leaves the question open."""
    with verified.session("beta") as session:
        assert attempt(session, "beta_db", {"soaDbNoSuchCommand": 1}).permitted is None
        assert attempt(session, "beta_db", {"drop": probe_name()}).permitted is None, "not told that 26 is harmless"
        refused = attempt(session, "alpha_db", {"createUser": "x", "pwd": "a-secret", "roles": []})
    assert refused.permitted is False
    assert refused.seen == "13: not authorized on alpha_db"


# --- runs that end early


@pytest.mark.parametrize("nth", [1, 4, 20, 60])
def test_a_run_that_is_cut_off_is_inconclusive_and_takes_nothing_for_a_refusal(
    verified: Verified, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """The connection breaks at some command."""
    count = 0
    act = Database.command

    def broken(self: Any, *arguments: Any, **keywords: Any) -> Any:
        nonlocal count
        count += 1
        if count > nth:
            raise AutoReconnect("cut")
        return act(self, *arguments, **keywords)

    verified.administered = False
    verified.without = ("MongoDB without a login",)
    with monkeypatch.context() as patch:
        patch.setattr(Database, "command", broken)
        report = verified.verify("alpha")
    assert report.inconclusive
    assert _said(report.violations) == []
    assert report.exit_code == 5


def test_what_a_killed_run_has_left_the_next_one_drops(verified: Verified) -> None:
    """By its name and age: not what another run is using at this moment, nor a collection of the service's."""
    old = f"soa-db-probe-{ObjectId.from_datetime(datetime.now(UTC) - timedelta(hours=1))}"
    young = probe_name()
    others = ["soa-db-probe-notes", f"my-{old}"]
    with verified.server.admin() as client:
        for name in (old, young, *others):
            client["alpha_db"][name].insert_one({"_id": 1})
        report = verified.verify("alpha")
        left = set(client["alpha_db"].list_collection_names())
        client.drop_database("alpha_db")
    assert left == {young, *others}
    assert report.exit_code == 0


# --- servers that are not as they should be


def test_the_password_of_another_environment_must_not_open(verified: Verified) -> None:
    """As after a restore of prod into mirror."""
    verified.elsewhere = {"mirror": "something-else"}
    assert verified.verify("alpha").exit_code == 0
    verified.elsewhere = {"mirror": PASSWORD}
    report = verified.verify("alpha")
    assert _said(report.violations) == [
        "alpha_app in alpha_db: cannot log in with its password of mirror: the server let it in"
    ]
    assert PASSWORD not in report.to_json()


def test_a_server_takes_no_empty_password(verified: Verified) -> None:
    """So that none has to be tried: the driver would not send it."""
    with pytest.raises(OperationFailure), verified.server.admin() as client:
        client["alpha_db"].command("updateUser", "alpha_app", pwd="", mechanisms=["SCRAM-SHA-256"])


def test_a_port_that_speaks_plain_text_is_told_from_one_that_does_not(
    verified: Verified, plain_server: MongoServer
) -> None:
    """One that does not answer at all proves nothing."""
    assert plain_text("localhost", plain_server.port, timeout=5).permitted is True
    assert plain_text("localhost", verified.server.port, timeout=5).permitted is False
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert plain_text("127.0.0.1", port, timeout=0.1).permitted is None
    assert plain_text("127.0.0.1", port, timeout=5).permitted is None
    assert plain_text("soa-db-probe.invalid", 27017, timeout=5).permitted is None


def test_a_server_without_tls_is_a_violation_outside_dev(plain_server: MongoServer) -> None:
    """And nothing else is wrong with it."""
    clear(plain_server)
    verified = Verified(plain_server, client=plain_server.admin())
    verified.set_up()
    said = _said(verified.verify().violations)
    verified.env = "dev"
    report = verified.verify()
    verified.close()
    assert said == [f"the server: it refuses plain text: it answered (localhost:{plain_server.port})"]
    assert report.exit_code == 0


def test_certificates_that_are_not_looked_at_are_a_violation(verified: Verified) -> None:
    """The provider of services is asked, with settings that take anything."""
    verified.logins.reach = verified.admin.model_copy(update={"tls": TlsConfig(verify="none")})
    assert _said(verified.verify("alpha").violations) == [
        "the server: services refuse a certificate of an unknown authority: the certificate was taken",
        "the server: services verify certificates and the names in them: tls.verify is none",
    ]


def test_without_access_control_everything_is_a_violation_but_in_dev(server_folder: Path) -> None:
    """There it may be; that the service can write is proved all the same."""
    server = MongoServer(server_folder / "mongo-open", auth=False)
    try:
        server.start()
        verified = Verified(server, "dev", client=server.admin())
        verified.admin = verified.admin.model_copy(update={"user": None, "auth": NoAuth()})
        verified.logins = NoLogins(verified.admin)
        report = verified.verify("alpha", "beta")
        assert report.exit_code == 4, "there are no users"
        verified.administered = False
        report = verified.verify()
        assert report.exit_code == 0
        assert len([check for check in report.checks if check.outcome is Outcome.OK]) == 6
        verified.env = "prod"
        said = _said(verified.verify("alpha").violations)
        assert "the server: nobody may list databases without logging in: it is permitted" in said
        assert any("nobody may createUser without logging in" in text for text in said)
        with verified.client as client:
            assert set(client.list_database_names()) <= {"admin", "config", "local"}
    finally:
        server.remove()


# --- whoever verifies


def test_without_an_administrator_it_is_noted_that_nobody_looked(verified: Verified) -> None:
    """Not silently, and not as a fault; one that may not look is the same."""
    verified.administered = False
    report = verified.verify("alpha")
    assert report.exit_code == 0
    assert "not looked at: no administrator's access was given" in [check.detail for check in report.notes]
    verified.administered = True
    verified.admin = verified.logins.config(expected_access(SPECS, "prod").users[0])
    (note,) = (check for check in verified.verify("alpha").notes if check.probe.aspect == "roles")
    assert "not looked at: ProvisionError: could not inspect the users" in note.detail


def test_users_of_others_are_noted_with_their_roles(verified: Verified) -> None:
    """One that administers all databases, and one of a service whose spec is not given, as far as it is shared."""
    verified.run(
        ("admin", {"createUser": "backup", "pwd": "x" * 20, "roles": ["readAnyDatabase"]}),
        ("beta_db", {"createRole": "soa-db-read-for-omega", **RIGHT_ROLE}),
        (
            "omega_db",
            {
                "createUser": "omega_app",
                **_user("omega", "", {"role": "soa-db-read-for-omega", "db": "beta_db"}),
            },
        ),
    )
    report = verified.verify("alpha")
    verified.run(*_dropped("backup", "admin"), *_dropped("omega_app", "omega_db"))
    verified.run(("beta_db", {"dropRole": "soa-db-read-for-omega"}))
    assert report.exit_code == 0
    (note,) = (check for check in report.notes if check.probe.aspect == "roles")
    assert note.detail == (
        "backup in admin (readAnyDatabase on admin); omega_app in omega_db (soa-db-read-for-omega on beta_db)"
    )
    assert {check.probe.identity for check in report.checks} == {"alpha_app", ""}


def test_what_was_agreed_on_with_a_service_whose_spec_is_not_given_is_noted(verified: Verified) -> None:
    """Of the collections that are asked for; anything else there is a violation."""
    alpha, _, gamma, delta = SPECS.specs
    verified.specs = SpecSet((alpha, gamma, delta))
    report = verified.verify("alpha")
    assert report.exit_code == 0
    assert "find on rooms of beta_db" in [check.detail for check in report.notes]
    more = [{"resource": {"db": "beta_db", "collection": "secrets"}, "actions": ["find"]}, *RIGHT_ROLE["privileges"]]
    verified.run(("beta_db", {"updateRole": READ_ROLE, "privileges": more}))
    report = verified.verify("alpha")
    verified.run(("beta_db", {"updateRole": READ_ROLE, **RIGHT_ROLE}))
    assert _said(report.violations) == [
        "alpha_app in alpha_db: its privileges are exactly what the spec says: beyond it: find on secrets of beta_db"
    ]


def test_a_server_that_is_not_reached_or_not_trusted_is_inconclusive(verified: Verified) -> None:
    """It says nothing about any user."""
    quick = MongoOptions(server_selection_timeout=0.5, connect_timeout=0.5)
    verified.administered = False
    verified.without = ("MongoDB without a login",)
    for fields in ({"hosts": (MongoHost(host="localhost", port=1),)}, {"tls": TlsConfig()}):
        verified.logins.reach = verified.admin.model_copy(update={"options": quick, **fields})
        report = verified.verify("alpha")
        assert [check.outcome for check in report.checks if check.probe.what == "log in"] == [Outcome.INCONCLUSIVE]
        assert report.exit_code == 5
