"""What mongosh, mongodump and their kin, and programs that read MONGODB_URI, are started with. Pure.

mongosh takes a password from a prompt, its arguments or a script; the Database Tools from a prompt, their arguments or
the file in ``--config`` (https://www.mongodb.com/docs/database-tools/mongodump/): both get a file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from soa_db._core.client_environment import UNSAFE_VARIABLES, ClientEnvironment

__all__ = ["MONGO_PROGRAMS", "PrivateFile", "mongo_environment", "private_file"]

_VARIABLE = "MONGODB_URI"
_TOOLS = frozenset({"mongodump", "mongoexport", "mongofiles", "mongoimport", "mongorestore", "mongostat", "mongotop"})

MONGO_PROGRAMS = _TOOLS | {"mongosh"}
"""Clients that read no variable."""

# With one of these mongosh runs a script and ends; without, it is to be talked to.
_SCRIPT_OPTIONS = ("--eval", "--file", "-f")
_SCRIPT_ENDINGS = (".js", ".mjs", ".cjs", ".mongodb", ".mongodb.js")


@dataclass(frozen=True, slots=True)
class PrivateFile:
    """A file that only the user may read, there for as long as the client is.

    Attributes:
        name: its name.
        text: what it holds; never shown.
    """

    name: str
    text: str = field(repr=False)


def private_file(program: str, uri: str, path_of: str) -> PrivateFile | None:
    """Return the file a client reads its connection string from; None for one that reads MONGODB_URI.

    Args:
        program: the client's name.
        uri: the connection string, password and all.
        path_of: the directory the file will stand in.
    """
    if program == "mongosh":
        path = f"{path_of}/connect.js"
        # Read once: then it deletes itself, so that it does not lie there while the shell is open.
        script = (
            f'try {{ require("fs").unlinkSync({json.dumps(path)}); }} catch (error) {{}}\n'
            f"db = connect({json.dumps(uri)});\n"
        )
        return PrivateFile("connect.js", script)
    # JSON's strings are YAML's too.
    return PrivateFile("config.yaml", f"uri: {json.dumps(uri)}\n") if program in _TOOLS else None


def mongo_environment(
    uri: str, *, program: str, given: Sequence[str] = (), file: str | None = None
) -> ClientEnvironment:
    """Return what a client of MongoDB connects with.

    Args:
        uri: the connection string, password and all; set as MONGODB_URI for a client without a file.
        program: the client's name.
        given: the arguments its caller gives it; whether mongosh is to run a script or to be talked to shows there.
        file: where the client's ``private_file`` stands.
    """
    removed = UNSAFE_VARIABLES | {_VARIABLE}
    if file is None:
        return ClientEnvironment({_VARIABLE: uri}, secret=frozenset({_VARIABLE}), removed=removed)
    if program != "mongosh":
        return ClientEnvironment({}, removed=removed, arguments=(f"--config={file}",))
    # mongosh runs --eval in order and before any script, so that those of the caller find the connection made.
    arguments = ["--nodb", "--eval", f"void load({json.dumps(file)})"]
    if not any(_is_script(argument) for argument in given):
        arguments.append("--shell")
    return ClientEnvironment({}, removed=removed, arguments=tuple(arguments))


def _is_script(argument: str) -> bool:
    return (
        argument in _SCRIPT_OPTIONS
        or argument.startswith(tuple(f"{option}=" for option in _SCRIPT_OPTIONS))
        or argument.endswith(_SCRIPT_ENDINGS)
    )
