"""Find in headless Chromium: pictures are embedded by a button, a text finds them, a lasso selects them."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.dashboards.browser import chromium, chromium_path, serving, settled

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium_path() is None, reason="no Chromium here; install it, or name one in $CHROMIUM"),
]
_RUN = "run=demo-tuned"
_FAILURES = "a.card[data-sample*='/test/']"  # training rows have cards, too


@pytest.fixture(scope="module")
def place(found: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("browser") / "data"
    return Path(shutil.copytree(found, root, ignore=shutil.ignore_patterns("cache")))


@pytest.fixture(scope="module")
def page(place: Path) -> Iterator[Page]:
    with serving(place) as address, chromium() as browser:
        yield _new_page(browser, address)


def _new_page(browser: Browser, address: str) -> Page:
    page = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=address).new_page()
    page.set_default_timeout(60_000)
    return page


def _wrong(place: Path) -> set[str]:
    table = pd.read_parquet(place / "evals" / "demo-tuned" / "predictions.parquet")
    return set(table[(table["accuracy"] < 0.5) | (table["status"] != "ok")]["sample_id"])


def _cards(page: Page) -> list[str]:
    return [card.get_attribute("data-sample") or "" for card in page.locator(_FAILURES).all()]


def _queued(page: Page, place: Path) -> set[str]:
    """The ids of the list that the review on the screen goes through."""
    (view,) = parse_qs(urlsplit(page.url).query)["view"]
    (name,) = parse_qs(view)["name"]
    return set(pd.read_parquet(place / "cache" / "selections" / f"{name}.parquet")["sample_id"])


def test_pictures_are_embedded_and_a_text_finds_them(page: Page, place: Path) -> None:
    page.goto(f"/find?{_RUN}")
    settled(page)
    page.get_by_role("button", name="Embed 40 pictures").click()
    expect(page.get_by_text("are not embedded yet")).to_have_count(0)
    page.get_by_label("Pictures that show").fill("a red circle")
    page.get_by_label("Pictures that show").press("Enter")
    expect(page).to_have_url(re.compile(r"shows=a\+red\+circle|shows=a%20red%20circle"))
    expect(page.locator(_FAILURES).first).to_be_visible()
    settled(page)
    assert 0 < len(_cards(page)) <= 24 and set(_cards(page)) <= _wrong(place)
    expect(page.locator(f"{_FAILURES} img").first).to_have_js_property("naturalWidth", 320)
    found = _cards(page)
    page.locator(_FAILURES).nth(1).click()
    expect(page).to_have_url(re.compile("/sample.*list%3Dselection"))
    settled(page)
    assert found[1] in _queued(page, place), "the review holds what was found"
    expect(page.get_by_text(found[1]).first).to_be_visible()


def test_a_lasso_selects_cards_and_starts_a_review(page: Page, place: Path) -> None:
    page.goto(f"/find?{_RUN}&find_by=On+a+map&map_by=PCA")
    canvas = page.locator("canvas.points")
    canvas.wait_for()
    settled(page)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box
    x, y, reach = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, box["height"] / 2 - 2
    page.mouse.move(x + reach, y)
    page.mouse.down()
    for step in range(1, 40):
        page.mouse.move(x + reach * math.cos(step * math.pi / 20), y + reach * math.sin(step * math.pi / 20))
    page.mouse.up()
    title = page.get_by_role("heading", name=re.compile("Selected: [1-9]"))
    expect(title).to_be_visible()
    settled(page)
    expect(page.locator(_FAILURES).first).to_be_visible()
    assert set(_cards(page)) <= _wrong(place)
    button = page.get_by_role("button", name=re.compile("Review these")).first
    count = int(re.findall(r"\d+", button.inner_text().replace(",", ""))[0])
    button.click()
    expect(page).to_have_url(re.compile("/sample.*list%3Dselection"))
    settled(page)
    assert len(_queued(page, place)) == count and _queued(page, place) <= _wrong(place)
    expect(page.get_by_text(re.compile(rf"of {count}\b")).first).to_be_visible()
