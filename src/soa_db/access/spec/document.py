"""YAML text → plain data with the position of every key and value.

A restricted YAML 1.2: one document, text keys, no anchors, aliases or tags, so that a file means what it shows
and cannot grow when read. Built on PyYAML's events, which carry positions and need no recursion. Scalars follow
the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema), not 1.1: the key ``on`` is text.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from typing import Protocol

import yaml

__all__ = ["MAX_BYTES", "Document", "Path", "Position", "Problem", "parse"]

MAX_BYTES = 256 * 1024
MAX_DEPTH = 16
Path = tuple[str | int, ...]

_NULL = {"", "~", "null", "Null", "NULL"}
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
# Booleans to readers of YAML 1.1, text in 1.2: what is meant can't be known, so values must be quoted. Not y and n:
# no reader in use takes them for booleans, and columns have such names.
_AMBIGUOUS = {"yes", "no", "on", "off"}
_INT = re.compile(r"[-+]?[0-9]{1,18}|0o[0-7]{1,18}|0x[0-9a-fA-F]{1,15}")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_BOMS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a file; lines and columns count from 1, columns in characters."""

    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One fault in one file."""

    file: str
    position: Position
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"

    @property
    def place(self) -> str:
        """``file:line:column``."""
        return f"{self.file}:{self.position.line}:{self.position.column}"


@dataclass(frozen=True, slots=True)
class Document:
    """What a file holds, and where.

    Attributes:
        file: the name used in messages.
        data: dicts, lists, text, numbers, booleans and None.
        values: path → where its value starts.
        keys: path of a mapping's entry → where its key stands.
        problems: what was wrong with the text itself; when there is any, ``data`` may lack parts.
    """

    file: str
    data: object
    values: dict[Path, Position]
    keys: dict[Path, Position]
    problems: tuple[Problem, ...] = ()

    def problem(self, path: Path, text: str, *, at_key: bool = False) -> Problem:
        """A fault at ``path``, or, where the file has nothing there, at the nearest part around it."""
        if at_key and path in self.keys:
            return Problem(self.file, self.keys[path], text)
        while path and path not in self.values:
            path = path[:-1]
        return Problem(self.file, self.values.get(path, Position()), text)

    def place(self, path: Path) -> str:
        """``file:line:column`` of what is at ``path``."""
        return self.problem(path, "").place


class _Mark(Protocol):
    """What PyYAML's marks have in common; counts from 0."""

    line: int
    column: int


@dataclass(slots=True)
class _Open:
    """A mapping or sequence whose end has not been read yet.

    ``path`` is None for what is read but not kept: the value of a key that can't be used, or a collection that
    stands as a key.
    """

    value: dict[str, object] | list[object]
    path: Path | None
    key: str | None = None
    awaits_key: bool = True
    is_key: bool = False

    @property
    def takes_key(self) -> bool:
        return isinstance(self.value, dict) and self.awaits_key


@dataclass(slots=True)
class _Builder:
    """Turns events into data; notes faults instead of stopping, where the text after them can still be read."""

    file: str
    root: object = None
    documents: int = 0
    open: list[_Open] = field(default_factory=list)
    values: dict[Path, Position] = field(default_factory=dict)
    keys: dict[Path, Position] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def fault(self, event: yaml.Event, text: str) -> None:
        self.problems.append(Problem(self.file, _position(event.start_mark), text))

    def document(self, event: yaml.Event) -> bool:
        """Note the start of a document; False when it is one too many."""
        self.documents += 1
        if self.documents > 1:
            self.fault(event, "a second YAML document starts here: one file describes one service")
        return self.documents == 1

    def scalar(self, event: yaml.ScalarEvent) -> None:
        self._refuse_properties(event)
        plain = event.style is None
        value = _resolve(event.value) if plain else event.value
        if self.open and self.open[-1].takes_key:
            self._key(event, value)
            return
        if plain and event.value.lower() in _AMBIGUOUS:
            self.fault(
                event,
                f"`{event.value}` is text in YAML 1.2 and a boolean in 1.1: write true, false or null, "
                f'or "{event.value}" if it is a name',
            )
        self._store(event, value)

    def start(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> bool:
        """Open a collection; False when nesting is too deep to go on."""
        self._refuse_properties(event)
        value: dict[str, object] | list[object] = {} if isinstance(event, yaml.MappingStartEvent) else []
        if self.open and self.open[-1].takes_key:
            self.fault(event, "a key must be text")
            self.open.append(_Open(value, None, is_key=True))
        else:
            path = self._store(event, value)
            self.open.append(_Open(value, path))
        if len(self.open) > MAX_DEPTH:
            self.fault(event, f"nested more than {MAX_DEPTH} levels deep")
            return False
        return True

    def end(self) -> None:
        if self.open.pop().is_key:
            self.open[-1].key, self.open[-1].awaits_key = None, False

    def alias(self, event: yaml.AliasEvent) -> None:
        self.fault(event, f"aliases (*{_short(event.anchor or '')}) are not used in access specs: write the value out")
        if self.open and self.open[-1].takes_key:
            self.open[-1].key, self.open[-1].awaits_key = None, False
        else:
            self._store(event, None)

    def _refuse_properties(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        if event.anchor is not None:
            self.fault(event, f"anchors (&{_short(event.anchor)}) are not used in access specs: write the value out")
        if event.tag is not None:
            self.fault(event, "tags (!...) are not used in access specs: write the plain value")

    def _key(self, event: yaml.ScalarEvent, key: object) -> None:
        top = self.open[-1]
        top.key, top.awaits_key = None, False
        if not isinstance(key, str):
            self.fault(event, f"a key must be text: `{_short(event.value)}` is not")
            return
        if top.path is None:
            return
        path = (*top.path, key)
        if first := self.keys.get(path):
            self.fault(event, f"duplicate key `{_short(key)}`: it stands in line {first.line} already")
            return
        top.key = key
        self.keys[path] = _position(event.start_mark)

    def _store(self, event: yaml.Event, value: object) -> Path | None:
        path: Path | None = ()
        if not self.open:
            self.root = value
        else:
            top = self.open[-1]
            path = None
            match top.value:
                case list() as items:
                    path = None if top.path is None else (*top.path, len(items))
                    items.append(value)
                case dict() as entries:
                    top.awaits_key = True
                    if top.key is not None and top.path is not None:
                        path = (*top.path, top.key)
                        entries[top.key] = value
        if path is not None:
            self.values[path] = _position(event.start_mark)
        return path


def _position(mark: _Mark | None) -> Position:
    assert mark is not None
    return Position(mark.line + 1, mark.column + 1)


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _resolve(text: str) -> object:
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text[2:] if base != 10 else text, base)
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _decode(file: str, content: bytes) -> str | Problem:
    """The text of a file, or why it has none."""
    if len(content) > MAX_BYTES:
        return Problem(file, Position(), f"longer than {MAX_BYTES // 1024} KiB: this is not an access spec")
    for bom, name in _BOMS.items():
        if content.startswith(bom):
            return Problem(file, Position(), f"encoded in {name}: save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig", "replace")
        return Problem(file, _end_of(before), f"byte 0x{content[error.start]:02x} is not UTF-8: save it as UTF-8")
    if match := yaml.reader.Reader.NON_PRINTABLE.search(text):
        where = _end_of(text[: match.start()])
        return Problem(file, where, f"the character U+{ord(match.group()):04X} must not stand in a YAML file")
    return text


def _end_of(text: str) -> Position:
    lines = re.split(r"\r\n|[\n\r\x85\u2028\u2029]", text)
    return Position(len(lines), len(lines[-1]) + 1)


def parse(file: str, content: bytes) -> Document:
    """Read one file.

    Args:
        file: the name used in messages.
        content: its bytes, at most MAX_BYTES (a longer one is a problem, not an exception).
    """
    text = _decode(file, content)
    if isinstance(text, Problem):
        return Document(file, None, {}, {}, (text,))
    builder = _Builder(file)
    loader = yaml.SafeLoader(text)
    try:
        _build(loader, builder)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark or loader.get_mark()
        because = ", ".join(part for part in (error.context, error.problem) if part)
        if "'\\t'" in because:
            because = "a tab: YAML indents with spaces"
        builder.problems.append(Problem(file, _position(mark), f"not YAML: {because}"))
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # PyYAML lets chr() and int() complain about escapes and directives out of range.
        builder.problems.append(Problem(file, _position(loader.get_mark()), f"not YAML: {error}"))
    finally:
        loader.dispose()
    if not builder.problems and builder.root is None:
        builder.problems.append(
            Problem(file, Position(), "the file is empty: it needs at least `version` and `service`")
        )
    return Document(file, builder.root, builder.values, builder.keys, tuple(builder.problems))


def _build(loader: yaml.SafeLoader, builder: _Builder) -> None:
    going = True
    while going and loader.check_event():
        match loader.get_event():  # type: ignore[no-untyped-call]  # types-PyYAML leaves it out
            case yaml.DocumentStartEvent() as event:
                going = builder.document(event)
            case yaml.ScalarEvent() as event:
                builder.scalar(event)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent() as event:
                going = builder.start(event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                builder.end()
            case yaml.AliasEvent() as event:
                builder.alias(event)
            case _:
                pass
