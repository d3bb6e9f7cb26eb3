"""What hostile packages are made of, and what is said of each.

Every package has a session that is sound beside the hostile one, unless it is refused as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from builders import Record, Session, dump

Json = dict[str, Any]
Edit = Callable[[list[Record]], list[Record]]

VICTIM = Session(1, start=10, name="Beans").say("When do I sow beans?").say("And peas?")
SOUND = Session(2, start=60, name="Roses").say("How do I prune roses?")
FOREIGN = "שלום 漢字 👩‍👩‍👧 "
LEGACY = Session(3, start=120, legacy=True).say("Which herbs?").say("And where?")
BYSTANDER = Session(9, start=600, name="Mine").say("My own")
"""A session of the used home that no package has."""

ESCAPES = (
    "\x1b]0;owned\x07\x1b[2J\x9b31m\x85\u202egnp.exe\u2066\u200f\u061c\u2028\x00\x7f\r\nnew line"
)
"""What would act on a terminal, or turn the order of what is read."""

SNAPSHOT, TRANSFER = "snapshot", "transfer-v1"
BOTH = (SNAPSHOT, TRANSFER)
INVALID = "transcript_invalid"
GOOD_MANIFEST: Json = {"format_version": 1, "package_kind": "session-skill-package"}


@dataclass(frozen=True)
class Parts:
    """What a package is made of, before it is laid out as one kind or another.

    ``rollouts`` by base name; ``rows``, ``tools``, ``index`` are the lines of these documents;
    ``database`` is that of a snapshot, made of the rows where it is None; ``manifest`` is that of a
    transfer package, the usual one where it is None; ``more`` are other files by path.
    """

    rollouts: Mapping[str, bytes]
    rows: bytes
    index: bytes = b""
    tools: bytes = b""
    database: Mapping[str, bytes] | None = None
    manifest: bytes | None = None
    more: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One hostile package, and what comes of ``sync --execute``; a ``large`` one is tried once.

    ``exit_code`` 0: all of it is taken; 1: sessions are refused with ``errors``, the others are
    taken; 3: the package is refused. ``warnings`` are those that must be told.
    """

    name: str
    build: Callable[[], Parts]
    exit_code: int = 0
    errors: frozenset[str] = frozenset()
    warnings: frozenset[str] = frozenset()
    kinds: tuple[str, ...] = BOTH
    options: tuple[str, ...] = ()
    large: bool = False


class Docket(list[Case]):
    """Cases, noted one by one."""

    def taken(self, name: str, build: Callable[[], Parts], *warnings: str, **more: Any) -> None:
        """Note a package that is taken, with these warnings."""
        self.append(Case(name, build, 0, warnings=frozenset(warnings), **more))

    def refused(self, name: str, build: Callable[[], Parts], code: str, **more: Any) -> None:
        """Note a package whose hostile session is refused; the sound one is taken."""
        self.append(Case(name, build, 1, frozenset({code}), **more))

    def unfit(self, name: str, build: Callable[[], Parts], code: str, **more: Any) -> None:
        """Note a package that is refused as a whole."""
        self.append(Case(name, build, 3, frozenset({code}), **more))


# -- building -------------------------------------------------------------------------------------


def sound(*sessions: Session) -> Parts:
    """A package in which nothing is wrong."""
    return Parts(
        {one.file_name: one.data() for one in sessions},
        dump(one.row() for one in sessions),
        dump(index_entry(one.id, one.name or "") for one in sessions if one.name),
    )


def index_entry(of: str, name: str) -> Record:
    return {"id": of, "thread_name": name, "updated_at": "2026-03-02T09:00:00Z"}


def with_data(data: bytes, of: Session = VICTIM) -> Parts:
    """The victim's rollout is these bytes."""
    parts = sound(of, SOUND)
    return replace(parts, rollouts={**parts.rollouts, of.file_name: data})


def edited(edit: Edit, of: Session = VICTIM) -> Callable[[], Parts]:
    """The victim's records, edited."""
    return lambda: with_data(dump(edit(of.records())), of)


def spliced(old: bytes, new: bytes, of: Session = VICTIM) -> Callable[[], Parts]:
    """The victim's bytes with a piece put in the place of another, which must be there."""

    def build() -> Parts:
        data = of.data()
        assert old in data
        return with_data(data.replace(old, new), of)

    return build


def with_row(**columns: Any) -> Callable[[], Parts]:
    """The victim's row with other columns."""

    def build() -> Parts:
        rows = [{**VICTIM.row(), **columns}, SOUND.row()]
        return replace(sound(VICTIM, SOUND), rows=dump(rows))

    return build


def with_document(**documents: Any) -> Callable[[], Parts]:
    """The sound package with some of its documents replaced."""
    return lambda: replace(sound(VICTIM, SOUND), **documents)


def of_kind(kind: str) -> Callable[[Record], bool]:
    """Whether a record is of this type, or an event of it."""
    return lambda record: kind in (record["type"], record["payload"].get("type"))


def payloads(kind: str, change: Callable[[Json], Any]) -> Edit:
    """The payload of each record of a kind, changed."""

    def edit(records: list[Record]) -> list[Record]:
        chosen = of_kind(kind)
        assert any(map(chosen, records)), kind
        return [{**r, "payload": change(r["payload"])} if chosen(r) else r for r in records]

    return edit


def each(**values: Any) -> Edit:
    """Every record but the first, with these members."""
    return lambda records: [records[0], *({**record, **values} for record in records[1:])]


def numbered(number: Callable[[int], Any]) -> Edit:
    """Every record with an ordinal that is made of its place."""
    return lambda records: [{**r, "ordinal": number(place)} for place, r in enumerate(records)]


def with_meta(**values: Any) -> Edit:
    """The first record with other metadata."""
    return payloads("session_meta", lambda payload: {**payload, **values})


def with_base(**values: Any) -> Edit:
    """The first record continues some history."""
    base = {"thread_id": VICTIM.id, "end_ordinal_exclusive": 3, "end_byte_offset": 100}
    return with_meta(history_base={**base, **values}, forked_from_ordinal_exclusive=3)


def added(*records: Record) -> Edit:
    """More records at the end, of the kinds that the builders do not make."""

    def edit(found: list[Record]) -> list[Record]:
        last = found[-1]
        more = [{**last, "ordinal": last["ordinal"] + n, **r} for n, r in enumerate(records, 1)]
        return [*found, *more]

    return edit


def nested(depth: int) -> Any:
    """Arrays in each other."""
    found: Any = []
    for _ in range(depth - 1):
        found = [found]
    return found


def table(values: dict[str, Json]) -> Iterable[tuple[str, Json]]:
    """Labels, and what is to be put in the place of members."""
    return values.items()
