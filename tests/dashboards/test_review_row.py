"""One row under review in a browser: its picture's own pixels, edits, notes, undo, and keys that wait."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from tests.dashboards.browser import chromium, chromium_path, serving, settled
from tests.dashboards.folders import build
from tests.dashboards.test_review_panel import at, lines_of, many_rows, opened, press, sign, sign_in
from winnow.files import sha256_bytes

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium_path() is None, reason="no Chromium here; install it, or name one in $CHROMIUM"),
]

_WIDTH, _HEIGHT, _SQUARE = 4000, 3000, 8
_BOX = (480, 544)  # of 1024, along both sides
_MARKUP = "**bold** $x^2$ <img src=x onerror=\"document.title='owned'\"> [link](javascript:alert(1))"


def _large() -> Image.Image:
    """A board of small black and white squares, with a red block where the row's box is."""
    y, x = np.indices((_HEIGHT, _WIDTH)) // _SQUARE
    pixels = np.repeat((((x + y) % 2) * 255).astype(np.uint8)[:, :, None], 3, axis=2)
    left, right, top, bottom = (share * side // 1024 for side in (_WIDTH, _HEIGHT) for share in _BOX)
    pixels[top:bottom, left:right] = (255, 0, 0)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Row 1 has a large picture and a box, row 2 three references, row 3 a question with markup.

    All tests write to it; each signs with a name of its own.
    """
    root = many_rows(build(tmp_path_factory.mktemp("row") / "data"))
    picture = root / "raw" / "images" / "test" / "large.png"
    _large().save(picture)
    path = root / "evals" / "demo-tuned" / "predictions.parquet"
    frame = pd.read_parquet(path)
    frame.at[0, "images"], frame.at[0, "image_keys"] = ["test/large.png"], [sha256_bytes(picture.read_bytes())]
    frame.at[0, "raw"] = "".join(f"<loc{share:04d}>" for share in (_BOX[0], _BOX[0], _BOX[1], _BOX[1])) + " block"
    frame.at[1, "references"] = ["a cat", "a cat", "a dog"]
    frame.at[2, "question"] = _MARKUP
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)
    return root


@pytest.fixture(scope="module")
def server(rows: Path) -> Iterator[str]:
    with serving(rows) as address:
        yield address


@pytest.fixture
def page(browser: Browser, server: str) -> Iterator[Page]:
    with opened(browser, server) as tab:
        yield tab


def test_zooming_loads_the_pixels_in_view_and_boxes_stay_in_place(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/static/tile/" in request.url else None)
    page.keyboard.press("z")
    expect(page.locator("img.tile").first).to_be_visible()
    page.wait_for_function(_TILES_LOADED)
    x, y, scale = map(float, re.findall(r"-?[\d.]+", page.locator(".stage").get_attribute("style") or "")[:3])
    assert scale == pytest.approx(_WIDTH / 1280)  # one pixel of the original is one of the screen
    width, height = page.locator(".frame").evaluate("frame => [frame.clientWidth, frame.clientHeight]")
    columns, lines = (
        range(int(-start // 512), int(-(-(side - start) // 512))) for start, side in ((x, width), (y, height))
    )
    tiles = {match[1] for url in asked if (match := re.search(r"/(\d+/\d+-\d+)\?", url))}
    assert tiles == {f"0/{column}-{line}" for column in columns for line in lines}

    page.locator(".tools").evaluate("tools => { tools.style.display = 'none'; }")
    box = page.locator(".box").bounding_box()
    page.locator(".boxes").evaluate("boxes => { boxes.style.visibility = 'hidden'; }")
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    corner = page.locator(".frame").evaluate(_CORNER)
    left, top = (math.ceil(side) for side in corner)
    width, height = width - 1, height - 1
    first, above = (round(edge - side - offset) for edge, side, offset in zip((left, top), corner, (x, y), strict=True))
    seen = np.asarray(shot.crop((left, top, left + width, top + height)), dtype=int)
    wanted = np.asarray(_large().crop((first, above, first + width, above + height)), dtype=int)
    # The frame may begin between two pixels of the screen: edges of the squares are blended, their middles are exact.
    middle = [np.isin((np.arange(side) + start) % _SQUARE, (3, 4)) for start, side in ((above, height), (first, width))]
    alike = (np.abs(seen - wanted).max(axis=2) < 60)[np.ix_(*middle)]
    assert alike.mean() > 0.98

    red = (seen[:, :, 0] > 200) & (seen[:, :, 1] < 60)
    down, across = np.nonzero(red)
    assert box
    edges = [across.min() + left, down.min() + top, across.max() + 1 + left, down.max() + 1 + top]
    assert edges == pytest.approx([box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]], abs=2)
    page.keyboard.press("0")
    expect(page.locator("img.tile")).to_have_count(0)


_CORNER = """frame => {
  const { left, top } = frame.getBoundingClientRect();
  return [left + frame.clientLeft, top + frame.clientTop];
}"""
_TILES_LOADED = """() => {
  const roots = [...document.querySelectorAll('*')].map((e) => e.shadowRoot).filter(Boolean);
  const tiles = roots.flatMap((root) => [...root.querySelectorAll('img.tile')]);
  return tiles.length && tiles.every((tile) => tile.complete);
}"""


def test_references_are_edited_one_by_one_and_a_draft_survives(page: Page, rows: Path) -> None:
    sign_in(page, "editor")
    press(page, "j")
    at(page, 2)
    page.keyboard.press("e")
    expect(page.get_by_label("Reference 2", exact=True)).to_have_value("a dog")
    page.get_by_label("Reference 2", exact=True).fill("a horse")
    expect(page.get_by_label("What changes", exact=True)).to_contain_text("horse")
    page.keyboard.press("Escape")
    expect(page.get_by_text("Press Esc again to discard")).to_be_visible()
    page.get_by_role("button", name="Next").click()
    at(page, 3)
    page.reload()
    at(page, 3)
    settled(page)
    page.keyboard.press("k")
    page.get_by_role("button", name="Open it").or_(page.get_by_text("an edit here that is not saved")).first.click()
    expect(page.get_by_label("Reference 2", exact=True)).to_have_value("a horse")
    page.get_by_label("Question", exact=True).fill("which animal?\non two lines")
    page.get_by_label("Reference 2", exact=True).press("Control+Enter")
    question, relabel = lines_of(rows, "editor", 2, page)
    assert (question.action, question.new) == ("edit_question", "which animal?\non two lines")
    assert (relabel.action, relabel.new) == ("relabel", ["a cat", "a cat", "a horse"])
    assert {question.sample_id, relabel.sample_id} == {"easy_vqa/test/many-1"}
    at(page, 3)
    page.keyboard.press("u")  # one save, taken back as one
    assert {line.undoes for line in lines_of(rows, "editor", 4, page)[2:]} == {
        question.correction_id, relabel.correction_id,
    }  # fmt: skip
    at(page, 2)


def test_letters_in_the_panels_boxes_are_text(page: Page, rows: Path) -> None:
    sign(page, "writer")
    page.keyboard.press("m")
    page.keyboard.type("what a good hue, jokingly")
    expect(page.get_by_label("Note", exact=True)).to_have_value("what a good hue, jokingly")
    expect(page.get_by_role("dialog")).to_have_count(0)
    at(page, 1)
    page.keyboard.press("Enter")
    (line,) = lines_of(rows, "writer", 1, page)
    assert (line.action, line.note) == ("note", "what a good hue, jokingly")


def test_undo_takes_back_and_pressing_again_confirms(page: Page, rows: Path) -> None:
    sign(page, "undoer")
    press(page, "w", "g", "a")  # rows 1, 2 and 3
    first, second, third = lines_of(rows, "undoer", 3, page)
    press(page, "u")
    at(page, 3)
    press(page, "u")
    at(page, 2)
    press(page, "k")
    at(page, 1)
    good, wrong = (page.locator(f"button[aria-keyshortcuts={key}]") for key in "GW")
    expect(wrong).to_have_attribute("aria-pressed", "true")
    press(page, "w")  # says the same again: nothing is written, and the review goes on
    at(page, 2)
    press(page, "k")
    at(page, 1)
    expect(wrong).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Undo: wrong reference").click()
    expect(wrong).to_have_attribute("aria-pressed", "false")
    undos = lines_of(rows, "undoer", 6, page)[3:]
    assert [line.undoes for line in undos] == [line.correction_id for line in (third, second, first)]
    at(page, 1)
    press(page, "2", "g", "k")
    at(page, 1)
    page.get_by_role("button", name="Undo: right as it stands").click()  # any line, not only the last
    expect(good).to_have_attribute("aria-pressed", "false")
    tag, keep, undo = lines_of(rows, "undoer", 9, page)[6:]
    assert (tag.action, undo.undoes) == ("tag", keep.correction_id)


def test_undecided_only_passes_decided_rows(page: Page, rows: Path) -> None:
    sign(page, "passer")
    press(page, "j", "w", "g")  # rows 2 and 3
    lines_of(rows, "passer", 2, page)
    press(page, "k", "k", "k")
    at(page, 1)
    page.get_by_label("undecided only").check()
    page.keyboard.press("j")
    at(page, 4)


def test_a_refused_line_stays_on_the_screen(page: Page, rows: Path) -> None:
    sign_in(page, "refused")
    settled(page)
    page.route(
        "**/review/decisions",
        lambda route: route.continue_(post_data=(route.request.post_data or "").replace("many-0", "gone")),
    )
    page.keyboard.press("w")
    refusal = page.get_by_text(re.compile("^Not saved: .*has no row easy_vqa/test/gone"))
    expect(refusal).to_be_visible()
    page.unroute("**/review/decisions")
    page.reload()
    expect(refusal).to_be_visible()
    page.get_by_role("button", name="Try again").click()
    (line,) = lines_of(rows, "refused", 1, page)
    assert line.sample_id == "easy_vqa/test/many-0"
    expect(refusal).to_have_count(0)


def test_markup_is_rendered_on_request_and_never_runs(page: Page) -> None:
    press(page, "j", "j")
    at(page, 3)
    question = page.locator(".data.question")
    expect(question).to_have_text(_MARKUP)
    page.get_by_label("Markdown").check()
    expect(question.locator("strong")).to_have_text("bold")
    expect(question).to_contain_text("onerror=")
    assert question.locator("img, a[href^=javascript], script").count() == 0
    assert page.title() != "owned"


def test_keys_that_wait_for_a_row_survive_a_reload(page: Page, rows: Path) -> None:
    sign_in(page, "waiting")
    settled(page)
    held: list[Route] = []
    page.route("**/review/rows**", lambda route: held.append(route))
    page.reload()
    expect(page.get_by_text("Loading the row")).to_be_visible()
    press(page, "j", "w", pace=30)
    page.reload()
    expect(page.get_by_text("Loading the row")).to_be_visible()
    press(page, "g", pace=30)
    page.unroute("**/review/rows**")
    page.reload()
    lines = lines_of(rows, "waiting", 2, page)
    assert [(line.action, line.sample_id[-6:]) for line in lines] == [
        ("exclude_from_eval", "many-1"), ("keep", "many-2"),
    ]  # fmt: skip


def test_a_name_goes_along_everywhere(page: Page) -> None:
    sign_in(page, "traveller")
    box = page.get_by_label("Reviewer", exact=True)
    page.goto("/failures?run=demo-tuned&outcome=All")
    page.locator("a.card").first.click()
    at(page, 1)
    expect(box).to_have_value("traveller")
    page.keyboard.press("b")
    expect(page).to_have_url(re.compile("/failures"))
    expect(box).to_have_value("traveller")
    other = page.context.new_page()
    other.goto("/failures")
    expect(other.get_by_label("Reviewer", exact=True)).to_have_value("traveller")
