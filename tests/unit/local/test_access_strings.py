"""Access strings as ElastiCache takes them and gives them back."""

from __future__ import annotations

import pytest

from soa_db.local.access_strings import BadAccessString, canonical


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        # The first is the example of the API's documentation (create-user).
        ("off +get ~keys*", "off ~keys* -@all +get"),
        ("on ~* +@all", "on ~* +@all"),
        ("on allkeys allchannels allcommands", "on ~* &* +@all"),
        ("~a:* +@read", "off ~a:* -@all +@read"),
        ("on ~a:* resetkeys ~b:* +get", "on ~b:* -@all +get"),
        ("on resetchannels ~a:* &a:* -@all +@read -scan", "on ~a:* resetchannels &a:* -@all +@read -scan"),
        ("on &x &y resetchannels &z +get", "on resetchannels &z -@all +get"),
        # Order is meaning: it is kept, and what a later all or nothing covers is dropped.
        ("on +get -@read +set", "on -@all +get -@read +set"),
        ("on +get -@all +set", "on -@all +set"),
        ("on +get +@all -flushall", "on +@all -flushall"),
        ("on %R~flags:* ~a:* +client|setname", "on %R~flags:* ~a:* -@all +client|setname"),
        ("on ~a:* +get (~b:* +set)", "on ~a:* -@all +get (~b:* +set)"),
        ("OFF", "off -@all"),
    ],
)
def test_what_is_stored(given: str, stored: str) -> None:
    """State, keys, channels, commands; what is stored is stored again as it is."""
    assert canonical(given) == stored
    assert canonical(stored) == stored


@pytest.mark.parametrize(
    "given",
    [
        "",
        "  ",
        "on >secret",
        "on <secret",
        "on #" + "0" * 64,
        "on nopass",
        "on RESET",
        "resetpass",
        "on get",
        "on +get;",
        "on (",
    ],
)
def test_what_is_refused(given: str) -> None:
    """Passwords above all, and they are not repeated."""
    with pytest.raises(BadAccessString) as caught:
        canonical(given)
    assert "secret" not in str(caught.value)
