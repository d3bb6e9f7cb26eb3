"""Why Codex does or does not show a session of this home: what is in the way, and what helps.

What Codex looks at was measured with it (``references/codex-storage.md``); each finding is checked
against the real program in ``tests/real_codex/test_explain.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from .codex.home import CodexHome, configured_providers, read_config, setting
from .codex.inventory import read_head, resolve
from .codex.rollout import base_name, history_mode
from .codex.state_db import open_for_reading
from .errors import HomeError, SessionError
from .health.finding import Finding, Remedy, of_error
from .health.holding import leads_to, relative
from .identify import match_id
from .journal.log import Journal
from .local import LocalSessions
from .locks import codex_has_open
from .model import Json, RolloutFile, Row, Transcript


class Effect(StrEnum):
    """What a finding comes to in Codex."""

    HIDES = "hides"
    """The session is not in the list that one sees."""
    PREVENTS = "prevents"
    """It cannot be opened."""
    NOTE = "note"
    """Neither, but worth knowing."""


DEFAULT_PROVIDER = "openai"


@dataclass(frozen=True, slots=True)
class Cause:
    """A finding with what it comes to and what helps."""

    effect: Effect
    finding: Finding
    remedy: Remedy

    def to_json(self) -> Json:
        """As reports have it."""
        remedy = self.remedy
        return {
            **self.finding.to_json(),
            "effect": self.effect,
            "remedy": remedy.what,
            "command": remedy.command and f"codex-session-sync {remedy.command}",
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """A session and what there is to say of it; ``session`` is as reports have it."""

    session: Json
    causes: tuple[Cause, ...]

    @property
    def listed(self) -> bool:
        """Whether Codex lists it by default."""
        return not any(cause.effect is Effect.HIDES for cause in self.causes)

    @property
    def opens(self) -> bool:
        """Whether Codex opens it."""
        return not any(cause.effect is Effect.PREVENTS for cause in self.causes)


def explain(home: CodexHome, given: str) -> Explanation:
    """What Codex makes of a session, by what is on disk; Codex is not asked.

    ``given`` is an id, which may be shortened, of a session that is here or was. Raises UsageError
    ``session_unknown``, ``session_ambiguous``, HomeError.
    """
    with open_for_reading(home.state_db) as database:
        rows = {str(row["id"]): row for row in database.rows("threads")} if database else {}
        has_database = database is not None
    local = LocalSessions(home)
    here = {*rows, *local.rollouts.threads()}
    past = _past(home)
    session_id = match_id(given, here | past.keys())
    looked = _Look(home, local, session_id, rows.get(session_id), has_database)
    causes = list(looked.causes())
    if not causes:
        causes = [_gone(session_id, past[session_id])]
    return Explanation(looked.described(), tuple(causes))


def _past(home: CodexHome) -> dict[str, Json]:
    """By session, the last transaction that wrote it, and what that made of it."""
    found: dict[str, Json] = {}
    for manifest in Journal(home.sync_dir).manifests():
        for session in manifest["sessions"]:
            local = session.get("local_session_id")
            if local and session.get("result") not in (None, "skipped", "refused", "failed"):
                found.setdefault(local, {**session, "done": manifest["transaction_id"]})
    return found


def _gone(session_id: str, last: Json) -> Cause:
    done, result = str(last["done"]), str(last["result"])
    undone = result == "undone"
    what = f"transaction {done} rolled it back" if undone else f"transaction {done} {result} it"
    remedy = Remedy("put it in effect again", f"rollback {done} --execute")
    if not undone:
        remedy = Remedy("sync a package that has it", "sync PKG --execute")
    return Cause(
        Effect.HIDES,
        Finding("session_gone", f"it is not in this home; {what}", session_id),
        remedy,
    )


@dataclass(frozen=True, slots=True)
class _Look:
    """One session, looked at from all sides."""

    home: CodexHome
    local: LocalSessions
    session_id: str
    row: Row | None
    has_database: bool

    def described(self) -> Json:
        """The session as reports have it."""
        tip, row = self._tip, self.row or {}
        known = self.local.metadata(self.session_id)
        return {
            "session_id": self.session_id,
            "path": relative(self.home, tip.path) if tip else None,
            "name": known["name"],
            "title": row.get("title") or row.get("first_user_message") or known["name"],
            "archived": bool(tip and tip.archived),
            "cwd": row.get("cwd"),
            "model_provider": row.get("model_provider"),
            "updated_at": row.get("updated_at"),
        }

    def causes(self) -> Iterator[Cause]:
        """All that keeps Codex from showing it, then what is worth knowing."""
        tip = self._tip
        if tip is None:
            yield from self._without_file()
            return
        try:
            head = read_head(tip)["payload"]
            resolve(tip, self.local.rollouts.segment)
            transcript = self.local.read(self.session_id)
        except SessionError as error:
            cause = error.__cause__ if isinstance(error.__cause__, SessionError) else error
            found = of_error(cause, self.session_id, relative(self.home, tip.path))
            yield Cause(Effect.PREVENTS, found, found.remedy)
            return
        yield from self._archived(tip)
        yield from self._in_database(tip, head)
        yield from self._provider(head)
        yield from self._source(head)
        yield from self._end(transcript)
        yield from self._directory(transcript)
        yield from self._busy()

    @property
    def _tip(self) -> RolloutFile | None:
        return self.local.tip(self.session_id)

    def _without_file(self) -> Iterator[Cause]:
        strays = sorted(
            path
            for path in self.home.path.rglob(f"rollout-*{self.session_id}*.jsonl*")
            if not path.is_relative_to(self.home.sync_dir)
        )
        if strays:
            where = relative(self.home, strays[0])
            yield _cause(
                "transcript_misplaced",
                self.session_id,
                Effect.HIDES,
                f"its transcript lies at {where}, where Codex does not look",
                Remedy("move it to sessions/YEAR/MONTH/DAY by its name, or to archived_sessions"),
            )
            return
        if self.row is None:
            return
        finding = Finding(
            "row_without_transcript",
            "the database has a row of it, and its transcript is not here",
            self.session_id,
        )
        yield Cause(Effect.PREVENTS, finding, finding.remedy)

    def _archived(self, tip: RolloutFile) -> Iterator[Cause]:
        if tip.archived:
            yield _cause(
                "session_archived",
                self.session_id,
                Effect.HIDES,
                "it is archived, so it is only among the archived sessions",
                Remedy(f"`codex unarchive {self.session_id}`"),
            )

    def _in_database(self, tip: RolloutFile, head: Json) -> Iterator[Cause]:
        if not self.has_database:
            yield _cause(
                "database_missing",
                self.session_id,
                Effect.NOTE,
                "the home has no database yet: Codex makes it at its next start, and lists the "
                "session then",
                Remedy("start Codex once"),
            )
            return
        row = self.row
        if row is None:
            yield _cause(
                "row_missing",
                self.session_id,
                Effect.NOTE,
                "the database has no row of it: Codex adds one when it next looks at its files",
                Remedy(f"open it once by its id: `codex resume {self.session_id}`"),
            )
            return
        path = row.get("rollout_path")
        if base_name(path) is None or not leads_to(str(path), tip):
            finding = Finding(
                "row_elsewhere",
                f"the database looks for its transcript at {path}, which is not where it is",
                self.session_id,
            )
            yield Cause(Effect.PREVENTS, finding, finding.remedy)
        mode = history_mode(head)
        if row.get("history_mode", mode) != mode:
            yield _cause(
                "history_mode_wrong",
                self.session_id,
                Effect.NOTE,
                f"its row does not say that it is {mode}: Codex shows none of its turns before it "
                "was opened once",
                Remedy(f"open it once by its id: `codex resume {self.session_id}`"),
            )
        if row.get("preview", "-") in (None, ""):
            finding = Finding(
                "row_incomplete",
                "its row has no preview, so that lists from Codex's database leave it out",
                self.session_id,
            )
            yield Cause(Effect.HIDES, finding, finding.remedy)

    def _provider(self, head: Json) -> Iterator[Cause]:
        name = (self.row or {}).get("model_provider") or head.get("model_provider")
        current = setting(read_config(self.home.path), "model_provider") or DEFAULT_PROVIDER
        known = configured_providers(self.home.path)
        if not isinstance(name, str) or name == current:
            return
        if name not in known:
            yield _cause(
                "provider_not_configured",
                self.session_id,
                Effect.PREVENTS,
                f"its provider {name!r} is not configured here",
                Remedy(f"add [model_providers.{name}] to config.toml"),
            )
        yield _cause(
            "provider_hidden",
            self.session_id,
            Effect.HIDES,
            f"its provider is {name!r}; Codex lists the sessions of {current!r}",
            Remedy(f"open it by its id: `codex resume {self.session_id}`"),
        )

    def _source(self, head: Json) -> Iterator[Cause]:
        source = head.get("source")
        if isinstance(source, dict) and "subagent" in source:
            yield _cause(
                "subagent_hidden",
                self.session_id,
                Effect.HIDES,
                "it is a subagent's, which Codex's list leaves out",
                Remedy("open the session that spawned it, or this one by its id"),
            )
        elif source in ("exec", "mcp"):
            yield _cause(
                "source_hidden",
                self.session_id,
                Effect.HIDES,
                f"it was made by `codex {source}`, and Codex's list has sessions that were talked "
                "to in a window",
                Remedy(f"open it by its id: `codex exec resume {self.session_id}`"),
            )

    def _end(self, transcript: Transcript) -> Iterator[Cause]:
        if transcript.mode == "paginated" and not transcript.facts.numbered_end:
            yield _cause(
                "ordinal_missing",
                self.session_id,
                Effect.PREVENTS,
                "its last record has no ordinal: an old release of Codex has appended to it",
                Remedy("sync a package that has it as it was before", "sync PKG --execute"),
            )

    def _directory(self, transcript: Transcript) -> Iterator[Cause]:
        cwd = (self.row or {}).get("cwd") or transcript.facts.last_cwd
        if not isinstance(cwd, str) or not cwd:
            return
        missing = not Path(cwd).is_dir()
        yield _cause(
            "cwd_missing" if missing else "cwd_filters",
            self.session_id,
            Effect.NOTE,
            f"it works in {cwd}, which does not exist here"
            if missing
            else f"Codex's pickers show it in {cwd}, and elsewhere only on demand",
            Remedy(
                "make the directory, or import the session with --map-path"
                if missing
                else f"call Codex in {cwd}, or with --all"
            ),
        )

    def _busy(self) -> Iterator[Cause]:
        try:
            if not codex_has_open(self.home.path, self.session_id):
                return
        except (HomeError, OSError):
            return
        found = Finding("session_busy", "Codex has this session open", self.session_id)
        yield Cause(Effect.NOTE, found, Remedy("close it in the other Codex to open it here"))


def _cause(code: str, session_id: str, effect: Effect, message: str, remedy: Remedy) -> Cause:
    return Cause(effect, Finding(code, message, session_id), remedy)
