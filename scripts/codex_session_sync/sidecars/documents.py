"""The sidecars of a home, and what is to be changed of them, as values.

Reads and writes nothing but sidecars; ``rewriting`` executes what is decided here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import orjson

from ..codex.home import CodexHome
from ..errors import HomeError
from ..lineage.differences import mapping_changes
from ..lineage.sidecar import (
    Mappings,
    Pair,
    by_pair,
    by_pair_as_written,
    document,
    read_sidecar,
    sidecar_lineages,
    text_of,
)
from ..model import Json, Notice


@dataclass(frozen=True, slots=True)
class Sidecar:
    """One sidecar as it lies on disk: its text, which fits the schema, or why it is none."""

    lineage_id: str
    text: str | None
    damage: str | None = None

    @property
    def mappings(self) -> Mappings:
        """What it says; nothing if it is damaged."""
        return by_pair_as_written(self.text)


def read_sidecars(
    home: CodexHome, known: Mapping[str, str | None] | None = None
) -> Iterator[Sidecar]:
    """Every sidecar of a home by lineage, checked; files of other names are none.

    One whose text is that of its lineage in ``known`` is not checked, which takes most of the time.
    Raises HomeError as ``sidecar_lineages`` does.
    """
    known = known or {}
    for lineage in sidecar_lineages(home.sync_dir):
        yield read_sidecar_of(home, lineage, known.get(lineage))


def read_sidecar_of(home: CodexHome, lineage: str, known: str | None = None) -> Sidecar:
    """The sidecar of one lineage, checked unless its text is ``known``; an empty one without."""
    try:
        text = read_sidecar(home.sync_dir, lineage)
        if text is None or text == known:
            return Sidecar(lineage, text)
        by_pair(text, lineage)
    except HomeError as error:
        return Sidecar(lineage, None, error.message)
    if orjson.loads(text)["lineage_id"] != lineage:
        return Sidecar(lineage, None, f"sidecar {lineage} names another lineage")
    return Sidecar(lineage, text)


@dataclass(frozen=True, slots=True)
class MappingChange:
    """What becomes of one mapping; ``before`` or ``after`` is None where there is none.

    ``reason`` says in a word why.
    """

    pair: Pair
    before: Json | None
    after: Json | None
    reason: str

    def to_json(self) -> Json:
        """The change as reports show it; ``differences`` where both versions are there."""
        origin, local = self.pair
        found: Json = {
            "origin_session_id": origin,
            "local_session_id": local,
            "change": "added"
            if self.before is None
            else "removed"
            if self.after is None
            else "changed",
            "reason": self.reason,
        }
        if self.before is not None and self.after is not None:
            found["differences"] = mapping_changes(self.before, self.after)
        return found


@dataclass(frozen=True, slots=True)
class SidecarChange:
    """One sidecar before and after: its texts, None where it is not there.

    ``damage``: what lies there is no sidecar and is moved away; ``before`` is None then.
    ``reasons`` holds a word for each pair whose mapping changes; without any it is only written
    otherwise than by this program, or says something twice.
    """

    lineage_id: str
    before: str | None
    after: str | None
    damage: str | None = None
    reasons: Mapping[Pair, str] = field(default_factory=dict)

    @property
    def mappings(self) -> list[MappingChange]:
        """What changes, by pair."""
        before, after = map(by_pair_as_written, (self.before, self.after))
        return [
            MappingChange(pair, before.get(pair), after.get(pair), self.reasons.get(pair, ""))
            for pair in sorted(before.keys() | after.keys())
            if before.get(pair) != after.get(pair)
        ]

    def to_json(self) -> Json:
        """The change as reports show it."""
        return {
            "lineage_id": self.lineage_id,
            "damage": self.damage,
            "mappings": [mapping.to_json() for mapping in self.mappings],
        }


@dataclass(frozen=True, slots=True)
class Rewriting:
    """What is to become of the sidecars of a home, and what cannot be told."""

    changes: tuple[SidecarChange, ...]
    notices: tuple[Notice, ...] = ()


def change_of(
    sidecar: Sidecar, wanted: Mappings, reasons: Mapping[Pair, str]
) -> SidecarChange | None:
    """The change that makes a sidecar say what is wanted, written as this program writes it.

    None where it is so already. Raises HomeError ``sidecar_invalid`` if what is wanted does not fit
    the schema.
    """
    lineage = sidecar.lineage_id
    if sidecar.damage is None and sidecar.text == text_of(wanted, lineage):
        return None
    said = sidecar.mappings
    changed = {
        pair: reasons.get(pair, "")
        for pair in said.keys() | wanted.keys()
        if said.get(pair) != wanted.get(pair)
    }
    after = document(wanted, lineage)
    return SidecarChange(lineage, sidecar.text, after, sidecar.damage, changed)


def no_sidecar(lineage: str) -> Sidecar:
    """A lineage that has no sidecar."""
    return Sidecar(lineage, None)
