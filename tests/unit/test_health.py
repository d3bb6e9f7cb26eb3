"""``sidecar-health``: every kind of damage is found and named, and what it names mends it."""

from __future__ import annotations

import json
import os
import shutil
import sys
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builders import Session, dump, session_id
from codex_session_sync.codex.rollout import MAX_LINE_BYTES
from codex_session_sync.health.finding import REMEDIES
from damages import changes, mend
from installing import install_here
from rolling import Rolling, compress, make_rolling
from workbench import add_rows, call, tree

DAY = 24 * 60
OWN = Session(1, start=10, name="Own").say("Was here before")
BEANS = Session(2, start=1 * DAY, name="Beans").say("How do beans climb?").say("And peas?")
ROSES = Session(3, start=2 * DAY).say("Which roses?")
ELSEWHERE = Session(4, start=3 * DAY, name="Figs").say("Figs?")


@pytest.fixture
def bed(tmp_path: Path) -> Rolling:
    found = make_rolling(tmp_path, [OWN])
    found.sync(BEANS, ROSES)
    return found


def health(bed: Rolling, *options: str) -> dict[str, Any]:
    """The data of a check, which writes nothing."""
    before = tree(bed.home)
    done = bed.call("sidecar-health", *options)
    assert (done.exit_code, done.envelope["status"]) == (0, "ok"), done.envelope
    assert tree(bed.home) == before
    found: dict[str, Any] = done.envelope["data"]
    assert found["healthy"] == (not found["problems"])
    return found


def problems(bed: Rolling, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = health(bed, *options)["problems"]
    return found


def codes(bed: Rolling, *options: str) -> list[str]:
    return [problem["code"] for problem in problems(bed, *options)]


def sidecar_of(bed: Rolling, session: Session) -> Path:
    """The sidecar that tells of a session."""
    [found] = [
        p for p in bed.home.glob("session-sync/sidecars/*.json") if session.id in p.read_text()
    ]
    return found


def edit(path: Path, **more: Any) -> None:
    """Change keys of a JSON document on disk."""
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **more}))


def link(place: Path, away: Path) -> None:
    """Move a file or folder away and leave a link to it."""
    place.rename(away)
    place.symlink_to(away)


def folder_of(bed: Rolling) -> Path:
    """The folder of the one transaction."""
    [found] = bed.home.glob("session-sync/transactions/*")
    return found


# -- the kinds of damage ------------------------------------------------------------------------


def tear_sidecar(bed: Rolling) -> None:
    path = sidecar_of(bed, BEANS)
    path.write_bytes(path.read_bytes()[:-30])


def age_sidecar(bed: Rolling) -> None:
    edit(sidecar_of(bed, BEANS), fingerprint_version=1)


def name_sidecar_wrongly(bed: Rolling) -> None:
    path = sidecar_of(bed, BEANS)
    shutil.copy(path, path.with_name("notes.json"))


def put_sidecar_under_another_name(bed: Rolling) -> None:
    path = sidecar_of(bed, BEANS)
    shutil.copy(path, path.with_name(f"{'0' * 32}.json"))


def lose_sidecar(bed: Rolling) -> None:
    sidecar_of(bed, BEANS).unlink()


def tamper_with_sidecar(bed: Rolling) -> None:
    path = sidecar_of(bed, BEANS)
    path.write_text(path.read_text().replace('"Beans"', '"Peas"'))


def spell_sidecar_otherwise(bed: Rolling) -> None:
    """What another program makes of it that reads and writes it, and adds nothing."""
    edit(sidecar_of(bed, BEANS))


def double_mapping(bed: Rolling) -> None:
    path = sidecar_of(bed, BEANS)
    edit(path, mappings=json.loads(path.read_bytes())["mappings"] * 2)


def end_sidecar_twice(bed: Rolling) -> None:
    with sidecar_of(bed, BEANS).open("ab") as stream:
        stream.write(b"\n")


def put_folder_for_sidecar(bed: Rolling) -> None:
    path = sidecar_of(bed, BEANS)
    path.unlink()
    path.mkdir()


def lose_session(bed: Rolling) -> None:
    bed.path(ROSES).unlink()
    bed.do("DELETE FROM threads WHERE id = ?", ROSES.id)


def replace_session(bed: Rolling) -> None:
    path = bed.path(ROSES)
    path.write_bytes(replace(ROSES, turns=(), cwd="/other").say("Another").data())
    text = path.read_text().replace("Be brief.", "Be long, and longer than you were told to be.")
    path.write_text(text)


def change_session(bed: Rolling) -> None:
    other = replace(BEANS, turns=()).say("Something else").say("And more").say("And more")
    bed.path(BEANS).write_bytes(other.data())


def shorten_session(bed: Rolling) -> None:
    bed.path(BEANS).write_bytes(replace(BEANS, turns=BEANS.turns[:1]).data())


def install_session(bed: Rolling) -> None:
    """Into a home of a Codex whose rows need no more than that tool writes."""
    install_here(bed.root, bed.home, [ELSEWHERE])
    bed.do("UPDATE threads SET history_mode = 'paginated', preview = 'x' WHERE preview = ''")


def install_bare_row(bed: Rolling) -> None:
    install_here(bed.root, bed.home, [ELSEWHERE])
    assert bed.call("adopt", "--execute").exit_code == 0


def name_old_place(bed: Rolling) -> None:
    bed.do("UPDATE threads SET rollout_path = replace(rollout_path, ?, '/old')", str(bed.home))


def lose_transcript(bed: Rolling) -> None:
    add_rows(bed.database, [ELSEWHERE])


def name_nobody(bed: Rolling) -> None:
    entry = {"id": ELSEWHERE.id, "thread_name": "Figs", "updated_at": "2026-03-02T09:00:00Z"}
    with (bed.home / "session_index.jsonl").open("ab") as stream:
        stream.write(dump([entry]))


def interrupt(bed: Rolling) -> None:
    edit(folder_of(bed) / "manifest.json", status="running", completed_at=None)


def damage_manifest(bed: Rolling) -> None:
    edit(folder_of(bed) / "manifest.json", status="well")


def damage_operations(bed: Rolling) -> None:
    with (folder_of(bed) / "operations.jsonl").open("ab") as stream:
        stream.write(b'{"step"\n')


def leave_staged(bed: Rolling) -> None:
    (folder_of(bed) / "staged").mkdir()


def leave_temporary(bed: Rolling) -> None:
    path = sidecar_of(bed, BEANS)
    path.with_name(f".{path.name}.77.tmp").write_bytes(b"{")


def leave_folder(bed: Rolling) -> None:
    (folder_of(bed).parent / "20261121T000000000000Z-00000000").mkdir()


def damage_transcript(bed: Rolling) -> None:
    bed.path(ROSES).write_bytes(b"nothing\n")


def orphan_fork(bed: Rolling) -> None:
    fork = ELSEWHERE.fork(9).say("Fork")
    path = bed.home / fork.relative_path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(fork.data())


def damage_database(bed: Rolling) -> None:
    for path in bed.home.glob("state_5.sqlite*"):
        path.unlink()
    bed.database.write_bytes(b"no database, and longer than a header is" * 20)


def lengthen_transcript(bed: Rolling) -> None:
    path = bed.path(ROSES)
    path.write_bytes(b"")
    os.truncate(path, MAX_LINE_BYTES + 2)


def link_transcript(bed: Rolling) -> None:
    link(bed.path(ROSES), bed.root / "roses.jsonl")


def put_folder_for_index(bed: Rolling) -> None:
    path = bed.home / "session_index.jsonl"
    path.unlink()
    path.mkdir()


def by_hand(bed: Rolling, problem: dict[str, Any]) -> None:
    """What the remedy says where no command does it: the file goes."""
    path = bed.home / problem["path"]
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def link_home(bed: Rolling, _: dict[str, Any]) -> None:
    """The old place becomes a link to the home. ``/old`` cannot be made here, so it is another."""
    old = bed.root / "old"
    old.symlink_to(bed.home)
    bed.do("UPDATE threads SET rollout_path = replace(rollout_path, '/old/', ?)", f"{old}/")


def unlink_transcript(bed: Rolling, _: dict[str, Any]) -> None:
    path = bed.path(ROSES)
    path.unlink()
    (bed.root / "roses.jsonl").rename(path)


def away_then_sync(bed: Rolling, problem: dict[str, Any]) -> None:
    by_hand(bed, problem)
    run(bed, problem)


def run(bed: Rolling, problem: dict[str, Any]) -> None:
    """The command that is named."""
    command = problem["command"].removeprefix("codex-session-sync ")
    package = bed.package(BEANS, ROSES, ELSEWHERE, ELSEWHERE.fork(9).say("Fork"))
    words = [str(package) if word == "PKG" else word for word in command.split()]
    done = call(*words, "--json", "--codex-home", bed.home)
    assert done.envelope["status"] == "ok", done.envelope


Mend = Callable[[Rolling, dict[str, Any]], None]

DAMAGES: list[tuple[Callable[[Rolling], None], str, Mend | None]] = [
    (tear_sidecar, "sidecar_invalid", run),
    (age_sidecar, "sidecar_outdated", run),
    (name_sidecar_wrongly, "sidecar_misplaced", by_hand),
    (put_sidecar_under_another_name, "sidecar_misplaced", by_hand),
    (lose_sidecar, "sidecar_missing", run),
    (tamper_with_sidecar, "sidecar_unlike_journal", run),
    (spell_sidecar_otherwise, "sidecar_unlike_journal", run),
    (double_mapping, "sidecar_unlike_journal", run),
    (end_sidecar_twice, "sidecar_unlike_journal", run),
    (put_folder_for_sidecar, "sidecar_invalid", run),
    (lose_session, "mapping_session_missing", run),
    (replace_session, "mapping_line_lost", run),
    (shorten_session, "session_shortened", run),
    (install_session, "session_untracked", run),
    (install_bare_row, "row_incomplete", away_then_sync),
    (name_old_place, "row_elsewhere", link_home),
    (lose_transcript, "row_without_transcript", run),
    (name_nobody, "name_without_session", run),
    (interrupt, "transaction_interrupted", run),
    (damage_manifest, "transaction_invalid", None),
    (damage_operations, "operation_invalid", None),
    (leave_staged, "leftover", by_hand),
    (leave_temporary, "leftover", by_hand),
    (leave_folder, "leftover", by_hand),
    (damage_transcript, "transcript_invalid", away_then_sync),
    (lengthen_transcript, "transcript_line_too_long", away_then_sync),
    (link_transcript, "transcript_unreadable", unlink_transcript),
    (damage_database, "database_unreadable", None),
    (put_folder_for_index, "not_a_file", by_hand),
]


@pytest.mark.parametrize(
    ("damage", "code", "mend"), DAMAGES, ids=[damage.__name__ for damage, _, _ in DAMAGES]
)
def test_a_damage_is_found_and_mended(
    bed: Rolling, damage: Callable[[Rolling], None], code: str, mend: Mend | None
) -> None:
    assert codes(bed) == []
    damage(bed)
    found = problems(bed)
    assert {problem["code"] for problem in found} == {code}
    remedy = REMEDIES[code]
    assert found[0]["remedy"] == remedy.what
    assert (found[0]["command"] is not None) == (remedy.command is not None)
    if mend is not None:
        mend(bed, found[0])
        assert codes(bed) == []


def test_every_code_has_a_damage_here() -> None:
    """Or is one that needs a home of its own, or is met as an error of other commands too."""
    elsewhere = {
        "mapping_line_changed",
        "path_escapes_home",
        "history_base_missing",
        "database_busy",
        "database_not_writable",
        "no_temporary_folder",
    }
    assert {code for _, code, _ in DAMAGES} | elsewhere == set(REMEDIES)


def test_every_command_that_is_named_is_run_here() -> None:
    """Those of the two codes that are not among the damages are run below."""
    ran = {code for _, code, mend in DAMAGES if mend in (run, away_then_sync)}
    ran |= {"mapping_line_changed", "history_base_missing"}
    assert {code for code, remedy in REMEDIES.items() if remedy.command} == ran


@pytest.mark.parametrize("command", ["replay-transactions-sidecar", "rebuild-sidecar"])
@pytest.mark.parametrize("damage", [spell_sidecar_otherwise, double_mapping, end_sidecar_twice])
def test_what_says_the_same_in_other_bytes_is_put_back(
    bed: Rolling, damage: Callable[[Rolling], None], command: str
) -> None:
    path = sidecar_of(bed, BEANS)
    text = path.read_text()
    damage(bed)
    spelled = path.read_text()
    said = call(command, "--codex-home", bed.home).out.decode()
    assert f"written anew, saying the same: sidecar {path.stem}" in said
    done = mend(bed.home, command)
    assert changes(done) == [
        {"lineage_id": path.stem, "damage": None, "mappings": [], "result": "written"}
    ]
    assert path.read_text() == text
    assert codes(bed, "--deep") == []
    bed.undo("--latest")
    assert path.read_text() == spelled


@pytest.mark.parametrize(
    ("lacking", "told"),
    [
        ("history_mode = 'legacy'", "history_mode, so that Codex does not open it"),
        ("preview = ''", "preview, so that Codex does not list it"),
    ],
)
def test_what_a_row_lacks_is_named(bed: Rolling, lacking: str, told: str) -> None:
    """Of what the first-import tool brought; Codex's own rows may be like that."""
    install_session(bed)
    bed.do(f"UPDATE threads SET {lacking} WHERE id IN (?, ?)", ELSEWHERE.id, BEANS.id)
    assert bed.call("adopt", "--execute").exit_code == 0
    [problem] = problems(bed)
    assert (problem["code"], problem["session_id"]) == ("row_incomplete", ELSEWHERE.id)
    assert problem["message"].endswith(f" without {told}")
    bed.do("UPDATE threads SET preview = '', first_user_message = ''")
    bed.do("UPDATE threads SET history_mode = 'paginated'")
    assert codes(bed) == []


# -- what needs more than one look --------------------------------------------------------------


def test_a_longer_session_of_another_line_shows_in_a_deep_check(bed: Rolling) -> None:
    change_session(bed)
    assert codes(bed) == []
    assert any("--deep" in what for what in health(bed)["not_checked"])
    [problem] = problems(bed, "--deep")
    assert (problem["code"], problem["session_id"]) == ("mapping_line_changed", BEANS.id)
    assert health(bed, "--deep")["not_checked"] == []
    run(bed, problem)
    assert codes(bed, "--deep") == []


def test_what_was_lost_between_two_syncs_shows_in_a_deep_check(bed: Rolling) -> None:
    """A sidecar that was lost and begun anew says less than the journal."""
    lose_sidecar(bed)
    fork = BEANS.fork(9).say("Another way?")
    bed.sync(BEANS, fork)
    assert codes(bed) == []
    [problem] = problems(bed, "--deep")
    assert problem["code"] == "sidecar_unlike_journal"
    run(bed, problem)
    assert codes(bed, "--deep") == []


def test_a_sidecar_that_a_rollback_removed_comes_back(bed: Rolling) -> None:
    """From a backup, say; the session is here again as well."""
    path, session = sidecar_of(bed, BEANS), bed.path(BEANS)
    text, data = path.read_bytes(), session.read_bytes()
    bed.undo("--latest")
    session.parent.mkdir(parents=True, exist_ok=True)
    session.write_bytes(data)
    path.write_bytes(text)
    [problem] = problems(bed)
    assert problem["code"] == "sidecar_unlike_journal"
    run(bed, problem)
    assert codes(bed, "--deep") == []
    assert not path.exists()


def test_a_lost_journal_is_told_of(bed: Rolling) -> None:
    shutil.rmtree(bed.home / "session-sync" / "transactions")
    done = bed.call("sidecar-health", "--deep")
    assert done.envelope["data"]["healthy"]
    assert [w["code"] for w in done.envelope["warnings"]] == ["journal_incomplete"]


@pytest.mark.parametrize("place", ["", "sidecars", "transactions", "transactions/*", "sidecars/*"])
def test_a_link_is_not_followed(bed: Rolling, place: str) -> None:
    for number, path in enumerate(sorted(bed.home.glob(f"session-sync/{place}".rstrip("/")))):
        link(path, bed.root / f"away {number}")
    found = problems(bed)
    assert {problem["code"] for problem in found} <= {"path_escapes_home", "sidecar_missing"}
    linked = [p["path"] for p in found if p["code"] == "path_escapes_home"]
    assert linked
    assert all((bed.home / path).is_symlink() for path in linked)


def test_a_fork_without_its_base(bed: Rolling) -> None:
    orphan_fork(bed)
    assert codes(bed) == []
    [problem] = problems(bed, "--deep")
    assert (problem["code"], problem["session_id"]) == ("history_base_missing", session_id(9))
    assert problem["command"] == "codex-session-sync sync PKG --execute"
    bed.sync(ELSEWHERE)
    assert codes(bed, "--deep") == []


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="permissions do not bind this user"
)
def test_a_transcript_that_may_not_be_read(bed: Rolling) -> None:
    bed.path(ROSES).chmod(0)
    assert codes(bed) == ["transcript_unreadable"]
    bed.path(ROSES).chmod(0o600)
    assert codes(bed) == []


def test_what_was_taken_back_is_no_loss(bed: Rolling) -> None:
    """A legacy session says itself that its last turn was taken back."""
    legacy = Session(5, start=4 * DAY, legacy=True).say("one").say("two")
    bed.sync(BEANS, ROSES, legacy)
    record = {
        "timestamp": "2026-03-09T09:00:00.000Z",
        "type": "event_msg",
        "payload": {"type": "thread_rolled_back", "num_turns": 1},
    }
    with bed.path(legacy).open("ab") as stream:
        stream.write(dump([record]))
    assert codes(bed) == []
    assert codes(bed, "--deep") == []


def test_what_goes_on_or_is_compressed_is_healthy(bed: Rolling) -> None:
    bed.go_on(BEANS)
    compress(bed.path(ROSES))
    assert codes(bed, "--deep") == []


def test_unreadable_lines_are_told_of_in_a_deep_check(bed: Rolling) -> None:
    with bed.path(OWN).open("ab") as stream:
        stream.write(b"no record\n{")
    done = bed.call("sidecar-health", "--deep")
    assert done.envelope["data"]["healthy"]
    told = {(w["code"], w.get("session_id")) for w in done.envelope["warnings"]}
    assert told == {("transcript_torn", OWN.id), ("records_unreadable", OWN.id)}


def test_a_home_that_was_moved_says_so(bed: Rolling) -> None:
    moved = bed.root / "moved"
    bed.home.rename(moved)
    done = call("sidecar-health", "--json", "--codex-home", moved)
    found = done.envelope["data"]["problems"]
    assert {p["code"] for p in found} == {"row_elsewhere"}
    assert {p["session_id"] for p in found} == {OWN.id, BEANS.id, ROSES.id}
    assert [w["code"] for w in done.envelope["warnings"]] == ["home_moved"]
    bed.home.symlink_to(moved)
    assert call("sidecar-health", "--json", "--codex-home", moved).envelope["data"]["healthy"]


def test_an_extension_sets_a_row_right(bed: Rolling) -> None:
    bed.do("UPDATE threads SET rollout_path = '/x.jsonl' WHERE id = ?", BEANS.id)
    assert codes(bed) == ["row_elsewhere"]
    bed.sync(BEANS.say("More"), ROSES)
    assert codes(bed) == []


def test_rollbacks_and_later_syncs_are_healthy(bed: Rolling) -> None:
    later = bed.sync(BEANS.say("More"), ROSES)
    assert codes(bed, "--deep") == []
    bed.undo(later)
    assert codes(bed, "--deep") == []
    bed.undo("--latest")
    assert codes(bed, "--deep") == []


def test_an_empty_home_is_healthy(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    found = call("sidecar-health", "--json", "--codex-home", home).envelope["data"]
    assert found["healthy"]
    assert set(found["checked"].values()) == {0}


def test_the_text_names_what_mends(bed: Rolling) -> None:
    lose_sidecar(bed)
    name_nobody(bed)
    said = call("sidecar-health", "--codex-home", bed.home).out.decode()
    assert "sidecar_missing (1)" in said
    assert "replay-transactions-sidecar --execute" in said
    assert "019cac00…000004: session_index.jsonl names 'Figs'" in said
    assert "Not checked" in said


def test_many_of_a_kind_are_counted(bed: Rolling) -> None:
    for number in range(20, 30):
        add_rows(bed.database, [Session(number).say("gone")])
    assert len(codes(bed)) == 10
    said = call("sidecar-health", "--codex-home", bed.home).out.decode()
    assert "… and 5 more" in said


def test_a_hostile_journal_of_the_first_tool_leads_nowhere(bed: Rolling) -> None:
    folder = bed.home / "transfer-journal" / str(uuid.uuid4())
    folder.mkdir(parents=True)
    outside = bed.root / "outside.jsonl"
    outside.write_bytes(b"")
    lines = [
        b"not json\n",
        b'"text"\n',
        b'{"op":"remove_created_file","target":5}\n',
        b'{"op":"remove_created_file","target":"/../../etc/passwd"}\n',
        dump([{"op": "remove_created_file", "target": f"/x/{ELSEWHERE.file_name}"}]),
    ]
    (folder / "operations.jsonl").write_bytes(b"".join(lines))
    (folder.parent / "linked").symlink_to(bed.root)
    other = folder.parent / str(uuid.uuid4())
    other.mkdir()
    (other / "operations.jsonl").symlink_to(outside)
    assert codes(bed) == []
