"""Two homes that exchange sessions by what the other one has, as their users call it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

import package_by_spec as spec
from builders import Record, Session, dump, session_id, write_snapshot
from codex_session_sync.codex.home import INSTALLATION_ID
from workbench import Outcome, add_rows, call, make_database

Json = dict[str, Any]


@dataclass(frozen=True)
class Side:
    """One of the homes; what it writes for others lies in ``folder``."""

    home: Path
    folder: Path

    def have(self) -> Path:
        """What the home has, as a file."""
        out = self.folder / f"have-{self.home.name}.json"
        out.unlink(missing_ok=True)
        done = call("have", "-o", out, "--codex-home", self.home, "--json")
        assert done.exit_code == 0, done.out
        assert done.envelope["warnings"] == []
        return out

    def packed(self, name: str, *options: str | Path, code: int = 0) -> Outcome:
        """A package of the home, archived sessions among them; ``name`` may be there already."""
        out = self.folder / name
        out.unlink(missing_ok=True)
        done = call("pack", "-o", out, "--archived", *options, "--codex-home", self.home, "--json")
        assert done.exit_code == code, done.out
        assert out.exists() == (done.envelope["data"]["package"] is not None)
        return done

    def sync(self, name: str, *options: str, code: int = 0) -> Outcome:
        """A package, executed; whatever came, it is no-one's defect."""
        package, home = self.folder / name, ("--codex-home", self.home)
        done = call("sync", package, "--execute", "--no-prime", *options, *home, "--json")
        assert done.exit_code == code, done.out
        return done

    def file(self, session: str) -> Path:
        """The only file of a session."""
        name = f"rollout-*{session}.jsonl*"
        [path] = [*self.home.glob(f"sessions/**/{name}"), *self.home.glob(f"archived*/{name}")]
        return path

    def go_on(self, session: str, text: str, minute: int) -> None:
        """One more turn in a session that is here, by Codex."""
        path = self.file(session)
        data = path.read_bytes()
        head = json.loads(data.splitlines()[0])["payload"]
        path.write_bytes(data + turn(session, text, minute, numbered(data, head)))

    def whole(self) -> tuple[dict[str, Json], dict[str, bytes]]:
        """The home's sessions by id as a whole package has them, and its parts."""
        self.packed("whole")
        manifest, parts = spec.read((self.folder / "whole").read_bytes())
        return {one["session_id"]: one for one in manifest["sessions"]}, parts

    def lines(self) -> dict[str, tuple[Any, ...]]:
        """What is the same in homes with the same sessions: names, states, links, records."""
        sessions, parts = self.whole()
        return {
            i: (
                one["name"],
                one["archived"],
                parts.get(f"chains/{i}", b"").hex(),
                [records(parts[part]) for part in one["history"]],
            )
            for i, one in sessions.items()
        }

    def heads(self) -> set[str | None]:
        """The last links of all sessions."""
        sessions, _ = self.whole()
        return {one["head"] for one in sessions.values()}


def side(folder: Path, name: str, sessions: Iterable[Session] = (), *, rows: bool = True) -> Side:
    """A home with these sessions and an installation id that its name gives."""
    found = list(sessions)
    home = write_snapshot(folder / name, found)
    home.mkdir(exist_ok=True, parents=True)
    database = make_database(home)
    if rows:
        with_rows(database, found, 1_800_000_000_000)
    (home / INSTALLATION_ID).write_text(session_id(90_000 + sum(name.encode())))
    return Side(home, folder)


def with_rows(database: Path, sessions: Iterable[Session], changed: int) -> None:
    """Rows of sessions, the only ones, that were changed at a time in milliseconds."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DELETE FROM threads")
    add_rows(database, sessions)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE threads SET updated_at_ms = ?", (changed,))


def numbered(data: bytes, head: Json) -> int | None:
    """The ordinal of the next record of a rollout; None where there are none."""
    if head.get("history_mode") != "paginated":
        return None
    return 1 + max(int(json.loads(line)["ordinal"]) for line in data.splitlines() if line)


def turn(session: str, text: str, minute: int, ordinal: int | None) -> bytes:
    """The records of a turn."""
    made = Session(8000 + minute, legacy=ordinal is None, start=minute).say(text)
    found = made.records()[3:]
    for place, record in enumerate(found):
        if ordinal is not None:
            record["ordinal"] = ordinal + place
    return dump(found).replace(made.id.encode(), session.encode())


def records(data: bytes) -> list[Json]:
    """The records of a rollout without heads, what fills their place, ordinals, what is none."""
    found = []
    for line in data.splitlines():
        try:
            record: Record = json.loads(line)
        except ValueError:
            continue
        filling = record["payload"] == {"type": "token_count", "info": None, "rate_limits": None}
        if record["type"] != "session_meta" and not filling:
            record.pop("ordinal", None)
            found.append(record)
    return found


def compressed(path: Path) -> None:
    """Compress a rollout, as Codex does with old ones."""
    path.with_name(path.name + ".zst").write_bytes(zstandard.compress(path.read_bytes()))
    path.unlink()


def bases(outcome: Outcome) -> dict[int, int]:
    """The sessions of a package by number, and how many of their entries are left out."""
    found = outcome.sessions.items()
    return {int(i[-12:], 16): one["base_entries"] for i, one in found}
