"""Access strings of Redis: reading, comparing by meaning. Pure.

An access string is what ``ACL SETUSER``, ``ACL LIST`` and ElastiCache's ``AccessString`` hold:
``on ~chat-api:* resetchannels &chat-api:* -@all +@read -@dangerous``. The order of its command rules is meaning, a
later one winning over an earlier one, so that they are never sorted
(https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/).

How servers give a string back: Valkey and Redis from 7.2 keep the rules as given, ElastiCache puts ``-@all`` before
them, Redis 6 and 7.0 keep only which commands are permitted and make up rules anew, in an order of their own. So two
strings are compared by the commands they permit, which takes the server's table of categories (``ACL CAT``); without
one, by rules: those of one sign that follow each other may stand in any order, and what a later rule covers is dropped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

__all__ = ["Acl", "CommandTable", "Selector", "parse", "password_hash", "same_access", "takes_away"]

_EVERYTHING = "@all"
_BOTH = "RW"


@dataclass(frozen=True, slots=True)
class CommandTable:
    """The commands of one server: category → its commands, subcommands as ``client|list``."""

    categories: Mapping[str, frozenset[str]]

    @property
    def commands(self) -> frozenset[str]:
        """Every command; each is ``fast`` or ``slow`` at least."""
        return frozenset().union(*self.categories.values())


@dataclass(frozen=True, slots=True)
class Selector:
    """One set of permissions: a command must be permitted by one selector wholly.

    Attributes:
        keys: pattern → ``R``, ``W`` or ``RW``.
        channels: channel patterns.
        rules: command rules in order, e.g. ``-@all``, ``+@read``, ``-scan``.
        databases: the databases it is for (Valkey from 9); None for all.
        unknown: words that are none of these; two selectors with other such words are never the same.
    """

    keys: Mapping[str, str] = field(default_factory=dict)
    channels: frozenset[str] = frozenset()
    rules: tuple[str, ...] = ()
    databases: frozenset[str] | None = None
    unknown: frozenset[str] = frozenset()

    def commands(self, table: CommandTable) -> frozenset[str]:
        """The commands permitted; ``@all`` among them when those of modules loaded later are too."""
        allowed: set[str] = set()
        for rule in self.rules:
            name = rule[1:]
            if name == _EVERYTHING:
                allowed = {_EVERYTHING, *table.commands} if rule[0] == "+" else set()
            elif rule[0] == "+":
                # One the table does not know is a first argument (``select|0``) or of a module loaded since.
                allowed |= _members(name, table) or {name}
            else:
                allowed -= _members(name, table) | {one for one in allowed if _within(one, name)}
        return frozenset(allowed)

    def blocks(self) -> tuple[tuple[str, frozenset[str]], ...]:
        """The rules as they compare without a table: runs of one sign, overruled and redundant ones left out."""
        found: list[tuple[str, set[str]]] = [("-", {_EVERYTHING})]
        for rule in _effective(self.rules):
            sign, name = rule[0], rule[1:]
            if name == _EVERYTHING:
                found = [(sign, {name})]
            elif found[-1][0] == sign:
                found[-1][1].add(name)
            else:
                found.append((sign, {name}))
        if _EVERYTHING in found[0][1]:
            found[0] = (found[0][0], {_EVERYTHING})
        return tuple(
            (sign, frozenset(one for one in names if not any(_within(one, other) for other in names - {one})))
            for sign, names in found
        )


@dataclass(frozen=True, slots=True)
class Acl:
    """One user as its access string says.

    Attributes:
        enabled: ``on``.
        nopass: anybody gets in with any password.
        passwords: SHA-256 of each live password, lower case hexadecimal.
        sanitize: restored payloads are checked deeply (the default).
        root: the permissions outside parentheses.
        selectors: those in parentheses.
    """

    enabled: bool = False
    nopass: bool = False
    passwords: frozenset[str] = field(default=frozenset(), repr=False)
    sanitize: bool = True
    root: Selector = Selector()
    selectors: tuple[Selector, ...] = ()


def password_hash(password: str) -> str:
    """The form ``ACL SETUSER name #…`` takes and ``ACL LIST`` shows."""
    return hashlib.sha256(password.encode()).hexdigest()


def parse(text: str) -> Acl:
    """Read an access string, or the rules of a line of ``ACL LIST`` (what stands after ``user NAME``).

    Words it does not know are kept: a newer server may have more of them.
    """
    acl = Acl()
    for word in _words(text):
        if word.startswith("("):
            acl = replace(acl, selectors=(*acl.selectors, _selector(word[1:-1].split())))
            continue
        match word:
            case "on" | "off":
                acl = replace(acl, enabled=word == "on")
            case "nopass":
                acl = replace(acl, nopass=True, passwords=frozenset())
            case "resetpass":
                acl = replace(acl, nopass=False, passwords=frozenset())
            case "sanitize-payload" | "skip-sanitize-payload":
                acl = replace(acl, sanitize=word == "sanitize-payload")
            case "clearselectors":
                acl = replace(acl, selectors=())
            case "reset":
                acl = Acl()
            case _ if word[0] in "><#!":
                acl = _password(acl, word)
            case _:
                acl = replace(acl, root=_applied(acl.root, word))
    return acl


def same_access(one: Acl, other: Acl, table: CommandTable | None = None) -> bool:
    """Whether two users may do the same, whatever their passwords.

    Args:
        one: a user.
        other: another.
        table: the commands of the server they are on; compared by rules without it, which may call two equal ones
            different, never two different ones equal.
    """
    if (one.enabled, one.sanitize) != (other.enabled, other.sanitize):
        return False
    return _form(one.root, table) == _form(other.root, table) and _counted(one, table) == _counted(other, table)


def takes_away(old: Acl, new: Acl, table: CommandTable | None = None) -> bool:
    """Whether something that was permitted may not be any more; said too often rather than too seldom."""
    if not old.enabled:
        return False
    if not new.enabled or _counted(old, table) - _counted(new, table) or new.root.databases is not None:
        return True
    before, after = old.root, new.root
    keys = all(
        set(permissions) <= set(after.keys.get("*", "") or after.keys.get(pattern, ""))
        for pattern, permissions in before.keys.items()
    )
    channels = "*" in after.channels or before.channels <= after.channels
    if table is not None:
        commands = before.commands(table) <= after.commands(table)
    else:
        commands = before.blocks() in {after.blocks(), (("-", frozenset({_EVERYTHING})),)}
    return not (keys and channels and commands)


def _password(acl: Acl, word: str) -> Acl:
    found = password_hash(word[1:]) if word[0] in "><" else word[1:].lower()
    if word[0] in ">#":
        return replace(acl, nopass=False, passwords=acl.passwords | {found})
    return replace(acl, passwords=acl.passwords - {found})


def _words(text: str) -> Iterator[str]:
    """Words, a selector with its parentheses being one."""
    inside: list[str] = []
    for word in text.split():
        if inside or word.startswith("("):
            inside.append(word)
            if word.endswith(")"):
                yield " ".join(inside)
                inside = []
        else:
            yield word
    yield from inside


def _selector(words: Iterable[str]) -> Selector:
    found = Selector()
    for word in words:
        found = _applied(found, word)
    return found


_RESETS: Mapping[str, Mapping[str, object]] = {
    "allkeys": {"keys": {"*": _BOTH}},
    "resetkeys": {"keys": {}},
    "allchannels": {"channels": frozenset("*")},
    "resetchannels": {"channels": frozenset()},
    "allcommands": {"rules": ("+@all",)},
    "nocommands": {"rules": ("-@all",)},
    "alldbs": {"databases": None},
    "resetdbs": {"databases": frozenset()},
}


def _applied(selector: Selector, word: str) -> Selector:
    """One word's effect, as ``ACLSetSelector`` of the servers' acl.c has it."""
    lower = word.lower()
    if lower in _RESETS:
        return _changed(selector, **_RESETS[lower])
    if lower.startswith("db="):
        return replace(selector, databases=(selector.databases or frozenset()) | set(lower[3:].split(",")))
    if len(word) == 1:
        return replace(selector, unknown=selector.unknown | {word})
    if word[0] in "+-":
        return replace(selector, rules=(*selector.rules, lower))
    if word[0] == "&":
        return replace(selector, channels=frozenset("*") if word == "&*" else selector.channels | {word[1:]})
    return _key_pattern(selector, word)


def _changed(selector: Selector, **fields: Any) -> Selector:
    return replace(selector, **fields)


def _key_pattern(selector: Selector, word: str) -> Selector:
    permissions, _, pattern = word.partition("~")
    letters = permissions[1:].upper() if permissions.startswith("%") else "?" if permissions else _BOTH
    if not pattern or letters not in {"R", "W", "RW", "WR"}:
        return replace(selector, unknown=selector.unknown | {word})
    if pattern == "*" and len(letters) == 2:
        return replace(selector, keys={"*": _BOTH})
    merged = "".join(letter for letter in _BOTH if letter in letters + selector.keys.get(pattern, ""))
    return replace(selector, keys={**selector.keys, pattern: merged})


def _members(name: str, table: CommandTable) -> frozenset[str]:
    if name.startswith("@"):
        return table.categories.get(name[1:], frozenset())
    return frozenset(command for command in table.commands if _within(command, name))


def _within(command: str, other: str) -> bool:
    """Whether a command is the other one or one of its subcommands."""
    return command == other or command.startswith(f"{other}|")


def _effective(rules: Iterable[str]) -> tuple[str, ...]:
    """The rules without those that a later one about the same thing overrules."""
    found: list[str] = []
    for rule in rules:
        name = rule[1:]
        found = [] if name == _EVERYTHING else [one for one in found if not _within(one[1:], name)]
        found.append(rule)
    return tuple(found)


_Form = tuple[frozenset[tuple[str, str]], frozenset[str], object, frozenset[str] | None, frozenset[str]]


def _form(selector: Selector, table: CommandTable | None) -> _Form:
    commands: object = selector.blocks() if table is None else selector.commands(table)
    return frozenset(selector.keys.items()), selector.channels, commands, selector.databases, selector.unknown


def _counted(acl: Acl, table: CommandTable | None) -> frozenset[_Form]:
    # A selector stands beside the others: neither their order nor how often one is said has a meaning.
    return frozenset(_form(selector, table) for selector in acl.selectors)
