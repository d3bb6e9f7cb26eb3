"""Every kind of session, from every form of package, into a fresh and a used home.

What cannot be as at the source is stated as data, with the reason.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from codexbed import changes, records
from real_codex.syncing import WITHOUT_ROWS, Case, Source, differences, files_of, told

KINDS = (
    "archived",
    "compacted",
    "compressed",
    "compressed_fork",
    "compressed_fork_base",
    "exec_made",
    "fork",
    "fork_middle",
    "fork_midway",
    "fork_midway_parent",
    "fork_no_turn",
    "fork_no_turn_parent",
    "fork_of_compacted",
    "fork_of_compacted_parent",
    "fork_of_fork",
    "fork_of_reverted",
    "fork_of_reverted_parent",
    "fork_parent",
    "fork_root",
    "legacy",
    "legacy_archived",
    "legacy_carried_on",
    "legacy_compacted",
    "legacy_fork",
    "legacy_fork_parent",
    "legacy_mode",
    "legacy_mode_fork",
    "legacy_named",
    "legacy_rolled_back",
    "legacy_subagent",
    "legacy_subagent_parent",
    "legacy_with_tools",
    "named",
    "other_cwd",
    "other_cwd_resumed",
    "plain",
    "reverted",
    "reverted_to_start",
    "reverted_twice",
    "several_turns",
    "subagent",
    "subagent_forked",
    "subagent_forked_parent",
    "subagent_parent",
    "unicode",
    "with_tools",
)

# Names are in the database and in the index, the archived state is the folder's: neither is in
# the rollouts. The first-import tool writes the title into the index in a name's place, and
# legacy sessions have their names nowhere else.
CHANGED: dict[str, dict[str, dict[str, Any]]] = {
    "database": {},
    "files": {},
    "rollouts": {
        "archived": {"archived": False, "name": None},
        "legacy_archived": {"archived": False},
        "named": {"name": None},
        "unicode": {"name": None},
        "legacy_named": {"name": None},
    },
    "transfer": {"legacy_named": {"name": None}},
    "native": {},
    "transfer by pack": {},
}

# The first-import tool packs the one file that a row names: a reverted session lacks its older
# segments, a compressed one, whose row names the plain file, lacks all, and so does a fork of it.
REFUSED: dict[str, dict[str, str]] = {
    "database": {},
    "files": {},
    "rollouts": {},
    "transfer": {
        "reverted": "history_base_missing",
        "reverted_twice": "history_base_missing",
        "fork_of_reverted_parent": "history_base_missing",
        "fork_of_reverted": "history_base_missing",
        "compressed": "transcript_missing",
        "compressed_fork_base": "transcript_missing",
        "compressed_fork": "history_base_missing",
    },
    "native": {},
    "transfer by pack": {},
}


def last_time(source: Source, session_id: str) -> str:
    newest = files_of(source.home.home, session_id)[-1]
    return str(records(newest)[-1]["timestamp"])


def test_the_kinds_are_those_that_were_made(source: Source) -> None:
    assert sorted(source.made) == list(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_codex_sees_the_same_as_at_the_source(outcome: Case, source: Source, kind: str) -> None:
    form, found = outcome.form, outcome.found
    session_id = source.made[kind].session_id
    if kind in REFUSED[form]:
        assert found.done.refused()[session_id] == REFUSED[form][kind]
        return
    assert found.done.sessions[session_id]["result"] == "imported"
    expected = replace(told(source.views[kind], form), **CHANGED[form].get(kind, {}))
    assert differences(expected, found.views[session_id]) == {}


def test_only_what_the_form_lacks_is_refused(outcome: Case, source: Source) -> None:
    form, found = outcome.form, outcome.found
    kinds = source.kinds()
    assert {kinds[i]: reason for i, reason in found.done.refused().items()} == REFUSED[form]
    expected = (1, "partial") if REFUSED[form] else (0, "ok")
    assert (found.done.code, found.done.status) == expected
    named = {i for ids in found.done.errors.values() for i in ids}
    assert named == {source.made[kind].session_id for kind in REFUSED[form]}
    assert found.done.warnings == {}


def test_the_plan_says_what_is_done(outcome: Case) -> None:
    found = outcome.found
    for answer in (found.inspected, found.planned):
        assert answer.code == 0
        assert answer.errors == found.done.errors
        for session_id, planned in answer.sessions.items():
            done = found.done.sessions[session_id]
            assert {key: done[key] for key in planned if key != "local_session_id"} == {
                key: value for key, value in planned.items() if key != "local_session_id"
            }
    assert found.inspected.status == "ok"
    assert found.planned.status == "dry_run"


def test_looking_and_planning_change_no_byte(outcome: Case) -> None:
    found = outcome.found
    assert found.before == found.after_plan
    assert found.package_before == found.package_after


def test_the_second_sync_finds_nothing_to_do(outcome: Case) -> None:
    form, found = outcome.form, outcome.found
    answer = found.again
    if not REFUSED[form]:
        assert (answer.code, answer.status) == (0, "no_op")
    assert answer.refused() == found.done.refused()
    others = [s for s in answer.sessions.values() if s["action"] != "refuse"]
    assert {(s["result"], s["classification"], s["reason"]) for s in others} == {
        ("skipped", "unchanged", "equal")
    }
    assert answer.document["data"]["transaction_id"] is None
    assert found.after == found.after_again


def test_doctor_reports_parity(outcome: Case) -> None:
    found = outcome.found
    assert found.parity["status"] == "ok", found.parity
    assert found.parity["details"]["rollout DB rows"] == str(len(found.imported) + len(found.own))


def test_codex_lists_them_in_the_order_of_their_last_activity(
    outcome: Case, source: Source, source_order: list[str]
) -> None:
    form, found = outcome.form, outcome.found
    shown = [i for i in found.order if i in found.views]
    assert len(shown) == sum(not seen.archived for seen in found.views.values())
    if form in WITHOUT_ROWS:
        # What is known then is when the last record was written, to the millisecond.
        times = [last_time(source, session_id) for session_id in shown]
        assert times == sorted(times, reverse=True)
    else:
        assert shown == [i for i in source_order if i in shown]


def test_what_the_home_had_is_untouched(outcome: Case, used: Source) -> None:
    place, found = outcome.place, outcome.found
    changed = {
        path: kind
        for path, kind in changes(found.before.digest, found.after.digest).items()
        if kind != "added"
    }
    allowed = {"state_5.sqlite", "state_5.sqlite-shm", "state_5.sqlite-wal", "session_index.jsonl"}
    assert changed.keys() <= allowed
    assert found.after.index.startswith(found.before.index)
    if place == "fresh":
        return
    for table, before in found.before.tables.items():
        after = found.after.tables[table]
        if table == "threads":
            after = [row for row in after if row["id"] in found.own]
        elif table == "thread_spawn_edges":
            after = [row for row in after if row["child_thread_id"] in found.own]
        assert (table, after) == (table, before)
    kinds = used.kinds()
    for session_id, seen in found.own.items():
        assert differences(used.views[kinds[session_id]], seen) == {}
