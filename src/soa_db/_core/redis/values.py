"""What is written into Redis and read from it: JSON values, times to live, names of keys. Pure.

The wire contract with the TypeScript packages (DESIGN 2): bare compact JSON, no envelope; bookkeeping of a key stands
in sibling keys.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from soa_db.errors import ConfigurationError, ValueMalformed

__all__ = [
    "LONGEST",
    "check_length",
    "decode",
    "encode",
    "encode_key",
    "is_countable",
    "milliseconds",
    "prefix_pattern",
    "shown",
    "sibling",
]

# Seconds. Redis keeps the moment of expiry in signed 64-bit milliseconds; this is some 30,000 years.
LONGEST = 10**12
# The most a key or a value may have, https://redis.io/docs/latest/develop/data-types/strings/#limits: for more than
# that the server ends the connection, which looks like an outage.
_LARGEST = 512 * 1024 * 1024
# What the encoder makes of a key that is no text. A key that is text may look so too, and text may hold what does; but
# mostly nothing does, and to look at the value itself takes as long as to encode it. (Each alternative begins with
# something definite: with ``-?[0-9]`` the search takes three times as long.)
_MAY_BE_REWRITTEN = re.compile(rb'"(?:[-0-9][^"]*|true|false|null)":')
_JSON = "JSON has text, finite numbers, true, false, null, lists, and objects with text for keys"
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def encode(value: object, key: bytes) -> bytes:
    """Return a value as JSON; raises ConfigurationError, which names the key and the type, never the value."""
    text: bytes | None
    try:
        text = _ENCODER.encode(value).encode()
    except (TypeError, ValueError, RecursionError):
        # What is raised comes after it: these errors quote the value, or hold it.
        text = None
    if text is None:
        raise ConfigurationError(
            f"the value for the key {shown(key)} ({type(value).__name__}) cannot be written as JSON", hint=_JSON
        )
    if _MAY_BE_REWRITTEN.search(text) and not _has_text_keys(value):
        # The encoder makes "1" of 1, "null" of None and "true" of True: another value, and maybe one key twice.
        raise ConfigurationError(
            f"the value for the key {shown(key)} ({type(value).__name__}) has an object with a key that is no text",
            hint=_JSON,
        )
    check_length(text, key)
    return text


def check_length(data: bytes, key: bytes) -> None:
    """Raise ConfigurationError where a value is longer than Redis takes."""
    if len(data) > _LARGEST:
        raise ConfigurationError(
            f"the value for the key {shown(key)} is {len(data)} bytes long, and Redis takes {_LARGEST}",
            hint="keep it in parts, or elsewhere",
        )


def _has_text_keys(value: object) -> bool:
    """Whether every object in it has text for keys. Of values that are JSON otherwise, and so have an end."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            if not all(isinstance(name, str) for name in one):
                return False
            one = one.values()
        elif not isinstance(one, list | tuple):
            continue
        left += [inner for inner in one if isinstance(inner, dict | list | tuple)]
    return True


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def decode(text: bytes, key: bytes) -> Any:
    """Return the value of JSON text; raises ValueMalformed, which names the key, never the value."""
    try:
        string = text.decode()
        try:
            value, end = _DECODER.raw_decode(string)
            if end == len(string):
                return value
        except ValueError:
            # Blanks around a value are JSON too; that there are none costs less to see than to look for them.
            pass
        return _DECODER.decode(string)
    except (ValueError, RecursionError):
        # What is raised comes after it, likewise.
        pass
    raise ValueMalformed(
        f"what the key {shown(key)} holds is not JSON",
        hint="something else writes this key: use another, or read it with the native client",
    )


def encode_key(key: str | bytes) -> bytes:
    """Return a key as bytes; raises ConfigurationError for another type, a lone surrogate or one that is too long."""
    name: object = key
    if isinstance(key, str):
        try:
            name = key.encode()
        except UnicodeEncodeError:
            name = None
    if not isinstance(name, bytes) or len(name) > _LARGEST:
        raise ConfigurationError(
            "a key is neither bytes nor valid text, or too long",
            hint=f"give text or bytes, {_LARGEST} of them at most",
        )
    return name


def shown(key: bytes) -> str:
    """Return a key for messages: quoted, without control characters, not longer than a line."""
    text = repr(key.decode("utf-8", "backslashreplace"))
    return text if len(text) <= 120 else f"{text[:117]}…"


def sibling(key: bytes, what: str) -> bytes:
    """``key_refresh``, ``key_lock``: where the bookkeeping of a key stands."""
    return key + b"_" + what.encode()


def is_countable(number: int) -> bool:
    """Whether the server can count in it: its integers are signed and have 64 bits."""
    return -(2**63) <= number < 2**63


def milliseconds(seconds: float, what: str = "ttl") -> int:
    """Return seconds as the milliseconds of PX, rounded up; raises ConfigurationError for none or less."""
    number: object = seconds
    # bool is an int; True would be one second.
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number <= LONGEST:
        raise ConfigurationError(
            f"{what} is not a number of seconds greater than 0", hint="0 and less would delete the key at once"
        )
    return math.ceil(number * 1000)


def prefix_pattern(prefix: bytes) -> bytes:
    """Return the MATCH pattern of every key that begins with ``prefix``, taken literally."""
    special = b"*?[]\\^-"
    escaped = bytearray()
    for byte in prefix:
        escaped += b"\\" if byte in special else b""
        escaped.append(byte)
    return bytes(escaped) + b"*"
