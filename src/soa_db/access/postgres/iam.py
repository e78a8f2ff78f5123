"""Granting rds_iam without locking the administrator out, whoever dies while it is done.

On RDS a member of rds_iam logs in by token only, and whoever is a member of its members is one too: from PostgreSQL 16
on the creator of a role, by its ADMIN option. A grant may therefore shut out the administrator's password. Whether it
does is known only once the grant is committed, since a login sees nothing else. So where a grant would make the
administrator a member, the *server* looks after it: one statement commits the grant and waits for the verdict of the
run, which logs in anew meanwhile; without a good one, or when the run is gone, it takes the grant back. A statement
under way goes on when its client is killed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from soa_db.access.postgres.actions import GrantMembership, sentence
from soa_db.access.postgres.desired import IAM_ROLE
from soa_db.access.postgres.lock import LOCK_KEY
from soa_db.access.postgres.retry import retried
from soa_db.errors import AuthenticationFailed, ConnectionFailed, ProvisionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from soa_db.access.postgres.admin import AdminServer

__all__ = ["grant_membership"]

Connection = psycopg.Connection[Any]

# Advisory locks with two keys, in the database `postgres`: the first is ASCII of "iam!".
_KEY = int.from_bytes(b"iam!", "big")
_GRANTED, _PROVED, _REFUSED = 1, 2, 3
_POLL = 0.02  # seconds between two looks at the other session
_PATIENCE = 120  # seconds the server waits for a verdict: longer than a login that is tried again and times out

# All edges count, also those without INHERIT, as in pg_hba (is_member_of_role_nosuper in src/backend/utils/adt/acl.c).
_IS_MEMBER = """
    WITH RECURSIVE mine AS (
        SELECT oid FROM pg_roles WHERE rolname = current_user
         UNION
        SELECT a.roleid FROM pg_auth_members AS a JOIN mine ON mine.oid = a.member
    )
    SELECT EXISTS (SELECT 1 FROM mine JOIN pg_roles AS r USING (oid) WHERE r.rolname = %s)
"""
_HELD = """
    SELECT EXISTS (
        SELECT 1 FROM pg_locks
         WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND pid = %s AND classid = %s AND objid = %s
    )
"""
# The run is there as long as its session holds the lock of the server. COMMIT in each round: no snapshot is held.
_GUARDED = """
DECLARE
    until CONSTANT timestamptz := clock_timestamp() + make_interval(secs => {patience});
    verdict int;
BEGIN
    {grants}
    COMMIT;
    PERFORM pg_advisory_lock({key}, {granted});
    LOOP
        SELECT objid::int INTO verdict FROM pg_locks
         WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND pid = {run} AND classid = {key};
        COMMIT;
        IF verdict = {proved} THEN
            RETURN;
        END IF;
        EXIT WHEN verdict IS NOT NULL OR clock_timestamp() > until OR NOT EXISTS (
            SELECT 1 FROM pg_locks
             WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND pid = {run}
               AND (classid::bigint << 32) | objid::bigint = {lock}
        );
        PERFORM pg_sleep({poll});
    END LOOP;
    {revokes}
    COMMIT;
END
"""


def grant_membership(
    server: AdminServer, connection: Connection, grants: Sequence[GrantMembership], prove: Callable[[], None]
) -> None:
    """Grant memberships in rds_iam, all or none.

    Args:
        server: the server, as its administrator.
        connection: the session that holds the server's lock.
        grants: the memberships.
        prove: told that a new login of the administrator is about to be tried.

    Raises:
        ProvisionError: the server refused, or the administrator could not log in any more; then they were undone.
    """
    if retried(lambda: _grant_if_harmless(connection, grants), server.address):
        return
    retried(lambda: _grant_guarded(server, connection, grants, prove), server.address)


def _grant_if_harmless(connection: Connection, grants: Sequence[GrantMembership]) -> bool:
    """Grant, unless that would make the administrator a member that was none before."""
    before = _asked(connection, _IS_MEMBER, IAM_ROLE)
    with connection.transaction() as transaction:
        for grant in grants:
            try:
                connection.execute(_statement("GRANT {} TO {}", grant))
            except psycopg.Error as error:
                error.add_note(sentence(grant))
                raise
        harmless = before or not _asked(connection, _IS_MEMBER, IAM_ROLE)
        if not harmless:
            raise psycopg.Rollback(transaction)
    return harmless


def _grant_guarded(
    server: AdminServer, connection: Connection, grants: Sequence[GrantMembership], prove: Callable[[], None]
) -> None:
    with closing(server.connect()) as guard, ThreadPoolExecutor(1, thread_name_prefix="soa-db-iam") as pool:
        # The server must not look whether this client is still there: that is what the guard is for.
        guard.execute("SET client_connection_check_interval = 0")
        # Started with nothing to do: the pool does not know, nor await, a thread whose very start was interrupted.
        pool.submit(int).result()
        verdict = _REFUSED
        under_way: Future[Any] | None = None
        try:
            under_way = pool.submit(guard.execute, _guarded(guard, grants, connection.info.backend_pid))
            if not _committed(connection, guard, under_way):
                under_way.result()
            prove()
            server.connect().close()
            verdict = _PROVED
        except ConnectionFailed as error:
            raise _not_proved(server, error) from error
        except psycopg.Error as error:
            error.add_note(f"grant membership in {IAM_ROLE} to {len(grants)} roles")
            raise
        finally:
            connection.execute("SELECT pg_advisory_lock(%s, %s)", [_KEY, verdict])
            try:
                pool.shutdown()
                if under_way is not None:
                    under_way.result()
            finally:
                connection.execute("SELECT pg_advisory_unlock(%s, %s)", [_KEY, verdict])


def _committed(connection: Connection, guard: Connection, under_way: Future[Any]) -> bool:
    """Wait until the grant is committed; False when it ended before."""
    while not under_way.done():
        if _asked(connection, _HELD, guard.info.backend_pid, _KEY, _GRANTED):
            return True
        time.sleep(_POLL)
    return False


def _not_proved(server: AdminServer, error: ConnectionFailed) -> ProvisionError:
    if not isinstance(error, AuthenticationFailed):
        return ProvisionError(
            f"whether {server.config.user} can still log in after granting {IAM_ROLE} could not be seen; it was "
            f"undone: {error.message}",
            hint=error.hint,
            host=server.address,
        )
    return ProvisionError(
        f"granting {IAM_ROLE} locked the administrator {server.config.user} out; it was undone: {error.message}",
        hint=f"provision as an administrator that logs in by IAM token, or exempt {server.config.user} from "
        f"{IAM_ROLE} on the server",
        host=server.address,
    )


def _guarded(connection: Connection, grants: Sequence[GrantMembership], run: int) -> sql.Composed:
    body = sql.SQL(_GUARDED).format(
        grants=sql.SQL("\n    ").join(_statement("GRANT {} TO {};", grant) for grant in grants),
        # Without GRANTED BY, as the grant was made: the server names the same grantor for both.
        revokes=sql.SQL("\n    ").join(_statement("REVOKE {} FROM {};", grant) for grant in grants),
        run=run,
        patience=_PATIENCE,
        poll=_POLL,
        key=_KEY,
        lock=LOCK_KEY,
        granted=_GRANTED,
        proved=_PROVED,
    )
    # As a literal: a name cannot end it.
    return sql.SQL("DO {}").format(sql.Literal(body.as_string(connection)))


def _statement(template: str, grant: GrantMembership) -> sql.Composed:
    return sql.SQL(template).format(sql.Identifier(grant.role), sql.Identifier(grant.member))


def _asked(connection: Connection, query: str, *parameters: object) -> bool:
    return connection.execute(query.encode(), list(parameters)).fetchone() == (True,)
