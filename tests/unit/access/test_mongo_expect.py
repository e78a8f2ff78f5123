"""What verify expects of each user of a MongoDB, from the specs alone; and the form of what is tried."""

from __future__ import annotations

from typing import Any

from soa_db.access.mongo.expect import SYSTEM_DATABASES, expected_access
from soa_db.access.mongo.forms import INSIDE, SERVER, USERS
from soa_db.access.mongo.state import RoleName, UserName
from soa_db.access.report import VerifyReport
from soa_db.access.spec import MongoRead, MongoShare, MongoSpec, RetiredUser, Spec, SpecSet
from soa_db.access.verify import carry_out

MARK = "soa-db-probe-0"


def spec(service: str, **mongo: Any) -> Spec:
    """A service with a ``mongo`` part."""
    return Spec(version=1, service=service, mongo=MongoSpec(**mongo))


def reads(service: str, *collections: str) -> MongoRead:
    """Collections another service owns."""
    return MongoRead(service=service, collections=collections)


def shares(service: str, *collections: str) -> MongoShare:
    """Collections for another service."""
    return MongoShare(service=service, collections=collections)


SPECS = SpecSet(
    (
        spec("a", reads=(reads("b", "x"), reads("gone", "z")), roles=["read"]),
        spec("b", database="other", shared_with=(shares("a", "x", "v"), shares("c", "w"))),
        spec("c", retire=[RetiredUser(user="old")]),
        Spec(version=1, service="d"),
    )
)


def test_reading_takes_both_sides() -> None:
    """What only one of them says is no right; a service whose spec is not given is waited for."""
    a, b, c = expected_access(SPECS, "prod").users
    assert (a.user, b.user, c.user) == (
        UserName("a_db", "a_app"),
        UserName("other", "b_app"),
        UserName("c_db", "c_app"),
    )
    assert a.reads == {"other": frozenset({"x"})}
    assert a.pending == {"z"}
    assert a.roles == {RoleName("a_db", "read"), RoleName("other", "soa-db-read-for-a")}
    assert b.roles == {RoleName("other", "readWrite")}
    assert not c.reads
    assert not c.pending


def test_what_is_foreign_leaves_out_what_is_shared_and_names_the_rest() -> None:
    """Databases of others, one of nobody's, and the server's own."""
    access = expected_access(SPECS, "prod")
    assert access.retired == {UserName("c_db", "old")}
    assert access.services == {"a", "b", "c", "d"}
    foreign = dict(access.foreign(access.users[0], MARK))
    assert foreign["other"] == (MARK, "v", "w")
    assert foreign["c_db"] == foreign[MARK] == (MARK,)
    assert set(foreign) == {"other", "c_db", MARK, *SYSTEM_DATABASES}
    assert dict(access.foreign(access.users[2], MARK))["other"] == (MARK, "v", "w", "x")


def test_what_is_tried_is_named_once_and_takes_no_name_but_those_given() -> None:
    """Reports tell forms apart by their names; a command is about what it is given, or about nothing."""
    forms = [*INSIDE, *USERS, *SERVER]
    assert len({form.what for form in forms}) == len(forms)
    for form in INSIDE:
        command = form.command("rooms", MARK)
        target = str(command.get("explain", command))
        assert ("'rooms'" in target) == form.each, form.what
        assert form.each or MARK in target, form.what


class _Verification:
    def __init__(self, *home: tuple[str, tuple[str, ...]]) -> None:
        self.home = home

    def parts(self) -> list[Any]:
        """Nothing."""
        return []

    def end(self) -> None:
        """Nothing."""


def test_a_user_of_the_same_name_on_two_engines_is_at_home_in_both_places() -> None:
    """A service's user is ``chat_api_app`` on PostgreSQL and on MongoDB."""
    report = carry_out("dev", [_Verification(("u", ("a",)), ("v", ("a",))), _Verification(("u", ("b",)))])
    assert report == VerifyReport("dev", (), (("u", ("a", "b")), ("v", ("a",))))
