"""What another home has, as its ``have`` document tells: what a package for it can leave out."""

from __future__ import annotations

import re
import stat
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from .. import validation
from ..errors import UsageError
from ..following import ADOPTED_HOME, UNKNOWN_HOME
from ..lineage.differences import packaged_metadata
from ..lineage.fingerprint import FINGERPRINT_VERSION, links_of
from ..localize import origin_id
from ..model import Base, HistoryMode, Json, Outline, PackagedSession, Transcript
from .holdings import FORMAT, metadata_digest

SCHEMA = "have"

MAX_BYTES = 256 << 20
"""Longest document that is read."""

_FORMATS = re.compile(r"codex-session-sync/have/[0-9]+")

_HINT = (
    "check the path; `codex-session-sync have -o FILE --codex-home HOME` writes it, HOME being "
    "that which the package is for"
)


@dataclass(frozen=True, slots=True)
class Copy:
    """A session of the other home: links that it goes through, and digests of its metadata.

    ``now`` is that of what it has (see ``holdings.metadata_digest``), ``metadata`` has by source
    those of what was synced last under the id that the copy is looked up by.
    """

    links: frozenset[bytes]
    now: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Known:
    """The links that sessions of a home go through, each with the history modes it has there.

    ``copies`` has its sessions by id, and by the ids of the sessions that they stand for.
    """

    modes: Mapping[bytes, frozenset[HistoryMode]]
    copies: Mapping[str, Sequence[Copy]]

    def base_of(self, transcript: Transcript) -> Base | None:
        """The longest beginning of a session that the other home surely has in the same mode."""
        chain = transcript.chain
        last = 0
        for count, link in enumerate(links_of(chain.links), 1):
            if transcript.mode in self.modes.get(link, ()) and count not in transcript.entangled:
                last = count
        return Base(last, chain.link(last), chain.link(1)) if last else None

    def has(self, session: PackagedSession, transcript: Outline, home: str | None) -> bool:
        """Whether a sync of the session from ``home`` would surely change nothing there.

        So it is where the other home has it to its last entry, under its id or as what it began
        as, and takes over no name, archive state and branch: those that it has or got last are
        these, or it never got any and so lets its own stand.
        """
        source, outline = home or UNKNOWN_HOME, transcript
        found = [(copy, copy.metadata) for copy in self._whole(session.session_id, outline)]
        origin = origin_id(outline.meta)
        if origin != session.session_id:
            found += [(copy, {}) for copy in self._whole(origin, outline)]
        digest = metadata_digest(packaged_metadata(session))
        return bool(found) and all(
            digest in (copy.now, known.get(source, known.get(ADOPTED_HOME, digest)))
            for copy, known in found
        )

    def _whole(self, session_id: str, outline: Outline) -> list[Copy]:
        """The copies of a session that have all of its entries."""
        last = outline.chain.links[-outline.chain.LINK_BYTES :]
        return [copy for copy in self.copies.get(session_id, ()) if not last or last in copy.links]


def load_known(path: Path) -> Known:
    """Read what ``have`` wrote: the document itself or its ``--json`` output.

    Raises UsageError: ``have_unreadable``, ``have_invalid``, ``have_version_unsupported``.
    """
    document = _document(path)
    if document["fingerprint_version"] != FINGERPRINT_VERSION:
        told = f"tells of fingerprints of version {document['fingerprint_version']}"
        raise _of_another_version(path, told, f"version {FINGERPRINT_VERSION}")
    modes: dict[bytes, frozenset[HistoryMode]] = defaultdict(frozenset)
    copies: dict[str, list[Copy]] = defaultdict(list)
    for lineage in document["lineages"]:
        for session in lineage["sessions"]:
            links = frozenset(bytes.fromhex(link) for _, link in session["links"])
            for link in links:
                modes[link] |= {session["history_mode"]}
            origins = {one["session_id"]: one["metadata"] for one in session["origins"]}
            for session_id, metadata in {session["session_id"]: {}, **origins}.items():
                copies[session_id].append(Copy(links, session["metadata"], metadata))
    return Known(dict(modes), dict(copies))


def _document(path: Path) -> Json:
    try:
        found = orjson.loads(_content(path))
    except orjson.JSONDecodeError as error:
        raise _invalid(path, f"it is not JSON: {error}") from error
    if isinstance(found, dict) and found.get("command") == "have" and "data" in found:
        found = found["data"]
    told = found.get("format") if isinstance(found, dict) else None
    if not isinstance(told, str) or not _FORMATS.fullmatch(told):
        raise _invalid(path, "it is no document of `have`")
    if told != FORMAT:
        raise _of_another_version(path, f"has the format {told}", FORMAT)
    try:
        validation.check(SCHEMA, found, path.name, UsageError)
    except UsageError as error:
        raise _invalid(path, error.message) from error
    document: Json = found
    return document


def _content(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise _unreadable(path, "it is no file")
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, str(error.strerror or error)) from error
    if len(data) > MAX_BYTES:
        raise _invalid(path, f"it is over {MAX_BYTES} bytes")
    return data


def _unreadable(path: Path, why: str) -> UsageError:
    return UsageError("have_unreadable", f"{path} cannot be read: {why}", hint=_HINT)


def _invalid(path: Path, why: str) -> UsageError:
    return UsageError("have_invalid", f"{path} cannot be used: {why}", hint=_HINT)


def _of_another_version(path: Path, told: str, known: str) -> UsageError:
    return UsageError(
        "have_version_unsupported",
        f"{path.name} {told}; this program knows {known}",
        hint="use the same release of codex-session-sync on both sides",
    )
