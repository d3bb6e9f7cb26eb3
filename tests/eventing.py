"""Stores of events in tests: imports by the command line, and what is in a store by then."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from builders import Record, Session, dump, write_snapshot
from codex_session_sync.events.index import Index, consult
from codex_session_sync.store.opening import open_store
from workbench import Outcome, call

Line = dict[str, Any]

VARYING = ("raw", "import_id")
"""What of an event depends on who imported it first."""


def imported(store: Path, package: Path, *more: str | Path) -> Outcome:
    """``events import`` of a package, as JSON."""
    return call("events", "import", package, "--store", store, "--json", *more)


def counts(outcome: Outcome) -> tuple[int, int, int]:
    """How many events an import added, saw again, and how many sessions it refused."""
    assert outcome.exit_code in (0, 1), outcome.envelope["errors"]
    found = outcome.envelope["data"]["counts"]
    return found["added"], found["seen"], found["refused"]


def lines(store: Path) -> list[Line]:
    """All lines of all ledgers."""
    paths = sorted((store / "events").rglob("*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_bytes().splitlines()]


def events(store: Path) -> list[Line]:
    """All events of a store, without what differs by where they came from."""
    return [
        {key: value for key, value in line.items() if key not in VARYING}
        for line in lines(store)
        if "event_id" in line
    ]


def told(store: Path) -> list[Line]:
    """The events in an order that depends on nothing but them; what they passed left out."""
    found = [{k: v for k, v in event.items() if k != "passed"} for event in events(store)]
    return sorted(found, key=lambda event: (event["event_id"], event["normaliser"]))


def texts(store: Path, head: str | None) -> list[str]:
    """What was said on the line that ends with an event."""
    known = {event["event_id"]: event for event in events(store)}
    found: list[str] = []
    while head is not None:
        found.append(known[head]["text"])
        head = known[head]["parent"]
    return found[::-1]


def dumped(store: Path) -> list[tuple[Any, ...]]:
    """All that the index holds."""
    return consult(open_store(store), lambda index: list(index.dump()))[0]


def asked(store: Path, statement: str) -> list[Any]:
    """The rows of a query of the index."""

    def question(index: Index) -> list[Any]:
        return index.rows(statement).fetchall()

    return consult(open_store(store), question)[0]


def searched(store: Path, *arguments: str) -> list[Line]:
    """What ``events search`` finds."""
    done = call("events", "search", *arguments, "--store", store, "--json")
    assert done.exit_code == 0, done.envelope["errors"]
    found: list[Line] = done.envelope["data"]["events"]
    return found


def owners(store: Path) -> dict[str, set[str]]:
    """The sessions of each event, by following each session's line up."""
    parents = dict(asked(store, "SELECT event_id, parent FROM events"))
    found: dict[str, set[str]] = {event: set() for event in parents}
    for session, head in asked(store, "SELECT session_id, head_event FROM sessions"):
        event = head
        while event is not None:
            found[event].add(session)
            event = parents[event]
    withdrawn = asked(store, "SELECT event_id FROM events WHERE kind = 'withdrawn'")
    return {event: sessions for event, sessions in found.items() if (event,) not in withdrawn}


def shown_owners(store: Path) -> dict[str, set[str]]:
    """The sessions of each event, as a search shows them."""
    shown = searched(store, "--since", "2026-01-01", "--limit", "1000")
    return {event["event_id"]: {one["session_id"] for one in event["sessions"]} for event in shown}


# -- sessions with more than words -----------------------------------------------------------------


def busy(session: Session, calls: int = 2) -> list[Record]:
    """The records of a session in which the agent calls tools before each answer."""
    found: list[Record] = []
    for record in session.records():
        payload = record["payload"]
        if payload.get("role") == "assistant":
            for number in range(calls):
                name = f"call-{len(found)}-{number}"
                asked_for = {"type": "function_call", "name": "shell", "arguments": "{}"}
                output = {"type": "function_call_output", "output": "done"}
                found += [
                    {**record, "payload": {**item, "call_id": name}} for item in (asked_for, output)
                ]
        found.append(record)
    return renumbered(found)


def renumbered(records: Sequence[Record]) -> list[Record]:
    """Records with ordinals that go on, where they have some."""
    return [
        {**record, "ordinal": number} if "ordinal" in record else record
        for number, record in enumerate(records)
    ]


def write_records(home: Path, session: Session, records: Sequence[Record]) -> Path:
    """A home with a session whose file has these records."""
    write_snapshot(home, [session])
    (home / session.relative_path).write_bytes(dump(records))
    return home
