"""What tables and paragraphs become at any width, and how ages and folders are told."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text

from codex_session_sync.report.screen import Screen, cut
from codex_session_sync.report.table import GAP, LEAST, Column, fitted, table

NOW = datetime(2026, 3, 9, 12, tzinfo=UTC)

texts = st.text(st.sampled_from("ab 漢字🌱\u0301שלם[/]\\"), max_size=30)
"""Texts of narrow, wide, combining and right-to-left characters, and of what rich might act on."""


def screen(width: int, home: str | None = "/home/alice") -> tuple[Screen, io.StringIO]:
    out = io.StringIO()
    return Screen(NOW, home, file=out, width=width, color_system=None), out


@st.composite
def columns(draw: st.DrawFn) -> list[Column]:
    rows = draw(st.integers(1, 4))
    found = []
    for number in range(draw(st.integers(1, 7))):
        one = Column(draw(texts), right=draw(st.booleans()), drop=draw(st.integers(0, 3)))
        one.gives, one.middle = (28 if number == 1 else 0), draw(st.booleans())
        for _ in range(rows):
            one.add(draw(texts))
        found.append(one)
    return found


@given(columns(), st.integers(20, 150))
def test_a_row_is_a_line_and_fits(found: list[Column], width: int) -> None:
    out, written = screen(width)
    table(found, out)
    lines = written.getvalue().split("\n")[:-1]
    shown = fitted([c for c in found if not c.drop or any(text for text, _ in c.cells)], width)
    rows = len(found[0].cells) if shown else 0
    assert len(lines) == rows + any(column.title for column, _ in shown)
    assert all(cell_len(line) <= width for line in lines)


@given(columns(), st.integers(1, 150))
def test_what_matters_least_is_left_out_first(found: list[Column], width: int) -> None:
    shown = fitted(found, width)
    kept, dropped = [c for c, _ in shown], [c for c in found if c not in [k for k, _ in shown]]
    assert all(column.drop for column in dropped)
    assert [c for c in found if not c.drop] == [c for c in kept if not c.drop]
    if dropped:
        assert min(c.drop for c in dropped) >= max((c.drop for c in kept if c.drop), default=0)
    sizes = sum(size for _, size in shown) + GAP * (len(shown) - 1)
    assert sizes <= width or max(size for _, size in shown) <= LEAST


def test_all_is_shown_where_there_is_room() -> None:
    wide = Column("name", gives=28)
    wide.add("x" * 60)
    folder, age = Column("folder", drop=5), Column("age", drop=4)
    folder.add("~/garden")
    age.add("3 d")
    assert [c.title for c, _ in fitted([wide, folder, age], 140)] == ["name", "folder", "age"]
    assert [c.title for c, _ in fitted([wide, folder, age], 40)] == ["name", "age"]
    assert [c.title for c, _ in fitted([wide, folder, age], 30)] == ["name"]


@given(texts, st.integers(1, 40), st.booleans())
def test_what_is_cut_fits(text: str, width: int, middle: bool) -> None:
    found = cut(Text(text), width, middle=middle)
    assert found.cell_len <= width
    assert found.plain == text or "…" in found.plain


@given(st.lists(st.sampled_from(["word", "漢字", "`a command x`", "12 entries", "→", "x" * 50])))
def test_a_paragraph_loses_nothing_and_breaks_no_command(words: list[str]) -> None:
    out, written = screen(40)
    out.paragraph(Text(" ".join(words)))
    lines = written.getvalue().split("\n")[:-1]
    assert " ".join(" ".join(lines).split()) == " ".join(" ".join(words).split())
    assert "".join(lines).count("`a command x`") == words.count("`a command x`")
    assert "".join(lines).count("12 entries") == words.count("12 entries")
    for line in lines:
        assert cell_len(line) <= 40 or "x" * 50 in line


def test_further_lines_of_a_paragraph_are_moved() -> None:
    out, written = screen(12)
    out.paragraph(Text("  → one two three"), 4)
    assert written.getvalue() == "  → one two\n    three\n"


@pytest.mark.parametrize(
    ("back", "told"),
    [
        (timedelta(seconds=0), "now"),
        (timedelta(seconds=5), "5 s"),
        (timedelta(minutes=59), "59 min"),
        (timedelta(hours=2), "2 h"),
        (timedelta(days=3), "3 d"),
        (timedelta(days=20), "2 wk"),
        (timedelta(days=200), "6 mo"),
        (timedelta(days=800), "2 y"),
        (timedelta(minutes=-5), "now"),
        (timedelta(days=-5), ""),
    ],
)
def test_ages(back: timedelta, told: str) -> None:
    out, _ = screen(80)
    assert out.age((NOW - back).isoformat()) == told
    assert out.age((NOW - back).isoformat().replace("+00:00", "Z")) == told


@pytest.mark.parametrize("then", [None, "", "yesterday"])
def test_no_age(then: str | None) -> None:
    assert screen(80)[0].age(then) == ""


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/home/alice/garden", "~/garden"),
        ("/home/alice", "~"),
        ("/home/alice/src/garden/beds", "…/garden/beds"),
        ("/home/alicent/garden", "…/alicent/garden"),
        ("/srv/x", "/srv/x"),
        ("C:\\Users\\bob\\src\\garden", "…/src/garden"),
        ("", ""),
        (None, ""),
    ],
)
def test_folders(path: str | None, told: str) -> None:
    assert screen(80)[0].folder(path) == told


def test_without_a_home_no_folder_is_one_in_it() -> None:
    assert screen(80, None)[0].folder("/home/alice/garden") == "…/alice/garden"
