"""Mutations of packages: of any value of any JSON line, of lines, of bytes, of database cells.

They are plain data, so that hypothesis prints and shrinks them; places are fractions of what there
is.
"""

from __future__ import annotations

import copy
import json
import sqlite3
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from builders import session_id
from hostile.corpus import ESCAPES, SOUND, VICTIM

OPERATIONS = (
    *("replace", "replace", "replace", "remove", "rename", "wrap", "double", "move"),
    *("drop line", "double line", "swap lines", "cut line", "splice"),
)
DATABASE = "state_5.sqlite"

EXTREMES: list[Any] = [
    *(None, True, False, 0, -1, 1, 1.5, -0.0, 1e308, 5e-324),
    *(2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**400),
    *("", "\0", " ", ESCAPES, "[/]", "../../../etc/passwd", "/etc/passwd", "C:\\x", "x" * 5000),
    *(VICTIM.id, SOUND.id, session_id(77), VICTIM.id.upper(), f"{VICTIM.id}\n", "0" * 64),
    *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "1e999", "\ud800", "\udfff\ud800"),
    *("legacy", "paginated", "session_meta", "event_msg", "response_item", "compacted"),
    *("task_started", "user_message", "thread_rolled_back", "item_completed", "never"),
    *([], {}, [[]], [{}], {"": {}}, {"type": []}, {"id": None}, {"text": 7}),
]
VALUES = st.sampled_from(EXTREMES) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
PLACES = st.floats(0, 1, exclude_max=True)


@dataclass(frozen=True)
class Mutation:
    """One change: in which file and line, on which way into it, what, and what is put there."""

    file: float
    line: float
    way: tuple[float, ...]
    operation: str
    value: Any


MUTATIONS = st.lists(
    st.builds(
        Mutation,
        PLACES,
        PLACES,
        st.lists(PLACES, min_size=1, max_size=8).map(tuple),
        st.sampled_from(OPERATIONS),
        VALUES,
    ),
    min_size=1,
    max_size=4,
)


def chosen(items: Sequence[Any], place: float) -> Any:
    """The item at a place."""
    return items[int(place * len(items))]


def mutated(files: Mapping[str, bytes], mutations: Sequence[Mutation]) -> dict[str, bytes]:
    """The files with all of the mutations, one after another."""
    found = dict(files)
    for mutation in mutations:
        name = chosen(sorted(found), mutation.file)
        change = _in_database if name.endswith(DATABASE) else mutated_lines
        found[name] = change(found[name], mutation)
    return found


def mutated_lines(data: bytes, mutation: Mutation) -> bytes:
    """A file of JSON lines, or of one document, with a mutation."""
    lines = data.splitlines(keepends=True)
    if not lines:
        return _text(mutation.value)
    at = int(mutation.line * len(lines))
    match mutation.operation:
        case "drop line":
            del lines[at]
        case "double line":
            lines.insert(at, lines[at])
        case "swap lines":
            other = int(mutation.way[0] * len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        case "cut line":
            lines[at] = lines[at][: int(mutation.way[0] * len(lines[at]))]
        case "splice":
            place = int(mutation.way[0] * len(lines[at]))
            lines[at] = lines[at][:place] + _text(mutation.value)[:50] + lines[at][place + 1 :]
        case _:
            lines[at] = _in_json(lines[at], mutation)
    return b"".join(lines)


def mutated_document(document: Any, mutation: Mutation) -> Any:
    """A JSON value with a mutation somewhere in it."""
    value = copy.deepcopy(mutation.value)
    holder, key = document, None
    for step in mutation.way:
        inner = holder if key is None else holder[key]
        if not isinstance(inner, dict | list) or not inner:
            break
        holder = inner
        key = chosen(sorted(inner) if isinstance(inner, dict) else range(len(inner)), step)
    if key is None:
        return value
    match mutation.operation:
        case "remove":
            del holder[key]
        case "rename" if isinstance(holder, dict):
            holder[str(value)] = holder.pop(key)
        case "wrap":
            holder[key] = [holder[key], value]
        case "double" if isinstance(holder, list):
            holder.append(holder[key])
        case "move" if isinstance(holder, dict):
            other = chosen(sorted(holder), mutation.way[0])
            holder[key], holder[other] = holder[other], holder[key]
        case _:
            holder[key] = value
    return document


def _in_json(line: bytes, mutation: Mutation) -> bytes:
    try:
        document = json.loads(line)
    except ValueError:
        return _text(mutation.value) + b"\n"
    return _text(mutated_document(document, mutation)) + b"\n"


def _text(value: Any) -> bytes:
    """A value as JSON, with halves of characters as escapes or as bytes that are no UTF-8."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")


def _in_database(data: bytes, mutation: Mutation) -> bytes:
    """A database with another value in a cell, or another byte."""
    value = mutation.value
    if mutation.operation in ("replace", "rename", "wrap") and not isinstance(value, dict | list):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / DATABASE
            path.write_bytes(data)
            with suppress(sqlite3.Error, OverflowError, UnicodeError):
                _set_cell(path, mutation)
            return path.read_bytes()
    flipped = bytearray(data)
    for step in mutation.way:
        flipped[int(step * len(flipped))] ^= 1 << int(mutation.line * 8)
    return bytes(flipped)


def _set_cell(path: Path, mutation: Mutation) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        columns = connection.execute("SELECT name FROM pragma_table_info('threads')").fetchall()
        [column] = chosen(columns, mutation.way[0])
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(f'UPDATE threads SET "{column}" = ?', (mutation.value,))
