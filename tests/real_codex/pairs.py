"""One release of Codex as source and another as target: what comes over, judged by each."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codexbed import CodexHome, MadeSession, ModelServer, SessionView, copy_home, view
from codexbed.releases import FIRST_WITH_COMMANDS, make_sessions, numbers
from real_codex.syncing import Answer, Source, pack, sync, with_database

Json = dict[str, Any]

GOING_ON = "three_turns"
"""The kind of session that is continued at the target, and comes back."""

ENVIRONMENT = "<environment_context>"


@dataclass
class Pairs:
    """Homes of every release, each made once below `folder`, and the pairs of them."""

    folder: Path
    model: ModelServer
    _sources: dict[str, Source] = field(default_factory=dict)
    _targets: dict[str, tuple[CodexHome, str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _locks: dict[str, threading.Lock] = field(default_factory=dict)

    def source(self, version: str) -> Source:
        """A home of a release with a session of every kind, and what the release shows of them."""
        with self._lock_of(f"source-{version}"):
            if version not in self._sources:
                self._sources[version] = self._make_source(version)
            return self._sources[version]

    def target(self, version: str) -> tuple[CodexHome, str]:
        """A home of a release with a session of its own; copied before it is written to."""
        with self._lock_of(f"target-{version}"):
            if version not in self._targets:
                self._targets[version] = self._make_target(version)
            return self._targets[version]

    def run(self, source: str, target: str) -> Findings:
        """Sync all sessions of a release into a home of another, and one of them back."""
        given = self.source(source)
        template, own = self.target(target)
        folder = self.folder / f"{source}-to-{target}"
        home = copy_home(template, folder / "home").prepare()
        findings = Findings()
        with findings.at("package"):
            # Old and new rows go directly; the same through the manifest of a native package.
            if numbers(source)[1] % 2 == numbers(target)[1] % 2:
                package = with_database(given, folder / "package")
            else:
                package = folder / "packed"
                findings.same("pack", pack(given.home, package).code, 0)
        with findings.at("sync"):
            _check_sync(findings, sync(home, package), given.made)
        with findings.at("again"):
            again = sync(home, package)
            findings.same("second sync", (again.code, again.status), (0, "no_op"))
        with findings.at("shown"):
            seen = view(home, [*given.ids(), own])
            findings.same("own session", (seen[own].problem, len(seen[own].turns)), (None, 1))
            for kind, session in given.made.items():
                both = numbers(source), numbers(target)
                commands = min(both) >= FIRST_WITH_COMMANDS
                shown = seen[session.session_id]
                _compare(findings, kind, given.views[kind], shown, commands)
                # Not of what went on at the target: there its own release instructs the model.
                told = framing(shown)
                missing = [text for text in recorded(given.views[kind]) if text not in told]
                findings.same(f"{kind} framing", missing, [])
        with findings.at("back"):
            _check_return(findings, given, home, folder)
        shutil.rmtree(folder)
        return findings

    def _make_source(self, version: str) -> Source:
        folder = self.folder / f"source-{version}"
        home = CodexHome(folder / "home", self.folder / "user", self.model, version).prepare()
        made = make_sessions(home)
        seen = view(home, [session.session_id for session in made.values()])
        return Source(home, made, {k: seen[s.session_id] for k, s in made.items()})

    def _make_target(self, version: str) -> tuple[CodexHome, str]:
        folder = self.folder / f"target-{version}"
        home = CodexHome(folder / "home", self.folder / "user", self.model, version).prepare()
        # Only a first session makes the oldest release believe its database.
        return home, home.exec("own: one")

    def _lock_of(self, name: str) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(name, threading.Lock())


@dataclass
class Findings:
    """What was not as it should be, in words; none if the pair is good.

    `sessions` were synced, `converted` of them in another form.
    """

    problems: list[str] = field(default_factory=list)
    sessions: int = 0
    converted: int = 0
    _step: str = ""

    @contextmanager
    def at(self, step: str) -> Iterator[None]:
        """What goes wrong meanwhile belongs to this step; the steps after it go on."""
        self._step = step
        try:
            yield
        except Exception as error:
            self.problems.append(f"{step}: {type(error).__name__}: {str(error)[:500]}")

    def same(self, what: str, found: object, expected: object) -> None:
        """Note a value that is another than expected."""
        if found != expected:
            self.problems.append(f"{self._step}: {what}: {found!r} instead of {expected!r}")


def _check_sync(findings: Findings, done: Answer, made: dict[str, MadeSession]) -> None:
    findings.same("answer", (done.code, done.status), (0, "ok"))
    findings.sessions = len(done.sessions)
    findings.converted = sum("written_as" in one for one in done.sessions.values())
    results = {kind: done.sessions[s.session_id]["result"] for kind, s in made.items()}
    findings.same("results", results, dict.fromkeys(made, "imported"))
    findings.same("errors", done.errors, {})


def _check_return(findings: Findings, given: Source, home: CodexHome, folder: Path) -> None:
    """What the target packs is known at the source, and what went on there follows."""
    back = copy_home(given.home, folder / "back").prepare()
    chosen = [option for i in given.ids() for option in ("--session", i)]
    returned = folder / "returned"
    findings.same("pack", pack(home, returned, *chosen).code, 0)
    known = sync(back, returned)
    findings.same("known", (known.code, known.status), (0, "no_op"))
    session_id = given.made[GOING_ON].session_id
    home.exec_resume(session_id, "said at the target")
    grown = folder / "grown"
    findings.same("pack grown", pack(home, grown, *chosen).code, 0)
    done = sync(back, grown)
    results = {i: s["result"] for i, s in done.sessions.items() if s["result"] != "skipped"}
    findings.same("grown", results, {session_id: "fast_forwarded"})
    again = sync(back, grown)
    findings.same("grown again", (again.code, again.status), (0, "no_op"))
    expected, seen = view(home, [session_id]), view(back, [session_id])
    both = numbers(home.version), numbers(back.version)
    _compare(
        findings,
        "grown",
        expected[session_id],
        seen[session_id],
        commands=min(both) >= FIRST_WITH_COMMANDS,
    )


def _compare(
    findings: Findings, kind: str, expected: SessionView, seen: SessionView, commands: bool
) -> None:
    """The listing, the turns, and the context of the next turn."""
    findings.same(f"{kind} problem", seen.problem, None)
    for name in ("listed", "name", "archived", "preview", "cwd"):
        findings.same(f"{kind} {name}", getattr(seen, name), getattr(expected, name))
    findings.same(f"{kind} turns", turns(seen, commands), turns(expected, commands))
    findings.same(f"{kind} context", said(seen), said(expected))


def turns(seen: SessionView, commands: bool) -> list[Any]:
    """What a person sees: items with their texts; commands where both releases show them."""
    return [
        (turn["status"], [_item(i) for i in turn["items"] if commands or not _is_command(i)])
        for turn in seen.turns
    ]


def _is_command(item: Json) -> bool:
    return bool(item["type"] == "commandExecution")


def _item(item: Json) -> tuple[Any, ...]:
    texts = [part.get("text") for part in item.get("content") or []]
    return item["type"], item.get("text"), texts, item.get("command"), item.get("aggregatedOutput")


def said(seen: SessionView) -> list[Json]:
    """The conversation in the next turn's context: without what each release says of itself."""
    return [_essence(item) for item in seen.context if not _is_framing(item)]


def framing(seen: SessionView) -> list[str]:
    """What a release told the model of itself and of its place."""
    return [_text(item) for item in seen.context if _is_framing(item)]


def recorded(seen: SessionView) -> list[str]:
    """The same, as far as it is in the transcript.

    Not what a release adds for the next turn; and not the instructions that it begins with where
    it sends none beside the context: from 0.155 on Codex leaves out parts of them.
    """
    items = list(seen.context)[:-1]
    while items and _is_framing(items[-1]):
        items.pop()
    texts = [_text(item) for item in items if _is_framing(item)]
    return texts if seen.instructions else texts[1:]


def _is_framing(item: Json) -> bool:
    if item.get("type") != "message":
        return False
    role = item.get("role")
    return role == "developer" or (role == "user" and _text(item).startswith(ENVIRONMENT))


def _text(item: Json) -> str:
    return "".join(str(part.get("text")) for part in item.get("content") or [])


def _essence(item: Json) -> Json:
    keys = ("type", "role", "content", "name", "arguments", "call_id", "output")
    return {key: item[key] for key in keys if item.get(key) is not None}
