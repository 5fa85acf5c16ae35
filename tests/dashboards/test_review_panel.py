"""The review panel in a browser: every key lands on the row that was on the screen, and no decision is lost."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, Page, Route, WebSocketRoute, expect

from tests.dashboards.browser import chromium, chromium_path, loaded, serving, settled, started
from tests.dashboards.folders import build
from tests.processes import free_port
from winnow.corrections import Correction, read_corrections

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium_path() is None, reason="no Chromium here; install it, or name one in $CHROMIUM"),
]

_ROWS = 150
_PACE = 150  # milliseconds between two keys
_ALL = "/sample?run=demo-tuned&view=" + quote("outcome=All&sort=As+stored&task=vqa")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose runs have 150 rows about ten pictures, each with an id and a hash of its own.

    All tests write to it; each signs with a name of its own.
    """
    return many_rows(build(tmp_path_factory.mktemp("review") / "data"))


def many_rows(root: Path) -> Path:
    """Give the run of a data folder 150 rows."""
    path = root / "evals" / "demo-tuned" / "predictions.parquet"
    frame = pd.read_parquet(path)
    frame = frame[frame["task"] == "vqa"]
    frame = pd.concat([frame] * (_ROWS // len(frame) + 1), ignore_index=True).head(_ROWS)
    frame["question"] = [f"{number}: {question}" for number, question in enumerate(frame["question"])]
    frame["content_hash"] = [f"{number:064d}" for number in range(_ROWS)]
    frame["sample_id"] = [f"easy_vqa/test/many-{number}" for number in range(_ROWS)]
    table = pa.Table.from_pandas(frame, preserve_index=False)
    for run in ("demo-tuned", "demo-base"):
        pq.write_table(table, root / "evals" / run / "predictions.parquet", row_group_size=16)
    return root


@pytest.fixture(scope="module")
def server(many: Path) -> Iterator[str]:
    with serving(many) as address:
        yield address


@pytest.fixture
def page(browser: Browser, server: str) -> Iterator[Page]:
    with opened(browser, server) as tab:
        yield tab


@contextlib.contextmanager
def opened(browser: Browser, server: str, path: str = _ALL, width: int = 1280, height: int = 720) -> Iterator[Page]:
    """A page of a new person (cookies of its own) on which no script fails."""
    context = browser.new_context(viewport={"width": width, "height": height}, base_url=server)
    tab = context.new_page()
    faults: list[str] = []
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.on("dialog", lambda dialog: dialog.accept())
    tab.goto(path)
    at(tab, 1)
    settled(tab)
    yield tab
    context.close()
    assert faults == []


def at(tab: Page, place: int) -> None:
    """Wait until the row at this place (from 1) is on the screen."""
    expect(tab.get_by_text(" in this view")).to_have_text(re.compile(rf"^{place} of "))


def sign(tab: Page, name: str) -> None:
    """Type a name; leaving the box is what commits it."""
    box = tab.get_by_label("Reviewer", exact=True)
    box.fill(name)
    box.press("Tab")


def sign_in(tab: Page, name: str) -> None:
    """As ``sign``, and wait until the browser keeps the name, so that a reload and other tabs have it."""
    sign(tab, name)
    tab.wait_for_function("name => document.cookie.includes(name)", arg=name, timeout=60_000)


def lines_of(data: Path, reviewer: str, count: int, tab: Page) -> list[Correction]:
    """The decisions of a reviewer on disk, once there are ``count``."""
    found: list[Correction] = []
    for _ in range(1800):
        found = [line for line in read_corrections(data / "corrections") if line.reviewer == reviewer]
        if len(found) >= count:
            break
        tab.wait_for_timeout(100)
    assert len(found) == count
    return found


def press(tab: Page, *keys: str, pace: int = _PACE) -> None:
    for key in keys:
        tab.keyboard.press(key)
        tab.wait_for_timeout(pace)


def assert_right_rows(lines: list[Correction], first: int, count: int, reviewer: str) -> None:
    """One verdict a row, on consecutive rows from ``first``, each with its row's own hash."""
    wanted = range(first, first + count)
    assert [line.sample_id for line in lines] == [f"easy_vqa/test/many-{number}" for number in wanted]
    assert [line.content_hash for line in lines] == [f"{number:064d}" for number in wanted]
    assert {(line.reviewer, line.action, line.run) for line in lines} == {
        (reviewer, "exclude_from_eval", "demo-tuned")
    }  # fmt: skip


def verdict_then_next(tab: Page, count: int) -> None:
    press(tab, *["w", "j"] * count)


def verdicts_only(tab: Page, count: int) -> None:
    press(tab, *["w"] * count)


@pytest.mark.slow
@pytest.mark.parametrize("habit", [verdict_then_next, verdicts_only])
def test_forty_verdicts_at_speed_land_on_forty_rows(page: Page, many: Path, habit: Callable[[Page, int], None]) -> None:
    name = habit.__name__
    sign(page, name)
    with loaded():
        habit(page, 40)
        lines = lines_of(many, name, 40, page)
    assert_right_rows(lines, 0, 40, name)
    at(page, 41)
    expect(page.get_by_text(" in this view")).to_have_text(f"41 of {_ROWS} in this view, {_ROWS - 40} left to you")


def test_other_runs_are_read_when_they_are_unfolded_and_stay_so(page: Page, many: Path) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "review/others" in request.url else None)
    page.keyboard.press("j")
    at(page, 2)
    assert not asked
    others = page.locator("details", has_text="Other runs")
    others.locator("summary").click()
    for place in (3, 4):
        expect(others.locator(".others li")).to_contain_text("demo-base")
        page.keyboard.press("j")
        at(page, place)
    expect(others.locator(".others li")).to_contain_text("demo-base")
    assert len(asked) == 3


def test_a_verdict_about_an_earlier_text_of_the_row_is_said_anew(page: Page, many: Path) -> None:
    earlier = [
        Correction(
            correction_id=f"again-{number}", sample_id=f"easy_vqa/test/many-{number}", content_hash=content,
            action="exclude_from_eval", reviewer="again", at=datetime(2026, 1, 1, tzinfo=UTC), run="demo-tuned",
        )
        for number, content in ((0, f"{0:064d}"), (1, "of another text"))
    ]  # fmt: skip
    (many / "corrections").mkdir(exist_ok=True)
    (many / "corrections" / "again.jsonl").write_text("".join(f"{line.model_dump_json()}\n" for line in earlier))
    sign_in(page, "again")
    page.reload()
    at(page, 1)
    page.keyboard.press("l")
    expect(page.get_by_text("stands already")).to_be_visible()
    at(page, 2)
    expect(page.get_by_text("about an earlier text")).to_be_visible()
    page.keyboard.press("l")
    at(page, 3)
    *_, anew = lines_of(many, "again", 3, page)
    assert (anew.sample_id, anew.content_hash) == ("easy_vqa/test/many-1", f"{1:064d}")


def test_without_advancing_j_goes_on(page: Page, many: Path) -> None:
    page.get_by_label("advance after a verdict").uncheck()
    sign(page, "without")
    verdict_then_next(page, 5)
    assert_right_rows(lines_of(many, "without", 5, page), 0, 5, "without")
    at(page, 6)
    page.reload()
    expect(page.get_by_label("advance after a verdict")).not_to_be_checked()


def test_a_second_j_after_a_verdict_passes_a_row(page: Page, many: Path) -> None:
    sign(page, "second")
    press(page, "w", "j", "j", "w")
    first, second = lines_of(many, "second", 2, page)
    assert (first.sample_id[-6:], second.sample_id[-6:]) == ("many-0", "many-2")


def test_keys_pressed_before_the_first_row_is_there_wait_for_it(page: Page, many: Path) -> None:
    sign_in(page, "early")
    settled(page)
    held: list[Route] = []
    page.route("**/review/rows**", lambda route: held.append(route))
    page.reload()
    expect(page.get_by_text("Loading the row")).to_be_visible()
    expect(page.get_by_label("Reviewer", exact=True)).to_have_value("early")
    press(page, "w", "j", "w", pace=30)
    for route in held:
        route.continue_()
    page.unroute("**/review/rows**")
    lines = lines_of(many, "early", 2, page)
    assert [line.sample_id[-6:] for line in lines] == ["many-0", "many-1"]


def test_a_killed_server_loses_nothing(browser: Browser, many: Path) -> None:
    port = free_port()
    server = started(many, port)
    try:
        with opened(browser, f"http://127.0.0.1:{port}") as tab:
            sign(tab, "killed")
            verdict_then_next(tab, 15)
            server.kill()
            server.wait(20)
            verdict_then_next(tab, 15)
            expect(tab.get_by_text(re.compile(r"^1?\d decisions not yet saved"))).to_be_visible()
            server = started(many, port)
            verdict_then_next(tab, 15)
            assert_right_rows(lines_of(many, "killed", 45, tab), 0, 45, "killed")
            expect(tab.get_by_text("not yet saved")).to_have_count(0)
    finally:
        server.kill()
        server.wait(20)


def test_a_reload_loses_nothing(page: Page, many: Path) -> None:
    sign_in(page, "reload")
    lines_before = 0
    for part in range(3):
        if part == 1:  # nothing is confirmed before the page goes
            page.route("**/review/decisions", lambda route: route.abort())
        press(page, *["w", "j"] * 6, pace=60)
        lines_before += 6
        if part == 1:
            page.unroute("**/review/decisions")
        page.reload()
        at(page, lines_before + 1)
    assert_right_rows(lines_of(many, "reload", 18, page), 0, 18, "reload")


def test_two_tabs_neither_lose_nor_double_lines(page: Page, many: Path) -> None:
    sign_in(page, "tabs")
    settled(page)
    page.route("**/review/decisions", lambda route: route.abort())
    press(page, "w", "w", "w", pace=30)
    other = page.context.new_page()
    other.goto(_ALL.replace("&view", "&id=easy_vqa/test/many-20&view"))
    at(other, 21)
    press(other, "w", "w", "w", pace=30)
    page.unroute("**/review/decisions")
    lines = lines_of(many, "tabs", 6, page)
    assert sorted(int(line.sample_id.rpartition("-")[2]) for line in lines) == [0, 1, 2, 20, 21, 22]
    assert len({line.correction_id for line in lines}) == 6


def test_the_page_below_and_the_nearest_rows_are_of_the_row_on_the_screen(page: Page) -> None:
    press(page, "j", "j")
    below = page.locator("a[href*='find?']")
    expect(below).to_have_attribute("href", re.compile("many-2$"))
    press(page, "k", "n")
    expect(page.get_by_role("button", name="Hide the nearest training rows")).to_be_visible()
    expect(below).to_have_attribute("href", re.compile("many-1$"))


class Answers:
    """What the server tells Streamlit's part of a page; while ``are_slow`` it does not arrive."""

    def __init__(self, tab: Page) -> None:
        self.are_slow = False
        self._held: list[Callable[[], None]] = []
        tab.route_web_socket(re.compile("/_stcore/stream"), self._between)

    def _between(self, socket: WebSocketRoute) -> None:
        def told(message: str | bytes) -> None:
            if self.are_slow:
                self._held.append(lambda: socket.send(message))
            else:
                socket.send(message)

        socket.connect_to_server().on_message(told)

    def held(self, tab: Page) -> list[Callable[[], None]]:
        """What has not arrived, once there is something and no more of it comes."""
        seen = -1
        while not self._held or len(self._held) != seen:
            seen = len(self._held)
            tab.wait_for_timeout(1500)
        return self._held.copy()


@pytest.fixture
def slow(browser: Browser, server: str) -> Iterator[tuple[Page, Answers]]:
    """A page that was drawn before the answers became slow."""
    context = browser.new_context(viewport={"width": 1280, "height": 720}, base_url=server)
    tab = context.new_page()
    answers = Answers(tab)
    tab.goto(_ALL)
    at(tab, 1)
    settled(tab)
    answers.are_slow = True
    yield tab, answers
    context.close()


def test_a_name_stands_while_a_slow_run_of_the_page_still_knows_the_earlier_one(
    slow: tuple[Page, Answers], many: Path
) -> None:
    tab, answers = slow
    tab.keyboard.press("j")  # the page below follows: a run that knows the earlier name
    earlier = answers.held(tab)
    sign(tab, "late")
    for send in earlier:
        send()
    tab.wait_for_timeout(1000)
    tab.keyboard.press("w")
    (line,) = lines_of(many, "late", 1, tab)
    assert line.sample_id == "easy_vqa/test/many-1"


def test_back_is_the_last_that_a_page_asks_of_a_slow_server(slow: tuple[Page, Answers]) -> None:
    tab, answers = slow
    press(tab, "j", "b", pace=0)
    found = answers.held(tab)
    answers.are_slow = False
    for send in found:
        send()
    expect(tab).to_have_url(re.compile("/failures"))
    expect(tab.locator("a.card").first).to_be_visible()
    settled(tab)
    expect(tab).to_have_url(re.compile("/failures"))


def test_two_reviewers_keep_their_names_at_speed(browser: Browser, server: str, many: Path) -> None:
    with opened(browser, server) as ann, opened(browser, server) as bob:
        sign(ann, "ann")
        sign(bob, "bob")
        for _ in range(10):
            press(ann, "w", "j", pace=60)
            press(bob, "w", "j", pace=60)
        for name in ("ann", "bob"):
            assert_right_rows(lines_of(many, name, 10, ann), 0, 10, name)
