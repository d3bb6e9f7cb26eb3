"""The tour in the README, played in a shell as a reader would, with what it says is printed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from make_pictures import PAGE_COLUMNS, normal

ROOT = Path(__file__).parents[1]
HEADING = "## Five minutes in a throw-away home\n"
TOUR_SECONDS = 300
_BLOCK = re.compile(r"^```(sh|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_HERE = re.compile(r"(?:~|/home/alice|…/alice)/garden(?= +\d)|\b\d+ (?:min|h|d|wk|mo|y)\b")
"""What tables tell by the user's home and by the clock."""
_TITLE_CHARACTERS = 20
_MARK = "@@@ here ends command"


@dataclass(frozen=True)
class Said:
    """A command, the lines that the README has after it, and those that were printed."""

    command: str
    told: list[str]
    printed: list[str]


def scripts() -> list[tuple[str, list[str] | None]]:
    """What is typed, in order; with the lines told of it, None where none are."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", text.split(HEADING)[1], flags=re.MULTILINE)[0]
    found: list[tuple[str, list[str] | None]] = []
    for kind, body in _BLOCK.findall(section):
        if kind == "sh":
            found.append((body, None))
            continue
        for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            command, _, told = part.partition("\n")
            found.append((command, list(_lines(told))))
    return found


def _lines(text: str) -> Iterator[str]:
    """The lines of an output as they are for everybody, whatever the width; warnings whole."""
    whole: list[str] = []
    for line in normal(text).splitlines():
        if line.startswith("  ") and whole and re.match(r"(?:warning|error) \[", whole[-1]):
            whole[-1] += f" {line.strip()}"
        else:
            whole.append(line.rstrip())
    for line in whole:
        cells = re.split(r" {2,}", _HERE.sub("*", line))
        if len(cells) > 2:
            cells[1] = cells[1][:_TITLE_CHARACTERS]
        yield "  ".join(cells)


def bare_copy(folder: Path) -> Path:
    """The folder as somebody gets it; its launcher starts the program by this Python at once."""
    (folder / "scripts").mkdir(parents=True)
    program = ROOT / "scripts" / "codex_session_sync"
    (folder / "scripts" / program.name).symlink_to(program)
    launcher = folder / "scripts" / "codex-session-sync"
    launcher.write_text(
        f'#!/bin/sh\nPYTHONPATH={program.parent} exec {sys.executable} -m codex_session_sync "$@"\n'
    )
    launcher.chmod(0o755)
    return folder


def toured(folder: Path, variables: Mapping[str, str]) -> Iterator[Said]:
    """Play the tour in ``folder``, in one shell that stops at the first command that fails."""
    said = folder / "said"
    lines = ["set -e"]
    for script, _ in scripts():
        lines += [f"{{ {script.rstrip()}\n}} 2> '{said}'", f"cat '{said}'", f"echo '{_MARK}'"]
    (folder / "tmp").mkdir()
    done = subprocess.run(
        ["/bin/bash", "-c", "\n".join(lines)],
        cwd=folder,
        env={**variables, "COLUMNS": str(PAGE_COLUMNS), "TMPDIR": str(folder / "tmp")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TOUR_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    printed = done.stdout.split(f"{_MARK}\n")
    for (script, told), out in zip(scripts(), printed, strict=False):
        yield Said(script, [] if told is None else told, list(_lines(out)))
    assert [*(folder / "tmp").iterdir()] == []
