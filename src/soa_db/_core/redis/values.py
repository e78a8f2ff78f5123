"""What is written into Redis and read from it: JSON values, times to live, names of keys. Pure.

The wire contract with the TypeScript packages (DESIGN 2): bare compact JSON, no envelope; bookkeeping of a key stands
in sibling keys.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from soa_db.errors import ConfigurationError, ValueMalformed

__all__ = ["decode", "encode", "encode_key", "milliseconds", "prefix_pattern", "shown", "sibling"]

# Redis keeps the moment of expiry in signed 64-bit milliseconds; this is some 30,000 years.
_LONGEST = 10**12
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def encode(value: object, key: bytes) -> bytes:
    """Return a value as JSON; raises ConfigurationError, which names the key and the type, never the value."""
    try:
        return _ENCODER.encode(value).encode()
    except (TypeError, ValueError, RecursionError):
        # Not from its cause: the error quotes the value, or holds it.
        raise ConfigurationError(
            f"the value for the key {shown(key)} ({type(value).__name__}) cannot be written as JSON",
            hint="JSON has text, finite numbers, true, false, null, lists, and objects with text for keys",
        ) from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def decode(text: bytes, key: bytes) -> Any:
    """Return the value of JSON text; raises ValueMalformed, which names the key, never the value."""
    try:
        return _DECODER.decode(text.decode())
    except (ValueError, RecursionError):
        raise ValueMalformed(
            f"what the key {shown(key)} holds is not JSON",
            hint="something else writes this key: use another, or read it with the native client",
        ) from None


def encode_key(key: str | bytes) -> bytes:
    """Return a key as bytes; raises ConfigurationError for another type or a lone surrogate."""
    if isinstance(key, bytes):
        return key
    try:
        return key.encode()
    except (AttributeError, UnicodeEncodeError):
        raise ConfigurationError("a key is neither bytes nor valid text", hint="give text or bytes") from None


def shown(key: bytes) -> str:
    """Return a key for messages: quoted, without control characters, not longer than a line."""
    text = repr(key.decode("utf-8", "backslashreplace"))
    return text if len(text) <= 120 else f"{text[:117]}…"


def sibling(key: bytes, what: str) -> bytes:
    """``key_refresh``, ``key_lock``: where the bookkeeping of a key stands."""
    return key + b"_" + what.encode()


def milliseconds(seconds: float, what: str = "ttl") -> int:
    """Return seconds as the milliseconds of PX, rounded up; raises ConfigurationError for none or less."""
    number: object = seconds
    # bool is an int; True would be one second.
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number <= _LONGEST:
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
