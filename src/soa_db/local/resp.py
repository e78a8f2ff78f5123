"""Commands on their way to a Redis server: where each begins, and which of them log in. Pure.

Protocol: "Redis serialization protocol specification": a command is an array of bulk strings, or, from a human, a line.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Login", "Requests", "encode"]

_LOGINS = {b"AUTH", b"HELLO"}
_LOGIN_LIMIT = 128 * 1024  # bytes of a word of a login: a token with a session token of 35 KB fits
_LOGIN_WORDS = 16  # HELLO with everything it takes has 7; more are no login that a server would accept
_LONGEST_NAME = max(map(len, _LOGINS))
_LONGEST_COUNT = 32  # with its sign and its line's end


class _NotTheProtocol(Exception):
    """Something else stands there."""


@dataclass(frozen=True, slots=True)
class Login:
    """An AUTH or HELLO, whole."""

    words: tuple[bytes, ...] = field(repr=False)

    @property
    def place(self) -> int | None:
        """Where the password stands, the user right before it; None when none is given, or only a password."""
        upper = [word.upper() for word in self.words]
        if upper[0] == b"AUTH":
            return 2 if len(self.words) == 3 else None
        # HELLO [protover [AUTH username password] [SETNAME clientname]]
        place = 2
        while place < len(upper):
            if upper[place] == b"AUTH" and place + 2 < len(upper):
                return place + 2
            place += 2
        return None

    @property
    def user(self) -> str:
        """The user that wants in."""
        place = self.place
        return "" if place is None else self.words[place - 1].decode("utf-8", "replace")

    @property
    def secret(self) -> bytes:
        """The password or token."""
        place = self.place
        return b"" if place is None else self.words[place]

    def with_secret(self, secret: bytes) -> Login:
        """The same with another password."""
        assert self.place is not None
        words = list(self.words)
        words[self.place] = secret
        return Login(tuple(words))


def encode(words: tuple[bytes, ...]) -> bytes:
    """A command as an array of bulk strings."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


class Requests:
    """Splits what a client sends into logins and everything else, holding back no more than it must.

    What is not the protocol passes as it is, and everything after it: the server will say what is wrong with it. So
    does an AUTH or HELLO of more words, or of longer ones, than any login has: whole, so that nothing in it is taken
    for a command, and without being held back, so that nobody fills our memory.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._left = 0  # words still to come of the command that passes
        self._skip = 0  # bytes still to come of the word that passes
        self._lost = False

    def feed(self, data: bytes) -> list[bytes | Login]:
        """Take what has come; give what may pass on, as it is, and each login once it is whole."""
        if self._lost:
            return [data]
        self._buffer += data
        found: list[bytes | Login] = []
        begin = at = 0
        try:
            while (step := self._next(at)) is not None:
                end, login = step
                if login is not None:
                    found += [*self._slice(begin, at), login]
                    begin = end
                at = end
        except _NotTheProtocol:
            self._lost = True
            at = len(self._buffer)
        found += self._slice(begin, at)
        del self._buffer[:at]
        return found

    def _slice(self, begin: int, end: int) -> list[bytes | Login]:
        return [bytes(self._buffer[begin:end])] if end > begin else []

    def _next(self, at: int) -> tuple[int, Login | None] | None:
        """What stands there: where it ends, and the login if it is one; None when more must come."""
        if at == len(self._buffer):
            return None
        if self._skip:
            step = min(self._skip, len(self._buffer) - at)
            self._skip -= step
            return at + step, None
        if self._left:
            header = self._header(at, b"$")
            if header is None:
                return None
            self._left -= 1
            self._skip = header[0] + 2
            return header[1], None
        return self._array(at) if self._buffer[at : at + 1] == b"*" else self._line(at)

    def _array(self, at: int) -> tuple[int, Login | None] | None:
        header = self._header(at, b"*")
        if header is None:
            return None
        count, end = header
        words: list[bytes] = []
        at = end
        while len(words) < count <= _LOGIN_WORDS:
            word = self._word(at, limit=_LOGIN_LIMIT if words else _LONGEST_NAME)
            if word is None:
                return None
            text, at = word
            if text is None or (not words and text.upper() not in _LOGINS):
                break
            words.append(text)
        if words and len(words) == count:
            return at, Login(tuple(words))
        self._left = count
        return end, None

    def _line(self, at: int) -> tuple[int, Login | None] | None:
        end = self._buffer.find(b"\n", at)
        if end < 0:
            if len(self._buffer) - at > _LOGIN_LIMIT:
                raise _NotTheProtocol
            return None
        words = tuple(bytes(self._buffer[at:end]).split())
        return end + 1, Login(words) if words and words[0].upper() in _LOGINS else None

    def _header(self, at: int, kind: bytes) -> tuple[int, int] | None:
        """A count or length, and where its line ends; None when it is not whole yet."""
        end = self._buffer.find(b"\r\n", at, at + _LONGEST_COUNT)
        if end < 0 and len(self._buffer) - at < _LONGEST_COUNT:
            return None
        digits = bytes(self._buffer[at + 1 : max(end, at)])
        if self._buffer[at : at + 1] != kind or not digits.isdigit():
            raise _NotTheProtocol
        return int(digits), end + 2

    def _word(self, at: int, *, limit: int) -> tuple[bytes | None, int] | None:
        """The bulk string that stands there, and where it ends; None for one over the limit, not waited for."""
        header = self._header(at, b"$") if at < len(self._buffer) else None
        if header is None:
            return None
        size, start = header
        if size > limit:
            return None, start
        if len(self._buffer) < start + size + 2:
            return None
        return bytes(self._buffer[start : start + size]), start + size + 2
