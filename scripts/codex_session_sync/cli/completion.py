"""``completion``: what a shell reads so that it completes commands, options and ids."""

from __future__ import annotations

import click

from ..report.envelope import Report
from .completing import SHELLS, script

COMMAND = "completion"


@click.command(COMMAND)
@click.argument("shell", type=click.Choice(SHELLS))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def command(context: click.Context, shell: str, as_json: bool) -> Report:
    """Print what SHELL is to read so that it completes this program.

    It completes commands, options, their choices, the ids of sessions with their names, and those
    of transactions. In zsh and fish the program must be on the PATH; a link to the launcher does.

    Writes nothing.

    \b
    Examples:
      eval "$(codex-session-sync completion bash)"
      codex-session-sync completion zsh > ~/.zfunc/_codex-session-sync
      codex-session-sync completion fish | source
    """
    del as_json
    return Report(
        COMMAND, "ok", {"shell": shell, "script": script(context.find_root().command, shell)}
    )
