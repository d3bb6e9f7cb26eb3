"""Hostile packages laid out: as each kind, in each container."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import cache
from pathlib import Path

from archives import Zipped, fill, gz, tar_of, zipped, zst
from builders import dump
from hostile.corpus import GOOD_MANIFEST, SNAPSHOT, TRANSFER, Parts
from workbench import call, insert, make_database

DAY = "sessions/2026/03/02"


def files_of(parts: Parts, kind: str) -> dict[str, bytes]:
    """The files of a package of this kind, by path."""
    if kind == SNAPSHOT:
        found = {f"{DAY}/{name}": data for name, data in parts.rollouts.items()}
        found["session_index.jsonl"] = parts.index
        found |= _database(parts.rows) if parts.database is None else dict(parts.database)
        return found | dict(parts.more)
    assert kind == TRANSFER
    manifest = json.dumps(GOOD_MANIFEST).encode() if parts.manifest is None else parts.manifest
    found = {f"sessions/{name}": data for name, data in parts.rollouts.items()}
    found |= {
        "package_manifest.json": manifest,
        "metadata/threads.jsonl": parts.rows,
        "metadata/session_index.jsonl": parts.index,
        "metadata/thread_dynamic_tools.jsonl": parts.tools,
    }
    return found | dict(parts.more)


@cache
def _database(lines: bytes) -> dict[str, bytes]:
    """A snapshot's database with these rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = make_database(Path(folder), journal_mode="delete")
        with closing(sqlite3.connect(path)) as connection, connection:
            for line in lines.splitlines():
                row = json.loads(line)
                known = connection.execute("SELECT name FROM pragma_table_info('threads')")
                columns = {name for (name,) in known.fetchall()}
                insert(connection, "threads", {k: v for k, v in row.items() if k in columns})
        return {path.name: path.read_bytes()}


def _zip(files: Mapping[str, bytes]) -> bytes:
    return zipped(*[Zipped(name, data) for name, data in files.items()])


ARCHIVES: dict[str, Callable[[Mapping[str, bytes]], bytes]] = {
    "tar": lambda files: tar_of(dict(files)),
    "tar.gz": lambda files: gz(tar_of(dict(files))),
    "tar.zst": lambda files: zst(tar_of(dict(files))),
    "zip": _zip,
}
CONTAINERS = ("directory", *ARCHIVES)


def write(files: Mapping[str, bytes], container: str, place: Path) -> Path:
    """The package in a container of this kind, as ``place``."""
    if container == "directory":
        return fill(place, dict(files))
    place.write_bytes(ARCHIVES[container](files))
    return place


def pack_native(files: Mapping[str, bytes], folder: Path) -> Path | None:
    """The native package that ``pack`` makes of a snapshot; None where it finds nothing to pack."""
    home = fill(folder / "source", dict(files))
    out = folder / "native"
    done = call("pack", "-o", out, "--codex-home", home, "--json")
    assert done.exit_code in (0, 1, 4), done.out
    return out if out.exists() else None


__all__ = ["CONTAINERS", "dump", "files_of", "pack_native", "write"]
