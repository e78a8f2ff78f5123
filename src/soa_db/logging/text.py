"""Text without what it gives away: secrets that look like such, and values of keys that hide theirs."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote_plus

from soa_db._core.masking import MASK, mask_secrets
from soa_db.logging.keys import HIDDEN, Decision

__all__ = ["REDACTED", "cut", "encodable", "masked"]

REDACTED = "[redacted]"

# Keys in text, and what stands behind them if it is to be hidden: ``key=value`` of query strings, reprs and logfmt,
# ``"key": value`` of JSON and dicts, that again in quotes. Anchored, or bounded, so that they are linear.
_KEY = re.compile(
    r"(?<![\w.%+\[\]-])(?P<name>[\w.%+\[\]-]{1,64})="
    r"|(?P<quote>\\{0,8}[\"'])(?P<key>[\w.%\[\] -]{1,64})(?P=quote)\s*:\s*"
)
_VALUE = re.compile(
    r"[bru]{0,2}'(?:[^'\\]|\\.)*(?:'|\Z)|[bru]{0,2}\"(?:[^\"\\]|\\.)*(?:\"|\Z)|(?P<quote>\\{1,8}[\"']).{0,2048}?(?P=quote)"
    r"|[\w.]*[\[{(](?:[^\[\](){}]|[\[{(][^\[\](){}]{0,256}[\]})]){0,512}[\]})]|[^\s&#,;)'\"]+",
    re.DOTALL,
)
# PostgreSQL's details quote the row: ``Key (email)=(ada@example.org) already exists.``
_ROW = re.compile(r"(Failing row contains )\([^\r\n]*")
_WORD = re.compile(r"\w+")
# What a query says after a ``=``; an encoded ``=`` or ``:`` in it may be that of a URL or query within it.
_PART = re.compile(r"[^\s&;,'\"<>()?=#]+")
_DECODED = 3  # times
# ``?code=`` of OAuth, and of mails by which somebody proves to be theirs, is a password for once; short ones are none.
_SHORTEST_CODE = 6
_BARE = frozenset({MASK, REDACTED, "None", "True", "False"})


def masked(text: str, decide: Callable[[str], Decision], decoded: int = 0) -> str:
    """``text`` without secrets, and without the values of keys about which ``decide`` says so.

    Args:
        text: that others wrote.
        decide: about keys.
        decoded: how often the text was percent-decoded already.
    """
    if "=" in text or ":" in text or "'" in text:
        text = mask_secrets(text)
        if "=" in text or "':" in text or '":' in text:
            text = _by_keys(text, decide)
    elif "bearer" in (lower := text.lower()) or "private key" in lower:  # all else has a sign between name and value
        text = mask_secrets(text)
    if "%" in text and decoded < _DECODED and ("%3" in text or "%25" in text):
        text = _PART.sub(lambda found: _decoded(found[0], decide, decoded + 1), text)
    return _ROW.sub(rf"\1{MASK}", text) if "Failing row" in text else text


def _by_keys(text: str, decide: Callable[[str], Decision]) -> str:
    """What keys hide; keys within values of others are seen too."""
    if ")=(" in text:
        text = _by_columns(text, decide)
    parts: list[str] = []
    end = start = 0
    while found := _KEY.search(text, start):
        start = found.end()
        name = found["name"] or found["key"]
        if "%" in name or "+" in name:
            name = unquote_plus(name)
        hidden = decide(name) in HIDDEN
        if not hidden and name != "code":
            continue
        value = _VALUE.match(text, start)
        if value is None or not (hidden or _is_code(text, found.start(), value[0])):
            continue
        if value[0].strip("'\"") not in _BARE:
            parts += (text[end:start], MASK)
            start = end = value.end()
    return "".join((*parts, text[end:])) if parts else text


def _is_code(text: str, start: int, value: str) -> bool:
    """Whether the ``code=value`` that stands at ``start`` is one of a URL's query, or of a query alone."""
    in_query = text[start - 1] in "?&#" if start else "&state=" in text
    return in_query and len(value) >= _SHORTEST_CODE


def _decoded(part: str, decide: Callable[[str], Decision], times: int) -> str:
    """``part`` as it is, unless something is to be masked in what it is the percent-encoding of."""
    if "%3" not in part and "%25" not in part:
        return part
    plain = unquote_plus(part)
    return part if masked(plain, decide, times) == plain else MASK


def _by_columns(text: str, decide: Callable[[str], Decision]) -> str:
    """The same for ``(columns)=(values)``: if one is to be hidden, all are, to the last bracket of the line."""
    parts: list[str] = []
    end = before = 0
    at = text.find(")=(")
    while at >= 0:
        line = text.rfind("\n", max(before, at - 512), at) + 1
        columns = text[max(before, line, at - 512) : at].partition("(")[2]  # no character is looked at twice
        before = at + 1
        if any(decide(column) in HIDDEN for column in _WORD.findall(columns)):
            line_end = text.find("\n", at)
            line_end = len(text) if line_end < 0 else line_end
            parts += (text[end : at + 2], MASK)
            end = before = text.rfind(")", at + 3, line_end) + 1 or line_end
        at = text.find(")=(", before)
    return "".join((*parts, text[end:])) if parts else text


def cut(text: str, longest: int) -> str:
    """The beginning of ``text``, ending before a URL that is cut in two: its password would not be known as one."""
    head = text[:longest]
    start = head.rfind("://")
    if start >= 0 and ":" in head[start + 3 :] and not any(char.isspace() for char in head[start:]):
        head = head[: start + 3]
    return head


def encodable(text: str) -> str:
    """``text`` with half surrogate pairs (bytes that were no UTF-8) spelled out."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text
