"""``manage.py dbshell``: psql with credentials of now, in its environment and never in its arguments."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from django.db.backends.postgresql.client import DatabaseClient as PostgresClient

from soa_db._core.client_environment import ClientEnvironment, postgres_environment
from soa_db._psycopg.addresses import dialled_addresses
from soa_db.errors import SoaDbError

if TYPE_CHECKING:
    from soa_db.django.postgresql.base import DatabaseWrapper

__all__ = ["DatabaseClient"]


class DatabaseClient(PostgresClient):
    """Starts psql."""

    connection: DatabaseWrapper

    @classmethod
    def settings_to_cmd_args_env(
        cls, settings_dict: dict[str, Any], parameters: Iterable[str]
    ) -> tuple[list[str], dict[str, str]]:
        """Return psql's arguments, none of which says where to, and the variables that do, the credentials too."""
        from soa_db.django.postgresql.base import DatabaseWrapper

        return [cls.executable_name, *parameters], dict(_environment(DatabaseWrapper(settings_dict)).variables)

    def runshell(self, parameters: Iterable[str]) -> None:
        """Run psql until it ends.

        Args:
            parameters: its further arguments.

        Raises:
            CommandError: AWS did not give the configuration or the credentials.
            FileNotFoundError: psql is not on PATH.
            CalledProcessError: psql failed.
        """
        try:
            environment = _environment(self.connection).within(os.environ)
        except SoaDbError as error:
            raise CommandError(str(error)) from error
        # psql handles Ctrl-C itself: it ends a query, not the shell.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            subprocess.run([self.executable_name, *parameters], env=environment, check=True)  # noqa: S603 - the user's own
        except (OSError, subprocess.CalledProcessError) as error:
            # Without the frames that hold the environment: tools that report errors print the locals of frames.
            raise error.with_traceback(None)  # noqa: B904 - it is the same
        finally:
            del environment
            signal.signal(signal.SIGINT, before or signal.SIG_DFL)


def _environment(connection: DatabaseWrapper) -> ClientEnvironment:
    target = connection.target
    config = target.connector(connection.database, {}).config
    return postgres_environment(
        config,
        target.credentials.get(),
        addresses=dialled_addresses(config),
        root_file=None if target.roots is None else target.roots.path,
    )
