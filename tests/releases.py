#!/usr/bin/env python3
"""Sync sessions from each release of Codex to each: tests/run --releases [SOURCE:TARGET ...].

Without arguments all pairs are run. What came of them is kept in references/releases.json and shown
in the documents. The releases are installed by npm where the cache lacks them.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "references" / "releases.json"
DOCUMENTS = (ROOT / "README.md", ROOT / "references" / "compatibility.md")
BEGIN, END = "<!-- releases: tests/run --releases -->", "<!-- end of releases -->"
WORKERS = 2

Json = dict[str, Any]


@dataclass(frozen=True)
class Pair:
    """What came of one pair."""

    source: str
    target: str
    sessions: int
    converted: int
    problems: tuple[str, ...]
    seconds: float


def main(arguments: list[str]) -> int:
    """Run the pairs; 1 if one of them has a problem."""
    from codexbed import codex_binary
    from codexbed.releases import RELEASES

    chosen = [tuple(argument.split(":")) for argument in arguments]
    pairs = chosen or [(source, target) for source in RELEASES for target in RELEASES]
    for version in sorted({version for pair in pairs for version in pair}):
        codex_binary(version)
    begun = time.monotonic()
    found = run(pairs)
    bad = [pair for pair in found if pair.problems]
    print(f"{len(found) - len(bad)} of {len(found)} pairs, {time.monotonic() - begun:.0f} s")
    if not arguments or RESULTS.exists():
        keep(found)
    return 1 if bad else 0


def run(pairs: list[tuple[str, ...]]) -> list[Pair]:
    """Run the pairs, two at a time."""
    from codexbed import ModelServer
    from real_codex.pairs import Pairs

    with (
        tempfile.TemporaryDirectory(prefix="releases-") as folder,
        ModelServer() as model,
        ThreadPoolExecutor(WORKERS) as pool,
    ):
        homes = Pairs(Path(folder), model)

        def one(pair: tuple[str, ...]) -> Pair:
            begun = time.monotonic()
            source, target = pair
            findings = homes.run(source, target)
            seconds = time.monotonic() - begun
            told = tuple(findings.problems)
            print(f"{source} to {target}: {'good' if not told else 'BAD'} {seconds:.1f} s")
            for problem in told:
                print(f"    {problem[:1000]}", flush=True)
            return Pair(source, target, findings.sessions, findings.converted, told, seconds)

        return list(pool.map(one, pairs))


def keep(pairs: list[Pair]) -> None:
    """Put what came of these pairs in the place of what is kept of them, and into the documents."""
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"pairs": {}}
    kept["measured"] = datetime.now(UTC).date().isoformat()
    for pair in pairs:
        told = {"sessions": pair.sessions, "converted": pair.converted}
        of_source = kept["pairs"].setdefault(pair.source, {})
        of_source[pair.target] = {**told, "problems": len(pair.problems)}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        document.write_text(refreshed(text, kept), encoding="utf-8")


def refreshed(text: str, kept: Json) -> str:
    """A document with the table of these results in it."""
    shown = f"{BEGIN}\n{table(kept)}\n{END}"
    return re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: shown, text, flags=re.DOTALL)


def table(kept: Json) -> str:
    """The results as a table in Markdown, with what was measured beneath."""
    pairs = kept["pairs"]
    targets = list(next(iter(pairs.values())))
    cells = [one for found in pairs.values() for one in found.values()]
    good = sum(not one["problems"] for one in cells)
    rows = [
        ["from \\ to", *targets],
        ["---"] * (len(targets) + 1),
        *([source, *map(_cell, found.values())] for source, found in pairs.items()),
    ]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    sessions = sum(one["sessions"] for one in cells)
    told = (
        f"{good} of {len(cells)} pairs, {sessions} sessions, measured on {kept['measured']}. "
        "✓: as at the source. ✓ L: as at the source, paginated sessions put into the legacy form."
    )
    return "\n".join([*lines, "", told])


def _cell(one: Json) -> str:
    if one["problems"]:
        return f"{one['problems']} ✗"
    return "✓ L" if one["converted"] else "✓"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
