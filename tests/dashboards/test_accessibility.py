"""What axe-core says of every page, in light and dark; the keyboard's way to the first card."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from dashboards.data.reviews import append
from tests.dashboards.browser import chromium, chromium_path, serving, settled
from winnow.corrections import Correction

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium_path() is None, reason="no Chromium here; install it, or name one in $CHROMIUM"),
]

_FOLDER = Path(__file__).parents[2] / "dashboards" / "app_pages"
_PAGES = sorted(path.stem for path in _FOLDER.glob("*.py") if path.stem != "__init__")
_PARAMETERS = {"failures": "?outcome=All", "sample": "?id=easy_vqa/test/0"}
# By the tags of axe: what the Web Content Accessibility Guidelines 2.1 ask for on levels A and AA.
_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]


@pytest.fixture(scope="module")
def page(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    root = Path(shutil.copytree(data, tmp_path_factory.mktemp("seen") / "data"))
    line = Correction(
        correction_id="0" * 32, sample_id="easy_vqa/test/0", content_hash="0", action="ambiguous", reviewer="ann",
        at=datetime(2026, 1, 1, tzinfo=UTC), run="demo-tuned",
    )  # fmt: skip
    append(root / "corrections", line)
    with serving(root) as address, chromium() as browser:
        yield _opened(browser, address)


def _opened(browser: Browser, address: str) -> Page:
    return browser.new_page(viewport={"width": 1280, "height": 900}, base_url=address)


def _violations(page: Page) -> list[str]:
    found = page.evaluate(
        "tags => axe.run(document, {runOnly: {type: 'tag', values: tags}, resultTypes: ['violations']})", _TAGS
    )
    return [
        f"{rule['id']}: {node['html'][:160]} {[check.get('data') for check in node['any']]}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("name", _PAGES)
def test_axe_finds_nothing_in_light_and_dark(page: Page, name: str) -> None:
    page.goto(f"/{name}{_PARAMETERS.get(name, '')}")
    settled(page)
    page.evaluate(resources.files("axe_playwright_python").joinpath("axe.min.js").read_text())
    for scheme, background in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(17, 22, 29)")):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        expect(page.get_by_test_id("stApp")).to_have_css("background-color", background)
        for _ in range(50):  # colours change over a moment, longer on a busy machine
            page.wait_for_timeout(300)
            if not (found := _violations(page)):
                break
        assert found == [], scheme


def test_the_first_card_is_within_eight_tabs_and_shows_its_focus(page: Page) -> None:
    page.goto("/failures?outcome=All")
    settled(page)
    expect(page.locator("a.card").first).to_be_visible()
    for _ in range(8):
        page.keyboard.press("Tab")
        if page.evaluate(_FOCUSED).startswith("A card"):
            break
    assert page.evaluate(_FOCUSED).startswith("A card")
    width = page.locator("a.card").first.evaluate("card => getComputedStyle(card).outlineWidth")
    assert float(width.removesuffix("px")) >= 2


_FOCUSED = """() => {
  let at = document.activeElement;
  while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
  return `${at?.tagName} ${at?.className} ${at?.getAttribute("aria-label") ?? at?.textContent.slice(0, 40)}`;
}"""
