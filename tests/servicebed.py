"""The import service in this process: a home, lines in, frames out."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codex_session_sync.codex.home import CodexHome
from codex_session_sync.service.importing import Manner
from codex_session_sync.service.inbox import Line
from codex_session_sync.service.limits import ServiceLimits
from codex_session_sync.service.serving import Service
from codex_session_sync.service.speaking import Outbox
from codex_session_sync.service.state import FOLDER, ServiceState, open_state
from service_frames import Json, line
from workbench import rows

SMALL = ServiceLimits(frame_bytes=1 << 16, lock_seconds=0.2)


@dataclass
class Bed:
    """A service, and what it said."""

    home: Path
    service: Service
    state: ServiceState
    said: io.BytesIO

    def ask(self, *frames: Json | bytes | None) -> list[Json]:
        """Hand frames in, ``None`` standing for a line that was too long; what is answered."""
        for one in frames:
            self.service.handle(Line(None if one is None else line(one), time.monotonic()))
        return self.heard()

    def one(self, frame: Json | bytes | None) -> Json:
        """The one answer to a frame."""
        [answer] = self.ask(frame)
        return answer

    def code(self, frame: Json | bytes | None) -> str:
        """The code with which a frame is refused."""
        answer = self.one(frame)
        assert answer["type"] == "run.error", answer
        return str(answer["payload"]["code"])

    def result(self, frame: Json) -> Json:
        """The payload of an ``import.result``."""
        answer = self.one(frame)
        assert answer["type"] == "import.result", answer
        payload: Json = answer["payload"]
        return payload

    def work(self) -> list[Json]:
        """Do all jobs; what is said of them."""
        while self.service.work():
            pass
        return self.heard()

    def heard(self) -> list[Json]:
        """What was said since the last time."""
        found = [json.loads(one) for one in self.said.getvalue().splitlines()]
        self.said.seek(0)
        self.said.truncate()
        return found


@contextmanager
def bed(home: Path, limits: ServiceLimits = SMALL, **manner: Any) -> Iterator[Bed]:
    """A service for a home, which is made if need be."""
    home.mkdir(exist_ok=True)
    (home / "session-sync").mkdir(exist_ok=True)
    how = Manner(
        "serve",
        CodexHome(home, home),
        {},
        **{"writes": True, "patience": limits.lock_seconds, **manner},
    )
    said = io.BytesIO()
    with open_state(home / "session-sync" / FOLDER) as state:
        yield Bed(home, Service(how, state, limits, Outbox(said)), state, said)


def transcripts(home: Path) -> dict[str, bytes]:
    """The transcripts of a home by their place."""
    return {
        path.relative_to(home).as_posix(): path.read_bytes()
        for folder in ("sessions", "archived_sessions")
        for path in sorted(home.glob(f"{folder}/**/rollout-*"))
    }


def state_of(home: Path) -> Mapping[str, Any]:
    """What a home holds of sessions: transcripts, rows, names, and what stands for what."""
    names = {}
    index = home / "session_index.jsonl"
    for one in index.read_text().splitlines() if index.exists() else ():
        entry = json.loads(one)
        names[entry["id"]] = entry["thread_name"]
    sidecars = {}
    for path in sorted(home.glob("session-sync/sidecars/*.json")):
        document = json.loads(path.read_text())
        sidecars[path.name] = sorted(
            (m["origin_session_id"], m["local_session_id"]) for m in document["mappings"]
        )
    table = [
        tuple(str(value).replace(str(home), "HOME") for value in row)
        for row in rows(home / "state_5.sqlite", "threads")
    ]
    return {"files": transcripts(home), "names": names, "rows": table, "sidecars": sidecars}
