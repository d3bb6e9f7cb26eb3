"""What the home holds of sessions, read as far as checks need it: one head, two columns a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..codex.home import CodexHome
from ..codex.inventory import RolloutIndex, read_head
from ..codex.rollout import base_name, history_mode
from ..codex.session_index import read_index
from ..codex.state_db import open_for_reading
from ..errors import HomeError, SessionError
from ..model import Json, RolloutFile, Row
from ..sidecars.first_import import Installed, installed_sessions
from .finding import Finding, of_error

COLUMNS = ("id", "rollout_path", "history_mode", "preview", "first_user_message")


@dataclass(frozen=True, slots=True)
class Holding:
    """The transcripts, row paths and names of a home, and what could not be read of them.

    ``unreadable`` holds the sessions whose newest file does not begin as it must; ``installed``
    what the first-import tool says that it brought.
    """

    home: CodexHome
    rollouts: RolloutIndex
    row_paths: Mapping[str, str]
    names: Mapping[str, str]
    unreadable: frozenset[str]
    installed: Mapping[str, Installed]
    findings: tuple[Finding, ...] = field(default=())

    def tip(self, session_id: str) -> RolloutFile | None:
        """The newest file of a session, as local.LocalSessions has it."""
        return self.rollouts.tip(session_id, base_name(self.row_paths.get(session_id)))

    def tips(self) -> Iterator[RolloutFile]:
        """The newest file of every session."""
        for session_id in self.rollouts.threads():
            tip = self.tip(session_id)
            if tip is not None:
                yield tip


def read_holding(home: CodexHome) -> Holding:
    """The sessions of a home; a database or an index that cannot be read is a finding."""
    rollouts = home.rollouts()
    findings: list[Finding] = []
    installed = installed_sessions(home.path)
    paths: dict[str, str] = {}
    brought: dict[str, Row] = {}
    try:
        for row in _rows(home):
            session_id = str(row["id"])
            paths[session_id] = str(row.get("rollout_path"))
            if session_id in installed:
                brought[session_id] = row
    except HomeError as error:
        findings.append(of_error(error))
    names: dict[str, str] = {}
    try:
        names = read_index(home.session_index)
    except HomeError as error:
        findings.append(of_error(error, path=home.session_index.name))
    found = Holding(home, rollouts, paths, names, frozenset(), installed)
    unreadable: set[str] = set()
    for tip in found.tips():
        try:
            head = read_head(tip)
        except SessionError as error:
            unreadable.add(tip.thread_id)
            findings.append(of_error(error, path=relative(home, tip.path)))
        else:
            findings += _lacking(brought.get(tip.thread_id), head, relative(home, tip.path))
    return replace(found, unreadable=frozenset(unreadable), findings=tuple(findings))


def misplaced_rows(holding: Holding) -> Iterator[Finding]:
    """Rows that name another place than that of their session's transcript."""
    for session_id, text in sorted(holding.row_paths.items()):
        files = holding.rollouts.files(session_id)
        if not files:
            yield Finding(
                "row_without_transcript",
                f"the database names {text}; this home has no transcript of the session",
                session_id,
            )
        elif not any(leads_to(text, file) for file in files):
            tip = holding.tip(session_id) or files[-1]
            where = relative(holding.home, tip.path)
            outside = not Path(text).is_relative_to(holding.home.path)
            moved = "the home was moved or copied" if outside else "the file was moved"
            yield Finding(
                "row_elsewhere",
                f"the database looks for the transcript at {text}: {moved}, and Codex does not "
                "mend such a row",
                session_id,
                path=where,
            )


def names_of_none(holding: Holding) -> Iterator[Finding]:
    """Names in the index whose session is neither a file nor a row here."""
    for session_id, name in sorted(holding.names.items()):
        if not holding.rollouts.files(session_id) and session_id not in holding.row_paths:
            yield Finding(
                "name_without_session",
                f"session_index.jsonl names {name!r}, and its session is not here",
                session_id,
                path=holding.home.session_index.name,
            )


def relative(home: CodexHome, path: Path) -> str:
    """A path of the home as reports show it."""
    return path.relative_to(home.path).as_posix()


def _rows(home: CodexHome) -> Iterator[Row]:
    with open_for_reading(home.state_db) as database:
        if database is not None:
            yield from database.rows("threads", only=COLUMNS)


def _lacking(row: Row | None, head: Json, path: str) -> Iterator[Finding]:
    """Whether the row of a session that the first-import tool brought lacks what Codex needs."""
    if row is None:
        return
    lacks = []
    if row.get("history_mode", history_mode(head["payload"])) != history_mode(head["payload"]):
        lacks.append("history_mode, so that Codex does not open it")
    if row.get("preview") == "" and row.get("first_user_message"):
        lacks.append("preview, so that Codex does not list it")
    if lacks:
        yield Finding(
            "row_incomplete",
            f"the first-import tool wrote its row without {', and without '.join(lacks)}",
            str(row["id"]),
            path=path,
        )


def leads_to(text: str, file: RolloutFile) -> bool:
    """Whether a row's path leads to a file; a compressed one goes under its plain name too."""
    plain = str(file.path).removesuffix(".zst")
    if text.removesuffix(".zst") == plain:
        return True
    if (
        base_name(text) != Path(text).name
        or Path(text).name.removesuffix(".zst") != Path(plain).name
    ):
        return False
    return str(Path(text).resolve()).removesuffix(".zst") == plain
