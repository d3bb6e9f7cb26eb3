"""Sessions, uploads and a service of its own home, to ask the import service frame by frame."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from builders import Session
from service_frames import Json, chunks
from servicebed import Bed, bed
from workbench import environment

ROSES = Session(1, start=10).say("How do I prune roses?")
COMPOST = Session(2, start=20, name="Compost").say("What goes on the heap?").say("And peel?")
POND = Session(3, start=30, archived=True).say("How deep is a pond?")


def make_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a home, and no other home in reach."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "home").mkdir()
    return tmp_path


def make_service(here: Path) -> Iterator[Bed]:
    """A service of that home."""
    with bed(here / "home") as found:
        yield found


def results(payload: Json) -> list[tuple[str, str | None]]:
    """What became of each item, and why."""
    return [(one["result"], one["reason"]) for one in payload["items"]]


UPLOAD = chunks(COMPOST, "k", "u", 3)


def about(**more: Any) -> Json:
    """A change to the item that a chunk belongs to."""
    return {"item": {**UPLOAD[1]["payload"]["item"], **more}}


def coded(data: bytes, encoding: str = "gzip+base64") -> Json:
    """Data as a chunk has it."""
    packed = zstandard.compress(data) if encoding.startswith("zstd") else gzip.compress(data)
    return {"encoding": encoding, "data": base64.b64encode(packed).decode()}


SINGLE = chunks(COMPOST, "k", "u", 1)[0]
