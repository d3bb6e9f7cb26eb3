"""From an opened package to drafted lines and what is to be told of each of its sessions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from ..codex.thread_row import git_of
from ..errors import SessionError
from ..lineage.fingerprint import lineage_of_link
from ..lineage.kinship import kinship
from ..model import Json, Notice, Outline, PackagedSession, Tail, Transcript
from ..package.native import refuted
from ..package.sessions import Package
from ..reading import scan_all
from ..store.place import Store
from ..tailing import scan_tail_alone
from ..transcript import first_link, notices
from .drafting import Drafting, Origin, Spool, lineage_of
from .ledger import Known, Strand, read_ledger
from .normalise import Normaliser

Progress = Callable[[int], None]

BATCH_BYTES = 64 << 20
"""Transcripts that are held together; those of one lineage always are."""
TITLE = 120


@dataclass(slots=True)
class Desk:
    """What the packages of one import are worked on with.

    ``confirmed`` has the ids of the imports that ended; ``ends`` how far the ledger of each lineage
    was read when lines for it were drafted.
    """

    store: Store | None
    spool: Spool
    confirmed: Collection[str]
    normaliser: Normaliser
    import_id: str
    progress: Progress | None = None
    ends: dict[str, int] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)
    refused: list[tuple[str, SessionError]] = field(default_factory=list)
    """Sessions that no event was taken of, and why."""

    def read(self, lineage_id: str, found: Collection[Known]) -> None:
        """Have these know what the ledger of their lineage has, and what is drafted for it."""
        ends = [0]
        if self.store is not None:
            for _, ends[0], line in read_ledger(self.store, lineage_id):
                for known in found:
                    known.note(line)
        self.ends.setdefault(lineage_id, ends[0])
        for line in self.spool.documents(lineage_id):
            for known in found:
                known.note(line)


@dataclass(slots=True)
class _Course:
    """A session of the package on its way: what is known of it so far."""

    session: PackagedSession
    outline: Outline | None = None
    tail: Tail | None = None
    strand: Strand | None = None
    known: Known | None = None
    added: int = 0
    head_event: str | None = None
    error: SessionError | None = None

    @property
    def size(self) -> int:
        """About how many bytes there are to read of it."""
        if self.complete or self.session.file is None:
            return 0
        return self.session.file.size

    @property
    def complete(self) -> bool:
        """Whether nothing of it need be read any more."""
        return self.error is not None or (self.known is not None and self.known.whole)


def survey(package: Package, number: int, digest: str | None, desk: Desk) -> list[Json]:
    """Draft the lines that the sessions of a package bring; returns what a manifest says of each.

    ``number`` is the package's place in the manifest, ``digest`` its SHA-256 where it is a file.
    Raises PackageError where it cannot be used as a whole, StoreError.
    """
    members = {str(file.path): name for name, file in package.tree.files.items()}
    return _Survey(package, number, Origin(digest, members), desk).run()


@dataclass(slots=True)
class _Survey:
    package: Package
    number: int
    origin: Origin
    desk: Desk

    def run(self) -> list[Json]:
        """All sessions, one lineage after the other."""
        groups: dict[str, list[_Course]] = defaultdict(list)
        for session in self.package.sessions:
            course = _Course(session)
            groups[self._begin(course)].append(course)
        self._unpack(groups)
        rows: dict[str, Json] = {}
        for batch in _batches(groups):
            read = [course for lineage in batch for course in groups.pop(lineage)]
            self._scan(read)
            for lineage, courses in _by_lineage(read).items():
                if lineage:
                    self._draft(lineage, courses)
                rows |= {course.session.session_id: self._row(course) for course in courses}
        return [rows[session.session_id] for session in self.package.sessions]

    def _begin(self, course: _Course) -> str:
        """Find out which lineage a session seems to be of, "" for none; no further is it read."""
        session = course.session
        course.tail = self.package.tails.get(session.session_id)
        course.outline = self.package.outlines.get(session.session_id)
        if course.tail is not None:
            course.outline = course.tail.outline
            course.strand = Strand(session.session_id, course.outline.chain, course.tail.base)
        elif course.outline is not None:
            course.strand = Strand(session.session_id, course.outline.chain)
        if course.strand is not None:
            return lineage_of(course.strand) or ""
        if session.file is None:
            course.error = _missing(session)
            return ""
        try:
            link = first_link(session.file, self.package.rollouts.segment)
        except SessionError as error:
            course.error = error
            return ""
        return lineage_of_link(link) if link else ""

    def _unpack(self, groups: Mapping[str, Sequence[_Course]]) -> None:
        """Have the files of the sessions at hand that the package tells something new of."""
        for lineage, courses in groups.items():
            self._look_up(lineage, [course for course in courses if course.strand])
        news = [
            course.session.session_id
            for courses in groups.values()
            for course in courses
            if course.strand and not course.complete
        ]
        if news:
            self.package.unpack(news)

    def _look_up(self, lineage: str, courses: Iterable[_Course]) -> None:
        """See what the ledger has of sessions whose chains are known."""
        found = []
        for course in courses:
            assert course.strand is not None
            desk = self.desk
            course.known = Known(course.strand, desk.normaliser.version, desk.confirmed)
            found.append(course.known)
        if lineage and found:
            self.desk.read(lineage, found)

    def _scan(self, courses: Iterable[_Course]) -> None:
        """Read the sessions that are to be read, but for tails."""
        files = {
            course.session.session_id: (course, course.session.file)
            for course in courses
            if not course.complete and course.tail is None and course.session.file
        }
        tips = [file for _, file in files.values()]
        read = scan_all(tips, self.package.rollouts.segment, self.desk.progress)
        for (course, _), found in zip(files.values(), read, strict=True):
            self._take(course, found)

    def _take(self, course: _Course, found: Transcript | SessionError) -> None:
        """Take in what was read of a session, or why it cannot be.

        Raises PackageError if it is not what the package says.
        """
        told = course.strand
        if isinstance(found, SessionError):
            if told is not None:
                raise refuted(course.session.session_id, found.message) from found
            course.error = found
            return
        if told is not None and found.chain != told.chain:
            raise refuted(course.session.session_id, "it has other entries")
        self.desk.notices += notices(found)
        course.outline = found
        course.strand = told or Strand(found.session_id, found.chain)

    def _draft(self, lineage: str, courses: Sequence[_Course]) -> None:
        """Draft what is new of the sessions of a lineage, those that are whole first."""
        unread = [course for course in courses if course.strand and course.known is None]
        self._look_up(lineage, unread)
        waiting = sorted(
            (course for course in courses if course.known),
            key=lambda course: (course.tail is not None, course.strand and course.strand.before),
        )
        while waiting:
            course = waiting.pop(0)
            assert course.known is not None
            try:
                if not course.complete:
                    self._draft_one(lineage, course, [one.known for one in waiting if one.known])
                else:
                    course.head_event = course.known.last
            except SessionError as error:
                course.error = error

    def _draft_one(self, lineage: str, course: _Course, others: Sequence[Known]) -> None:
        """Draft what is new of one session; the others of the lineage learn of it.

        Raises SessionError.
        """
        known, strand = course.known, course.strand
        assert known is not None
        assert strand is not None
        if not known.based:
            raise _prerequisite_missing(strand)
        if course.tail is not None:
            self._take(course, scan_tail_alone(course.tail, self.desk.progress))
        assert isinstance(course.outline, Transcript)
        drafting = Drafting(
            strand,
            course.outline,
            known,
            self.desk.normaliser,
            self.origin,
            lineage,
            self.desk.import_id,
        )
        for line in drafting.lines():
            self.desk.spool.add(lineage, line)
            for other in others:
                other.note(line)
        course.added, course.head_event = drafting.added, drafting.last

    def _row(self, course: _Course) -> Json:
        """What a manifest says of a session."""
        session, outline, strand = course.session, course.outline, course.strand
        row: Json = {"session_id": session.session_id, "package": self.number}
        if course.error is not None or outline is None or strand is None:
            error = course.error or _missing(session)
            self.desk.refused.append((session.session_id, error))
            refused = {"code": error.code, "message": error.message, "hint": error.hint}
            return row | {"refused": refused}
        facts, known = outline.facts, course.known
        title = session.name or (session.row or {}).get("title") or facts.first_user_message
        fork, parent = kinship(outline.meta)
        return row | {
            "lineage_id": lineage_of(strand),
            "history_mode": outline.mode,
            "entries": strand.entries,
            "base_entries": strand.before,
            "head": strand.head,
            "head_event": course.head_event,
            "added": course.added,
            "seen": known.seen if known else 0,
            "orphaned": known.orphaned if known else 0,
            "name": session.name,
            "title": " ".join(str(title).split())[:TITLE] if title else None,
            "cwd": facts.last_cwd,
            "git": asdict(git_of(outline.meta, session.row)),
            "first_at": facts.first_timestamp,
            "last_at": facts.last_timestamp,
            "forked_from": fork,
            "spawned_by": parent,
            "files": self._files(outline),
        }

    def _files(self, outline: Outline) -> list[Json]:
        """The files that were read, each as far as it counts; none where nothing had to be read."""
        if not isinstance(outline, Transcript):
            return []
        return [
            {
                "member": self.origin.name(part.slice.file),
                "size": part.size,
                "sha256": part.sha256,
            }
            for part in outline.slices
        ]


def _batches(groups: Mapping[str, Sequence[_Course]]) -> Iterator[list[str]]:
    """Lineages that are read together."""
    batch: list[str] = []
    size = 0
    for lineage in sorted(groups):
        more = sum(course.size for course in groups[lineage])
        if batch and size + more > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(lineage)
        size += more
    if batch:
        yield batch


def _by_lineage(courses: Iterable[_Course]) -> dict[str, list[_Course]]:
    """The courses by what is known by now of their lineages.

    The first entry of a session may have been taken back, so what was read first of it may be of
    another lineage.
    """
    found: dict[str, list[_Course]] = defaultdict(list)
    for course in courses:
        found[(lineage_of(course.strand) or "") if course.strand else ""].append(course)
    return found


def _missing(session: PackagedSession) -> SessionError:
    return SessionError(
        "transcript_missing",
        "the package names this session but does not hold its transcript",
        hint="pack it again where it was made: `codex-session-sync pack -o FILE --session ID`",
        session_id=session.session_id,
    )


def _prerequisite_missing(strand: Strand) -> SessionError:
    base = strand.base
    assert base is not None
    what = "first entry" if base.entries == 1 else f"first {base.entries} entries"
    return SessionError(
        "prerequisite_missing",
        f"the package has only what follows its {what} (link {base.head[:12]}), and no import has "
        "brought these into the store",
        hint="run `codex-session-sync events import PKG` with a package that has its beginning "
        "first, then `codex-session-sync AGAIN`",
        session_id=strand.session_id,
    )
