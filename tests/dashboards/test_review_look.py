"""How review mode looks with long texts of several scripts: nothing needs scrolling, words are plain."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page, expect

from dashboards.review.panel import scripts
from tests.dashboards.browser import chromium, chromium_path, serving, settled
from tests.dashboards.photos import RUNS, add_decisions, add_photos
from winnow.corrections import WRONG_REFERENCE, read_corrections

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium_path() is None, reason="no Chromium here; install it, or name one in $CHROMIUM"),
]

_VIEW = "/sample?" + urlencode({"run": RUNS[-1], "view": "outcome=All&sort=As stored"})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("look") / "data"
    add_photos(place, RUNS[-3:], copies=2)
    add_decisions(place, RUNS[-1])
    return place


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[str]:
    with serving(root) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


def _open(browser: Browser, server: str, width: int, height: int, name: str = "") -> Page:
    tab: Page = browser.new_context(viewport={"width": width, "height": height}, base_url=server).new_page()
    tab.goto(_VIEW)
    if name:
        box = tab.get_by_label("Reviewer", exact=True)
        box.fill(name)
        box.press("Tab")
        settled(tab)
    tab.locator(".panel .question").wait_for()
    settled(tab)
    return tab


def _bottom(tab: Page, selector: str) -> float:
    found = tab.locator(selector).first.bounding_box()
    assert found and found["x"] >= 0 and found["x"] + found["width"] <= tab.evaluate("window.innerWidth") + 1
    return found["y"] + found["height"]


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1280, 720), (390, 844)])
def test_a_row_with_long_texts_and_its_keys_need_no_scrolling(
    browser: Browser, server: str, width: int, height: int
) -> None:
    tab = _open(browser, server, width, height)
    for _ in range(10):  # questions of all scripts, ten references, options, boxes, three pictures
        side = _bottom(tab, ".panel .side")
        assert _bottom(tab, ".panel .question") <= side
        assert _bottom(tab, ".panel .answer") <= side + 1
        assert _bottom(tab, ".panel .frame") <= height
        for number in range(5):
            assert _bottom(tab, f".verdicts button >> nth={number}") <= height
        header = tab.get_by_test_id("stHeader").bounding_box()
        frame = tab.locator(".panel .frame").bounding_box()
        assert header and frame and frame["y"] >= header["y"] + header["height"]
        tab.keyboard.press("j")
        tab.wait_for_timeout(200)
    assert tab.evaluate("document.scrollingElement.scrollWidth <= window.innerWidth")


def test_verdict_buttons_of_a_row_are_of_one_size_whoever_else_decided(browser: Browser, server: str) -> None:
    tab = _open(browser, server, 1280, 720)
    expect(tab.locator(".verdicts .who")).to_have_text(["Bob", "Ann Li"])
    buttons = [tab.locator(".verdicts button").nth(number).bounding_box() for number in range(5)]
    sizes = [(round(box["width"]), round(box["height"])) for box in buttons if box]
    assert len(set(sizes[:3])) == 1 and len(set(sizes[3:])) == 1


def test_leave_out_is_a_verdict_of_its_own_and_earlier_ones_fold_away(
    browser: Browser, server: str, root: Path
) -> None:
    tab = _open(browser, server, 1440, 900, "cleo")
    tab.get_by_label("advance after a verdict").uncheck()
    buttons = tab.locator(".verdicts button")
    leave, wrong = buttons.filter(has_text="Leave out"), buttons.filter(has_text="Wrong reference")
    tab.keyboard.press("l")
    expect(leave).to_have_attribute("aria-pressed", "true")
    expect(wrong).to_have_attribute("aria-pressed", "false")
    tab.keyboard.press("w")
    expect(wrong).to_have_attribute("aria-pressed", "true")
    expect(leave).to_have_attribute("aria-pressed", "false")
    earlier = tab.locator("details", has_text="3 earlier decisions")  # two of Ann, one of Cleo
    expect(earlier).to_be_visible()
    expect(tab.locator("section .decisions li.superseded")).to_have_count(0)
    for _ in range(1800):
        mine = [line for line in read_corrections(root / "corrections") if line.reviewer == "cleo"]
        if len(mine) == 2:
            break
        tab.wait_for_timeout(100)
    assert [(line.action, line.tags) for line in mine] == [
        ("exclude_from_eval", ()), ("exclude_from_eval", (WRONG_REFERENCE,)),
    ]  # fmt: skip


def test_a_row_says_in_plain_words_what_is_known(browser: Browser, server: str) -> None:
    tab = _open(browser, server, 1440, 900)
    side = tab.locator(".panel .side")
    expect(side.get_by_text("6 more", exact=True)).to_be_visible()
    expect(side.get_by_text("feline", exact=True)).to_be_hidden()
    side.get_by_text("6 more", exact=True).click()
    expect(side.get_by_text("feline", exact=True)).to_be_visible()
    side.get_by_text("Reasoning before the answer").click()
    expect(side.get_by_text("First I look at the middle")).to_be_visible()
    side.get_by_text("Other runs").click()
    expect(side.get_by_text("Other runs (2)")).to_be_visible()
    expect(side.locator(".others b")).to_have_text([RUNS[-2], RUNS[-3]])
    expect(side.locator(".why .small")).to_have_text(["Accuracy 100.0% · VQA accuracy 100.0%"])


@pytest.fixture(scope="module")
def diff(browser: Browser) -> Iterator[Page]:
    tab = browser.new_page()
    tab.evaluate(f"() => {{ {scripts('texts')}; window.wordDiff = wordDiff; }}")
    yield tab


_TEXTS = st.text(alphabet="ab .,\n一杯黑茶あア", max_size=12)


@settings(max_examples=150, deadline=None)
@given(before=_TEXTS, after=_TEXTS)
def test_the_diff_of_an_edit_holds_both_texts(diff: Page, before: str, after: str) -> None:
    pairs = diff.evaluate("([before, after]) => wordDiff(before, after)", [before, after])
    assert "".join(text for mark, text in pairs if mark in "=-") == before
    assert "".join(text for mark, text in pairs if mark in "=+") == after
    assert all(text for _, text in pairs)
    assert all(one[0] != other[0] for one, other in pairwise(pairs))


@pytest.mark.parametrize(
    ("before", "after", "pairs"),
    [
        ("a red cat", "a blue cat", [["=", "a "], ["-", "red"], ["+", "blue"], ["=", " cat"]]),
        ("a red cat", "the blue cat", [["-", "a red"], ["+", "the blue"], ["=", " cat"]]),
        ("一杯黑咖啡", "一杯绿茶", [["=", "一杯"], ["-", "黑咖啡"], ["+", "绿茶"]]),
    ],
)
def test_the_diff_of_an_edit_keeps_words_whole(diff: Page, before: str, after: str, pairs: list[list[str]]) -> None:
    assert diff.evaluate("([before, after]) => wordDiff(before, after)", [before, after]) == pairs
