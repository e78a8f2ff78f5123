"""A transaction of commands of one key, on one server or on that node of a cluster that has the key.

redis-py's transactions on a cluster know no ASK: as long as a slot is moving, those of keys that are already at its new
place fail. Here they go there.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from redis.cluster import RedisCluster
from redis.exceptions import AskError, ConnectionError, MovedError, TimeoutError  # noqa: A004 - redis-py's names

from soa_db._core.redis.classify import Category
from soa_db._redis.failures import DRIVER_ERRORS, category_of
from soa_db.errors import SoaDbError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis

    from soa_db._redis._sync import Client, Command

__all__ = ["run_transaction"]

# A slot that moves once gives two. After more the caller waits a moment, and then looks further.
_REDIRECTIONS = 5


def run_transaction(client: Client, key: bytes, commands: Sequence[Command]) -> list[Any]:
    """Run commands of one key between MULTI and EXEC; return their answers, errors among them.

    It is sent again only where an answer says that nothing of it was run. (An EXEC that is refused has run nothing,
    https://redis.io/docs/latest/develop/using-commands/transactions/#errors-inside-a-transaction.)

    Raises:
        RedisError: redis-py's. After one of a connection it is not known whether it was run.
    """
    if not isinstance(client, RedisCluster):
        return _run(client, commands)
    node: Any = client.get_node_from_key(key)  # type: ignore[no-untyped-call]  # redis-py's has no types
    asking, left = False, _REDIRECTIONS
    while True:
        try:
            return _run(client.get_redis_connection(node), commands, asking=asking)
        except AskError as error:
            if left == 0:
                raise
            left -= 1
            asking = not isinstance(error, MovedError)
            if not asking:
                client.nodes_manager.move_slot(error)
                node = client.get_node_from_key(key)  # type: ignore[no-untyped-call]  # likewise
                continue
            # The slot is moving, and the key is not where it was: for this once the other node is asked.
            node = client.get_node(error.host, error.port)  # type: ignore[no-untyped-call]  # likewise
            if node is None:
                # It has joined since, and is known the next time.
                _look_anew(client)
                raise
        except (ConnectionError, TimeoutError) as error:
            if category_of(error) is not Category.POOL:
                # Its replica may have taken over.
                _look_anew(client, node.name)
            raise


def _look_anew(client: RedisCluster, failed: str | None = None) -> None:
    # What goes wrong here is not told instead of what went wrong before, which says whether it may have been run.
    with suppress(*DRIVER_ERRORS, SoaDbError):
        client.nodes_manager.initialize(last_failed_node_name=failed)


def _run(server: Redis, commands: Sequence[Command], *, asking: bool = False) -> list[Any]:
    pipeline: Any = server.pipeline(transaction=False)
    if asking:
        # It holds for one command, and from MULTI on for the transaction.
        pipeline.execute_command("ASKING")
    pipeline.execute_command("MULTI")
    for command in commands:
        pipeline.execute_command(*command)
    pipeline.execute_command("EXEC")
    # Not raised by the pipeline: it would quote the command.
    answers = pipeline.execute(raise_on_error=False)
    if isinstance(answers[-1], Exception):
        # EXEC only says that there was an error before it.
        raise next(answer for answer in answers if isinstance(answer, Exception))
    found: list[Any] = answers[-1]
    return found
