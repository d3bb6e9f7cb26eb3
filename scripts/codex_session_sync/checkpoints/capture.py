"""Capturing: what changed in a home since the last time, packed, and a manifest for a commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from .. import __version__
from ..codex.home import CodexHome
from ..codex.thread_row import git_of
from ..errors import SessionError, StoreError, UsageError
from ..excerpt import last_answer
from ..lineage.fingerprint import common_entries
from ..model import Chain, Notice, PackagedSession, Transcript
from ..moments import now
from ..packing.gathering import Gathered, gather
from ..packing.native import NativePacker, Packed
from ..packing.secrets import Secret, SecretScan
from ..packing.selection import with_ancestors
from ..store.documents import Entry, checked_package, path_of, put_document, put_package
from ..store.documents import staging_folder as staging
from ..store.place import Store, not_writable
from . import manifest as toml
from .finding import Found, all_checkpoints, checkpoint_id, last_listing
from .listing import Link, Listed, Listing, put_listing, read_listing, texts
from .manifest import Manifest, Origin, Taken
from .relating import Relating
from .repository import Commit, Repository
from .resting import Resting, slices_of, told_digest
from .seen import Seen, files_digest, keep_seen, moment_ns, read_seen, stat_digest
from .stored import Shelf

Progress = Callable[[int], None]

WORDS = 200
"""How much is kept of what was said first and last."""
NEAREST = 50
"""How many of the nearest commits with checkpoints are asked for one of the same home."""


@dataclass(frozen=True, slots=True)
class Captured:
    """What a capture came to.

    ``entry`` is the catalog's line of the manifest, ``replaced``: whether there was one of the
    commit. ``packed`` are the sessions of which something was packed, ``failed`` those that could
    not be read.
    """

    entry: Entry
    manifest: Manifest
    packed: tuple[Packed, ...]
    failed: tuple[SessionError, ...]
    secrets: tuple[Secret, ...]
    notices: tuple[Notice, ...]
    replaced: bool


def capture(
    store: Store,
    home: CodexHome,
    repository: Repository,
    commit: Commit,
    scan_for_secrets: Callable[[], SecretScan],
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Captured:
    """Make the checkpoint of a commit: what ``home`` holds now. The gate must be held.

    The home and the repository are only read. ``scan_for_secrets`` is called if something is
    packed. Raises UsageError ``checkpoint_exists``, HomeError, StoreError.
    """
    name, every = checkpoint_id(repository.id, commit.sha), all_checkpoints(store)
    known = [one for one in every if one.entry.id == name]
    if known and not force:
        raise _exists(known[-1], commit)
    gathered = gather(home)
    with Shelf(store) as shelf:
        found = _Home(store, home, gathered, shelf, scan_for_secrets, progress).take()
        listing = put_listing(store, found.listing, found.last)
        before, earlier = _before(store, every, repository, commit, gathered.installation_id)
        taken = _taken(found, Relating(repository, commit.sha), earlier, shelf)
    manifest = Manifest(
        now(),
        f"codex-session-sync {__version__}",
        gathered.installation_id,
        listing,
        len(found.listing.sessions),
        found.package.id if found.package else None,
        path_of(store, found.package).stat().st_size if found.package else 0,
        before,
        _origin(repository, commit),
        taken,
    )
    path = _path(store, repository, commit, len(known))
    entry = put_document(store, "checkpoint", name, path, toml.encoded(manifest))
    keep_seen(store, home.path, replace(found.seen, listing=listing))
    return Captured(
        entry,
        manifest,
        tuple(found.packed.values()),
        found.failed,
        found.secrets,
        gathered.notices,
        bool(known),
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """What a home holds now, and what was packed of it."""

    listing: Listing
    last: tuple[str, Listing] | None
    packed: Mapping[str, Packed]
    package: Entry | None
    failed: tuple[SessionError, ...]
    secrets: tuple[Secret, ...]
    seen: Seen


@dataclass(slots=True)
class _Home:
    """A home on its way into a store."""

    store: Store
    home: CodexHome
    gathered: Gathered
    shelf: Shelf
    scan_for_secrets: Callable[[], SecretScan]
    progress: Progress | None
    _lines: dict[str, Listed] = field(default_factory=dict)
    _packed: dict[str, Packed] = field(default_factory=dict)
    _failed: list[SessionError] = field(default_factory=list)

    def take(self) -> _Found:
        """Pack what changed, and list all. Raises HomeError, StoreError."""
        asked_ns = moment_ns()
        home_id = self.gathered.installation_id
        likely = read_seen(self.store, self.home.path, None).listing
        last = last_listing(self.store, home_id, likely)
        known = dict(last[1].sessions) if last else {}
        seen = read_seen(self.store, self.home.path, last[0] if last else None)
        packages = self._whole_packages(known, seen)
        held = {i: one for i, one in known.items() if _rests_on(one, packages)}
        for session_id, session in self.gathered.sessions.items():
            line = held.get(session_id)
            if line is not None and self._is_as_seen(session, line, seen):
                self._lines[session_id] = line
        changed = [i for i in self.gathered.sessions if i not in self._lines]
        package, secrets = self._pack(changed, held) if changed else (None, ())
        if package is not None:
            self.shelf.add(package)
            packages |= self._whole_packages({}, seen, package)
        sessions = {
            i: replace(one, chain=tuple(_named(link, package) for link in one.chain))
            for i, one in self._lines.items()
        }
        listing = Listing(home_id, sessions)
        seen = Seen(None, self._files(listing, asked_ns), packages)
        return _Found(listing, last, self._packed, package, tuple(self._failed), secrets, seen)

    def _whole_packages(
        self, known: Mapping[str, Listed], seen: Seen, new: Entry | None = None
    ) -> dict[str, str]:
        """The packages that sessions rest on and that are whole, with what tells their files."""
        wanted = {link.package for one in known.values() for link in one.chain}
        found = {}
        for entry in [new] if new else [self.shelf.entry(digest) for digest in wanted]:
            if entry is None:
                continue
            try:
                told = stat_digest([path_of(self.store, entry)])
                if told is None:
                    continue
                if new is None and seen.packages.get(entry.id) != told:
                    checked_package(self.store, entry)
            except StoreError:
                continue
            found[entry.id] = told
        return found

    def _is_as_seen(self, session: PackagedSession, line: Listed, seen: Seen) -> bool:
        """Whether a session is surely what it was when it was listed, by its files alone."""
        told = seen.sessions.get(session.session_id)
        return (
            told is not None
            and line.told == told_digest(session)
            and told == files_digest(self.gathered.rollouts, line)
        )

    def _pack(
        self, changed: Sequence[str], held: Mapping[str, Listed]
    ) -> tuple[Entry | None, tuple[Secret, ...]]:
        """Pack these sessions as far as the store does not have them; all of them are listed."""
        resting = Resting(self.shelf, held)
        order = [i for i in with_ancestors(self.gathered, changed).ids if i in set(changed)]
        with staging(self.store) as folder:
            staged = folder / "package"
            try:
                with staged.open("x+b") as stream:
                    secrets = self.scan_for_secrets()
                    packer = NativePacker(self.gathered, stream, secrets, self.progress, resting)
                    for session_id in order:
                        self._add(packer, resting, secrets, session_id)
                    if not self._packed:
                        return None, ()
                    packer.finish()
            except OSError as error:
                raise not_writable(staged, error) from error
            return put_package(self.store, staged), secrets.found()

    def _add(
        self, packer: NativePacker, resting: Resting, secrets: SecretScan, session_id: str
    ) -> None:
        """Pack and list one session; one that cannot be read is listed as it was before."""
        session = self.gathered.sessions[session_id]
        known = resting.listed.get(session_id)
        try:
            packed = packer.add(session)
            transcript = resting.scanned.pop(session_id)
            if packed is None:
                assert known is not None
                self._lines[session_id] = replace(known, unread=None)
                return
            line = _listed(session, transcript, resting.chains[session_id], secrets)
        except SessionError as error:
            error.session_id = session_id
            self._failed.append(error)
            if known is not None:
                self._lines[session_id] = replace(known, unread=error.code)
            return
        secrets.look_beside(session)
        self._packed[session_id] = packed
        self._lines[session_id] = line

    def _files(self, listing: Listing, asked_ns: int) -> dict[str, str]:
        """What tells the files of the sessions that were read, for the next time."""
        found = {}
        for session_id, one in listing.sessions.items():
            told = files_digest(self.gathered.rollouts, one, asked_ns) if not one.unread else None
            if told is not None:
                found[session_id] = told
        return found


_NEW = ""
"""Stands for the package that is being made, whose digest is not known yet."""


def _named(link: Link, package: Entry | None) -> Link:
    return replace(link, package=package.id) if link.package == _NEW and package else link


def _listed(
    session: PackagedSession, transcript: Transcript, chain: tuple[Link, ...], secrets: SecretScan
) -> Listed:
    """A session that was packed. Raises SessionError where it cannot be read any more."""

    def words(*told: object) -> str | None:
        return texts((secrets.masked(one) for one in told if isinstance(one, str)), WORDS)

    facts = transcript.facts
    row = session.row or {}
    begun, last = transcript.meta.get("cwd"), facts.last_cwd or row.get("cwd")
    return Listed(
        session.session_id,
        session.archived,
        len(transcript.chain),
        transcript.chain.head,
        told_digest(session),
        slices_of(transcript),
        (*chain, Link(_NEW)),
        facts.turns,
        words(session.name),
        words(facts.first_user_message, row.get("title")),
        words(facts.last_user_message),
        words(last_answer(transcript)),
        _text(last),
        _text(begun) if begun != last else None,
        _sha(git_of(transcript.meta, row).commit),
        facts.last_timestamp,
    )


def _text(told: object) -> str | None:
    return told if isinstance(told, str) else None


def _sha(told: str | None) -> str | None:
    text = (told or "").lower()
    return text if len(text) in (40, 64) and not text.strip("0123456789abcdef") else None


def _rests_on(one: Listed, packages: Mapping[str, str]) -> bool:
    return all(link.package in packages for link in one.chain)


def _before(
    store: Store, every: Sequence[Found], repository: Repository, commit: Commit, home: str | None
) -> tuple[str | None, Mapping[str, Listed]]:
    """The nearest commit before this one with a checkpoint of the same home, and its sessions."""
    by_sha = {one.sha: one for one in every if not one.replaced}
    by_sha |= {one.sha: one for one in by_sha.values() if one.repository_id == repository.id}
    for sha, _ in repository.before(commit.sha, by_sha)[:NEAREST]:
        try:
            manifest = by_sha[sha].manifest(store)
            if manifest.home == home:
                return sha, read_listing(store, manifest.listing).sessions
        except StoreError:
            continue
    return None, {}


def _taken(
    found: _Found, relating: Relating, earlier: Mapping[str, Listed], shelf: Shelf
) -> tuple[Taken, ...]:
    """The sessions of the repository, and those that were packed."""
    sessions = found.listing.sessions
    relations = relating.relations(sessions)
    taken = []
    for session_id in {**relations, **found.packed}:
        one = sessions[session_id]
        taken.append(
            Taken(
                session_id,
                one.entries,
                _had(one, earlier.get(session_id), shelf),
                session_id in found.packed,
                one.turns,
                relations.get(session_id),
                one.archived,
                one.name,
                one.title,
                one.last_words,
                one.last_answer,
                one.cwd,
                one.commit,
                one.last_at,
                one.head,
            )
        )
    return toml.in_order(taken)


def _had(one: Listed, before: Listed | None, shelf: Shelf) -> int:
    """How many of a session's entries it had before already; turns may have been taken back."""
    if before is None:
        return 0
    if before.head == one.head:
        return one.entries
    try:
        now, then = shelf.held(one), shelf.held(before)
    except SessionError:
        return min(one.entries, before.entries)
    if now.fingerprint_version != then.fingerprint_version:
        return min(one.entries, before.entries)
    return common_entries(Chain(now.links), Chain(then.links))


def _origin(repository: Repository, commit: Commit) -> Origin:
    return Origin(
        repository.key,
        repository.name,
        commit.sha,
        commit.at,
        commit.message,
        commit.branch,
        repository.remote,
        repository.top,
    )


def _path(store: Store, repository: Repository, commit: Commit, before: int) -> Path:
    """Where a manifest goes: under its commit's SHA, with a number where others came before."""
    number = f".{before + 1}" if before else ""
    folder = store.checkpoints / f"{repository.name}-{repository.id}"
    return folder / f"{commit.sha}{number}.toml"


def _exists(known: Found, commit: Commit) -> UsageError:
    return UsageError(
        "checkpoint_exists",
        f"there is a checkpoint of {commit.sha[:12]} already, since {known.entry.at}",
        hint="`codex-session-sync AGAIN --force` makes another one, and keeps that",
    )
