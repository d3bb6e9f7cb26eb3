"""From the items of a request to what the ordinary plan reads: packages.

Records of several sessions are written as rollouts into one folder, which is a snapshot; a package
is taken as it is. Which item a session is of is known by its id, so two items of one session are
not in the same folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

import orjson

from .. import validation
from ..codex.home import ARCHIVED, INDEX, INSTALLATION_ID, SESSIONS
from ..codex.rollout import META, SESSION_ID, format_name, parse_name, parse_time
from ..codex.session_index import index_line
from ..durable import plain_name
from ..errors import RequestError
from ..model import Json

_PART_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class SessionItem:
    """The records of one session; ``lines`` is a file that has them as JSON Lines already."""

    index: int
    session_id: str
    file_name: str
    archived: bool
    name: str | None
    records: Sequence[Any] = ()
    lines: Path | None = None


@dataclass(frozen=True, slots=True)
class PackageItem:
    """A package by its path; ``sessions``: only these of it, None: all."""

    index: int
    path: Path
    sessions: tuple[str, ...] | None


Item = SessionItem | PackageItem


def read_item(index: int, item: Json, below: Sequence[Path] = ()) -> Item:
    """One item of a request; ``below``: where packages may lie, anywhere if none is given.

    Raises RequestError: ``item_invalid``, ``item_session_id_mismatch``, ``item_package_refused``.
    """
    records = item.get("records")
    bare = {**item, "records": records[:1]} if isinstance(records, list) else item
    problem = validation.misfit("import_item", bare)
    if problem is not None:
        raise _invalid(problem)
    if "package" in item:
        sessions = item.get("sessions")
        path = _package(item["package"], below)
        return PackageItem(index, path, tuple(sessions) if sessions else None)
    assert isinstance(records, list)
    if not all(type(record) is dict for record in records):
        raise _invalid("records: each is an object")
    return session_item(index, item, records[0], records=records)


def session_item(
    index: int, said: Json, head: Any, *, records: Sequence[Any] = (), lines: Path | None = None
) -> SessionItem:
    """The item of one session, whose first record is ``head``.

    Raises RequestError: ``item_invalid``, ``item_session_id_mismatch``.
    """
    meta = head.get("payload") if isinstance(head, dict) else None
    if not isinstance(meta, dict) or head.get("type") != META:
        raise _invalid("the first record is no session_meta")
    session_id = meta.get("id")
    if not isinstance(session_id, str) or not SESSION_ID.fullmatch(session_id):
        raise _invalid("the session_meta has no id")
    named = said.get("fileName")
    parsed = parse_name(named) if isinstance(named, str) else None
    wrong = said.get("sourceSessionId", session_id) != session_id
    if wrong or (parsed is not None and parsed.thread_id != session_id):
        raise RequestError(
            "item_session_id_mismatch",
            "the item names another session than its first record",
            hint="give the id of the session_meta as sourceSessionId, and in fileName",
        )
    file_name = named if parsed is not None and isinstance(named, str) else _named(head, meta)
    name = said.get("name")
    return SessionItem(
        index, session_id, file_name, bool(said.get("archived")), name, records, lines
    )


def grouped(items: Sequence[Item]) -> Iterator[list[Item]]:
    """The items in their order, those together that become one transaction.

    That is a package by itself, or records of different sessions.
    """
    group: list[Item] = []
    for item in items:
        if isinstance(item, PackageItem):
            if group:
                yield group
            yield [item]
            group = []
            continue
        if any(isinstance(one, SessionItem) and one.session_id == item.session_id for one in group):
            yield group
            group = []
        group.append(item)
    if group:
        yield group


def stage(items: Sequence[SessionItem], folder: Path, source: str, source_home: str | None) -> Path:
    """Write the records of sessions as a snapshot below an empty folder. Raises OSError.

    Its name is what the source is called, since branches are named by it.
    """
    root = folder / "records" / plain_name(source, "worker")
    if root.exists():
        shutil.rmtree(root)
    root.mkdir(parents=True)
    if source_home is not None:
        (root / INSTALLATION_ID).write_text(source_home, encoding="ascii")
    names = []
    for item in items:
        parsed = parse_name(item.file_name)
        assert parsed is not None
        places = (ARCHIVED,) if item.archived else (SESSIONS, *parsed.folder)
        place = root.joinpath(*places)
        place.mkdir(parents=True, exist_ok=True)
        if item.lines is not None:
            item.lines.rename(place / item.file_name)
        else:
            _write(place / item.file_name, item.records)
        if item.name:
            names.append(index_line(item.session_id, item.name, "1970-01-01T00:00:00.000Z"))
    if names:
        (root / INDEX).write_bytes(b"".join(names))
    return root


def _write(path: Path, records: Sequence[Any]) -> None:
    """Write records as lines, a part at a time."""
    with path.open("wb") as stream:
        part = bytearray()
        for record in records:
            part += orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
            if len(part) > _PART_BYTES:
                stream.write(part)
                part.clear()
        stream.write(part)


def _named(head: Json, meta: Json) -> str:
    """The name of a rollout, by the time at which its session began."""
    began = parse_time(meta.get("timestamp")) or parse_time(head.get("timestamp"))
    if began is None:
        raise _invalid("neither fileName nor session_meta tells when the session began")
    return format_name(f"{began.astimezone(UTC):%Y-%m-%dT%H-%M-%S}", str(meta["id"]))


def _package(named: str, below: Sequence[Path]) -> Path:
    path = Path(named)
    if "\0" in named or not path.is_absolute():
        raise _invalid("package: it is no absolute path")
    if below:
        real = path.resolve()
        if not any(real == one or one in real.parents for one in below):
            raise RequestError(
                "item_package_refused",
                "the package does not lie where this service may read packages",
                hint="send it from a folder that --packages-below names",
            )
    return path


def _invalid(what: str) -> RequestError:
    return RequestError(
        "item_invalid",
        f"the item cannot be read: {what}",
        hint="references/import-service.md has the fields of an item",
    )
