"""What every engine does alike to bring one server to what the specs want: plan, carry out, look again.

An engine's provisioner calls ``server_plan`` with what its comparison found. Its locked server calls ``converge`` with
the one thing that is its own: carrying out the changes of a plan once, and looking again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from soa_db.access.plan import ServerPlan, fingerprint, refuse_errors
from soa_db.errors import ProvisionError, SoaDbError

if TYPE_CHECKING:
    from soa_db.access.plan import Change, Notice, PlanOptions
    from soa_db.names import Env

__all__ = ["action_of", "converge", "raise_failed", "server_plan"]

_SHOWN = 20  # changes that an error lists


def server_plan(
    engine: str,
    server: str,
    *,
    env: Env,
    specs: str,
    options: PlanOptions,
    changes: Sequence[Change],
    notices: Sequence[Notice],
) -> ServerPlan:
    """Make a plan of what was found, with its fingerprint.

    Args:
        engine: the engine's name.
        server: ``host:port`` of the server, or what else it is known by.
        env: the environment.
        specs: the specs in a canonical text.
        options: what was asked for.
        changes: in the order they are made.
        notices: what is reported only.
    """
    mark = fingerprint(specs=specs, env=env, server=server, options=options, changes=changes)
    return ServerPlan(env, engine, server, tuple(changes), tuple(notices), mark)


def converge(
    plan: ServerPlan,
    once: Callable[[ServerPlan], ServerPlan],
    *,
    agree: Callable[[ServerPlan], bool],
    hint: str,
) -> ServerPlan:
    """Make the changes of a plan just made, then look again; nothing may be left.

    Args:
        plan: the plan.
        once: makes the changes of a plan and gives what a new look finds.
        agree: asked about a second plan, of what could not be seen when the first was made.
        hint: what to look at when changes did not take effect although the server reported no error.

    Returns:
        What the last look finds; it has no changes.

    Raises:
        ProvisionError: a change failed, or was not agreed to, or something is left to do.
    """
    refuse_errors(plan)
    after = once(plan)
    if {change.sentence for change in after.changes} - {change.sentence for change in plan.changes}:
        # What could not be seen before can be now: inside a database that had shut the administrator out, or whether
        # a password is right whose user could not log in. Nobody has agreed to that yet.
        if not agree(after):
            raise ProvisionError(
                f"the plan was carried out; {len(after.changes)} changes more, which could be seen only then, were "
                f"not made:\n{_listed(after)}",
                hint="look at a new plan",
                host=plan.server,
            )
        after = once(after)
    if after.changes:
        raise ProvisionError(
            f"{len(after.changes)} changes did not take effect, though the server reported no error:\n{_listed(after)}",
            hint=hint,
            host=plan.server,
        )
    return after


def _listed(plan: ServerPlan) -> str:
    return "\n".join(f"  {change.sentence}" for change in plan.changes[:_SHOWN])


def action_of(change: Change) -> Any:
    """What the engine renders of a change; its type is the engine's to say."""
    assert change.action is not None, "a plan read from a file is compared, never carried out"
    return change.action


def raise_failed(failed: Sequence[tuple[str, SoaDbError]], what: str) -> None:
    """Raise for pieces of work of which some failed; nothing when none did.

    Args:
        failed: what a person calls the piece, and its error.
        what: what they are, in the plural, e.g. ``databases``.

    Raises:
        ProvisionError: several failed; ``problems`` has one text for each.
        SoaDbError: the one that failed.
    """
    if not failed:
        return
    if len(failed) == 1:
        raise failed[0][1]
    problems = tuple(f"{name}: {error.message}" for name, error in failed)
    lines = "\n".join(f"  {problem}" for problem in problems)
    hints = dict.fromkeys(error.hint for _, error in failed if error.hint)
    raise ProvisionError(
        f"{len(failed)} {what} failed:\n{lines}",
        hint="; ".join(hints),
        problems=problems,
        host=next((error.context["host"] for _, error in failed if "host" in error.context), None),
    ) from failed[0][1]
