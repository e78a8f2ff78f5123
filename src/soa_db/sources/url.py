"""The URL of a database, taken apart; it is never quoted in a message, since a password may stand in any part of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from urllib.parse import unquote, urlsplit

from soa_db.errors import ConfigurationError
from soa_db.sources.fields import host_of

__all__ = ["read_url_parts"]


def read_url_parts(
    url: str, *, called: str, schemes: Sequence[str], path: str, parameters: Collection[str], hint: str
) -> tuple[str, dict[str, str]]:
    """Return the scheme, and what the parts and parameters of ``scheme://user:password@host:port/path?…`` say.

    Args:
        url: the URL.
        called: what messages call it.
        schemes: those it may have.
        path: the name under which its path is returned.
        parameters: those it may have.
        hint: how it is to be written.

    Raises:
        ConfigurationError: it is not such a URL, or holds a parameter that is not understood; the message names the
            parameter.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # Not from its cause: urllib quotes what it could not read, and that can be the password.
        raise ConfigurationError(f"{called} cannot be read", hint=hint) from None
    if parts.scheme not in schemes:
        begins = " or ".join(f"{scheme}://" for scheme in schemes)
        raise ConfigurationError(f"{called} does not start with {begins}", hint=hint)
    if "@" in parts.path or "/" in parts.path[1:]:
        # An unescaped / in a password ends the host there, and the rest of it would pass for the database.
        raise ConfigurationError(f"the path of {called} holds / or @", hint=hint)
    if parts.fragment:
        raise ConfigurationError(f"{called} holds a #, which would cut it off", hint="write it as %23")
    pairs = [
        # Not parts.hostname, which makes it lower case.
        ("host", host_of(parts.netloc)),
        ("port", "" if port is None else str(port)),
        ("user", parts.username or ""),
        ("password", parts.password or ""),
        (path, parts.path.removeprefix("/")),
    ]
    values = {name: unquote(text) for name, text in pairs if text}
    for pair in filter(None, parts.query.split("&")):
        # Not parse_qsl: it makes + a space, the drivers do not.
        name, sign, text = pair.partition("=")
        if name not in parameters:
            # A part without = can be the end of a password whose & or ? was not written as %XX.
            told = f"the unknown parameter {name!r}" if sign and name.isidentifier() else "an unknown parameter"
            raise ConfigurationError(f"{called} holds {told}", hint=f"known: {', '.join(parameters)}")
        if name in values:
            raise ConfigurationError(f"{called} gives {name!r} twice", hint=hint)
        values[name] = unquote(text)
    return parts.scheme, values
