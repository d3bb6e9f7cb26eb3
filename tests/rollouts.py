"""Rollout files as bytes on disk, read and written by the modules that the package does it with."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import zstandard

from codex_session_sync.codex.inventory import RolloutIndex, rollout_file
from codex_session_sync.compose import compose
from codex_session_sync.localize import Identity, Rewriter
from codex_session_sync.model import RolloutFile, Transcript
from codex_session_sync.policy import Policy
from codex_session_sync.transcript import scan

Record = dict[str, Any]

STAMP = "2026-03-02T09-00-00"


def file_name(thread: str, segment: str | None = None, stamp: str = STAMP) -> str:
    """The base name of a rollout."""
    tail = "" if segment in (None, thread) else f"_{segment}"
    return f"rollout-{stamp}-{thread}{tail}.jsonl"


def put(folder: Path, name: str, data: bytes, *, archived: bool = False) -> RolloutFile:
    """Write a rollout, compressed if its name ends in ``.zst``."""
    path = folder / name
    if name.endswith(".zst"):
        data = zstandard.ZstdCompressor(level=1).compress(data)
    path.write_bytes(data)
    stat = path.stat()
    file = rollout_file(path, name, stat.st_size, stat.st_mtime_ns, archived=archived)
    assert file is not None, name
    return file


def read(files: Iterable[RolloutFile], session_id: str) -> Transcript:
    """Scan the session of this id."""
    index = RolloutIndex(files)
    tip = index.tip(session_id)
    assert tip is not None, session_id
    return scan(tip, index.segment)


def rewriter(
    transcript: Transcript, policy: Policy | None = None, identity: Identity | None = None
) -> Rewriter:
    """A rewriter, for a session that keeps its id unless ``identity`` says otherwise."""
    return Rewriter(transcript, policy or Policy(), identity or Identity(transcript.session_id))


def composed(
    transcript: Transcript, policy: Policy | None = None, identity: Identity | None = None
) -> bytes:
    """The session as one self-contained file."""
    target = io.BytesIO()
    written = compose(rewriter(transcript, policy, identity), target)
    assert written.size == len(target.getvalue())
    return target.getvalue()


def parsed(data: bytes) -> list[Record]:
    """The records of a file that has nothing else in it."""
    return [json.loads(line) for line in data.splitlines()]
