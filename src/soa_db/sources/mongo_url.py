"""Where the values of a MongoDB config come from: a connection string.

https://github.com/mongodb/specifications/blob/master/source/connection-string/connection-string-spec.md and, for its
options, ``uri-options/uri-options.md`` there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote, unquote_plus

from soa_db.errors import ConfigurationError
from soa_db.names import MONGO_PORT
from soa_db.sources.mongo import read_mongo_hosts

__all__ = ["read_mongo_environment", "read_mongo_url"]

_HINT = "write mongodb://user:password@host:port,host:port/database?replicaSet=…, special characters as %XX"
# Options by their names in lower case (they are the same in any), and where their values go.
_MILLISECONDS = {
    "connecttimeoutms": "connect_timeout",
    "maxidletimems": "max_idle",
    "serverselectiontimeoutms": "server_selection_timeout",
    "timeoutms": "operation_timeout",
    "waitqueuetimeoutms": "pool_timeout",
}
_NUMBERS = {"maxpoolsize": "max_pool_size", "minpoolsize": "min_pool_size"}
_ENDLESS = {"max_idle", "operation_timeout"}  # 0 means no limit there
_TLS = {
    "tlsallowinvalidcertificates",
    "tlsallowinvalidhostnames",
    "tlscafile",
    "tlscertificatekeyfile",
    "tlsinsecure",
}
_KNOWN = {
    *_MILLISECONDS,
    *_NUMBERS,
    *_TLS,
    "appname",  # the instance name is what connections call themselves
    "authmechanism",
    "authsource",
    "directconnection",
    "replicaset",
    "retrywrites",
    "ssl",
    "tls",
    "w",
}
_MECHANISMS = {"default": "SCRAM-SHA-256", "scram-sha-1": "SCRAM-SHA-1", "scram-sha-256": "SCRAM-SHA-256"}
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


def read_mongo_environment(environment: Mapping[str, str]) -> dict[str, object]:
    """Return the fields of a config from ``MONGODB_URI``, the variable MongoDB's own documentation uses."""
    url = environment.get("MONGODB_URI")
    if not url:
        raise ConfigurationError("MONGODB_URI is not set", hint=_HINT)
    return read_mongo_url(url)


def read_mongo_url(url: str) -> dict[str, object]:
    """Return the fields of a config from ``mongodb://user:password@host:port,…/database?options``.

    Raises:
        ConfigurationError: it is not such a URL, or holds an option that is not understood; the URL is never quoted.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "mongodb+srv":
        hint = "name the members: mongodb://host:port,host:port/database?replicaSet=…&tls=true"
        raise ConfigurationError("mongodb+srv is not supported: its hosts and options stand in DNS", hint=hint)
    if scheme != "mongodb":
        raise ConfigurationError("the MongoDB URL does not start with mongodb://", hint=_HINT)
    if "#" in rest:
        raise ConfigurationError("the MongoDB URL holds a #, which would cut it off", hint="write it as %23")
    before, _, query = rest.partition("?")
    authority, _, path = before.partition("/")
    if "@" in path or "/" in path or "@" in query:
        # An unescaped / or ? in a password ends the hosts there; the rest of it would pass for database or options.
        raise ConfigurationError("the MongoDB URL holds / in its path, or @ behind its hosts", hint=_HINT)
    userinfo, at, hosts = authority.rpartition("@")
    fields = _where(hosts, unquote(path), _options(query))
    if at:
        fields |= _login(userinfo)
        # https://www.mongodb.com/docs/manual/reference/connection-string/#mongodb-urioption-urioption.authSource
        fields.setdefault("auth_source", unquote(path) or "admin")
    return fields


def _where(hosts: str, database: str, options: Mapping[str, str]) -> dict[str, object]:
    """Return all fields but those of the user."""
    try:
        addresses = read_mongo_hosts(hosts, default_port=MONGO_PORT)
    except ValueError as fault:
        raise ConfigurationError(f"the MongoDB URL {fault}", hint=_HINT) from None
    members = [{"host": host, "port": port} for host, port in addresses]
    fields: dict[str, object] = {"hosts": members, "tls": _tls(options), "options": _driver(options)}
    texts = {"database": database, "auth_source": options.get("authsource"), "replica_set": options.get("replicaset")}
    fields |= {name: text for name, text in texts.items() if text}
    if _flag(options, "directconnection"):
        if len(members) > 1:
            raise ConfigurationError("the MongoDB URL has directConnection=true and several hosts", hint=_HINT)
        fields["dial"] = members[0]
    return fields


def _login(userinfo: str) -> dict[str, object]:
    if "@" in userinfo or userinfo.count(":") > 1 or _BARE_PERCENT.search(userinfo):
        raise ConfigurationError("user and password in the MongoDB URL are not written as %XX", hint=_HINT)
    user, password = (unquote(part) for part in userinfo.partition(":")[::2])
    if not user or not password:
        raise ConfigurationError("the MongoDB URL names a user and no password, or no user", hint=_HINT)
    return {"user": user, "auth": {"kind": "password", "password": password}}


def _options(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, sign, text = pair.partition("=")
        key = name.lower()
        if key not in _KNOWN:
            # A part without = can be the end of a password whose & or ? was not written as %XX.
            told = f"the unknown option {name!r}" if sign and name.isidentifier() else "an unknown option"
            raise ConfigurationError(f"the MongoDB URL holds {told}", hint=f"known: {', '.join(sorted(_KNOWN))}")
        if key in options or {key, *options} >= {"ssl", "tls"}:
            raise ConfigurationError(f"the MongoDB URL gives {name!r} twice", hint=_HINT)
        # As the driver and mongosh read it: + is a blank, in an option though not in user and password.
        options[key] = unquote_plus(text)
    return options


def _flag(options: Mapping[str, str], name: str) -> bool | None:
    match options.get(name):
        case None:
            return None
        case "true":
            return True
        case "false":
            return False
        case _:
            raise ConfigurationError(f"the MongoDB URL holds a {name} that is neither true nor false")


def _number(options: Mapping[str, str], name: str) -> int:
    text = options[name]
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise ConfigurationError(f"the MongoDB URL holds a {name} that is not a whole number")
    return int(text)


def _driver(options: Mapping[str, str]) -> dict[str, object]:
    """Return the fields of MongoOptions."""
    fields: dict[str, object] = {field: _number(options, name) for name, field in _NUMBERS.items() if name in options}
    for name, field in _MILLISECONDS.items():
        if name in options:
            seconds = _number(options, name) / 1000
            fields[field] = seconds if seconds or field not in _ENDLESS else None
    retry = _flag(options, "retrywrites")
    if retry is not None:
        fields["retry_writes"] = retry
    if "authmechanism" in options:
        mechanism = _MECHANISMS.get(options["authmechanism"].lower())
        if mechanism is None:
            raise ConfigurationError("the MongoDB URL holds an authMechanism not known here", hint="leave it out")
        fields["mechanism"] = mechanism
    if "w" in options:
        fields["write_concern"] = options["w"] if options["w"] == "majority" else _number(options, "w")
    return fields


def _tls(options: Mapping[str, str]) -> dict[str, object] | None:
    """Return the fields of TlsConfig; as in the driver it is off unless an option asks for it."""
    on = _flag(options, "tls" if "tls" in options else "ssl")
    given = _TLS & options.keys()
    if on is False and given:
        raise ConfigurationError("the MongoDB URL has settings of TLS and tls=false", hint=_HINT)
    if not on and not given:
        return None
    verify = "full"
    if _flag(options, "tlsinsecure") or _flag(options, "tlsallowinvalidcertificates"):
        verify = "none"
    elif _flag(options, "tlsallowinvalidhostnames"):
        verify = "ca"
    fields: dict[str, object] = {"verify": verify}
    if "tlscafile" in options:
        fields["ca_file"] = options["tlscafile"]
    if "tlscertificatekeyfile" in options:
        fields |= dict.fromkeys(("cert", "key"), options["tlscertificatekeyfile"])
    return fields
