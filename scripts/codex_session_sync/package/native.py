"""Reading a native package: told by its first bytes, known by its manifest, unpacked as needed."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from ..codex.inventory import RolloutIndex, rollout_file
from ..codex.rollout import parse_name, parse_time
from ..errors import PackageError
from ..lineage.fingerprint import FINGERPRINT_VERSION
from ..model import Base, Chain, Json, Outline, PackagedSession, RolloutFile, Tail
from .container import PackageTree, locate, private_folder
from .members import Limits, PackageFile, not_a_package, shown, unreadable
from .native_format import (
    START,
    Part,
    contents,
    locate_manifest,
    manifest_text,
    parts_of,
    verify,
)
from .native_manifest import base_of, chain_part, load_manifest, outline_of
from .sessions import Package
from .staging import Staging, own_name
from .streams import damaged

CHAINS, ROLLOUTS, TAILS = "chains/", "rollouts/", "tails/"


def is_native(source: Path) -> bool:
    """Whether the file at ``source`` begins as a native package; False where it cannot be read."""
    try:
        if not stat.S_ISREG(source.stat().st_mode):
            return False
        with _opened(source) as stream:
            return stream.read(len(START)) == START
    except (OSError, ValueError, PackageError):
        return False


def _opened(path: Path) -> BinaryIO:
    """The file, without waiting for the other end of a pipe. Raises OSError, PackageError."""

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    stream = open(path, "rb", opener=opener)  # noqa: SIM115 - it is returned
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise not_a_package("it is neither a folder nor a regular file")
    return stream


@contextmanager
def open_native(source: Path, limits: Limits) -> Iterator[Package]:
    """The native package at ``source``; what is unpacked is gone on leaving.

    Its manifest and chains are read and verified; the transcripts only by ``Package.unpack``.
    Raises PackageError.
    """
    path, _ = locate(source)
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(_opened(path))
        except OSError as error:
            raise unreadable("the package", error) from error
        folder = stack.enter_context(private_folder(None))
        opened = _Opened(stream, limits, folder)
        package = opened.package(source)
        told = {**package.outlines, **package.tails}
        untold = [s.session_id for s in package.sessions if s.session_id not in told]
        if untold:
            opened.unpack(untold)
        yield package


@dataclass(slots=True)
class _Opened:
    """A package: where its parts lie, and what is unpacked of them."""

    stream: BinaryIO
    limits: Limits
    folder: Path
    _parts: Mapping[str, Part] = field(default_factory=dict)
    _files: Mapping[str, RolloutFile] = field(default_factory=dict)
    _history: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The names of the parts that a session's transcript goes through."""
    _staged: set[str] = field(default_factory=set)

    def package(self, source: Path) -> Package:
        """The package as other stages see it, its manifest read and found to agree with itself."""
        where = locate_manifest(self.stream)
        document = load_manifest(lambda: manifest_text(self.stream, where, self.limits))
        self._parts = parts_of(document.pop("parts"), where, self.limits)
        entries = {entry["session_id"]: entry for entry in document["sessions"]}
        _require_consistent(document, entries, self._parts)
        self._history = {
            i: tuple(self._parts[n].name for n in entry["history"]) for i, entry in entries.items()
        }
        self._files = {
            name: self._rollout(name, part, entries)
            for name, part in self._parts.items()
            if not name.startswith(CHAINS)
        }
        files = {
            name: PackageFile(name, file.path, file.size, file.mtime_ns)
            for name, file in self._files.items()
        }
        known = document["fingerprint_version"] == FINGERPRINT_VERSION
        bases = {i: b for i, e in entries.items() if (b := base_of(e)) is not None}
        whole = {i: e for i, e in entries.items() if i not in bases}
        return Package(
            "native",
            PackageTree(source, "file", MappingProxyType(files), 0),
            RolloutIndex(f for name, f in self._files.items() if name.startswith(ROLLOUTS)),
            tuple(self._session(entry) for entry in entries.values()),
            source_home=document["origin"]["installation_id"],
            outlines={i: self._outline(e) for i, e in whole.items()} if known else {},
            tails={i: self._tail(entries[i], b, known=known) for i, b in bases.items()},
            unpack=self.unpack,
        )

    def unpack(self, session_ids: Collection[str]) -> None:
        """Verify every part; stage those that the transcripts of these sessions go through."""
        wanted = {name for i in session_ids for name in self._history[i]}
        stage = Staging(self.folder)
        for name, part in self._parts.items():
            if name in wanted and name not in self._staged:
                stage.add(name, 0, contents(self.stream, part, self.limits))
                self._staged.add(name)
            else:
                verify(self.stream, part)

    def _session(self, entry: Json) -> PackagedSession:
        return PackagedSession(
            entry["session_id"],
            self._files[entry["history"][-1]],
            archived=entry["archived"],
            row=entry["row"],
            name=entry["name"],
            dynamic_tools=tuple(entry["dynamic_tools"]),
            spawn_edge=entry["spawn_edge"],
            goal=entry.get("goal"),
            size=entry["size"],
        )

    def _outline(self, entry: Json) -> Outline:
        name = chain_part(entry["session_id"])
        part = self._parts.get(name)
        links = b"".join(contents(self.stream, part, self.limits)) if part else b""
        chain = Chain(links)
        base = base_of(entry)
        if (chain.head or (base.head if base else None)) != entry["head"]:
            raise damaged(f"part {shown(name)} does not end as its manifest says")
        return outline_of(entry, chain)

    def _tail(self, entry: Json, base: Base, *, known: bool) -> Tail:
        """A session that continues one of the home; links that are not known fit none there."""
        files = tuple(self._files[name] for name in entry["history"])
        outline = self._outline(entry) if known else outline_of(entry, Chain())
        return Tail(outline, base, files)

    def _rollout(self, name: str, part: Part, entries: Mapping[str, Json]) -> RolloutFile:
        base = _file_name(name)
        parsed = parse_name(base)
        entry = entries.get(parsed.thread_id) if parsed else None
        last = parse_time(entry["facts"].get("last_timestamp")) if entry else None
        file = rollout_file(
            self.folder / own_name(name),
            base,
            part.size,
            int(last.timestamp()) * 1_000_000_000 if last else 0,
            archived=bool(entry and entry["archived"]),
        )
        if file is None:
            raise damaged(f"part {shown(name)} has a name that no rollout has")
        return file


def _require_consistent(
    document: Json, entries: Mapping[str, Json], parts: Mapping[str, Part]
) -> None:
    """Raise PackageError if a part is missing, or one belongs to no session."""
    if len(entries) != len(document["sessions"]):
        raise damaged("its manifest has a session twice")
    used = set()
    for session_id, entry in entries.items():
        _require_own(session_id, entry)
        chain = chain_part(session_id)
        links = _links(entry) * Chain.LINK_BYTES
        if links:
            used.add(chain)
        missing = [n for n in (*entry["history"], *[chain] * bool(links)) if n not in parts]
        if missing:
            raise damaged(f"part {shown(missing[0])} is missing")
        if links and parts[chain].size != links:
            raise damaged(f"part {shown(chain)} does not hold a link for each entry")
        used.update(entry["history"])
    for name, part in parts.items():
        _require_in_order(part)
        older = name.startswith(ROLLOUTS) and _thread_of(name) in entries
        if name not in used and not older:
            raise damaged(f"part {shown(name)} belongs to no session")


def _require_own(session_id: str, entry: Json) -> None:
    """Raise PackageError if what a session of the manifest brings is another session's."""
    row, tools = entry["row"], entry["dynamic_tools"]
    named = {entry["meta"]["id"], _thread_of(entry["history"][-1])}
    named |= {row["id"]} if row else set()
    named |= {tool["thread_id"] for tool in tools}
    if named != {session_id}:
        raise damaged(f"its manifest has something of another session with {session_id}")


def _links(entry: Json) -> int:
    """How many links a session's chain part has. Raises PackageError."""
    base = base_of(entry)
    cut = entry["history"][0].startswith(TAILS)
    if cut != (base is not None) or any(n.startswith(TAILS) for n in entry["history"][1:]):
        raise damaged("its manifest has a session that is neither whole nor a tail")
    count = int(entry["entries"]) - (base.entries if base else 0)
    if count < 0:
        raise damaged("its manifest has a session with fewer entries than its base")
    return count


def _require_in_order(part: Part) -> None:
    """Raise PackageError if the places in the name of a tail are none."""
    if part.name.startswith(TAILS):
        start, end = map(int, part.name.split("/")[1].split("-"))
        if not start <= end < start + part.size:
            raise damaged(f"part {shown(part.name)} is not of the places that its name tells")


def _file_name(part: str) -> str:
    """The name of the rollout that a part holds, or holds a piece of."""
    return part.rsplit("/", 1)[-1]


def _thread_of(name: str) -> str | None:
    """The session whose rollout a part is, or is of; None for a chain."""
    parsed = parse_name(_file_name(name))
    return parsed.thread_id if parsed else None


def refuted(session_id: str, why: str) -> PackageError:
    """The error for a transcript that is not what the manifest says of it."""
    return damaged(f"the transcript of session {session_id} is not what its manifest says: {why}")
