"""The page of ``lineage`` in a real browser: what it shows, and what its controls do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builders import Session, write_snapshot
from families import BEANS, CHILD, FORK, GONE, OLD, OVEN, grown_home
from make_pictures import browser
from workbench import add_rows, call, make_database

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a family."""
    folder = tmp_path_factory.mktemp("family")
    out = folder / "lineage.html"
    home = grown_home(folder)
    assert call("lineage", "--format", "html", "-o", out, "--codex-home", home).exit_code == 0
    return out


@pytest.fixture
def page(document: Path) -> Iterator[Page]:
    """It, opened; every message of its console fails the test, and so does any request."""
    program = browser()
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("a browser is missing: in CI nothing is skipped")
        pytest.skip("NO BROWSER: install chromium to test the page of `lineage`")
    from playwright.sync_api import sync_playwright

    said: list[str] = []
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        found = opened.new_page(viewport={"width": 1200, "height": 700})
        found.on("console", lambda message: said.append(message.text))
        found.on("pageerror", lambda error: said.append(str(error)))
        found.on("request", lambda r: said.append(r.url) if not _ours(r.url) else None)
        found.goto(document.as_uri())
        yield found
        opened.close()
    assert said == []


def _ours(url: str) -> bool:
    """Whether a request is for one of the pages themselves."""
    return url.startswith("file:") and url.endswith("/lineage.html")


def shown(page: Page) -> list[str]:
    """The ids of the rows, from top to bottom."""
    buttons = page.locator(".row button")
    found = [(b.bounding_box(), b.get_attribute("data-id")) for b in buttons.all()]
    return [str(i) for box, i in sorted(found, key=lambda one: one[0]["y"] if one[0] else 0)]


def test_all_of_the_family(page: Page) -> None:
    rows = shown(page)
    assert {BEANS.id, FORK.id, OVEN.id, CHILD.id, OLD.id, GONE.id} < set(rows)
    assert len(rows) == 7
    assert rows.index(FORK.id) > rows.index(BEANS.id)
    assert page.locator("#summary").inner_text().startswith("6 sessions · 4 transactions · 3 pack")
    assert page.locator("#rows path.imported").count() == 6
    assert page.locator("#rows path.fast_forwarded").count() == 2
    assert page.locator("#rows path.branched").count() == 1
    assert page.locator("#rows path.undone").count() == 1
    assert page.locator(".tree path.edge").count() == 3


def test_the_details_of_one(page: Page) -> None:
    page.locator(f'button[data-id="{FORK.id}"]').click()
    details = page.locator("#details")
    assert FORK.id in details.inner_text()
    assert "/home/alice/garden" in details.inner_text()
    details.get_by_role("link", name="Beans").click()
    assert details.locator("h2").inner_text() == "Beans"
    told = details.inner_text()
    assert "imported from attic" in told
    assert "continued from laptop" in told
    assert page.locator(".row.chosen").count() == 1


def test_what_of_a_transaction_was_rolled_back(page: Page) -> None:
    """One session of a transaction was taken back, its other one stayed."""
    page.locator(f'button[data-id="{GONE.id}"]').click()
    details = page.locator("#details")
    assert "imported from desk (rolled back since)" in details.inner_text()
    page.get_by_role("button", name="Beans (from desk)").click()
    assert "branched from desk" in details.inner_text()
    assert "rolled back" not in details.inner_text()


def test_searching_and_leaving_out(page: Page) -> None:
    page.fill("#search", "oven")
    assert shown(page) == [OVEN.id]
    page.fill("#search", "nothing like that")
    assert page.locator("#nothing").is_visible()
    page.fill("#search", "")
    page.uncheck("#archived")
    assert OLD.id not in shown(page)
    page.uncheck("#away")
    assert GONE.id not in shown(page)


def test_a_relative_that_is_left_out_comes_back(page: Page) -> None:
    page.locator(f'button[data-id="{FORK.id}"]').click()
    page.fill("#search", "oven")
    page.locator("#details").get_by_role("link", name="Beans").click()
    assert BEANS.id in shown(page)


def test_time_as_steps_and_as_it_went(page: Page) -> None:
    def places() -> list[str | None]:
        return [line.get_attribute("x1") for line in page.locator("line.line").all()]

    even = places()
    page.select_option("#scale", "calendar")
    assert places() != even
    page.select_option("#scale", "even")
    assert places() == even


def test_light_and_dark(page: Page) -> None:
    def ground() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    page.emulate_media(color_scheme="light")
    light = ground()
    page.click("#theme")
    dark = ground()
    assert dark != light
    page.click("#theme")
    assert ground() == light
    page.emulate_media(color_scheme="dark")
    page.evaluate("delete document.documentElement.dataset.theme")
    assert ground() == dark


def test_with_the_keyboard_alone(page: Page) -> None:
    rows = shown(page)
    page.locator(f'button[data-id="{rows[0]}"]').focus()
    for expected in rows[1:3]:
        page.keyboard.press("ArrowDown")
        focused = page.evaluate("document.activeElement.dataset.id")
        assert focused == expected
    page.keyboard.press("Enter")
    assert rows[2] in page.locator("#details").inner_text()


def test_a_narrow_window(page: Page) -> None:
    page.set_viewport_size({"width": 420, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    page.locator(f'button[data-id="{BEANS.id}"]').click()
    assert page.locator("#details h2").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_can_be_made_out(page: Page, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    page.locator(f'button[data-id="{FORK.id}"]').click()
    page.wait_for_timeout(300)
    found = page.evaluate((Path(__file__).parent / "contrasts.js").read_text("utf-8"))
    assert len(found) > 50
    assert [one for one in found if one[1] < one[2]] == []


def test_no_kind_is_told_by_colour_alone(page: Page) -> None:
    signs = page.locator("footer .sign path")
    assert len({sign.get_attribute("d") for sign in signs.all()}) == signs.count() == 5


def test_the_keys_of_the_page(page: Page) -> None:
    """The rows are one stop of the tab key; / leads to the search, and Escape empties it."""
    rows = shown(page)
    assert page.locator('.row button[tabindex="0"]').count() == 1
    page.locator("#theme").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.id") == rows[0]
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.dataset.id") == rows[-1]
    page.keyboard.press("Home")
    assert page.evaluate("document.activeElement.dataset.id") == rows[0]
    page.keyboard.press("/")
    page.keyboard.type("oven")
    assert shown(page) == [OVEN.id]
    page.keyboard.press("Escape")
    assert shown(page) == rows
    page.keyboard.type("/")
    assert page.input_value("#search") == "/"


def test_packages_stand_over_what_they_did(page: Page) -> None:
    flags = page.locator("#axis .flag")
    assert [flag.inner_text() for flag in flags.all()][:3] == [
        "attic",
        "laptop",
        "desk",
    ]
    marks = page.locator("#rows path.imported").first.bounding_box()
    flag = flags.first.bounding_box()
    assert marks is not None
    assert flag is not None
    middle = flag["x"] + flag["width"] / 2
    assert marks["x"] <= middle <= marks["x"] + marks["width"]


def test_a_phone(page: Page) -> None:
    """Nothing is cut off or lies over something else."""
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator(f'button[data-id="{BEANS.id}"]').click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("document.documentElement.scrollHeight") <= 844
    inside = page.locator("#scroller")
    assert inside.evaluate("one => one.scrollWidth <= one.clientWidth")
    for mark in page.locator("#rows path.mark").all():
        box = mark.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 390
    boxes = [page.locator(one).bounding_box() for one in ("header", "#chart", "aside", "footer")]
    for one, below in pairwise(boxes):
        assert one is not None
        assert below is not None
        assert one["y"] + one["height"] <= below["y"] + 1


@pytest.fixture(scope="module")
def hundred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a hundred sessions, every tenth a fork of the one before."""
    folder = tmp_path_factory.mktemp("hundred")
    sessions: list[Session] = []
    for number in range(1, 101):
        if number % 10 == 0:
            sessions.append(sessions[-1].fork(number).say(f"Another way {number}"))
        else:
            sessions.append(Session(number, start=3000 * number).say(f"Question {number}"))
    home = folder / "home"
    home.mkdir()
    add_rows(make_database(home), [])
    package = write_snapshot(folder / "attic", sessions)
    options = ("--execute", "--no-prime", "--codex-home", home)
    assert call("sync", package, *options).exit_code == 0
    more = write_snapshot(folder / "laptop", [one.say("And?") for one in sessions[::7]])
    assert call("sync", more, *options).exit_code == 0
    out = folder / "lineage.html"
    assert call("lineage", "--format", "html", "-o", out, "--codex-home", home).exit_code == 0
    return out


def test_a_hundred_sessions(page: Page, hundred: Path) -> None:
    """Only what is seen is drawn; what was done can be told apart; the keys reach the last."""
    page.set_viewport_size({"width": 1000, "height": 600})
    page.goto(hundred.as_uri())
    assert 0 < page.locator(".row button").count() < 60
    both = page.locator("#rows path.imported").first.bounding_box()
    went_on = page.locator("#rows path.fast_forwarded").first.bounding_box()
    assert both is not None
    assert went_on is not None
    assert both["x"] + both["width"] < went_on["x"]
    page.locator(".row button").first.focus()
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    assert "Question 99" in page.locator("#details").inner_text() + str(shown(page))
    assert page.evaluate("document.activeElement.getBoundingClientRect().bottom") <= 600
    page.keyboard.press("PageUp")
    assert page.locator(":focus").bounding_box() is not None
