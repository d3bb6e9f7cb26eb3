"""The page of ``lineage`` in a real browser: what it shows, and what its controls do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from families import BEANS, CHILD, FORK, GONE, OLD, OVEN, grown_home
from workbench import call

if TYPE_CHECKING:
    from playwright.sync_api import Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def browser() -> str | None:
    """A browser of this machine that can be driven."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


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
        found.on("request", lambda r: said.append(r.url) if r.url != document.as_uri() else None)
        found.goto(document.as_uri())
        yield found
        opened.close()
    assert said == []


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
    assert page.locator("circle.imported").count() == 6
    assert page.locator("circle.fast_forwarded").count() == 2
    assert page.locator("circle.branched").count() == 1
    assert page.locator("circle.undone").count() == 1
    assert page.locator("path.edge").count() == 3


def test_the_details_of_one(page: Page) -> None:
    page.locator(f'button[data-id="{FORK.id}"]').click()
    details = page.locator("#details")
    assert FORK.id in details.inner_text()
    assert "/home/alice/garden" in details.inner_text()
    details.get_by_role("link", name="Beans").click()
    assert details.locator("h2").inner_text() == "Beans"
    told = details.inner_text()
    assert "imported from src" in told
    assert "continued from from-laptop" in told
    assert page.locator(".row.chosen").count() == 1


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
