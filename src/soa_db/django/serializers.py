"""What a cached value is on the server.

JSON by default: it is what the other packages read and write, and reading it can do no harm. Whoever can write a key
that is read by pickle runs code in the process that reads it; so pickle is there for those who ask for it.
"""

from __future__ import annotations

import pickle
from typing import Any, Protocol

from soa_db._core.redis.values import decode, encode
from soa_db.errors import ConfigurationError, ValueMalformed

__all__ = ["JsonSerializer", "PickleSerializer", "Serializer"]


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

    def dumps(self, value: Any, key: bytes) -> bytes:  # noqa: ARG002 - the protocol's
        """Return a value pickled; an integer as its digits."""
        # Not a bool, which would come back as a number.
        return str(value).encode() if type(value) is int else pickle.dumps(value, pickle.HIGHEST_PROTOCOL)

    def loads(self, data: bytes, key: bytes) -> Any:
        """Return the value; raises ValueMalformed where it is none of this serializer's."""
        try:
            return int(data)
        except ValueError:
            pass
        try:
            return pickle.loads(data)  # noqa: S301 - chosen by the user, who is told what that means
        except Exception as error:
            raise ValueMalformed(
                f"what the key {key.decode('utf-8', 'backslashreplace')!r} holds cannot be unpickled",
                hint="something else writes this key, or a class it needs is gone: delete it",
            ) from error
