"""What a cached value is on the server.

JSON by default: it is what the other packages read and write, and reading it can do no harm. Whoever can write a key
that is read by pickle runs code in the process that reads it; so pickle is there for those who ask for it.
"""

from __future__ import annotations

import pickle
import re
from typing import Any, Protocol

from soa_db._core.redis.values import check_length, decode, encode, is_countable, shown
from soa_db.errors import ConfigurationError, ValueMalformed

__all__ = ["JsonSerializer", "PickleSerializer", "Serializer"]

# What the server may count in, and no more: the digits of longer ones would not be read.
_DIGITS = re.compile(rb"-?[0-9]{1,19}")


class Serializer(Protocol):
    """Writes and reads values. Integers must come out as their digits for ``incr`` to work."""

    def dumps(self, value: Any, key: bytes) -> bytes:
        """Return a value as bytes; the key is for messages."""
        ...

    def loads(self, data: bytes, key: bytes) -> Any:
        """Return the value of bytes."""
        ...


class JsonSerializer:
    """Bare compact JSON, as the managers of ``soa_db.redis`` and the TypeScript packages have it."""

    def dumps(self, value: Any, key: bytes) -> bytes:
        """Return a value as JSON; raises ConfigurationError where it is none."""
        try:
            return encode(value, key)
        except ConfigurationError as error:
            hint = (
                "cache what JSON can hold (for querysets: list(queryset.values())), or, if nobody else writes this "
                "Redis, choose the serializer 'soa_db.django.serializers.PickleSerializer'"
            )
            raise ConfigurationError(error.message, hint=hint, **error.context) from error

    def loads(self, data: bytes, key: bytes) -> Any:
        """Return the value of JSON; raises ValueMalformed where it is none."""
        return decode(data, key)


class PickleSerializer:
    """Any Python object. Whoever may write the service's keys can run code in every process that reads them."""

    def dumps(self, value: Any, key: bytes) -> bytes:
        """Return a value pickled, an integer as its digits; raises ConfigurationError where it cannot be."""
        # Not a bool, which would come back as a number; nor what the server could not add to.
        if type(value) is int and is_countable(value):
            return str(value).encode()
        data: bytes | None
        try:
            data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        except Exception:  # noqa: BLE001 - whatever a class does when it is pickled
            # What is raised comes after it: these errors may quote the value.
            data = None
        if data is None:
            raise ConfigurationError(
                f"the value for the key {shown(key)} ({type(value).__name__}) cannot be pickled",
                hint="pickle.dumps(value) says why; cache what it is made of",
            )
        check_length(data, key)
        return data

    def loads(self, data: bytes, key: bytes) -> Any:
        """Return the value; raises ValueMalformed where it is none of this serializer's."""
        if _DIGITS.fullmatch(data):
            return int(data)
        try:
            return pickle.loads(data)  # noqa: S301 - chosen by the user, who is told what that means
        except Exception as error:
            raise ValueMalformed(
                f"what the key {shown(key)} holds cannot be unpickled",
                hint="something else writes this key, or a class it needs is gone: delete it",
            ) from error
