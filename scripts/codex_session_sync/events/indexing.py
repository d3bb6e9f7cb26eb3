"""From the truth of a store to the rows of its index, import by import, in the catalog's order.

What is in a row depends on the truth alone, so an index that was continued has what one has that
was made anew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..checkpoints.finding import Found
from ..codex.prompts import milliseconds
from ..codex.rollout import parse_time
from ..errors import StoreError
from ..lineage.fingerprint import FINGERPRINT_VERSION
from ..model import Json
from ..places.git import repository_key
from ..store.documents import Entry
from ..store.lines import damaged, read_lines_from
from ..store.place import Store
from .event import EVENT_FORMAT, SCHEMA
from .ledger import ledger_path
from .manifests import read_manifest
from .tables import findable

Progress = Callable[[int], None]

_SESSION = (
    *("session_id", "lineage_id", "head", "head_event", "entries", "history_mode", "home"),
    *("name", "title", "cwd", "first_at", "last_at", "forked_from", "spawned_by"),
)


@dataclass(slots=True)
class Indexing:
    """Puts imports and checkpoints into tables, within a transaction of the caller's."""

    store: Store
    connection: sqlite3.Connection
    progress: Progress | None = None
    _last: dict[int, str] = field(default_factory=dict)
    """The last event of each stretch, as far as it was asked for."""
    _parent: tuple[str, int, int] = ("", 0, 0)
    """The event that was put in last, its stretch and its entry."""
    _moved: bool = False
    """Whether an event of the lineage that is read has got another parent."""

    def add_checkpoint(self, entry: Entry) -> None:
        """Put in what was said for a commit, in place of what an earlier checkpoint of it told.

        One whose manifest cannot be read is noted, and tried again: events do not depend on it.
        """
        for table in ("commits", "unread"):
            self._run(f"DELETE FROM {table} WHERE checkpoint = ?", entry.id)  # noqa: S608
        try:
            manifest = Found(entry).manifest(self.store)
        except StoreError as error:
            known = {"checkpoint": entry.id, "file": entry.file, "sha256": entry.sha256}
            self._insert("unread", **known, message=error.message)
            return
        for session in manifest.related:
            if session.went_on:
                self._insert(
                    "commits",
                    checkpoint=entry.id,
                    sha=manifest.origin.sha,
                    session_id=session.session_id,
                    after_entry=session.entries_before,
                    last_entry=session.entries,
                    head=session.head,
                )

    def add_unread(self) -> None:
        """Put in the checkpoints that could not be read before, as far as they can be now."""
        rows = self.connection.execute("SELECT checkpoint, file, sha256 FROM unread").fetchall()
        for name, file, sha256 in rows:
            self.add_checkpoint(Entry("checkpoint", name, "", file, sha256))

    def add(self, entry: Entry) -> None:
        """Put in an import, once. Raises StoreError where the truth is damaged."""
        if self._one("SELECT 1 FROM imports WHERE import_id = ?", entry.id):
            return
        manifest = read_manifest(self.store, entry)
        counts = manifest["counts"]
        number = self._insert(
            "imports",
            import_id=entry.id,
            at=manifest["started_at"],
            normaliser=manifest["normaliser"],
            **{key: counts[key] for key in ("sessions", "refused", "added", "seen", "orphaned")},
        )
        for place, package in enumerate(manifest["packages"]):
            told = {key: package[key] for key in ("kind", "container", "name", "sha256", "home")}
            self._insert("packages", **{"import": number, "number": place, **told})
        for lineage in manifest["lineages"]:
            self._read(lineage["lineage_id"], lineage["end"])
        for session in manifest["sessions"]:
            self._session(number, session, manifest["packages"])

    # -- ledgers ----------------------------------------------------------------------------------

    def _read(self, lineage_id: str, end: int) -> None:
        """Put in what a ledger has up to byte ``end``, as far as it is not in yet."""
        found = self._one("SELECT place FROM ledgers WHERE lineage_id = ?", lineage_id)
        place: int = found[0] if found else 0
        if place >= end:
            return
        path = ledger_path(self.store, lineage_id)
        reached, self._moved = place, False
        for start, reached, line in read_lines_from(path, SCHEMA, place):
            known = line["fingerprint_version"] == FINGERPRINT_VERSION
            if known and line["format"] == EVENT_FORMAT:
                self._event(line, start)
            if self.progress:
                self.progress(reached - start)
            if reached >= end:
                break
        if reached != end:
            raise damaged(path, None, f"has no line that ends at byte {end}")
        if self._moved:
            self._lay_anew(lineage_id)
        self._run("INSERT OR REPLACE INTO ledgers VALUES (?, ?)", lineage_id, end)

    def _event(self, line: Json, place: int) -> None:
        known = self._one(
            "SELECT id, normaliser, parent FROM events WHERE event_id = ?", line["event_id"]
        )
        if known is None:
            stretch = self._stretch(line)
            number = self._insert(
                "events",
                **{key: line[key] for key in ("event_id", "lineage_id", "entry")},
                **_observed(line, place),
                stretch=stretch,
            )
            self._ends_with(stretch, line["event_id"], line["entry"])
            self._words(number, line)
        elif line["normaliser"] > known[1]:
            self._moved = self._moved or line["parent"] != known[2]
            self._again(known[0], line, place)

    def _stretch(self, line: Json) -> int:
        """The stretch that a new event lies in: its parent's, unless that went on without it."""
        parent = self._place_of(line["parent"])
        if parent is None:
            return self._new_stretch(line, None, None)
        stretch, entry = parent
        if self._last_of(stretch) == line["parent"]:
            return stretch
        return self._new_stretch(line, stretch, entry)

    def _new_stretch(self, line: Json, source: int | None, entry: int | None) -> int:
        return self._insert(
            "stretches",
            lineage_id=line["lineage_id"],
            last=line["event_id"],
            source=source,
            source_entry=entry,
        )

    def _last_of(self, stretch: int) -> str:
        if stretch not in self._last:
            [self._last[stretch]] = self._one("SELECT last FROM stretches WHERE id = ?", stretch)
        return self._last[stretch]

    def _place_of(self, event_id: str | None) -> tuple[int, int] | None:
        """The stretch and entry of an event."""
        if event_id is None:
            return None
        if self._parent[0] == event_id:
            return self._parent[1:]
        found = self._one("SELECT stretch, entry FROM events WHERE event_id = ?", event_id)
        return found and (found[0], found[1])

    def _again(self, number: int, line: Json, place: int) -> None:
        """Put in what a newer normaliser makes of an event that is there."""
        observed = _observed(line, place)
        marks = ", ".join(f"{key} = ?" for key in observed)
        self._run(f"UPDATE events SET {marks} WHERE id = ?", *observed.values(), number)  # noqa: S608
        self._run("DELETE FROM words WHERE rowid = ?", number)
        self._words(number, line)

    def _lay_anew(self, lineage_id: str) -> None:
        """Lay the stretches of a lineage in which events have got other parents."""
        lost = "(SELECT id FROM stretches WHERE lineage_id = ?)"
        self._run(f"DELETE FROM reach WHERE stretch IN {lost}", lineage_id)  # noqa: S608
        self._run("DELETE FROM stretches WHERE lineage_id = ?", lineage_id)
        self._last.clear()
        self._parent = ("", 0, 0)
        # A parent has a lower number than its children.
        for number, event_id, parent, entry in self.connection.execute(
            "SELECT id, event_id, parent, entry FROM events WHERE lineage_id = ? "
            "ORDER BY entry, id",
            (lineage_id,),
        ):
            line = {"lineage_id": lineage_id, "event_id": event_id, "parent": parent}
            stretch = self._stretch(line)
            self._run("UPDATE events SET stretch = ? WHERE id = ?", stretch, number)
            self._ends_with(stretch, event_id, entry)
        for session, head_event in self.connection.execute(
            "SELECT id, head_event FROM sessions WHERE lineage_id = ? ORDER BY id", (lineage_id,)
        ).fetchall():
            self._reach(session, head_event)

    def _ends_with(self, stretch: int, event_id: str, entry: int) -> None:
        """Note which event is the last of a stretch, and the one that was put in last."""
        self._last[stretch] = event_id
        self._run("UPDATE stretches SET last = ? WHERE id = ?", event_id, stretch)
        self._parent = (event_id, stretch, entry)

    def _words(self, number: int, line: Json) -> None:
        if line["kind"] != "withdrawn":
            self._run(
                "INSERT INTO words (rowid, text) VALUES (?, ?)", number, findable(line["text"])
            )

    # -- sessions ---------------------------------------------------------------------------------

    def _session(self, number: int, told: Json, packages: list[Json]) -> None:
        """Put in what a manifest says of a session; one with the same head is the same."""
        if "refused" in told:
            code = told["refused"]["code"]
            values = {"package": told["package"], "session_id": told["session_id"], "code": code}
            self._insert("refusals", **{"import": number, **values})
            return
        git, row = told["git"], {key: told.get(key) for key in _SESSION}
        url = git["repository"]
        row |= {"home": packages[told["package"]]["home"], "branch": git["branch"]}
        row |= {"repository": url, "repository_key": repository_key(url) if url else None}
        row |= {"git_commit": git["commit"]}
        found = self._one(
            "SELECT id FROM sessions WHERE session_id = ? AND head IS ? AND home IS ?",
            *(row["session_id"], row["head"], row["home"]),
        )
        if found:
            session: int = found[0]
            self._update_session(session, row)
        else:
            session = self._insert("sessions", **row)
        self._reach(session, row["head_event"])
        values = {"package": told["package"], "session": session}
        counts = {"added": told["added"], "seen": told["seen"]}
        self._insert("readings", **{"import": number, **values, **counts})

    def _update_session(self, session: int, row: Json) -> None:
        """Take over what is told of a session; what is not told stays as it was known."""
        known = {key: value for key, value in row.items() if value is not None}
        marks = ", ".join(f"{key} = ?" for key in known)
        self._run(f"UPDATE sessions SET {marks} WHERE id = ?", *known.values(), session)  # noqa: S608

    def _reach(self, session: int, head_event: str | None) -> None:
        """Note the stretches that a session's line goes through, and how far."""
        place = self._place_of(head_event)
        while place is not None:
            self._run("INSERT OR REPLACE INTO reach VALUES (?, ?, ?)", session, *place)
            source = self._one(
                "SELECT source, source_entry FROM stretches WHERE id = ? AND source IS NOT NULL",
                place[0],
            )
            place = source and (source[0], source[1])

    # -- statements -------------------------------------------------------------------------------

    def _insert(self, table: str, **values: Any) -> int:
        names = ", ".join(f'"{name}"' for name in values)
        marks = ", ".join("?" * len(values))
        statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608
        return int(self.connection.execute(statement, tuple(values.values())).lastrowid or 0)

    def _run(self, statement: str, *values: Any) -> None:
        self.connection.execute(statement, values)

    def _one(self, statement: str, *values: Any) -> Any:
        return self.connection.execute(statement, values).fetchone()


def _observed(line: Json, place: int) -> Json:
    """What a line says of its event, other than which it is."""
    return {
        "parent": line["parent"],
        "kind": line["kind"],
        "time": line["time"],
        "time_ms": milliseconds(parse_time(line["time"])),
        "images": line["images"],
        "normaliser": line["normaliser"],
        "import_id": line["import_id"],
        "place": place,
    }
