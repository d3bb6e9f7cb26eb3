"""What keeps Codex from showing a session, by what is on disk, and what helps.

Each finding and its remedy was measured with the real program (``references/codex-storage.md``) and
is checked with it in ``tests/real_codex/test_explain.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import orjson

from .codex.home import (
    ARCHIVED,
    SESSIONS,
    CodexHome,
    configured_providers,
    read_config,
    setting,
)
from .codex.inventory import read_head, resolve
from .codex.rollout import base_name, history_mode, parse_name
from .errors import HomeError, SessionError
from .health.finding import Finding, Remedy, of_error
from .health.holding import leads_to, relative
from .local import LocalSessions
from .locks import codex_has_open
from .model import Facts, Json, RolloutFile, Row, Transcript


class Effect(StrEnum):
    """What a finding comes to in Codex."""

    HIDES = "hides"
    """The session is not in the list that one sees."""
    PREVENTS = "prevents"
    """It cannot be opened."""
    NOTE = "note"
    """Neither, but worth knowing."""


DEFAULT_PROVIDER = "openai"

PROFILES_REFUSED_FROM = 37
"""The migration of 0.140.0, the first release known to refuse ``profile`` in the configuration."""

LISTED_SOURCES = ("cli", "vscode")
"""By what the sessions were made that Codex's list has by default."""


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
class Look:
    """One session, looked at from all sides."""

    home: CodexHome
    local: LocalSessions
    session_id: str
    row: Row | None
    has_database: bool
    migration: int | None
    """The last migration of the database, which tells the release that works on the home."""

    def described(self) -> Json:
        """The session as reports have it."""
        tip, row = self.tip, self.row or {}
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
        tip = self.tip
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
        yield from self._profile()
        yield from self._provider(head)
        yield from self._source(head)
        yield from self._words(transcript.facts)
        yield from self._end(transcript)
        yield from self._doubles(tip)
        yield from self._directory(transcript)
        yield from self._busy()

    @property
    def tip(self) -> RolloutFile | None:
        """Its newest transcript where Codex looks for one."""
        return self.local.tip(self.session_id)

    def _without_file(self) -> Iterator[Cause]:
        strays = sorted(
            path
            for path in self.home.path.rglob(f"rollout-*{self.session_id}*.jsonl*")
            if not path.is_relative_to(self.home.sync_dir)
        )
        if strays:
            where = relative(self.home, strays[0])
            name = parse_name(strays[0].name)
            found = self.row is None and name is not None and where.startswith(f"{SESSIONS}/")
            place = "/".join((SESSIONS, *name.folder)) if name else f"{SESSIONS}/YEAR/MONTH/DAY"
            renamed = "" if name else ", as rollout-YEAR-MONTH-DAYTHOUR-MINUTE-SECOND-ID.jsonl,"
            yield _cause(
                "transcript_misplaced",
                self.session_id,
                Effect.HIDES if found else Effect.PREVENTS,
                f"its transcript lies at {where}, where Codex does not look",
                Remedy(f"move it{renamed} to {place}, or to {ARCHIVED}"),
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
            yield _left_out("row_incomplete", self.session_id, "its row has no preview")
        if row.get("archived") and not tip.archived:
            yield _left_out(
                "row_unlike_transcript",
                self.session_id,
                "its row has it archived, and its transcript is not",
            )
        made_by, by_row = _made_by(head.get("source")), _made_by(row.get("source"))
        if made_by in LISTED_SOURCES and by_row not in LISTED_SOURCES:
            yield _left_out(
                "row_unlike_transcript",
                self.session_id,
                f"its row says that it was made by {by_row!r}, its transcript by {made_by!r}",
            )

    def _profile(self) -> Iterator[Cause]:
        name = read_config(self.home.path).get("profile")
        takes_it = self.migration is not None and self.migration < PROFILES_REFUSED_FROM
        if isinstance(name, str) and not takes_it:
            yield _cause(
                "profile_refused",
                self.session_id,
                Effect.PREVENTS,
                f"config.toml chooses the profile {name!r}, and Codex opens no session then",
                Remedy(
                    f"take the line out, put [profiles.{name}] into {name}.config.toml beside it, "
                    f"and start Codex with `--profile {name}`"
                ),
            )

    def _provider(self, head: Json) -> Iterator[Cause]:
        # Lists go by the first record or by the row, and opening by either.
        named = (head.get("model_provider"), (self.row or {}).get("model_provider"))
        current = setting(read_config(self.home.path), "model_provider") or DEFAULT_PROVIDER
        known = configured_providers(self.home.path)
        for name in dict.fromkeys(one for one in named if isinstance(one, str) and one):
            if name == current:
                continue
            if name not in known:
                yield _cause(
                    "provider_not_configured",
                    self.session_id,
                    Effect.PREVENTS,
                    f"its provider {name!r} is not configured here",
                    Remedy(
                        f"add [model_providers.{name}] to config.toml, or move its files to a "
                        "folder of their own and sync that one",
                        f"sync PKG --map-provider {name}={current} --execute",
                    ),
                )
            yield _cause(
                "provider_hidden",
                self.session_id,
                Effect.HIDES,
                f"its provider is {name!r}; Codex lists the sessions of {current!r}",
                Remedy(
                    f"open it by its id: `codex resume {self.session_id}`, or have Codex list it "
                    f"with `-c model_provider={name}`"
                ),
            )

    def _source(self, head: Json) -> Iterator[Cause]:
        made_by = _made_by(head.get("source"))
        if made_by == "subagent":
            yield _cause(
                "subagent_hidden",
                self.session_id,
                Effect.HIDES,
                "it is a subagent's, which Codex's list leaves out",
                Remedy("open the session that spawned it, or this one by its id"),
            )
        elif made_by not in LISTED_SOURCES:
            by = "`codex exec`" if made_by == "exec" else f"{made_by!r}"
            yield _cause(
                "source_hidden",
                self.session_id,
                Effect.HIDES,
                f"it was made by {by}, and Codex's list has sessions that were talked to in a "
                "window",
                Remedy(f"open it by its id: `codex resume {self.session_id}`"),
            )

    def _words(self, facts: Facts) -> Iterator[Cause]:
        if facts.first_user_message is None and not (self.row or {}).get("preview"):
            yield _cause(
                "session_wordless",
                self.session_id,
                Effect.HIDES,
                "nobody has said anything in it, and Codex's list has no such sessions",
                Remedy(f"say something in it: `codex exec resume {self.session_id} TEXT`"),
            )

    def _end(self, transcript: Transcript) -> Iterator[Cause]:
        if transcript.mode == "paginated" and not transcript.facts.numbered_end:
            yield _cause(
                "ordinal_missing",
                self.session_id,
                Effect.PREVENTS,
                "its last record has no ordinal: an old release of Codex has appended to it",
                Remedy(
                    "move its files to a folder of their own and sync that one: its records are "
                    "numbered anew",
                    "sync PKG --execute",
                ),
            )
        if transcript.facts.torn:
            yield _cause(
                "transcript_torn",
                self.session_id,
                Effect.NOTE,
                "its last record is cut off: Codex shows what is before it, and goes on behind it",
                Remedy("nothing: what was cut off is lost, or comes with a package that has it"),
            )

    def _doubles(self, tip: RolloutFile) -> Iterator[Cause]:
        for file in self.local.rollouts.passed_over(self.session_id):
            used, other = (relative(self.home, one.path) for one in (tip, file))
            yield _cause(
                "transcript_doubled",
                self.session_id,
                Effect.NOTE,
                f"a second file of it lies at {other}: Codex may list it twice",
                Remedy(f"move that one away, or {used} if that is the wrong one"),
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
                "make the directory, or go on in another one: "
                f"`codex resume {self.session_id} --cd DIR`"
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


def _left_out(code: str, session_id: str, message: str) -> Cause:
    """A cause in the row, which Codex mends as it opens the session."""
    return _cause(
        code,
        session_id,
        Effect.HIDES,
        f"{message}: lists from Codex's database leave it out",
        Remedy(f"open it once by its id: `codex resume {session_id}`"),
    )


def _made_by(source: object) -> str:
    """What a session was made by, as its first record or its row says; there as JSON text."""
    match _parsed(source):
        case {"subagent": _}:
            return "subagent"
        case {"custom": str(name)} | str(name) if name:
            return name
        case dict():
            return "unknown"
    # Codex takes one that does not say it for the editor's.
    return "vscode"


def _parsed(source: object) -> object:
    if isinstance(source, str) and source.startswith("{"):
        with suppress(orjson.JSONDecodeError):
            return orjson.loads(source)
    return source
