"""Listings: which sessions a home held at a moment, and which packages have their records.

A listing is a document of the store, lines of JSON in one zstandard frame, under its SHA-256: the
same home gives the same document. It has all that restoring any of its sessions takes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import orjson
import zstandard

from .. import validation
from ..errors import StoreError
from ..model import Json
from ..store.documents import Entry, entries, path_of, put_document, read_document
from ..store.lines import damaged
from ..store.place import Store

FORMAT = "codex-session-sync/listing/1"
SCHEMA = "store_listing"
LEVEL = 9
MOST_BYTES = 1 << 30

_HINTS = (
    "name",
    "title",
    "last_words",
    "last_answer",
    "cwd",
    "begun_in",
    "commit",
    "last_at",
    "turns",
)


@dataclass(frozen=True, slots=True)
class Held:
    """The first ``size`` bytes of a rollout (decompressed), which a history goes through."""

    file: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Link:
    """A package with records of a session; ``of``: of another one, whose records it inherits."""

    package: str
    of: str | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """One session of a listing.

    ``slices`` are the files of its history, the oldest first; ``chain`` the packages that have
    them, the first one whole, each other one going on. ``told`` is a digest of what is known of it
    beside its records. ``unread``: the code of why it could not be read, and so is as it was found
    last. The others are for people to know it by; ``begun_in`` is told where it is not ``cwd``.
    """

    session_id: str
    archived: bool
    entries: int
    head: str | None
    told: str
    slices: tuple[Held, ...]
    chain: tuple[Link, ...]
    turns: int = 0
    name: str | None = None
    title: str | None = None
    last_words: str | None = None
    last_answer: str | None = None
    cwd: str | None = None
    begun_in: str | None = None
    commit: str | None = None
    last_at: str | None = None
    unread: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """What a home held: its ``installation_id``, if Codex gave it one, and its sessions by id."""

    home: str | None
    sessions: Mapping[str, Listed] = field(default_factory=dict)


def put_listing(store: Store, listing: Listing) -> Entry:
    """Keep a listing; one that is there already stays. The gate must be held.

    Raises StoreError ``store_not_writable``.
    """
    data = encoded(listing)
    digest = hashlib.sha256(data).hexdigest()
    for known in entries(store, "listing"):
        if known.id == digest and _is_there(store, known):
            return known
    path = store.listings / digest[:2] / f"{digest}.jsonl.zst"
    return put_document(store, "listing", digest, path, data)


def read_listing(store: Store, digest: str) -> Listing:
    """A listing by its digest. Raises StoreError ``store_damaged``, ``store_unreadable``."""
    for entry in entries(store, "listing"):
        if entry.id == digest:
            return decoded(read_document(store, entry), str(path_of(store, entry)))
    raise damaged(store.catalog, None, f"has no listing {digest}")


def encoded(listing: Listing) -> bytes:
    """A listing as its document."""
    order = [listing.sessions[i] for i in sorted(listing.sessions)]
    packages = list(dict.fromkeys(link.package for one in order for link in one.chain))
    number = {package: place for place, package in enumerate(packages)}
    head = {"format": FORMAT, "home": listing.home, "packages": packages}
    lines = [head, *(_line(one, number) for one in order)]
    text = b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines)
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(text)


def decoded(data: bytes, what: str) -> Listing:
    """A listing from its document, which ``what`` names. Raises StoreError ``store_damaged``."""
    try:
        if zstandard.frame_content_size(data) > MOST_BYTES:
            raise _no_listing(what, f"it is over {MOST_BYTES} bytes")
        text = zstandard.ZstdDecompressor().decompress(data)
        head, *lines = [orjson.loads(line) for line in text.splitlines()]
    except (zstandard.ZstdError, ValueError) as error:
        raise _no_listing(what, str(error)) from error
    for line in (head, *lines):
        if not validation.fits(SCHEMA, line):
            raise _no_listing(what, "a line does not fit its schema")
    if "format" not in head or any("format" in line for line in lines):
        raise _no_listing(what, "its first line is not what it should be")
    packages = head["packages"]
    try:
        found = [_listed(line, packages) for line in lines]
    except IndexError as error:
        raise _no_listing(what, "it names a package that it does not list") from error
    return Listing(head["home"], {one.session_id: one for one in found})


def _is_there(store: Store, entry: Entry) -> bool:
    try:
        read_document(store, entry)
    except StoreError:
        return False
    return True


def _line(one: Listed, number: Mapping[str, int]) -> Json:
    line: Json = {
        "session_id": one.session_id,
        "archived": one.archived,
        "entries": one.entries,
        "head": one.head,
        "told": one.told,
        "slices": [[part.file, part.size, part.sha256] for part in one.slices],
        "chain": [[number[link.package], *([link.of] if link.of else ())] for link in one.chain],
    }
    hints = {key: value for key in _HINTS if (value := getattr(one, key)) is not None}
    return line | hints | ({"unread": one.unread} if one.unread else {})


def _listed(line: Json, packages: list[str]) -> Listed:
    slices = tuple(Held(*part) for part in line.pop("slices"))
    chain = tuple(Link(packages[place], *of) for place, *of in line.pop("chain"))
    known = {key: value for key, value in line.items() if key in Listed.__dataclass_fields__}
    return Listed(**known, slices=slices, chain=chain)


def _no_listing(what: str, why: str) -> StoreError:
    return StoreError(
        "store_damaged",
        f"{what} is no listing: {why}",
        hint="restore that file from a backup of the store; nothing was changed",
    )


def texts(values: Iterable[str | None], most: int) -> str | None:
    """The first of some texts that there is, on one line, cut off where it is long."""
    for value in values:
        words = " ".join((value or "").split())
        if words:
            return words if len(words) <= most else words[: most - 1] + "…"
    return None
