"""The commands that there are; the module of one is imported when it is called."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from .calling import PROGRAM

SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""How every command takes its arguments. click keeps the first that it sees of a command."""

COMMANDS = {
    "inspect-package": "inspect_package",
    "sync": "sync",
    "pack": "pack",
    "have": "have",
    "adopt": "adopt",
    "list-transactions": "list_transactions",
    "show-transaction": "show_transaction",
    "rollback": "rollback",
    "recover": "recover",
    "sidecar-health": "sidecar_health",
    "rebuild-sidecar": "rebuild_sidecar",
    "replay-transactions-sidecar": "replay_sidecar",
    "prune-invalid-mappings": "prune_mappings",
    "rebuild-index": "rebuild_index",
    "verify": "verify",
    "explain": "explain",
    "lineage": "lineage",
    "checkpoint capture": "checkpoint_capture",
    "checkpoint report": "checkpoint_report",
    "checkpoint list": "checkpoint_list",
    "checkpoint sync": "checkpoint_sync",
    "checkpoint install-hook": "checkpoint_install_hook",
    "checkpoint remove-hook": "checkpoint_remove_hook",
    "events import": "events_import",
    "events search": "events_search",
    "events report": "events_report",
    "events graph": "events_graph",
    "events index": "events_index",
    "events rebuild": "events_rebuild",
    "serve": "serve",
    "ingest": "ingest",
    "watch": "watch",
    "demo": "demo",
    "completion": "completion",
}
"""Each command's module; a name of two words is that of a group and of a command in it."""

PURPOSES = {
    "inspect-package": "Tell what is in a package, and what to do.",
    "sync": "Bring the sessions of a package into the home.",
    "pack": "Write sessions of this home to a package.",
    "have": "Write what this home has, for a `pack --have`.",
    "adopt": "Track sessions that came by other means.",
    "list-transactions": "List what was done to this home, newest first.",
    "show-transaction": "Show one transaction and every change it made.",
    "rollback": "Undo what a transaction did.",
    "recover": "End what a crash interrupted.",
    "sidecar-health": "Check what is known of earlier syncs.",
    "rebuild-sidecar": "Make the sidecars anew from all that is left.",
    "replay-transactions-sidecar": "Make the sidecars what the journal says.",
    "prune-invalid-mappings": "Take out mappings whose session is gone.",
    "rebuild-index": "Make Codex's lists of names and prompts anew.",
    "verify": "Ask the installed Codex to open sessions.",
    "explain": "Say why Codex does or does not show a session.",
    "lineage": "Show which sessions came from which.",
    "checkpoint capture": "Keep what this home holds at a commit.",
    "checkpoint report": "Show the chat behind a commit.",
    "checkpoint list": "List the commits that have a checkpoint.",
    "checkpoint sync": "Bring the sessions of a commit into the home.",
    "checkpoint install-hook": "Make a checkpoint at each commit.",
    "checkpoint remove-hook": "Take that out again.",
    "events import": "Keep what was said in sessions as events.",
    "events search": "Find what was said, by words.",
    "events report": "Tell what a store has of events.",
    "events graph": "Show what imports read, and lines of events.",
    "events index": "Bring the index of events up to date.",
    "events rebuild": "Make anew all that is derived from events.",
    "serve": "Take sessions from another program.",
    "ingest": "Start a worker and take what it finds.",
    "watch": "Tell what changes in a folder, as a worker.",
    "demo": "Show the main job, in a home of its own.",
    "completion": "Print what a shell reads to complete words.",
}
"""What each command is for; told without importing it."""

GROUPS: dict[str, tuple[str, str]] = {
    "checkpoint": (
        "Keep sessions by commit, and find them again.",
        """From a commit back to the chat that made it, on any machine that has the store.

        A checkpoint is what a Codex home holds at a commit of a repository. Checkpoints lie in a
        store, a folder outside of the home that many repositories and homes may share.

        \b
        Start here:
          codex-session-sync checkpoint install-hook
          codex-session-sync checkpoint report
        """,
    ),
    "events": (
        "Keep and find what was said in sessions.",
        """What people and agents said, as events that never change, whichever package it came in.

        Events lie in a store, a folder outside of the home that many homes may share. Importing
        the same sessions again, in whatever form, adds nothing.

        \b
        Start here:
          codex-session-sync events import
          codex-session-sync events search prune roses
        """,
    ),
}
"""The groups of commands: what each is for, and the help that it gives."""


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for.

    ``within`` is its name with a space, empty for the whole program.
    """

    def __init__(self, *arguments: Any, within: str = "", **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.within = within

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order in which a user meets them."""
        return list(self._purposes())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, or the group."""
        name = self.within + cmd_name
        if name in GROUPS:
            return LazyGroup(
                cmd_name,
                within=f"{name} ",
                help=GROUPS[name][1],
                context_settings=SETTINGS,
            )
        module = COMMANDS.get(name)
        if module is None:
            return None
        command = importlib.import_module(f".{module}", __package__).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their purposes."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._purposes().items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands that begin so, or the options."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [
            CompletionItem(name, help=purpose)
            for name, purpose in self._purposes().items()
            if name.startswith(incomplete)
        ]

    def _purposes(self) -> dict[str, str]:
        """What the commands and groups right in this one are for."""
        found: dict[str, str] = {}
        for name, purpose in PURPOSES.items():
            if name.startswith(self.within):
                first, _, rest = name.removeprefix(self.within).partition(" ")
                found.setdefault(first, GROUPS[self.within + first][0] if rest else purpose)
        return found


def command_of(arguments: Sequence[str]) -> str | None:
    """The name of the command that arguments call; of a group, where none of its commands is."""
    words = [word for word in arguments if not word.startswith("-")]
    for count in (2, 1):
        name = " ".join(words[:count])
        if name in COMMANDS or name in GROUPS:
            return name
    return None


def found(cli: click.Group, name: str) -> tuple[click.Command, click.Context]:
    """A command by its whole name, with the context that calling it has. Raises KeyError."""
    context = click.Context(cli, info_name=PROGRAM, **SETTINGS)
    command: click.Command = cli
    for word in name.split():
        inner = command.get_command(context, word) if isinstance(command, click.Group) else None
        if inner is None:
            raise KeyError(name)
        command, context = inner, click.Context(inner, parent=context, info_name=word)
    return command, context
