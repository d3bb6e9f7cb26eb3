"""Makes what the documents show of a terminal: the pictures, and the output after each command.

Run it after a change of what is printed. A ``console`` block of a page is played from top to
bottom, in one folder and one home a page; what differs by ids and times alone is left as it is.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import os
import re
import shlex
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
sys.path.insert(0, str(Path(__file__).parent))

import zstandard

from builders import Session, write_snapshot, write_transfer
from codex_session_sync.cli.calling import Call, filled
from codex_session_sync.cli.main import cli
from codex_session_sync.report.envelope import Report
from codex_session_sync.report.screen import Screen
from codex_session_sync.report.text import render
from families import grown_home
from workbench import add_rows, call, make_database

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "references" / "cli.md")
IMAGES = ROOT / "references" / "images"
SAMPLES = ROOT / "scripts" / "codex_session_sync" / "sample"
CARRIED = "from-laptop.tar.zst"
CHAPTER = "Its sessions go on elsewhere"
"""The chapter of the demo that is in its picture."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTH, HEIGHT = 1000, 500
SCHEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
LINEAGE_DIGEST = "lineage.sha256"
"""Of which page the pictures of ``lineage`` were made, as ``page_digest`` has it."""

MOMENT = datetime(2026, 3, 9, 12, tzinfo=UTC)
"""When the commands are called, as far as ages tell: a week after the samples were made."""
PAGE_COLUMNS = 100
PICTURE_COLUMNS = 100

_LINKS = re.compile(r"\s*@font-face\s*{[^}]*}|\s*<!--.*?-->", re.DOTALL)
_FONT = "Fira Code, monospace"
_FONTS_AT_HAND = "ui-monospace, Menlo, Consolas, monospace"

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_VARYING = re.compile(
    r"\d{8}T\d{12}Z(?:-[0-9a-f]{8})?|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z|codex-session-sync-demo-\w+"
    r"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z|\d{4}-\d\d-\d\d \d\d:\d\d"
    r"|\w+ \w+ ago|SHA-256 [0-9a-f]{64}|\d+(?:\.\d)? (?:bytes|[kM]B)"
)


def normal(text: str) -> str:
    """A text without what differs from run to run."""
    return _VARYING.sub("*", text)


@contextmanager
def terminal(folder: Path, columns: int) -> Iterator[None]:
    """A place to play commands in: ``folder``, with a home that Codex used before, and no Codex."""
    home = folder / "home"
    home.mkdir(parents=True)
    make_database(home)
    (home / "installation_id").write_text("019cac00-0063-7000-8000-000000000063")
    for sample in SAMPLES.glob("*.tar.zst"):
        shutil.copy(sample, folder)
    variables = {
        "CODEX_HOME": str(home),
        "PATH": "",
        "COLUMNS": str(columns),
        "TERM": "xterm-256color",
        "HOME": "/home/alice",
        "CODEX_SESSION_SYNC_STORE": str(folder / "store"),
    }
    with patch.dict(os.environ, variables), chdir(folder):
        os.environ.pop("NO_COLOR", None)
        yield


def played(text: str, folder: Path) -> str:
    """A page with the output of the commands in its ``console`` blocks as it is now."""
    with terminal(folder, PAGE_COLUMNS):
        return _BLOCK.sub(_played_block, text)


def _played_block(found: re.Match[str]) -> str:
    commands = [line for line in found[1].splitlines() if line.startswith("$ ")]
    shown = "\n".join(part for command in commands for part in (command, *_output(command)))
    kept = found[1] if normal(shown + "\n") == normal(found[1]) else shown + "\n"
    return f"```console\n{kept}```"


def _output(command: str) -> Iterator[str]:
    program, *arguments = shlex.split(command.removeprefix("$ "))
    assert Path(program).name == "codex-session-sync"
    done = call(*arguments, moment=MOMENT)
    here = f"{Path.cwd()}/"
    for line in (done.out.decode() + done.err).splitlines():
        yield line.rstrip().replace(here, "/home/alice/")


def pictures(folder: Path) -> Iterator[tuple[str, str]]:
    """Each picture's file name and content."""
    with terminal(folder / "inspect", PICTURE_COLUMNS):
        carried(Path.cwd())
        yield "inspect.svg", _picture(["inspect-package", CARRIED])
    with terminal(folder / "demo", PICTURE_COLUMNS):
        yield "demo.svg", _picture(["demo"], CHAPTER)


class _Terminal(Screen):
    """A console that breaks long lines, as the terminal around it would."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, whatever is said of long lines."""
        super().print(*objects, **{**options, "soft_wrap": False})


def words(picture: str) -> str:
    """The text of a picture."""
    return html.unescape(re.sub(r"<[^>]*>", "\n", picture)).replace("\xa0", " ")


def _picture(arguments: Sequence[str], chapter: str | None = None) -> str:
    """A command and its output as a terminal shows them, as SVG; of a demo one chapter."""
    call = Call(arguments)
    report = cli.main(list(arguments), standalone_mode=False, obj=call)
    assert isinstance(report, Report)
    report = filled(report, call)
    if chapter is not None:
        shown = [step for step in report.data["steps"] if step["chapter"] == chapter]
        assert shown
        report = replace(report, data={**report.data, "steps": shown})
    console = _Terminal(
        MOMENT,
        "/home/alice",
        record=True,
        file=io.StringIO(),
        width=PICTURE_COLUMNS,
        force_terminal=True,
        color_system="truecolor",
    )
    line = shlex.join(["codex-session-sync", *arguments])
    console.print(f"[bold]$[/] {line}\n", highlight=False)
    render(report, console, console)
    svg = console.export_svg(title=line, unique_id=arguments[0])
    # A picture must not fetch fonts from anywhere.
    return _LINKS.sub("", svg).replace(_FONT, _FONTS_AT_HAND)


def carried(folder: Path) -> None:
    """A package from another machine, and the home that it meets: every class is among them."""
    beans = _named(1, "Climbing beans").say("Which beans climb?").say("When do I sow them?")
    roses = _named(2, "Roses").say("When do I prune roses?")
    compost = _named(3, "Compost").say("What must not go on the compost?")
    tomatoes = _named(4, "Tomatoes").say("Why do the leaves curl?")
    hedge = _named(5, "Hedge").say("How high may a hedge be?")
    pond = _named(6, "A pond for newts").say("How deep must a pond be?")
    dwarf = replace(beans.fork(7).say("And if I have no poles?"), name="Dwarf beans")
    here = [
        beans,
        roses,
        compost.say("And orange peel?"),
        tomatoes.say("They still curl."),
        replace(hedge, start=600, name="Apple tree"),
    ]
    there = [
        beans,
        dwarf,
        roses.say("And climbing roses?").say("How far back?"),
        compost.say("How often do I turn it?"),
        tomatoes,
        hedge,
        pond,
    ]
    write_snapshot(folder / "home", here)
    add_rows(folder / "home" / "state_5.sqlite", here)
    with tempfile.TemporaryDirectory() as scratch:
        package = write_transfer(Path(scratch) / "from-laptop", there)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            archive.add(package, package.name)
    (folder / CARRIED).write_bytes(zstandard.compress(buffer.getvalue()))


def _named(number: int, name: str) -> Session:
    return Session(number, name=name, start=60 * number)


def lineage_page(folder: Path) -> Path:
    """The page of ``lineage`` for a family, below ``folder``."""
    home, out = grown_home(folder), folder / "lineage.html"
    assert call("lineage", "--format", "html", "-o", out, "--codex-home", home).exit_code == 0
    return out


def page_digest(page: Path) -> str:
    """The digest of a page, but for the times at which its family came to be."""
    return hashlib.sha256(normal(page.read_text(encoding="utf-8")).encode()).hexdigest()


def browser() -> str | None:
    """A browser of this machine that can be driven."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def screenshots(page: Path, program: str) -> Iterator[tuple[str, bytes]]:
    """Each picture of a page of ``lineage``: the file's name and its content, as WebP."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for scheme in SCHEMES:
            context = opened.new_context(
                viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme, timezone_id="UTC"
            )
            shown = context.new_page()
            shown.goto(page.as_uri())
            shown.get_by_role("button", name="Beans", exact=True).click()
            shown.wait_for_timeout(300)
            how = {"format": "webp", "quality": 82}
            taken = context.new_cdp_session(shown).send("Page.captureScreenshot", how)
            yield f"lineage-{scheme}.webp", base64.b64decode(taken["data"])
            context.close()
        opened.close()


def _photograph(page: Path) -> None:
    """Make the pictures of the page anew, if it is another one than they show."""
    known, digest = IMAGES / LINEAGE_DIGEST, page_digest(page)
    if known.exists() and known.read_text("ascii").strip() == digest:
        return
    program = browser()
    if program is None:
        sys.exit("the page of lineage has changed: its pictures need chromium")
    for name, picture in screenshots(page, program):
        (IMAGES / name).write_bytes(picture)
    known.write_text(f"{digest}\n", "ascii")


def main() -> None:
    """Bring the pages and the pictures up to date."""
    with tempfile.TemporaryDirectory() as scratch:
        for page in PAGES:
            text = page.read_text(encoding="utf-8")
            page.write_text(played(text, Path(scratch) / page.stem), encoding="utf-8")
        IMAGES.mkdir(exist_ok=True)
        for name, picture in pictures(Path(scratch)):
            target = IMAGES / name
            known = target.read_text(encoding="utf-8") if target.exists() else ""
            if normal(words(known)) != normal(words(picture)):
                target.write_text(picture, encoding="utf-8")
        (Path(scratch) / "family").mkdir()
        _photograph(lineage_page(Path(scratch) / "family"))


if __name__ == "__main__":
    main()
