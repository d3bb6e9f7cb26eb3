"""Skills in packages: listed, compared, installed, replaced, and undone again."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from builders import Session, write_snapshot, write_transfer
from codex_session_sync.errors import HomeError
from codex_session_sync.journal.operations import MoveFolder, Site
from codex_session_sync.package.skills import is_portable
from codex_session_sync.trees import digest_of, members
from workbench import Outcome, call, tree

ONE = Session(1).say("one")
TWO = ONE.say("two")
HELLO = {
    "SKILL.md": "# hello\n",
    "scripts/run.sh": "#!/bin/sh\necho hello\n",
    "notes/a b/é.txt": "x\n",
}
OTHER = {**HELLO, "SKILL.md": "# hello, again\n", "more.md": "new\n"}
del OTHER["notes/a b/é.txt"]


def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def package_of(folder: Path, skills: Mapping[str, Mapping[str, str | bytes]]) -> Path:
    """A first-import package of one session and some skills."""
    write_transfer(folder, [ONE])
    for name, files in skills.items():
        write(folder / "skills" / name, files)
    return folder


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return package_of(tmp_path / "package", {"hello": HELLO})


@pytest.fixture
def later(tmp_path: Path) -> Path:
    return package_of(tmp_path / "later", {"hello": OTHER})


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def run(home: Path, command: str, *arguments: str | Path) -> Outcome:
    more = ["--no-prime"] if command == "sync" else []
    return call(command, *arguments, *more, "--codex-home", home, "--json")


def skills(outcome: Outcome) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in outcome.envelope["data"].get("skills", [])}


def install(home: Path, package: Path, *options: str) -> Outcome:
    return run(home, "sync", package, "--with-skills", "--execute", *options)


def warned(outcome: Outcome) -> set[str]:
    return {one["code"] for one in outcome.envelope["warnings"]}


# --- what a package holds -----------------------------------------------------------------------


def test_skills_are_listed_with_a_digest(home: Path, package: Path) -> None:
    found = skills(run(home, "inspect-package", package))
    assert list(found) == ["hello"]
    hello = found["hello"]
    assert (hello["files"], hello["state"], hello["action"]) == (3, "new", "leave")
    assert hello["size"] == sum(len(text.encode()) for text in HELLO.values())
    assert hello["scripts"] == ["scripts/run.sh"]


def test_the_digest_can_be_made_with_common_tools(home: Path, package: Path) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("needs sha256sum")
    command = "LC_ALL=C find . -type f | cut -c3- | LC_ALL=C sort | xargs -d '\\n' sha256sum"
    folder = package / "skills" / "hello"
    lines = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, check=True)
    digest = hashlib.sha256(lines.stdout).hexdigest()
    assert skills(run(home, "inspect-package", package))["hello"]["digest"] == digest


@pytest.mark.parametrize("kind", ["tar.gz", "zip", "snapshot"])
def test_every_container_gives_the_same(
    tmp_path: Path, home: Path, package: Path, kind: str
) -> None:
    expected = skills(run(home, "inspect-package", package))["hello"]
    if kind == "snapshot":
        other = write_snapshot(tmp_path / "snapshot", [ONE])
        write(other / "skills" / "hello", HELLO)
        write(other / "skills" / ".system" / "own", HELLO)
        write(other / "skills" / "hello" / "__pycache__", {"run.pyc": b"\0"})
    else:
        form = {"tar.gz": "gztar", "zip": "zip"}[kind]
        other = Path(shutil.make_archive(str(tmp_path / "packed"), form, package))
    assert skills(run(home, "inspect-package", other)) == {"hello": expected}


def test_a_package_without_skills(home: Path, tmp_path: Path) -> None:
    package = package_of(tmp_path / "p", {})
    assert skills(run(home, "inspect-package", package)) == {}
    assert skills(install(home, package)) == {}
    assert not (home / "skills").exists()


# --- installing ---------------------------------------------------------------------------------


def test_nothing_is_installed_unasked(home: Path, package: Path) -> None:
    outcome = run(home, "sync", package, "--execute")
    assert outcome.envelope["status"] == "ok"
    assert skills(outcome)["hello"]["result"] == "skipped"
    assert not (home / "skills").exists()
    assert "skills_act" not in warned(outcome)


def test_a_new_skill_is_installed_as_it_is(home: Path, package: Path) -> None:
    planned = run(home, "sync", package, "--with-skills")
    assert skills(planned)["hello"]["action"] == "install"
    assert "skills_act" in warned(planned)
    assert not (home / "skills").exists()
    outcome = install(home, package)
    assert (outcome.exit_code, outcome.envelope["status"]) == (0, "ok")
    assert skills(outcome)["hello"]["result"] == "installed"
    assert "skills_act" in warned(outcome)
    found = home / "skills" / "hello"
    assert {one.path for one in members(found)} == set(HELLO)
    assert {name: (found / name).read_text("utf-8") for name in HELLO} == HELLO
    assert os.access(found / "scripts" / "run.sh", os.X_OK)
    assert not os.access(found / "SKILL.md", os.X_OK)


def test_in_words(home: Path, package: Path) -> None:
    command = ("sync", package, "--no-prime", "--codex-home", home)
    planned = call(*command).out.decode()
    assert "  hello: not in this home; 3 files, 1 of them programs, " in planned
    assert "none is installed without --with-skills" in planned
    done = call(*command, "--with-skills", "--execute")
    text = done.out.decode()
    assert "  hello: 3 files, 1 of them programs, " in text
    assert "; installed\n" in text
    assert "none is installed" not in text
    assert "(1 files here begin with #!)" in done.err


def test_again_there_is_nothing_to_do(home: Path, package: Path) -> None:
    install(home, package)
    before = tree(home)
    again = install(home, package)
    assert again.envelope["status"] == "no_op"
    assert skills(again)["hello"]["state"] == "same"
    assert (skills(again)["hello"]["reason"], again.codes) == ("equal", [])
    assert tree(home) == before


def test_a_skill_alone_is_reason_enough(home: Path, package: Path) -> None:
    run(home, "sync", package, "--execute")
    planned = run(home, "sync", package, "--with-skills")
    assert planned.envelope["status"] == "dry_run"
    outcome = install(home, package)
    assert outcome.envelope["status"] == "ok"
    assert outcome.envelope["data"]["transaction_id"] is not None
    assert outcome.sessions[ONE.id]["result"] == "skipped"
    assert digest_of(home / "skills" / "hello") == digest_of(package / "skills" / "hello")


def test_what_runs_leaves_behind_makes_no_difference(home: Path, package: Path) -> None:
    install(home, package)
    write(home / "skills" / "hello" / "scripts" / "__pycache__", {"a.pyc": b"\0"})
    write(home / "skills" / "hello", {".DS_Store": b"\0"})
    assert skills(run(home, "sync", package))["hello"]["state"] == "same"


# --- another skill of the same name -------------------------------------------------------------


def test_a_differing_skill_is_refused(home: Path, package: Path, later: Path) -> None:
    install(home, package)
    before = tree(home / "skills")
    outcome = install(home, later)
    assert (outcome.exit_code, outcome.codes) == (1, ["skill_differs"])
    found = skills(outcome)["hello"]
    assert (found["state"], found["result"]) == ("differs", "refused")
    differs = found["differences"]
    assert differs["added"] == ["more.md"]
    assert differs["removed"] == ["notes/a b/é.txt"]
    assert differs["changed"] == ["SKILL.md"]
    assert "-# hello\n+# hello, again\n" in differs["diff"]
    assert tree(home / "skills") == before


def test_the_difference_as_text(home: Path, package: Path, later: Path) -> None:
    install(home, package)
    for options, shown in (((), False), (("--diff-skills",), True)):
        for command in ("inspect-package", "sync"):
            out = call(command, later, "--codex-home", home, *options).out.decode()
            assert "another one is installed" in out
            assert "changed SKILL.md" in out
            assert ("+# hello, again" in out) == shown


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe", "SKILL.md: no text, or too long to be shown"),
        (b"a\0b", "SKILL.md: no text, or too long to be shown"),
        (b"x" * 300_000, "SKILL.md: no text, or too long to be shown"),
        (b"line\n" * 5_000, "… the rest is not shown"),
        (b"\x1b[31mred\n", "+\N{REPLACEMENT CHARACTER}[31mred"),
    ],
)
def test_differences_that_cannot_be_shown(
    home: Path, tmp_path: Path, package: Path, content: bytes, said: str
) -> None:
    install(home, package)
    other = package_of(tmp_path / "other", {"hello": {**HELLO, "SKILL.md": content}})
    diff = skills(run(home, "inspect-package", other))["hello"]["differences"]["diff"]
    assert said in diff
    assert len(diff) < 9_000


def test_replacing_keeps_the_former_one(home: Path, package: Path, later: Path) -> None:
    install(home, package)
    write(home / "skills" / "hello", {".git/config": "mine"})
    outcome = install(home, later, "--replace-skills")
    assert (outcome.exit_code, skills(outcome)["hello"]["result"]) == (0, "replaced")
    assert digest_of(home / "skills" / "hello") == digest_of(later / "skills" / "hello")
    transaction = home / "session-sync/transactions" / outcome.envelope["data"]["transaction_id"]
    assert digest_of(transaction / "skill-hello") == digest_of(package / "skills" / "hello")
    assert (transaction / "skill-hello" / ".git" / "config").read_text() == "mine"


def test_replacing_alone_is_wrong_usage(home: Path, package: Path) -> None:
    assert run(home, "sync", package, "--replace-skills").exit_code == 2


# --- what is not installed ----------------------------------------------------------------------


def unsafe(home: Path, package: Path, name: str) -> str:
    before = tree(home)
    planned = run(home, "inspect-package", package)
    assert skills(planned)[name]["state"] == "unsafe"
    assert planned.exit_code == 0
    outcome = install(home, package, "--replace-skills")
    assert (outcome.exit_code, outcome.codes) == (1, ["skill_unsafe"])
    assert outcome.sessions[ONE.id]["result"] in ("imported", "skipped")
    assert skills(outcome)[name]["result"] == "refused"
    assert {k: v for k, v in tree(home).items() if k.startswith(f"skills/{name}")} == {
        k: v for k, v in before.items() if k.startswith(f"skills/{name}")
    }
    return str(skills(outcome)[name]["fault"])


@pytest.mark.parametrize(
    ("name", "files", "fault"),
    [
        ("hello", {"README.md": "x"}, "no SKILL.md"),
        ("hello", {"skill.md": "x"}, "no SKILL.md"),
        ("con", HELLO, "not every system"),
        ("COM1.skill", HELLO, "not every system"),
        ("hello.", HELLO, "not every system"),
        (" hello", HELLO, "not every system"),
        ("he?llo", HELLO, "not every system"),
        ("hel\u202elo", HELLO, "not every system"),
        ("hello", {**HELLO, "aux.md": "x"}, "not every system"),
        ("hello", {**HELLO, "x" * 220: "x"}, "not every system"),
        ("hello", {**HELLO, "Notes/b.txt": "x"}, "letter case alone"),
    ],
)
def test_unfit_skills(
    home: Path, tmp_path: Path, name: str, files: dict[str, str], fault: str
) -> None:
    assert fault in unsafe(home, package_of(tmp_path / "p", {name: files}), name)


def test_too_many_files(home: Path, tmp_path: Path) -> None:
    files = {**HELLO, **{f"{n}.md": "" for n in range(2_000)}}
    assert "2003 files" in unsafe(home, package_of(tmp_path / "p", {"hello": files}), "hello")


def test_a_link_in_a_snapshot(home: Path, tmp_path: Path) -> None:
    package = write_snapshot(tmp_path / "p", [ONE])
    write(package / "skills" / "hello", HELLO)
    (package / "skills" / "hello" / "evil").symlink_to("/etc/passwd")
    assert "holds a link" in unsafe(home, package, "hello")


def test_a_linked_skill_in_a_snapshot(home: Path, tmp_path: Path) -> None:
    package = write_snapshot(tmp_path / "p", [ONE])
    write(package / "skills" / "fine", HELLO)
    (package / "skills" / "hello").symlink_to(package / "skills" / "fine")
    assert "holds a link" in unsafe(home, package, "hello")


def test_names_that_lead_out_make_the_package_unsafe(home: Path, tmp_path: Path) -> None:
    packed = tmp_path / "p.tar"
    write_transfer(tmp_path / "p", [ONE])
    with tarfile.open(packed, "w") as archive:
        archive.add(tmp_path / "p", ".")
        archive.add(tmp_path / "p" / "package_manifest.json", "skills/../../evil/SKILL.md")
    outcome = install(home, packed)
    assert (outcome.exit_code, outcome.codes) == (3, ["package_unsafe"])


def test_a_home_whose_skills_are_a_link(home: Path, tmp_path: Path, package: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    (home / "skills").symlink_to(tmp_path / "dotfiles")
    assert "is a link" in unsafe(home, package, "hello")
    assert list((tmp_path / "dotfiles").iterdir()) == []


def test_a_linked_skill_in_the_home(home: Path, tmp_path: Path, package: Path) -> None:
    write(tmp_path / "dotfiles" / "hello", OTHER)
    (home / "skills").mkdir()
    (home / "skills" / "hello").symlink_to(tmp_path / "dotfiles" / "hello")
    assert "is a link" in unsafe(home, package, "hello")


def test_a_link_inside_a_skill_of_the_home(home: Path, package: Path) -> None:
    install(home, package)
    (home / "skills" / "hello" / "own").symlink_to("SKILL.md")
    found = skills(run(home, "sync", package))["hello"]
    assert (found["state"], found["differences"]["removed"]) == ("differs", ["own"])


def test_a_file_in_the_place_of_a_skill(home: Path, package: Path) -> None:
    write(home / "skills", {"hello": "no folder"})
    assert "no folder" in unsafe(home, package, "hello")


def test_another_letter_case_in_the_home(home: Path, package: Path) -> None:
    write(home / "skills" / "Hello", HELLO)
    assert "'Hello'" in unsafe(home, package, "hello")


@pytest.mark.parametrize("name", ["a", "a b", "é", "日本", "a.b-c_d", "nulls", "com10"])
def test_portable_names(name: str) -> None:
    assert is_portable(name)


# --- undoing ------------------------------------------------------------------------------------


def undone(home: Path, *options: str) -> Outcome:
    return run(home, "rollback", "--latest", "--execute", *options)


def test_rollback_takes_a_new_skill_away(home: Path, package: Path) -> None:
    install(home, package)
    planned = run(home, "rollback", "--latest")
    assert skills(planned)["hello"]["effect"] == "remove"
    outcome = undone(home)
    assert (outcome.exit_code, skills(outcome)["hello"]["result"]) == (0, "undone")
    assert not (home / "skills").exists()
    assert outcome.sessions[ONE.id]["result"] == "undone"


def test_rollback_leaves_other_skills(home: Path, package: Path) -> None:
    write(home / "skills" / "own", HELLO)
    install(home, package)
    undone(home)
    assert [one.name for one in (home / "skills").iterdir()] == ["own"]


def test_rollback_brings_the_former_skill_back(home: Path, package: Path, later: Path) -> None:
    install(home, package)
    before = tree(home / "skills")
    install(home, later, "--replace-skills")
    assert skills(run(home, "rollback", "--latest"))["hello"]["effect"] == "put_back"
    assert undone(home).exit_code == 0
    assert tree(home / "skills") == before


def test_a_rollback_of_a_rollback(home: Path, package: Path, later: Path) -> None:
    install(home, package)
    install(home, later, "--replace-skills")
    before = tree(home / "skills")
    undone(home)
    outcome = undone(home)
    assert skills(outcome)["hello"]["effect"] == "restore"
    assert tree(home / "skills") == before
    undone(home)
    assert digest_of(home / "skills" / "hello") == digest_of(package / "skills" / "hello")


def test_a_rollback_of_a_removal(home: Path, package: Path) -> None:
    install(home, package)
    before = tree(home / "skills")
    undone(home)
    undone(home)
    assert tree(home / "skills") == before


def test_a_changed_skill_is_kept(home: Path, package: Path) -> None:
    install(home, package)
    write(home / "skills" / "hello", {"SKILL.md": "mine\n"})
    outcome = undone(home)
    assert (outcome.exit_code, outcome.codes) == (1, ["advanced_since"])
    assert skills(outcome)["hello"]["result"] == "kept"
    assert outcome.sessions[ONE.id]["result"] == "undone"
    assert (home / "skills" / "hello" / "SKILL.md").read_text() == "mine\n"


def test_a_skill_that_was_removed_is_kept_so(home: Path, package: Path) -> None:
    install(home, package)
    shutil.rmtree(home / "skills" / "hello")
    assert skills(undone(home))["hello"]["result"] == "kept"


def test_a_later_replacement_is_undone_first(home: Path, package: Path, later: Path) -> None:
    first = install(home, package).envelope["data"]["transaction_id"]
    install(home, later, "--replace-skills")
    outcome = run(home, "rollback", first, "--execute")
    assert skills(outcome)["hello"]["reason"] == "advanced_since"


def test_one_skill_alone_is_undone(home: Path, package: Path) -> None:
    install(home, package)
    outcome = undone(home, "--session", "skill:hello")
    assert outcome.envelope["data"]["sessions"] == []
    assert not (home / "skills").exists()
    assert (home / ONE.relative_path).exists()


def test_the_transaction_tells(home: Path, package: Path) -> None:
    outcome = install(home, package)
    transaction_id = outcome.envelope["data"]["transaction_id"]
    shown = run(home, "show-transaction", transaction_id).envelope["data"]["transaction"]
    [hello] = shown["skills"]
    assert (hello["name"], hello["result"], hello["now"]["state"]) == (
        "hello",
        "installed",
        "as_left",
    )
    assert {o["session_id"] for o in shown["operations"]} == {ONE.id, "skill:hello"}
    text = call("show-transaction", transaction_id, "--codex-home", home).out.decode()
    assert "skill hello: installed as it was left" in text
    text = call("rollback", transaction_id, "--codex-home", home).out.decode()
    assert "skill hello: undo; it goes out of the home" in text
    assert run(home, "sidecar-health").envelope["data"]["healthy"]
    assert run(home, "list-transactions").exit_code == 0


# --- the operation ------------------------------------------------------------------------------


@pytest.fixture
def site(home: Path) -> Site:
    (home / "session-sync").mkdir()
    return Site(home, home / "session-sync", home / "session-sync", None)


def test_moving_a_folder_and_back(home: Path, site: Site) -> None:
    write(home / "a", HELLO)
    move = MoveFolder("a", "b", digest_of(home / "a"))
    for _ in range(2):
        move.apply(site)
        assert not (home / "a").exists()
        assert digest_of(home / "b") == move.sha256
    for _ in range(2):
        move.undo(site)
        assert not (home / "b").exists()
        assert digest_of(home / "a") == move.sha256


def test_a_move_that_was_not_made_is_not_undone(home: Path, site: Site) -> None:
    write(home / "a", HELLO)
    write(home / "b", OTHER)
    MoveFolder("a", "b", digest_of(home / "a")).undo(site)
    assert digest_of(home / "a") != digest_of(home / "b")
    MoveFolder("c", "d", "0" * 64).undo(site)


@pytest.mark.parametrize("spoil", ["changed", "gone", "taken", "linked"])
def test_a_folder_that_is_not_as_expected_stays(
    home: Path, tmp_path: Path, site: Site, spoil: str
) -> None:
    write(home / "a", HELLO)
    move = MoveFolder("a", "b", digest_of(home / "a"))
    if spoil == "changed":
        write(home / "a", {"SKILL.md": "x"})
    elif spoil == "gone":
        shutil.rmtree(home / "a")
    elif spoil == "taken":
        write(home / "b", HELLO)
    else:
        (home / "a").rename(tmp_path / "elsewhere")
        (home / "a").symlink_to(tmp_path / "elsewhere")
    before = tree(home)
    with pytest.raises(HomeError) as caught:
        move.apply(site)
    assert caught.value.code in ("home_changed", "path_escapes_home")
    assert tree(home) == before


def test_a_folder_changed_since_is_not_moved_back(home: Path, site: Site) -> None:
    write(home / "a", HELLO)
    move = MoveFolder("a", "b", digest_of(home / "a"))
    move.apply(site)
    write(home / "b", {"SKILL.md": "x"})
    with pytest.raises(HomeError) as caught:
        move.undo(site)
    assert caught.value.code == "home_changed"
