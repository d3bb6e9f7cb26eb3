"""Sessions whose events are imported, packed in some forms, and what is told of them."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard

from builders import Session, write_snapshot
from workbench import call, environment

BEANS = Session(1, start=10, name="Beans").say("When do I sow beans?").say("And peas?")
FORK = replace(BEANS.fork(2)).say("And kale?")
OLD = Session(3, legacy=True, start=30).say("How do I prune roses?").say("When?")
PARTED = replace(BEANS, turns=BEANS.turns[:1]).say("And lettuce?")
"""The first session as it went on elsewhere."""
ALL = (BEANS, FORK, OLD)


def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other home in reach."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)


def store_path(tmp_path: Path) -> Path:
    """Where the store will be."""
    return tmp_path / "store"


def said(*texts: str) -> list[str]:
    """What is said in turns that ask these texts."""
    return [one for text in texts for one in (text, f"answer to: {text}")]


def heads(outcome: Any) -> dict[str, str | None]:
    """The last event of each session that an import told of."""
    return {s["session_id"]: s.get("head_event") for s in outcome.envelope["data"]["sessions"]}


def snapshot(folder: Path) -> Path:
    """A home with the sessions."""
    return write_snapshot(folder / "home", ALL)


def archived_copy(folder: Path) -> Path:
    """An archive of that home."""
    path = folder / "copy.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(snapshot(folder), "copy")
    return path


def compressed(folder: Path) -> Path:
    """That home, its transcripts compressed."""
    home = snapshot(folder)
    for path in list(home.rglob("*.jsonl")):
        if path.name.startswith("rollout-"):
            data = zstandard.ZstdCompressor().compress(path.read_bytes())
            path.with_name(f"{path.name}.zst").write_bytes(data)
            path.unlink()
    return home


def native(folder: Path) -> Path:
    """What ``pack`` makes of that home."""
    assert call("pack", "-o", folder / "all.csync", "--codex-home", snapshot(folder)).exit_code == 0
    return folder / "all.csync"


GROWING = replace(BEANS, number=4).say("And chard?")
GROWING_OLD = replace(GROWING, legacy=True)
