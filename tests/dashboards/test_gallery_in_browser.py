"""Deciding on the cards of a gallery, in a browser: one card, several at once, and nothing while somebody types."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from dashboards.data.answers import answers_at
from dashboards.data.catalog import scan
from tests.dashboards.browser import chromium, chromium_path, serving, settled
from tests.dashboards.folders import build
from winnow.corrections import Correction, read_corrections

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium_path() is None, reason="no Chromium here; install it, or name one in $CHROMIUM"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All tests write to it; each signs with a name of its own."""
    return build(tmp_path_factory.mktemp("gallery") / "data")


@pytest.fixture(scope="module")
def server(data_folder: Path) -> Iterator[str]:
    with serving(data_folder) as address:
        yield address


@pytest.fixture
def page(browser: Browser, server: str) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=server)
    tab = context.new_page()
    faults: list[str] = []
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.goto("/failures?outcome=All&run=demo-tuned&sort=As+stored")
    expect(tab.locator("a.card")).to_have_count(24)
    settled(tab)
    yield tab
    context.close()
    assert faults == []


def sign(tab: Page, name: str) -> None:
    box = tab.get_by_label("Reviewer", exact=True)
    box.fill(name)
    box.press("Tab")
    tab.wait_for_function("name => document.cookie.includes(name)", arg=name, timeout=60_000)  # a reload knows it then
    settled(tab)


@contextlib.contextmanager
def unanswered(tab: Page) -> Iterator[None]:
    """The server hears of decisions when the block ends: what the page shows until then, it shows at once."""
    held: list[Route] = []
    tab.route("**/review/decisions", lambda route: held.append(route))
    yield
    for _ in range(1800):
        if held:
            break
        tab.wait_for_timeout(100)
    assert held, "nothing is sent"
    for route in held:
        route.continue_()
    tab.unroute("**/review/decisions")


def lines_of(data: Path, reviewer: str, count: int, tab: Page) -> list[Correction]:
    """The lines of a reviewer on disk, once there are ``count``; none comes after them."""
    found: list[Correction] = []
    for _ in range(1800):
        found = [line for line in read_corrections(data / "corrections") if line.reviewer == reviewer]
        if len(found) >= count:
            break
        tab.wait_for_timeout(100)
    tab.wait_for_timeout(500)
    assert len([line for line in read_corrections(data / "corrections") if line.reviewer == reviewer]) == count
    return found


def ids(tab: Page) -> list[str]:
    return [card.get_attribute("data-sample") or "" for card in tab.locator("a.card").all()]


def hash_of(data: Path, sample_id: str) -> str:
    run = scan(data).find("evals", "demo-tuned")
    assert run
    answers = answers_at(run, None, tuple(range(200)))
    return next(answer.content_hash for answer in answers if answer.sample_id == sample_id)


def assert_lines(lines: list[Correction], data: Path, action: str, wanted: list[str]) -> None:
    assert [(line.action, line.sample_id, line.run, line.content_hash) for line in lines] == [
        (action, sample_id, "demo-tuned", hash_of(data, sample_id)) for sample_id in wanted
    ]


def test_one_key_decides_the_card_in_focus(page: Page, data_folder: Path) -> None:
    sign(page, "focus")
    page.locator("a.card").nth(2).focus()
    with unanswered(page):
        page.keyboard.press("g")
        expect(page.locator(".cell").nth(2).get_by_text("✓ Good")).to_be_visible()
    assert_lines(lines_of(data_folder, "focus", 1, page), data_folder, "keep", [ids(page)[2]])
    page.reload()
    expect(page.locator(".cell").nth(2).get_by_text("✓ Good")).to_be_visible()
    page.locator("a.card").nth(2).focus()
    page.keyboard.press("g")  # says the same again: nothing is written
    expect(page.get_by_text("stands already")).to_be_visible()
    page.locator("a.card").nth(2).focus()
    page.keyboard.press("a")  # another verdict replaces it
    expect(page.locator(".cell").nth(2).get_by_text("✓ Ambiguous")).to_be_visible()
    assert [line.action for line in lines_of(data_folder, "focus", 2, page)] == ["keep", "ambiguous"]


def test_one_key_decides_all_selected_cards(page: Page, data_folder: Path) -> None:
    sign(page, "several")
    wanted = ids(page)
    page.locator("a.card").nth(1).focus()
    page.keyboard.press("x")
    page.keyboard.press("ArrowRight")
    page.locator("a.card").nth(5).click(modifiers=["Shift"])
    page.locator("a.card").nth(3).click(modifiers=["Control"])
    page.locator("a.card").nth(4).click(modifiers=["Control"])
    expect(page.get_by_text("3 selected:")).to_be_visible()
    with unanswered(page):
        page.keyboard.press("w")
        expect(page.get_by_text("✓ Wrong reference")).to_have_count(3)
    expect(page.get_by_text("3 selected:")).to_have_count(0)
    lines = lines_of(data_folder, "several", 3, page)
    assert_lines(lines, data_folder, "exclude_from_eval", [wanted[1], wanted[2], wanted[5]])
    with unanswered(page):
        page.keyboard.press("u")  # one press of a key: taken back together
        expect(page.get_by_text("✓ Wrong reference")).to_have_count(0)
    assert {line.undoes for line in lines_of(data_folder, "several", 6, page)[3:]} == {
        line.correction_id for line in lines
    }


def test_shift_and_arrows_select_and_escape_clears(page: Page, data_folder: Path) -> None:
    sign(page, "arrows")
    page.locator("a.card").nth(0).focus()
    for _ in range(2):
        page.keyboard.press("Shift+ArrowRight")
    expect(page.get_by_text("3 selected:")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_text("3 selected:")).to_have_count(0)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("a")
    assert_lines(lines_of(data_folder, "arrows", 1, page), data_folder, "ambiguous", [ids(page)[1]])


def test_typing_decides_nothing(page: Page, data_folder: Path) -> None:
    sign(page, "typist")
    page.locator("a.card").nth(0).focus()
    page.keyboard.press("x")
    page.get_by_label("Search").click()
    page.keyboard.type("gawux")
    expect(page.get_by_label("Search")).to_have_value("gawux")
    expect(page.get_by_text("1 selected:")).to_be_visible()
    assert lines_of(data_folder, "typist", 0, page) == []


def test_what_others_decided_is_a_number(browser: Browser, server: str, page: Page, data_folder: Path) -> None:
    sign(page, "first")
    page.locator("a.card").nth(7).focus()
    page.keyboard.press("g")
    lines_of(data_folder, "first", 1, page)
    sign(page, "second")
    card = page.locator(".cell").nth(7)
    expect(card.get_by_text("decided by 1 other")).to_be_visible()
    expect(card.get_by_text("✓ Good")).to_have_count(0)


def test_j_and_k_go_on_turning_pages(page: Page) -> None:
    sign(page, "pages")
    before = ids(page)
    page.locator("a.card").nth(0).focus()
    page.keyboard.press("x")
    page.keyboard.press("j")
    expect(page.get_by_text(re.compile(r"^25–"))).to_be_visible()
    settled(page)
    assert not set(before) & set(ids(page))
    expect(page.get_by_text("1 selected:")).to_have_count(0)


def test_training_rows_take_their_own_verdicts(page: Page, data_folder: Path) -> None:
    sign(page, "trainer")
    page.goto("/curation")
    settled(page)
    card = page.locator("a.card").first
    expect(card).to_be_visible()
    wanted = card.get_attribute("data-sample")
    card.focus()
    with unanswered(page):
        page.keyboard.press("d")
        expect(page.locator(".cell").first.get_by_text("✓ Drop")).to_be_visible()
    (line,) = lines_of(data_folder, "trainer", 1, page)
    assert (line.action, line.sample_id, line.content_hash != "") == ("drop", wanted, True)
    sets = {folder.name for folder in scan(data_folder).finished("curated")}
    assert line.run in sets


def test_o_opens_the_first_card_and_b_comes_back_to_its_page(page: Page) -> None:
    page.keyboard.press("j")
    expect(page.get_by_text(re.compile(r"^25–"))).to_be_visible()
    settled(page)
    wanted = ids(page)
    expect(page.locator(".st-key-review_first")).to_be_in_viewport()
    page.keyboard.press("o")
    expect(page.get_by_text("25 of ")).to_be_visible()
    assert wanted[0].replace("/", "%2F") in page.url or wanted[0] in page.url
    page.keyboard.press("b")
    expect(page).to_have_url(re.compile("/failures"))
    expect(page.get_by_text(re.compile(r"^25–"))).to_be_visible()
    expect(page.locator("a.card")).to_have_count(len(wanted))
    assert ids(page) == wanted
