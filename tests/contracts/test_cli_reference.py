"""``references/cli.md`` and the examples in the README say what the command line is and prints."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import make_pictures
from codex_session_sync.cli.commands import COMMANDS, found
from codex_session_sync.cli.main import cli
from codex_session_sync.errors import ExitCode

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "references" / "cli.md").read_text(encoding="utf-8")
ENVELOPE = ROOT / "scripts" / "codex_session_sync" / "schemas" / "envelope.schema.json"

SIGNALS = {129, 130, 141, 143}
"""128 and the number of a signal: SIGHUP, SIGINT, SIGPIPE, SIGTERM."""

OBJECTS = {
    "package": ("package",),
    "packed package": ("packed_package",),
    "packed session": ("packed_session",),
    "secret": ("secret",),
    "session": ("session", "executed_session"),
    "excerpt": ("excerpt",),
    "side": ("side",),
    "line": ("said",),
    "counts": ("executed/properties/counts",),
    "adoption": ("adoption", "adopted_session"),
    "problem": ("health_problem",),
    "checked": ("health/properties/checked",),
    "summary": ("summary", "package_summary", "rollback_summary", "verification_summary"),
    "rule": ("rule",),
    "directory": ("directory",),
    "undoing": ("undoing", "executed_undoing"),
    "skill": ("skill", "executed_skill"),
    "undone skill": ("skill_undoing",),
    "change": ("sidecar_change", "executed_rewriting/properties/changes/items"),
    "mapping change": ("mapping_change",),
    "transaction": ("transaction",),
    "interrupted": ("interrupted",),
    "rebuilt file": ("rebuilt_file",),
    "explained session": ("explained_session",),
    "cause": ("cause",),
    "verdict": ("verified",),
    "session node": ("session_node",),
    "transaction node": ("transaction_node",),
    "package node": ("package_node",),
    "edge": ("edge",),
    "checkpoint": ("any_checkpoint", "checkpoint"),
    "checkpoint session": ("checkpoint_session",),
    "listed session": ("listed_session",),
    "going on": ("going_on",),
    "read package": ("event_package",),
    "import counts": ("event_counts",),
    "read session": ("read_session", "unread_session"),
    "found event": ("found_event",),
    "event": ("whole_event",),
    "session of an event": ("event_of",),
    "import": ("event_import",),
    "whole import": ("whole_import",),
    "totals": ("event_totals",),
    "edge of events": ("event_edge",),
    "request totals": ("request_totals",),
    "job": ("job",),
    "running worker": ("running_worker",),
    "ended worker": ("ended_worker",),
    "demo step": ("demo/properties/steps/items",),
}
"""Each object of the page, and where in the envelope's schema its keys are."""


def sections(text: str, level: str) -> Iterator[tuple[str, str]]:
    """Heading and text of each section of a level."""
    parts = re.split(rf"^{level} (.*)$", text, flags=re.MULTILINE)
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        yield title, re.split(rf"^{level[:-1]} ", body, flags=re.MULTILINE)[0]


CHAPTERS = dict(sections(PAGE, "##"))
DESCRIBED = dict(sections(CHAPTERS["Commands"], "###"))


def first_cells(text: str) -> list[str]:
    """What the first column of the tables in a text holds, heads left out."""
    rows = re.findall(r"^\| ([^|]*?) \|", text, flags=re.MULTILINE)
    return [row.strip("`") for row in rows if row.startswith("`") or row[:1].isdigit()]


def test_the_commands_are_those_of_the_page() -> None:
    assert list(DESCRIBED) == list(COMMANDS)


def argument(option: click.Option) -> list[str]:
    """What an option takes, as the page names it."""
    if option.is_flag:
        return []
    if isinstance(option.type, click.Choice):
        return [" or ".join(option.type.choices)]
    return [str(option.metavar)]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_options_are_those_of_the_page(name: str) -> None:
    command, _ = found(cli, name)
    known = [
        " ".join([*option.opts, *argument(option)])
        for option in command.params
        if isinstance(option, click.Option)
    ]
    documented = [cell for cell in first_cells(DESCRIBED[name]) if cell.startswith("-")]
    assert documented == known


@pytest.mark.parametrize("name", COMMANDS)
def test_the_usage_is_that_of_the_page(name: str) -> None:
    command, context = found(cli, name)
    assert f"\nUsage: `{command.get_usage(context).removeprefix('Usage: ')}`\n" in DESCRIBED[name]


def test_the_exit_codes_are_those_of_the_page() -> None:
    documented = [
        int(code)
        for row in re.findall(r"^\| (\d[\d, ]*) \|", CHAPTERS["Exit codes"], flags=re.MULTILINE)
        for code in row.split(",")
    ]
    assert sorted(documented) == sorted({int(code) for code in ExitCode} | SIGNALS)


def schema_keys(*places: str) -> set[str]:
    schema = json.loads(ENVELOPE.read_bytes())
    found: set[str] = set()
    for place in places:
        node = schema if not place else schema["$defs"]
        for step in place.split("/") if place else ():
            node = node[step]
        found |= node["properties"].keys()
    return found


@pytest.mark.parametrize(("title", "places"), OBJECTS.items())
def test_the_keys_of_an_object_are_those_of_the_schema(title: str, places: tuple[str]) -> None:
    described = dict(sections(CHAPTERS["Objects"], "###"))
    assert set(first_cells(described[title])) == schema_keys(*places)


def test_the_keys_of_a_whole_transaction_are_those_of_the_schema() -> None:
    described = dict(sections(CHAPTERS["Objects"], "###"))
    added = set(first_cells(described["whole_transaction"]))
    assert added | schema_keys("transaction") == schema_keys("whole_transaction")


def test_the_keys_of_the_envelope_are_those_of_the_schema() -> None:
    assert set(first_cells(CHAPTERS["The JSON envelope"])) == schema_keys("")


@pytest.mark.parametrize("page", make_pictures.PAGES, ids=lambda page: page.name)
def test_the_examples_are_what_the_program_prints(page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "```console\n$ " in text
    assert make_pictures.played(text, tmp_path) == text, "run tests/make_pictures.py"


def test_the_pictures_are_what_the_program_prints(tmp_path: Path) -> None:
    for name, picture in make_pictures.pictures(tmp_path):
        shown = (make_pictures.IMAGES / name).read_text(encoding="utf-8")
        now, then = make_pictures.words(picture), make_pictures.words(shown)
        assert make_pictures.normal(now) == make_pictures.normal(then), "run tests/make_pictures.py"


def test_the_pictures_of_the_page_of_lineage_are_of_this_one(tmp_path: Path) -> None:
    known = (make_pictures.IMAGES / make_pictures.LINEAGE_DIGEST).read_text("ascii").strip()
    page = make_pictures.lineage_page(tmp_path)
    assert make_pictures.page_digest(page) == known, "run tests/make_pictures.py"
    for scheme in make_pictures.SCHEMES:
        picture = (make_pictures.IMAGES / f"lineage-{scheme}.webp").read_bytes()
        assert (picture[:4], picture[8:12]) == (b"RIFF", b"WEBP")
        assert len(picture) < 60_000
