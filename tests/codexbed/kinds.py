"""Makes sessions of every kind with the real Codex, in one home."""

from __future__ import annotations

import os
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import zstandard

# The makers register themselves when they are imported.
import codexbed.current_kinds
import codexbed.legacy_kinds  # noqa: F401
from codexbed.codex import CodexHome, rollout_files
from codexbed.install import CURRENT, LEGACY
from codexbed.making import CURRENT_KINDS, LEGACY_KINDS, SLOW_KINDS, MadeSession, Maker


def make_legacy(home: CodexHome, only: Collection[str] | None = None) -> dict[str, MadeSession]:
    """Make the sessions of the old release in a home no newer release has opened."""
    return _make(home.with_version(LEGACY), LEGACY_KINDS, only)


def make_all(home: CodexHome, only: Collection[str] | None = None) -> dict[str, MadeSession]:
    """Make a session of every kind, or of the makers named in `only`, in one prepared home.

    The key is the kind; a maker may add the sessions it needs, such as `fork_parent`.
    """
    made = make_legacy(home, only)
    current = home.with_version(CURRENT)
    made |= _make(current, CURRENT_KINDS, only, carry_on=made.get("legacy_carried_on"))
    for kind in ("compressed", "compressed_fork_base"):
        if kind in made:
            compress(current.home, made[kind].session_id)
    return made


def compress(home: Path, session_id: str) -> None:
    """Replace the plain files of a session by compressed ones, keeping their times."""
    for path in rollout_files(home):
        if session_id in path.name and path.suffix == ".jsonl":
            times = path.stat()
            packed = path.with_name(path.name + ".zst")
            # Codex rewrites the file the same way: one frame with its size, the row untouched.
            packed.write_bytes(zstandard.ZstdCompressor(level=3).compress(path.read_bytes()))
            os.utime(packed, ns=(times.st_atime_ns, times.st_mtime_ns))
            path.unlink()


def _make(
    home: CodexHome,
    makers: dict[str, Maker],
    only: Collection[str] | None,
    carry_on: MadeSession | None = None,
) -> dict[str, MadeSession]:
    wanted = [maker for kind, maker in makers.items() if only is None or kind in only]
    made: dict[str, MadeSession] = {}
    if not wanted and carry_on is None:
        return made
    patient = [maker for maker in wanted if maker.__name__ in SLOW_KINDS]
    with home.app_server() as app, ThreadPoolExecutor(len(patient) or 1) as pool:
        waiting = [pool.submit(maker, home, app) for maker in patient]
        if carry_on is not None:
            app.resume(carry_on.session_id)
            app.start_turn(carry_on.session_id, f"{carry_on.kind}: two")
        for maker in wanted:
            if maker not in patient:
                made |= {session.kind: session for session in maker(home, app)}
        for future in waiting:
            made |= {session.kind: session for session in future.result()}
    return made
