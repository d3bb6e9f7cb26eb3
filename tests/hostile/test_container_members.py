"""Members of archives that lead astray: by their names, by their kind, or by being there twice."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from archives import DATA, ROLLOUT, STEM, WRAPS, Zipped, header, member, padded, pax, tar, zipped
from hostile.arena import MANIFEST, OTHER, UNSAFE, WANTED, accepted, make_arena, refused

arena = pytest.fixture(make_arena)


# Names that lead astray, wanted or not

BAD_NAMES = {
    "absolute": "/etc/passwd",
    "absolute wanted": f"/{ROLLOUT}",
    "absolute twice": f"//{ROLLOUT}",
    "parent": "../evil.txt",
    "parent wanted": f"../{ROLLOUT}",
    "parent inside": f"sessions/../../{STEM}.jsonl",
    "parent that stays inside": f"a/../{ROLLOUT}",
    "parent at the end": "skills/..",
    "parent by blanks": f".. /{ROLLOUT}",
    "parent by dots": f".../{ROLLOUT}",
    "backslash parent": f"..\\..\\{STEM}.jsonl",
    "backslash parent unwanted": "a\\..\\..\\b",
    "backslash absolute": f"\\{STEM}.jsonl",
    "network share": f"\\\\server\\share\\{STEM}.jsonl",
    "drive": f"C:\\{STEM}.jsonl",
    "drive unwanted": "C:evil.txt",
    "drive with slash": f"c:/{ROLLOUT}",
    "newline": f"a\n/{ROLLOUT}",
    "escape sequence": "\x1b[2J.txt",
    "delete": "a\x7f",
    "C1 control": "a\x9b2J",
}


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)
@pytest.mark.parametrize("kind", [*WRAPS, "zip"])
def test_names_that_lead_astray(kind: str, name: str, arena: Path) -> None:
    if kind == "zip":
        data = zipped(Zipped(ROLLOUT), Zipped(name))
    else:
        data = WRAPS[kind](tar(member(ROLLOUT), member(name)))
    error = refused(arena, data)
    assert error.code == UNSAFE
    assert error.message.startswith(("'", '"'))


@pytest.mark.parametrize("kind", [b"5", b"2", b"1", b"6", b"L"])
@pytest.mark.parametrize("name", ["../x", "/x", "C:\\x"])
def test_names_of_members_that_hold_nothing(kind: bytes, name: str, arena: Path) -> None:
    bad = header(name, 0, kind, link="y")
    if kind == b"L":
        bad = header("././@LongLink", len(name), b"L") + padded(name.encode()) + member("short")
    assert refused(arena, tar(member(ROLLOUT), bad)).code == UNSAFE


def test_nul_in_a_pax_name(arena: Path) -> None:
    assert refused(arena, tar(pax(path=b"a\0/" + ROLLOUT.encode()), member("x"))).code == UNSAFE


def test_nul_in_a_zip_name(arena: Path) -> None:
    assert refused(arena, zipped(Zipped(ROLLOUT + "\0.txt"))).code == UNSAFE


def test_pax_name_wins_over_a_harmless_one(arena: Path) -> None:
    assert refused(arena, tar(pax(path="../" + STEM + ".jsonl"), member(ROLLOUT))).code == UNSAFE


def test_message_neither_repeats_controls_nor_floods(arena: Path) -> None:
    error = refused(arena, tar(member("\x1b]0;owned\x07\u202e" + "x" * 3000)))
    assert "\\x1b" in error.message
    assert "\\u202e" in error.message


def test_no_name_at_all(arena: Path) -> None:
    assert refused(arena, tar(member("./"), member("", b"x"))).code == UNSAFE


@pytest.mark.parametrize(
    "name",
    [
        f"a/x:y/{STEM}.jsonl",
        f"a/D:/{ROLLOUT}",
        f"{'x' * 256}/{ROLLOUT}",
        f"{'é' * 128}/{ROLLOUT}",
        f"\udcff/{ROLLOUT}",
    ],
)
def test_wanted_names_that_a_file_system_may_not_take(name: str, arena: Path) -> None:
    assert refused(arena, tar(member(name))).code == UNSAFE


def test_unwanted_names_may_be_odd(arena: Path) -> None:
    odd = [member(name) for name in ("\udcff.bin", "x" * 300, "a b ", "COM1", "ab:c/d")]
    assert list(accepted(arena, tar(*odd, member(ROLLOUT))).files) == [ROLLOUT]


# Members that are not regular files

KINDS = {"hard link": b"1", "symbolic link": b"2", "device": b"3", "block": b"4", "pipe": b"6"}


@pytest.mark.parametrize("name", WANTED)
@pytest.mark.parametrize("kind", [*KINDS.values(), b"Z"], ids=[*KINDS, "unknown"])
def test_tar_members_that_are_no_files(kind: bytes, name: str, arena: Path) -> None:
    data = tar(member(OTHER), header(name, 0, kind, link="/etc/passwd"))
    error = refused(arena, data)
    assert error.code == UNSAFE
    assert name in error.message


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_unwanted_links_and_devices_are_passed_over(kind: bytes, arena: Path) -> None:
    tree = accepted(arena, tar(member(ROLLOUT), header("tmp/x", 0, kind, link="/etc/passwd")))
    assert tree.ignored == 1


@pytest.mark.parametrize("mode", [0o120777, 0o020644, 0o060644, 0o010644, 0o140644])
def test_zip_members_that_are_no_files(mode: int, arena: Path) -> None:
    assert refused(arena, zipped(Zipped(ROLLOUT, b"/etc/passwd", mode=mode))).code == UNSAFE
    data = zipped(Zipped(ROLLOUT), Zipped("tmp/x", mode=mode))
    assert accepted(arena, data).ignored == 1


def test_sparse_members(arena: Path) -> None:
    old = header(ROLLOUT, 0, b"S", magic=b"ustar  \0", fields={483: b"77777777777\0"})
    assert refused(arena, tar(old)).code == UNSAFE
    new = pax(GNU__sparse__major="1", GNU__sparse__minor="0", GNU__sparse__name=ROLLOUT)
    sparse_map = b"1\n0\n24\n"
    assert refused(arena, tar(new, member("x", padded(sparse_map) + DATA))).code == UNSAFE


@pytest.mark.parametrize("base", ["sessions", "archived_sessions", "sessions/2026", "a/sessions"])
def test_links_that_hide_sessions(base: str, arena: Path) -> None:
    data = tar(member(f"x/{ROLLOUT}"), header(base, 0, b"2", link="../outside/sessions"))
    error = refused(arena, data)
    assert error.code == UNSAFE
    assert "symbolic link" in error.message


@pytest.mark.parametrize("base", ["metadata", "skeleton", "skills", "skills/a", "skills/a/b.md"])
@pytest.mark.parametrize("order", [1, -1])
def test_links_of_a_package_that_says_it_is_one(base: str, order: int, arena: Path) -> None:
    members = [
        member(ROLLOUT),
        header(base, 0, b"2", link="/outside"),
        member("config.toml"),
        member(MANIFEST),
    ][::order]
    assert refused(arena, tar(*members)).code == UNSAFE


def test_unpacking_through_a_link_does_not_happen(arena: Path) -> None:
    link = header("way", 0, b"2", link=str(arena / "outside"))
    tree = accepted(arena, tar(link, member(f"way/{ROLLOUT}", b"evil")))
    assert list(tree.files) == [f"way/{ROLLOUT}"]


def test_directory_with_a_wanted_name_is_only_a_directory(arena: Path) -> None:
    data = tar(header(f"{ROLLOUT}/", 0, b"5"), member(f"{ROLLOUT}/threads.jsonl"))
    assert list(accepted(arena, data).files) == [f"{ROLLOUT}/threads.jsonl"]


# Doubles

COMPOSED = unicodedata.normalize("NFC", "skills/é.md")
DOUBLES = {
    "equal": (ROLLOUT, ROLLOUT),
    "equal after ./": (ROLLOUT, f"./{ROLLOUT}"),
    "equal after slashes": (ROLLOUT, ROLLOUT.replace("/", "//")),
    "equal after backslashes": (ROLLOUT, ROLLOUT.replace("/", "\\")),
    "case": (ROLLOUT, ROLLOUT.replace("01a1fd25", "01A1FD25")),
    "case of a folder": (ROLLOUT, ROLLOUT.replace("sessions", "Sessions")),
    "case of an unwanted": (ROLLOUT, ROLLOUT.replace("rollout", "ROLLOUT")),
    "case of the manifest": (MANIFEST, MANIFEST.upper()),
    "kelvin sign": ("skills/k.md", "skills/\u212a.md"),
    "kelvin sign in a folder": ("skills/a.md", "s\u212aills/a.md"),
    "sharp s": ("skills/straße.md", "skills/STRASSE.md"),
    "normal form": (COMPOSED, unicodedata.normalize("NFD", COMPOSED)),
    "file and folder": ("skills/a", "skills/a/b.md"),
    "file and folder deeper": ("skills/a", "skills/A/b/c/d.md"),
}


@pytest.mark.parametrize("pair", DOUBLES.values(), ids=DOUBLES)
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_doubles(kind: str, pair: tuple[str, str], order: int, arena: Path) -> None:
    names = [*pair[::order], *([] if MANIFEST in pair else [MANIFEST])]
    if kind == "zip":
        data = zipped(*[Zipped(name) for name in names])
    else:
        data = tar(*[member(name) for name in names])
    assert refused(arena, data).code == UNSAFE


def test_doubles_of_a_skill_are_left_out_of_a_snapshot(arena: Path) -> None:
    data = tar(member(ROLLOUT), member("skills/a/X.md"), member("skills/a/x.md"))
    assert accepted(arena, data).left_out == ("skills/a/x.md",)
