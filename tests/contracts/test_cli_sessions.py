"""What is said of sessions: which are meant, how each is classed and what became of it."""

from __future__ import annotations

import json
import shutil
import sqlite3
import uuid
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from codex_session_sync.errors import ExitCode
from contracts.places import (
    ARCHIVED,
    BASELESS,
    BROKEN,
    COLLIDING,
    CONTRACT_KEYS,
    EQUAL,
    FILELESS,
    FORK,
    INCOMING_AHEAD,
    LOCAL_AHEAD,
    NAMED,
    NEW,
    PLAIN,
    SPLIT,
    TORN,
    UNREADABLE_HERE,
    Place,
    checked,
    make_mixture,
    make_place,
)
from fingerprint_by_spec import fingerprint
from workbench import add_rows, call, make_database, tree

place = pytest.fixture(make_place)
mixture = pytest.fixture(make_mixture)


def test_session_limits(place: Place) -> None:
    limited = place.sync("--session", NAMED.id, "--execute")
    assert list(limited.sessions) == [NAMED.id]
    rollouts = [path.name for path in place.home.rglob("rollout-*")]
    assert rollouts == [NAMED.file_name]
    rest = place.sync("--execute")
    assert rest.sessions[NAMED.id]["result"] == "skipped"
    assert rest.envelope["data"]["counts"]["result"] == {"imported": 2, "skipped": 1}


@pytest.mark.parametrize(
    "shortened",
    [
        NAMED.id,
        NAMED.id[-6:],
        f"{NAMED.id[:8]}…{NAMED.id[-6:]}",
        f"{NAMED.id[:8]}...{NAMED.id[-6:]}",
    ],
)
def test_ids_may_be_shortened(place: Place, shortened: str) -> None:
    assert list(place.sync("--session", shortened).sessions) == [NAMED.id]


def test_sessions_keep_the_order_of_the_package(place: Place) -> None:
    given = place.sync("--session", ARCHIVED.id, "--session", PLAIN.id, "--session", PLAIN.id)
    assert list(given.sessions) == [PLAIN.id, ARCHIVED.id]


APART = fingerprint({SPLIT.id: SPLIT.say("that way").data()}, SPLIT.id).links[4]
BRANCH_ID = str(
    uuid.uuid5(uuid.UUID("5d0f3b0c-7a55-5c0e-9d3a-6f1f0f7c2a11"), f"branch {SPLIT.id} {APART}")
)
"""Derived from the session's origin and the link of the first entry that sets it apart."""

MIXED: dict[str, tuple[Any, ...]] = {
    # classification, relation, action, reason, local id, incoming, local, common, result
    NEW.id: ("new_lineage", "none", "import", None, NEW.id, 4, None, 0, "imported"),
    EQUAL.id: ("unchanged", "equal", "skip", "equal", EQUAL.id, 6, 6, 6, "skipped"),
    LOCAL_AHEAD.id: (
        *("unchanged", "local_ahead", "skip", "local_ahead"),
        *(LOCAL_AHEAD.id, 4, 6, 4, "skipped"),
    ),
    INCOMING_AHEAD.id: (
        *("fast_forward_import", "incoming_ahead", "fast_forward", None),
        *(INCOMING_AHEAD.id, 8, 4, 4, "fast_forwarded"),
    ),
    SPLIT.id: (
        *("diverged_lineage", "diverged", "branch", None),
        *(BRANCH_ID, 6, 8, 4, "branched"),
    ),
    COLLIDING.id: (
        *("id_collision_unrelated", "unrelated", "refuse", "id_collision"),
        *(COLLIDING.id, 4, 4, 0, "refused"),
    ),
    BROKEN.id: (
        *("new_lineage", "none", "refuse", "transcript_invalid"),
        *(None, 0, None, 0, "refused"),
    ),
    BASELESS.id: (
        *("new_lineage", "none", "refuse", "history_base_missing"),
        *(None, 0, None, 0, "refused"),
    ),
    FILELESS.id: (
        *("new_lineage", "none", "refuse", "transcript_missing"),
        *(None, 0, None, 0, "refused"),
    ),
    TORN.id: ("new_lineage", "none", "import", None, TORN.id, 6, None, 0, "imported"),
    FORK.id: ("new_lineage", "none", "import", None, FORK.id, 6, None, 0, "imported"),
    UNREADABLE_HERE.id: (
        *("new_lineage", "none", "refuse", "local_transcript_unreadable"),
        *(None, 4, None, 0, "refused"),
    ),
}


def _told(session: dict[str, Any]) -> tuple[Any, ...]:
    entries = session["entries"]
    return (
        *(session[key] for key in ("classification", "relation", "action", "reason")),
        *(session["local_session_id"], entries["incoming"], entries["local"], entries["common"]),
    )


def test_a_mixture_is_classified(mixture: Place) -> None:
    for outcome in (
        checked(call("inspect-package", mixture.package, "--json")),
        mixture.sync(),
    ):
        assert outcome.exit_code == 0
        assert {key: _told(one) for key, one in outcome.sessions.items()} == {
            key: wanted[:-1] for key, wanted in MIXED.items()
        }
        assert all(one.keys() >= CONTRACT_KEYS for one in outcome.sessions.values())
        assert not any("result" in one for one in outcome.sessions.values())
        refused = {key: wanted[3] for key, wanted in MIXED.items() if wanted[2] == "refuse"}
        errors = outcome.envelope["errors"]
        assert {error["session_id"]: error["code"] for error in errors} == refused
        assert all(error["hint"] for error in errors)
        warnings = {(one["code"], one["session_id"]) for one in outcome.envelope["warnings"]}
        new = {key for key, wanted in MIXED.items() if wanted[2] in ("import", "branch")}
        missing = {("cwd_missing", key) for key in new}
        assert warnings == {("transcript_torn", TORN.id)} | missing


def test_a_mixture_is_done_in_part(mixture: Place) -> None:
    database = make_database(mixture.home)
    add_rows(database, [INCOMING_AHEAD])
    extended = mixture.home / INCOMING_AHEAD.relative_path
    start = extended.read_bytes()
    before = tree(mixture.home)
    outcome = mixture.sync("--execute")
    assert (outcome.exit_code, outcome.envelope["status"]) == (ExitCode.PARTIAL, "partial")
    assert outcome.envelope["data"]["counts"]["result"] == {
        "branched": 1,
        "fast_forwarded": 1,
        "imported": 3,
        "refused": 5,
        "skipped": 2,
    }
    for key, wanted in MIXED.items():
        told = outcome.sessions[key]
        assert told["result"] == wanted[-1]
        assert told["local_session_id"] == wanted[4]
        assert told.keys() >= CONTRACT_KEYS | {"result"}
    kept = {"imported", "branched", "fast_forwarded"}
    written = {key for key, wanted in MIXED.items() if wanted[-1] in kept}
    with closing(sqlite3.connect(database)) as connection:
        rows = {row[0] for row in connection.execute("SELECT id FROM threads")}
    assert rows == {MIXED[key][4] for key in written}
    after = tree(mixture.home, "session-sync", "state_5.sqlite")
    new = {path for path, what in after.items() if what[0] == "file" and path not in before}
    branch = SPLIT.relative_path.replace(SPLIT.id, BRANCH_ID)
    named = {"session_index.jsonl"}
    assert new == {NEW.relative_path, TORN.relative_path, FORK.relative_path, branch, *named}
    changed = {path for path in after if path in before and after[path] != before[path]}
    assert changed == {INCOMING_AHEAD.relative_path}
    assert extended.read_bytes().startswith(start)

    again = mixture.sync("--execute")
    assert (again.exit_code, again.envelope["status"]) == (1, "partial")
    assert again.envelope["data"]["transaction_id"] is None
    assert all(again.sessions[key]["reason"] == "equal" for key in written)
    assert again.sessions[SPLIT.id]["local_session_id"] == BRANCH_ID


def test_the_choices_are_the_users(mixture: Place) -> None:
    choices = ("--on-diverged", "refuse", "--on-collision", "import-as-new")
    limits = ("--session", SPLIT.id, "--session", COLLIDING.id)
    split, colliding = (
        mixture.home / one.relative_path for one in (SPLIT, replace(COLLIDING, start=151))
    )
    before = [path.read_bytes() for path in (split, colliding)]
    done = mixture.sync(*choices, *limits, "--execute")
    assert (done.exit_code, done.codes) == (ExitCode.PARTIAL, ["diverged_refused"])
    assert "--on-diverged branch" in done.envelope["errors"][0]["hint"]
    told = done.sessions[SPLIT.id]
    assert (told["classification"], told["action"]) == ("diverged_lineage", "refuse")
    assert (told["local_session_id"], told["result"]) == (SPLIT.id, "refused")
    told = done.sessions[COLLIDING.id]
    assert (told["classification"], told["action"]) == ("id_collision_unrelated", "import")
    new = told["local_session_id"]
    assert new not in (None, COLLIDING.id)
    assert [path.read_bytes() for path in (split, colliding)] == before
    (file,) = mixture.home.rglob(f"rollout-*-{new}.jsonl")
    head = json.loads(file.read_bytes().splitlines()[0])["payload"]
    assert head["id"] == new
    assert head["session_sync"] == {"origin_id": COLLIDING.id, "forked_from_id": None}

    again = mixture.sync("--session", COLLIDING.id, "--execute")
    told = again.sessions[COLLIDING.id]
    assert (told["action"], told["reason"], told["local_session_id"]) == ("skip", "equal", new)
    shutil.rmtree(mixture.home / "session-sync" / "sidecars")
    told = mixture.sync("--session", COLLIDING.id).sessions[COLLIDING.id]
    assert (told["action"], told["reason"], told["local_session_id"]) == ("skip", "equal", new)


def test_only_refused_sessions_are_partial(mixture: Place) -> None:
    planned = mixture.sync("--session", BROKEN.id)
    assert (planned.exit_code, planned.envelope["status"]) == (0, "dry_run")
    done = mixture.sync("--session", BROKEN.id, "--execute")
    assert (done.exit_code, done.envelope["status"]) == (1, "partial")
    assert done.codes == ["transcript_invalid"]
    assert done.envelope["data"]["transaction_id"] is None
