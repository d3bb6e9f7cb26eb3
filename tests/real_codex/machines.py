"""Machines that people work on with the real Codex, and exchange sessions between."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codexbed import CodexHome, ModelServer, SessionView, doctor, records, view
from codexbed.view import PROBE
from real_codex.syncing import Answer, file_of, fresh_home, said, sync

Told = tuple[str, str]
"""The class of a session and what became of it."""

EQUAL: Told = ("unchanged", "skipped")
NEW: Told = ("new_lineage", "imported")
FORWARD: Told = ("fast_forward_import", "fast_forwarded")
BRANCHED: Told = ("diverged_lineage", "branched")


@dataclass(frozen=True)
class Machine:
    """A home that is worked on and synced into."""

    home: CodexHome

    def new(self, *texts: str) -> str:
        """A session with a turn for each text."""
        with self.home.app_server() as app:
            session = app.start(self.home.project)
            for text in texts:
                app.start_turn(session, text)
        return session

    def go_on(self, session: str, text: str) -> None:
        """One more turn."""
        self.home.exec_resume(session, text)

    def takes(self, source: Machine | Path, *options: str) -> Answer:
        """Sync a home, as it is, or a package."""
        package = source.home.home if isinstance(source, Machine) else source
        answer = sync(self.home, package, *options)
        assert answer.code in (0, 1), answer.document["errors"]
        return answer

    def file(self, session: str) -> Path:
        """The only file of a session."""
        return file_of(self.home.home, session)

    def forget(self) -> None:
        """Lose all sidecars."""
        shutil.rmtree(self.home.home / "session-sync" / "sidecars")

    def shows(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, SessionView]:
        """Check which turns Codex shows, what it sends to the model next, and what doctor says."""
        views = view(self.home, list(wanted))
        for session, texts in wanted.items():
            seen = views[session]
            assert seen.problem is None
            assert said(seen) == list(texts)
            answers = [text for text in sent(seen, "assistant") if text.startswith("answer to: ")]
            assert sent(seen, "user") == [*texts, PROBE]
            assert answers == [f"answer to: {text}" for text in texts]
        assert doctor(self.home)["status"] == "ok"
        return views


def sent(seen: SessionView, role: str) -> list[str]:
    """What somebody has said in the context that is sent on the next turn."""
    texts = [
        part["text"]
        for item in seen.context
        if item.get("type") == "message" and item["role"] == role
        for part in item["content"]
    ]
    return [text for text in texts if not text.startswith("<")]


def told(answer: Answer) -> dict[str, Told]:
    """The class and result of each session."""
    return {i: (s["classification"], s["result"]) for i, s in answer.sessions.items()}


def local_id(answer: Answer, session: str) -> str:
    """The local session that stands for a packaged one."""
    return str(answer.sessions[session]["local_session_id"])


def meta(path: Path) -> dict[str, Any]:
    """The payload of a file's first record."""
    payload: dict[str, Any] = records(path)[0]["payload"]
    return payload


def two_machines(folder: Path, model: ModelServer) -> tuple[Machine, Machine]:
    """Two machines; the directories of both users are the same."""
    user = folder / "user"
    made = [Machine(fresh_home(user, folder / name, model)) for name in "ab"]
    return made[0], made[1]
