"""The state of a pass over a session, as bytes and back, so that it need not be made again.

What is in it depends on the code that made it: bytes of another release are not read (see
scan_cache).
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from .claims import shared
from .facts import Gathering
from .lineage.fingerprint import Buffer, Fingerprinter
from .model import Json, Mark, ScannedSlice, Slice
from .scan_cache import Kept
from .scanning import Pass, Progress, Stop


@dataclass(frozen=True, slots=True)
class State:
    """A pass over the slices of a session, and what it found of each, oldest first."""

    pass_: Pass
    scanned: tuple[ScannedSlice, ...]
    stops: tuple[Stop, ...]


def dump(state: State) -> list[Buffer]:
    """A state as bytes: JSON, then parts that it tells the lengths of."""
    pass_ = state.pass_
    prints, parts = pass_.fingerprinter.state()
    parts += [memoryview(part.edits).cast("B") for part in state.scanned]
    header = {
        "paginated": pass_.paginated,
        "facts": pass_.facts.values(),
        "tail": sorted(set(pass_.tail)),
        "claims": _texts(pass_.claims),
        "mark": _told(pass_.mark),
        "one_head": pass_.one_head,
        "slices": [[part.size, part.sha256] for part in state.scanned],
        "stops": [list(stop) for stop in state.stops],
        "prints": prints,
        "parts": [len(part) for part in parts],
    }
    return [orjson.dumps(header), *parts]


def load(kept: Kept, slices: Sequence[Slice], progress: Progress | None) -> State | None:
    """The state of a pass over these slices, or over so many as its last one has in common with
    them; None where it is of another number, or not what was kept."""
    try:
        header: Any = orjson.loads(kept.take(kept.header))
        parts = [kept.take(length) for length in header["parts"]]
    except (ValueError, KeyError, TypeError):  # damaged, which only its end would tell
        return None
    if not kept.is_whole() or len(header["slices"]) != len(slices):
        return None
    prints, edits = parts[: -len(slices)], parts[-len(slices) :]
    scanned = []
    for part, (size, sha256), found in zip(slices, header["slices"], edits, strict=True):
        scanned.append(ScannedSlice(part, size, sha256, array("q", bytes(found))))
    pass_ = Pass(
        slices[-1].file.thread_id,
        header["paginated"],
        Fingerprinter.of_state(header["prints"], prints),
        progress,
        facts=Gathering(*header["facts"]),
        tail=header["tail"],
        claims=_claims(header["claims"]),
        mark=_mark(header["mark"]),
        one_head=header["one_head"],
        size=sum(part.size for part in scanned),
    )
    return State(pass_, tuple(scanned), tuple(Stop(*stop) for stop in header["stops"]))


def _texts(claims: Mapping[bytes, int]) -> list[tuple[str, int]]:
    return [(text.decode(), end) for text, end in claims.items()]


def _claims(texts: Sequence[tuple[str, int]]) -> dict[bytes, int]:
    return {shared(text.encode()): end for text, end in texts}


def _told(mark: Mark | None) -> Json | None:
    if mark is None:
        return None
    told = {"entries": mark.entries, "head": mark.head, "facts": mark.facts}
    return {**told, "claims": _texts(mark.claims)}


def _mark(told: Json | None) -> Mark | None:
    if told is None:
        return None
    facts, claims = tuple(told["facts"]), _claims(told["claims"])
    return Mark(told["entries"], told["head"], facts, claims)
