"""What a shell offers to complete: commands, options, and what this home and a package have.

Nothing is written, and what cannot be read offers nothing: a shell shows no errors while one types.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import click
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

from .calling import PROGRAM

VARIABLE = "_CODEX_SESSION_SYNC_COMPLETE"
"""The environment variable by which a shell asks, as click names it."""
SHELLS = ("bash", "zsh", "fish")
SHOWN = 200
"""How many sessions or transactions are offered."""
TITLE = 60

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def answer(cli: click.Command, instruction: str) -> int:
    """Answer a shell that asks with the variable's value; returns the exit code."""
    from click.shell_completion import shell_complete

    with suppress(Exception):
        return shell_complete(cli, {}, PROGRAM, VARIABLE, instruction)
    return 1


def script(cli: click.Command, shell: str) -> str:
    """What a shell is to read so that it asks."""
    found = get_completion_class(shell)
    assert found is not None
    # That of bash would start a bash to ask for its version.
    return ShellComplete.source(found(cli, {}, PROGRAM, VARIABLE))


def sessions(context: click.Context, _: click.Parameter, typed: str) -> list[CompletionItem]:
    """Sessions of the home, or known to it, by what they are known as."""
    return _offered(_of_home(context), typed)


def packaged(context: click.Context, _: click.Parameter, typed: str) -> list[CompletionItem]:
    """Sessions of a package that is a folder; of another one those that the home knows."""
    return _offered(_of_package(context), typed)


def transactions(context: click.Context, _: click.Parameter, typed: str) -> list[CompletionItem]:
    """Transactions of the home, newest first."""
    return _offered(_of_journal(context), typed)


def folders(_: click.Context, __: click.Parameter, typed: str) -> list[CompletionItem]:
    """Folders, which the shell itself completes."""
    return [CompletionItem(typed, type="dir")]


def files(_: click.Context, __: click.Parameter, typed: str) -> list[CompletionItem]:
    """Files, which the shell itself completes."""
    return [CompletionItem(typed, type="file")]


def limits(_: click.Context, __: click.Parameter, typed: str) -> list[CompletionItem]:
    """The names of limits."""
    from dataclasses import fields

    from ..package.members import Limits

    return _offered(((f"{field.name}=", "") for field in fields(Limits)), typed)


def _offered(found: Iterator[tuple[str, str]], typed: str) -> list[CompletionItem]:
    items: dict[str, CompletionItem] = {}
    with suppress(Exception):
        for value, title in found:
            if value.startswith(typed) and value not in items:
                items[value] = CompletionItem(value, help=_line(title) or None)
                if len(items) == SHOWN:
                    break
    return list(items.values())


def _line(text: str) -> str:
    """A text as a shell can show it in one line."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(plain.split())[:TITLE]


def _home(context: click.Context) -> Path:
    from ..codex.home import locate_home

    return locate_home(context.params.get("codex_home"), os.environ)


def _of_home(context: click.Context) -> Iterator[tuple[str, str]]:
    from ..codex.home import open_home
    from ..codex.session_index import read_index
    from ..codex.state_db import open_for_reading

    home = open_home(_home(context), os.environ)
    names = read_index(home.session_index)
    columns = ("id", "title", "first_user_message", "updated_at")
    with open_for_reading(home.state_db) as database:
        rows = list(database.rows("threads", only=columns)) if database is not None else []
    for row in sorted(rows, key=lambda row: -int(row.get("updated_at") or 0)):
        known = names.get(str(row["id"])) or row.get("title") or row.get("first_user_message")
        yield str(row["id"]), str(known or "")
    for thread in home.rollouts().threads():
        yield thread, names.get(thread, "")
    yield from _of_sidecars(home.sync_dir)


def _of_sidecars(folder: Path) -> Iterator[tuple[str, str]]:
    """The sessions that local ones stand for."""
    import orjson

    for path in sorted((folder / "sidecars").glob("*.json")):
        for mapping in orjson.loads(path.read_bytes())["mappings"]:
            yield mapping["origin_session_id"], f"here as {mapping['local_session_id']}"


def _of_package(context: click.Context) -> Iterator[tuple[str, str]]:
    from ..codex.rollout import parse_name
    from ..codex.session_index import read_index

    # While an option still lacks its value, arguments are not told from each other.
    given = context.params.get("pkg") or next(iter(context.args), None)
    if given is None or not Path(given).is_dir():
        yield from _of_home(context)
        return
    names: dict[str, str] = {}
    for index in Path(given).rglob("session_index.jsonl"):
        names |= read_index(index)
    for path in sorted(Path(given).rglob("rollout-*"), reverse=True):
        name = parse_name(path.name)
        if name is not None:
            yield name.thread_id, names.get(name.thread_id, "")


def _of_journal(context: click.Context) -> Iterator[tuple[str, str]]:
    from ..codex.home import open_home
    from ..journal.log import Journal

    for item in Journal(open_home(_home(context), os.environ).sync_dir).manifests():
        counts = ", ".join(f"{number} {word}" for word, number in item["counts"].items())
        source = Path((item["package"] or {}).get("source", "")).name
        yield item["transaction_id"], f"{item['kind']} {source} {counts}"
