"""The restricted YAML under the specs: positions, what is refused, and how scalars are read."""

from pathlib import Path

import pytest

from soa_db.access.spec import load_spec
from soa_db.access.spec.document import MAX_BYTES, Position, parse
from soa_db.errors import SpecError

NO = 'f:1:4: `no` is text in YAML 1.2 and a boolean in 1.1: write true, false or null, or "no" if it is a name'


def problems(content: str | bytes) -> list[str]:
    """What is wrong with the text itself."""
    document = parse("f", content.encode() if isinstance(content, str) else content)
    return [str(problem) for problem in document.problems]


def test_every_key_and_value_has_its_place() -> None:
    """Lines and columns count from 1, columns in characters."""
    document = parse("f", "é: [1, {on: x}]\n".encode())
    assert document.data == {"é": [1, {"on": "x"}]}
    assert document.keys == {("é",): Position(1, 1), ("é", 1, "on"): Position(1, 9)}
    assert document.values[("é", 1, "on")] == Position(1, 13)
    assert document.problem(("é", 1, "gone"), "x").position == Position(1, 8)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on: a", {"on": "a"}),
        ("a: ~", {"a": None}),
        ("a:", {"a": None}),
        ("a: True", {"a": True}),
        ("a: 0o17", {"a": 15}),
        ("a: 0x1F", {"a": 31}),
        ("a: 017", {"a": 17}),
        ("a: 1_000", {"a": "1_000"}),
        ("a: 12:30", {"a": "12:30"}),
        ("a: 2026-01-01", {"a": "2026-01-01"}),
        ("a: 1.5e3", {"a": 1500.0}),
        ("a: .5", {"a": 0.5}),
        ("a: -.inf", {"a": float("-inf")}),
        ('a: "yes"', {"a": "yes"}),
        ("a: '1'", {"a": "1"}),
        ("a: |\n  x\n", {"a": "x\n"}),
        (f"a: {'9' * 5000}", {"a": "9" * 5000}),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    """`on` is a key, a date is text, and digits without end are no number."""
    document = parse("f", text.encode())
    assert not document.problems
    assert document.data == value


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "f:1:1: the file is empty: it needs at least `version` and `service`"),
        ("# nothing\n\n", "f:1:1: the file is empty: it needs at least `version` and `service`"),
        ("---\n...\n", "f:1:1: the file is empty: it needs at least `version` and `service`"),
        ("a: 1\n---\nb: 2\n", "f:2:1: a second YAML document starts here: one file describes one service"),
        ("a: 1\n\tb: 2\n", "f:2:1: not YAML: a tab: YAML indents with spaces"),
        ("a: [1\nb: 2\n", "f:2:2: not YAML: while parsing a flow sequence, expected ',' or ']', but got ':'"),
        ("a: 1\n b: 2\n", "f:2:3: not YAML: mapping values are not allowed here"),
        ('a: "\\UFFFFFFFF"\n', "f:1:7: not YAML: "),
        ("%YAML 9.9\n---\na: 1\n", "f:1:1: not YAML: found incompatible YAML document (version 1.* is required)"),
        ("a: 1\na: 2\n", "f:2:1: duplicate key `a`: it stands in line 1 already"),
        ("a:\n  b: 1\n  b: {c: [2]}\n", "f:3:3: duplicate key `b`: it stands in line 2 already"),
        ("1: a\n", "f:1:1: a key must be text: `1` is not"),
        ("true: {a: 1}\n", "f:1:1: a key must be text: `true` is not"),
        ("? [a, b]\n: 1\n", "f:1:3: a key must be text"),
        ("? {a: {b: 1}}\n: {c: 2}\n", "f:1:3: a key must be text"),
        ("a: &x 1\n", "f:1:4: anchors (&x) are not used in access specs: write the value out"),
        ("a: !!python/name:os.system x\n", "f:1:4: tags (!...) are not used in access specs: write the plain value"),
        ("*x\n", "f:1:1: aliases (*x) are not used in access specs: write the value out"),
        ("a: no\n", NO),
        ("[" * 40 + "]" * 40, "f:1:17: nested more than 16 levels deep"),
        (b"\xff\xfea\x00", "f:1:1: encoded in UTF-16: save it as UTF-8"),
        (b"\xff\xfe\x00\x00", "f:1:1: encoded in UTF-32: save it as UTF-8"),
        (b"a: 1\nb: \xe9t\xe9\n", "f:2:4: byte 0xe9 is not UTF-8: save it as UTF-8"),
        ("a: 1\nb: x\0\n", "f:2:5: the character U+0000 must not stand in a YAML file"),
        (b"#" * (MAX_BYTES + 1), "f:1:1: longer than 256 KiB: this is not an access spec"),
    ],
)  # fmt: skip
def test_what_a_spec_cannot_be_is_told_with_its_place(content: str | bytes, expected: str) -> None:
    """One problem each, at the scanner's own position where it is not YAML."""
    (problem,) = problems(content)
    assert problem.startswith(expected) if expected.endswith(": ") else problem == expected


def test_an_alias_bomb_is_refused_without_being_expanded() -> None:
    """Each anchor and alias is told; nothing is copied."""
    bomb = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    found = problems(bomb)
    assert len(found) == 9 + 16
    assert "f:2:8: aliases (*a) are not used in access specs: write the value out" in found
    assert problems("a: &a 1\n*a : 2\n")[1:] == [
        "f:2:1: aliases (*a) are not used in access specs: write the value out"
    ]


def test_a_byte_order_mark_of_utf_8_is_passed_over() -> None:
    """Windows editors write one; columns don't count it."""
    document = parse("f", b"\xef\xbb\xbfa: 1\n")
    assert document.data == {"a": 1}
    assert document.keys[("a",)] == Position(1, 1)


def test_text_after_a_fault_is_still_read() -> None:
    """Several faults of the text itself are told in one run."""
    assert len(problems("1: a\nb: yes\nb: 3\nc: &x 1\n")) == 4


@pytest.mark.parametrize("root", ["[]", "5", "text", "- version: 1"])
def test_a_file_that_is_no_mapping_is_told_so(tmp_path: Path, root: str) -> None:
    """At its first character."""
    file = tmp_path / "db-access.yaml"
    file.write_text(root)
    with pytest.raises(SpecError, match=r":1:1: a mapping \(`key: value`\) is expected, not"):
        load_spec(file)
