"""A transaction that is done again where the server asks for it, and its failures as our errors."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import psycopg

from soa_db.errors import ProvisionError

__all__ = ["retried"]

T = TypeVar("T")

_ATTEMPTS = 5


def retried(run: Callable[[], T], address: str) -> T:
    """Run a transaction again when the server says that a catalog row was changed meanwhile by somebody else.

    Others than we may be granting at the same time; PostgreSQL reports that as an internal error with this text.

    Args:
        run: the transaction; the notes of an error it raises say which change it was.
        address: the server's ``host:port``.

    Raises:
        ProvisionError: the server refused it.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return run()
        except psycopg.errors.InternalError_ as error:
            if "tuple concurrently" not in str(error) or attempt == _ATTEMPTS:
                raise _failed(error, address) from error
            time.sleep(0.05 * attempt)
        except psycopg.Error as error:
            raise _failed(error, address) from error
    raise AssertionError("the last attempt returns or raises")


def _failed(error: psycopg.Error, address: str) -> ProvisionError:
    change = "; ".join(getattr(error, "__notes__", ())) or "carry out a change"
    detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
    return ProvisionError(
        f"could not {change}: {error.diag.message_primary or error}{detail}",
        hint="what was done before it stands, and its own transaction was rolled back; mend the cause and run again",
        host=address,
    )
