"""What only a browser can show: links, images on the screen, keys, and that nothing leaves the machine."""

from __future__ import annotations

import http.client
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.dashboards.browser import chromium, chromium_path, serving, settled
from tests.dashboards.folders import HOSTILE
from winnow.corrections import Correction, read_corrections

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium_path() is None, reason="no Chromium here; install it, or name one in $CHROMIUM"),
]


@pytest.fixture(scope="module")
def server(data: Path) -> Iterator[str]:
    with serving(data) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, server: str) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=server)
    opened = context.new_page()
    left: list[str] = []
    opened.on("request", lambda request: left.append(request.url) if _leaves(request.url, server) else None)
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda message: faults.append(message.text) if "Content Security" in message.text else None)
    yield opened
    context.close()
    assert left == [], "requests left this machine"
    assert faults == []


def _leaves(url: str, server: str) -> bool:
    return not url.startswith((server, server.replace("http", "ws"), "data:", "blob:"))


def _open(page: Page, path: str) -> Page:
    page.goto(path)
    return settled(page)


def _cards(page: Page) -> list[str]:
    return [card.get_attribute("data-sample") or "" for card in page.locator("a.card").all()]


def _parameters(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def test_deep_link_to_a_sample(page: Page) -> None:
    _open(page, "/sample?id=easy_vqa/test/0&run=demo-base")
    expect(page.get_by_text("what is the red shape?", exact=True)).to_be_visible()
    expect(page.get_by_text("4 training rows show this image")).to_be_visible()
    assert _parameters(page)["run"] == ["demo-base"]


def test_thumbnails_are_really_painted(page: Page) -> None:
    _open(page, "/failures?outcome=All")
    images = page.locator("a.card img")
    expect(images).to_have_count(24)
    for image in images.all()[:8]:
        expect(image).to_have_js_property("naturalWidth", 320)
        assert "/app/static/thumb/" in (image.get_attribute("src") or "")


def test_a_filter_goes_into_the_url_and_a_reload_gives_the_same_view(page: Page) -> None:
    _open(page, "/failures")
    page.get_by_role("radio", name="All").or_(page.get_by_role("button", name="All", exact=True)).first.click()
    expect(page).to_have_url(re.compile("outcome=All"))
    page.get_by_label("Search").fill("triangle")
    page.get_by_label("Search").press("Enter")
    expect(page).to_have_url(re.compile("q=triangle"))
    settled(page)
    # The old gallery and an old count can stand a while: every card that is left names the word.
    expect(page.locator("a.card").filter(has_not_text="triangle")).to_have_count(0)
    expect(page.locator("a.card").filter(has_text="triangle").first).to_be_visible()
    settled(page)
    before = _cards(page)
    shown = page.get_by_text(re.compile(rf"^1–{len(before)} of {len(before)} answers$"))
    expect(shown).to_be_visible()
    assert 0 < len(before) < 24
    page.reload()
    settled(page)
    expect(page.locator("a.card")).to_have_count(len(before))
    assert _cards(page) == before
    assert page.get_by_label("Search").input_value() == "triangle"


def test_card_to_sample_and_back_keeps_view_and_run(page: Page) -> None:
    _open(page, "/failures?run=demo-base&outcome=All&qt=color&sort=As+stored")
    expect(page.locator("a.card").first).to_be_visible()
    cards = _cards(page)
    page.locator("a.card").nth(1).click()
    expect(page).to_have_url(re.compile("/sample"))
    settled(page)
    expect(page.get_by_text(f"2 of {len(cards)} in this view")).to_be_visible()
    assert _parameters(page)["id"] == [cards[1]]
    page.keyboard.press("j")
    expect(page.get_by_text(f"3 of {len(cards)} in this view")).to_be_visible()
    page.keyboard.press("b")
    expect(page).to_have_url(re.compile("/failures"))
    expect(page.locator("a.card")).to_have_count(len(cards))
    assert _cards(page) == cards
    assert _parameters(page)["qt"] == ["color"] and _parameters(page)["outcome"] == ["All"]


def test_a_cards_address_opens_the_same_sample_in_a_new_tab(page: Page) -> None:
    _open(page, "/failures?run=demo-base&outcome=All&qt=color&sort=As+stored")
    address = page.locator("a.card").nth(1).evaluate("link => link.href")
    wanted = _cards(page)
    other = page.context.new_page()
    _open(other, address)
    expect(other.get_by_text(f"2 of {len(wanted)} in this view")).to_be_visible()


def test_the_run_goes_along_from_the_overview(page: Page) -> None:
    _open(page, "/?run=demo-base")
    expect(page.get_by_text("wrong answers")).to_be_visible()
    page.get_by_text("broken since the baseline").click()
    expect(page).to_have_url(re.compile("/failures"))
    settled(page)
    expect(page.locator("a.card").first).to_be_visible()
    assert _parameters(page)["outcome"] == ["Broken"]
    assert all("demo-base" in (card.get_attribute("href") or "") for card in page.locator("a.card").all())


def test_keys_turn_pages_but_not_while_typing(page: Page) -> None:
    _open(page, "/failures?outcome=All")
    expect(page.locator("a.card").first).to_be_visible()
    first = _cards(page)
    page.get_by_label("Search").focus()
    page.keyboard.type("j")
    assert "page=2" not in page.url
    page.get_by_label("Search").fill("")
    page.get_by_label("Search").press("Enter")
    settled(page)
    page.mouse.click(640, 20)
    page.keyboard.press("j")
    expect(page).to_have_url(re.compile("page=2"))
    expect(page.get_by_text("25–48 of 48 answers")).to_be_visible()
    assert not set(first) & set(_cards(page))


@pytest.mark.parametrize("path", ["/failures?outcome=All&q=onerror", "/sample?id=easy_vqa/test/3"])
def test_markup_in_a_question_stays_text(page: Page, path: str) -> None:
    _open(page, path)
    expect(page.get_by_text(HOSTILE, exact=True)).to_be_visible()
    assert page.title() != "owned"
    assert page.locator("img[src='x'], img[src*='example.com']").count() == 0


def test_dark_and_light_both_draw_the_charts(browser: Browser, server: str) -> None:
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme, base_url=server)  # type: ignore[arg-type]
        page = _open(context.new_page(), "/")
        expect(page.get_by_test_id("stVegaLiteChart")).to_have_count(3)
        context.close()


@pytest.mark.parametrize("path", ["/", "/_stcore/health", "/app/static/thumb/none"])
def test_requests_for_another_host_are_refused(server: str, path: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(server).netloc)
    for host, status in (("evil.example", 400), ("127.0.0.1", 200), ("localhost", 200)):
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status, host
    connection.close()


@pytest.mark.parametrize(
    ("host", "origin", "opens"),
    [
        ("", "{server}", True), ("", "", True), ("", "http://evil.example", False), ("", "null", False),
        ("evil.example", "http://evil.example", False), ("evil.example", "", False),
    ],
)  # fmt: skip
def test_the_websocket_is_for_this_servers_own_pages(server: str, host: str, origin: str, opens: bool) -> None:
    """A page of another site, or one that rebound its name to this machine, reads and decides nothing."""
    connection = http.client.HTTPConnection(urlsplit(server).netloc)
    headers = {
        "Host": host or urlsplit(server).netloc, "Connection": "Upgrade", "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }  # fmt: skip
    if origin:
        headers["Origin"] = origin.format(server=server)
    connection.request("GET", "/_stcore/stream", headers=headers)
    status = connection.getresponse().status
    connection.close()
    assert (status == 101) == opens and (opens or status in (400, 403)), status


def test_traversal_over_the_wire(server: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(server).netloc)
    for path in (
        "/app/static/thumb/evals/..%2f..%2f..%2fetc/tile/passwd",
        "/app/static/thumb/evals/demo-tuned/tile/../../../../../../etc/passwd",
        "/app/static/thumb/%2e%2e/%2e%2e/tile/x",
    ):
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        assert b"root:" not in body and answer.getheader("content-type") != "image/jpeg"
    connection.close()


def test_security_headers(server: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(server).netloc)
    connection.request("GET", "/")
    answer = connection.getresponse()
    assert "default-src 'self'" in (answer.getheader("content-security-policy") or "")
    assert answer.getheader("x-content-type-options") == "nosniff"
    connection.close()


def test_a_cell_of_the_confusion_matrix_opens_its_cases(page: Page) -> None:
    _open(page, "/slices?run=demo-base&slices_task=vqa")
    cell = page.get_by_role("link", name=re.compile("expected yes, given no: "))
    count = int(cell.inner_text())
    cell.click()
    expect(page).to_have_url(re.compile("/failures"))
    settled(page)
    expect(page.locator("a.card")).to_have_count(count)
    parameters = _parameters(page)
    assert (parameters["expected"], parameters["answered"], parameters["outcome"]) == (["yes"], ["no"], ["All"])
    assert "run" not in parameters or parameters["run"] == ["demo-base"]
    before = _cards(page)
    page.reload()
    settled(page)
    expect(page.locator("a.card")).to_have_count(count)
    assert _cards(page) == before


def test_a_row_of_several_runs_opens_in_its_list(page: Page) -> None:
    _open(page, "/side_by_side?runs=demo-tuned&runs=demo-base&side_task=vqa&right=demo-tuned&wrong=demo-base")
    row = page.locator("a.cell").nth(1)
    title = row.get_attribute("title") or ""
    row.click()
    expect(page).to_have_url(re.compile("/sample"))
    settled(page)
    sample_id = _parameters(page)["id"][0]
    assert sample_id in title
    view = parse_qs(_parameters(page)["view"][0])
    assert view["list"] == ["runs"] and view["wrong"] == ["demo-base"]
    expect(page.get_by_text(sample_id).first).to_be_visible()


@pytest.mark.parametrize("format", ["CSV", "Parquet"])
def test_the_rows_of_a_view_are_downloaded(page: Page, data: Path, tmp_path: Path, format: str) -> None:
    _open(page, "/failures?run=demo-base&outcome=All&qt=color&sort=As+stored")
    expect(page.locator("a.card").first).to_be_visible()
    cards = _cards(page)
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as downloading:
        page.get_by_role("link", name=f"Download {format}").click()
    path = tmp_path / "rows"
    downloading.value.save_as(path)
    assert downloading.value.suggested_filename == f"failures-demo-base.{format.lower()}"
    rows = pd.read_csv(path) if format == "CSV" else pd.read_parquet(path)
    assert rows["sample_id"].tolist()[: len(cards)] == cards and len(rows) == len(cards)


def test_h_lists_the_keys(page: Page) -> None:
    _open(page, "/")
    expect(page.get_by_role("button", name="Keys")).to_be_visible()
    settled(page)
    page.keyboard.press("h")
    expect(page.get_by_role("dialog")).to_contain_text("take back your last decision")


def test_typing_never_decides(page: Page, data: Path) -> None:
    _open(page, "/sample?id=easy_vqa/test/0&run=demo-base")
    page.get_by_label("Go to another sample").focus()
    page.keyboard.type("gawdu123")
    settled(page)
    assert not (data / "corrections").exists()
    expect(page.get_by_label("Go to another sample")).to_have_value("gawdu123")


def _sign(page: Page, name: str) -> None:
    box = page.get_by_role("textbox", name="Reviewer")
    box.focus()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type(name)
    page.keyboard.press("Tab")  # leaves the box: from here on letters are keys
    settled(page)


def _press(page: Page, key: str, folder: Path, lines: int) -> list[Correction]:
    """Press a key and wait until that many decisions are on disk."""
    page.keyboard.press(key)
    for _ in range(1800):
        if len(found := read_corrections(folder)) == lines:
            settled(page)
            return found
        page.wait_for_timeout(100)
    raise AssertionError(f"{key}: {len(found)} lines on disk, expected {lines}")


def test_two_reviewers_at_the_keyboard_lose_nothing(browser: Browser, data: Path, tmp_path: Path) -> None:
    """Verdict, reason and undo with single keys, by turns in two sessions about the same row."""
    shutil.copytree(data / "evals", tmp_path / "evals")
    folder = tmp_path / "corrections"
    with serving(tmp_path) as server:
        contexts = [browser.new_context(base_url=server) for _ in range(2)]
        ann, bob = (_open(context.new_page(), "/sample?id=easy_vqa/test/0&run=demo-base") for context in contexts)
        for page, name in ((ann, "ann"), (bob, "bob")):
            expect(page.get_by_role("button", name="Wrong reference")).to_be_enabled()
            page.get_by_label("advance after a verdict").uncheck()
            settled(page)  # a page that draws itself again takes the focus from the box: letters would be keys
            _sign(page, name)
        _press(ann, "3", folder, 1)
        _press(bob, "w", folder, 2)
        _press(ann, "g", folder, 3)
        *_, undo = found = _press(bob, "u", folder, 4)
        for context in contexts:
            context.close()
    assert [(line.reviewer, line.action) for line in found] == [
        ("ann", "tag"), ("bob", "exclude_from_eval"), ("ann", "keep"), ("bob", "undo"),
    ]  # fmt: skip
    assert undo.undoes == found[1].correction_id and len(list(folder.glob("*.jsonl"))) == 2
    assert len({(line.sample_id, line.content_hash) for line in found}) == 1
