"""Listings: which sessions a home held at a moment, and which packages have their records.

A listing is a document of the store, lines of JSON in one zstandard frame, under its SHA-256: of
all sessions, or of those that are not as in the listing before. With that it has all that restoring
any of its sessions takes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
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

MOST_STEPS = 16
"""Of how many listings in a row each tells only what has changed; then one tells all again."""

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
    """What a home held: its ``installation_id``, if Codex gave it one, and its sessions by id.

    ``steps``: of how many listings before it the document tells only what has changed since.
    """

    home: str | None
    sessions: Mapping[str, Listed] = field(default_factory=dict)
    steps: int = field(default=0, compare=False)


def put_listing(store: Store, listing: Listing, last: tuple[str, Listing] | None) -> str:
    """Keep a listing, told from the ``last`` one on if there is one; its digest.

    One that is there already stays. The gate must be held. Raises StoreError
    ``store_not_writable``.
    """
    if last is not None and last[1] == listing:
        return last[0]
    data = encoded(listing, last if last and last[1].steps < MOST_STEPS else None)
    digest = hashlib.sha256(data).hexdigest()
    if not any(known.id == digest and _is_there(store, known) for known in _all(store)):
        path = store.listings / digest[:2] / f"{digest}.jsonl.zst"
        put_document(store, "listing", digest, path, data)
    return digest


def read_listing(store: Store, digest: str) -> Listing:
    """A listing by its digest. Raises StoreError ``store_damaged``, ``store_unreadable``."""
    known = {entry.id: entry for entry in _all(store)}
    steps: list[_Document] = []
    after: str | None = digest
    while after is not None:
        entry = known.pop(after, None)  # once: a listing that comes after itself has no end
        if entry is None:
            raise damaged(store.catalog, None, f"has no listing {after}")
        steps.append(_decoded(read_document(store, entry), str(path_of(store, entry))))
        after = steps[-1].after
    sessions: dict[str, Listed] = {}
    for step in reversed(steps):
        sessions = {i: one for i, one in sessions.items() if i not in step.gone} | step.sessions
    return Listing(steps[0].home, sessions, len(steps) - 1)


def encoded(listing: Listing, after: tuple[str, Listing] | None = None) -> bytes:
    """A listing as its document, which with ``after`` tells what is not as in that one."""
    before = after[1].sessions if after else {}
    told = [one for i, one in sorted(listing.sessions.items()) if before.get(i) != one]
    packages = list(dict.fromkeys(link.package for one in told for link in one.chain))
    number = {package: place for place, package in enumerate(packages)}
    head: Json = {"format": FORMAT, "home": listing.home, "packages": packages}
    if after:
        head |= {"after": after[0], "gone": sorted(before.keys() - listing.sessions.keys())}
    lines = [head, *(_line(one, number) for one in told)]
    text = b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines)
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(text)


@dataclass(frozen=True, slots=True)
class _Document:
    """What one document says: all sessions, or what is not as in the listing ``after``."""

    home: str | None
    sessions: dict[str, Listed]
    after: str | None
    gone: frozenset[str]


def _decoded(data: bytes, what: str) -> _Document:
    """A document, which ``what`` names. Raises StoreError ``store_damaged``."""
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
    try:
        found = [_listed(line, head["packages"]) for line in lines]
    except IndexError as error:
        raise _no_listing(what, "it names a package that it does not list") from error
    sessions = {one.session_id: one for one in found}
    return _Document(head["home"], sessions, head.get("after"), frozenset(head.get("gone", ())))


def _all(store: Store) -> Iterator[Entry]:
    return entries(store, "listing")


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
