"""``soa-db demo``: the whole idea on real servers, in under a minute."""

from __future__ import annotations

from pathlib import Path

import click

from soa_db.cli import options
from soa_db.cli.run import ExitCode
from soa_db.cli.terminal import Terminal

__all__ = ["command"]

EPILOG = """\b
Examples:
  soa-db demo
  soa-db demo --keep     # then: eval "$(soa-db local env --state-dir .soa-db/demo)"
"""


@click.command("demo", epilog=EPILOG, short_help="The whole idea on real servers on this machine, in a minute.")
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".soa-db/demo"),
    show_default=True,
    metavar="DIR",
    help="Where its servers live while it runs.",
)
@click.option("--keep", is_flag=True, help="Leave the environment running at the end; `local down` stops it.")
@options.common_options
@click.pass_context
def command(context: click.Context, *, state_dir: Path, keep: bool) -> None:
    """Show the whole idea on real servers on this machine, and check what it promises.

    Starts PostgreSQL, Redis and MongoDB for dev, mirror and prod and an emulated AWS, provisions seven services,
    verifies every identity with the service's own AWS rights, connects as each, rotates passwords and kills servers
    while calls are made.
    Exits with 1 when a promise is broken. Leaves nothing running.
    """
    from soa_db.cli.demo.acts import play
    from soa_db.cli.demo.stage import staged
    from soa_db.cli.demo.story import Story

    terminal = Terminal()
    story = Story(terminal)
    with staged(state_dir, story, keep=keep) as stage:
        play(stage, story)
    terminal.line()
    if story.broken:
        terminal.line(f"{len(story.broken)} broken of the promises above, after {story.seconds:.1f} s", "bold red")
        context.exit(ExitCode.FAILED)
    terminal.line(f"every promise kept, in {story.seconds:.1f} s", style="bold green")
    if keep:
        terminal.note(f'still running: eval "$(soa-db local env --state-dir {state_dir})"; stop it with `local down`')
