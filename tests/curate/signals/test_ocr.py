import json
import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from curate.pipeline import run
from curate.signals.base import ModelUnavailable
from curate.signals.ocr import Piece, columns_of, read_text
from tests.curate import sets

LINES = ["TOTAL 1,238.50", "Date 25/12/2018"]


def page(lines=LINES):
    """Black text on white, in Pillow's own font."""
    picture = Image.new("RGB", (320, 20 + 40 * len(lines)), "white")
    for number, line in enumerate(lines):
        ImageDraw.Draw(picture).text((10, 15 + 40 * number), line, "black", ImageFont.load_default(size=24))
    return picture


def piece(text, left, top, width=100, height=20, confidence=1.0):
    right, bottom = left + width, top + height
    return Piece(text, ((left, top), (right, top), (right, bottom), (left, bottom)), confidence)


def squeezed(text):
    return "".join(text.split()).lower()


def test_drawn_text_is_read_in_order():
    pytest.importorskip("rapidocr", reason="the extra `ocr` is not installed")
    found = read_text(page())
    assert squeezed(found["ocr_text"]) == squeezed("".join(LINES))
    assert found["ocr_confidence"] > 0.8 and found["ocr_script"] == "latin" and 0.05 < found["ocr_area"] < 0.6
    assert len(found["ocr_boxes"]) % 5 == 0 and max(found["ocr_boxes"]) <= 10_000
    assert read_text(page()) == found
    empty = read_text(Image.new("RGB", (200, 200), "white"))
    assert empty == {
        "ocr_text": "", "ocr_words": 0, "ocr_confidence": None, "ocr_area": 0.0, "ocr_script": None, "ocr_boxes": [],
    }  # fmt: skip


def test_rows_come_from_top_to_bottom_and_pieces_from_left_to_right():
    pieces = [piece("9.00", 300, 103), piece("TOTAL", 10, 100), piece("cash", 10, 130), piece("SHOP", 100, 10)]
    found = columns_of(pieces, (400, 200))
    assert found["ocr_text"] == "SHOP\nTOTAL\t9.00\ncash" and found["ocr_words"] == 4
    assert found["ocr_boxes"][:5] == [2500, 500, 5000, 1500, 10_000]
    assert found["ocr_area"] == pytest.approx(4 * 100 * 20 / (400 * 200), abs=0.02)


def test_confidence_is_a_mean_over_characters():
    found = columns_of([piece("abc", 0, 0, confidence=1.0), piece("d", 0, 50, confidence=0.5)], (200, 100))
    assert found["ocr_confidence"] == pytest.approx((3 * 1.0 + 0.5) / 4)


@pytest.mark.parametrize(
    ("text", "script"), [("日本 a", "cjk"), ("12.50", None), ("Привет", "cyrillic"), ("été", "latin")]
)
def test_the_script_is_that_of_most_letters(text, script):
    assert columns_of([piece(text, 0, 0)], (200, 100))["ocr_script"] == script


@given(st.lists(st.tuples(st.text(max_size=30), *[st.floats(-1e4, 1e4, allow_nan=False)] * 2), max_size=30))
def test_whatever_is_read_is_stored_within_bounds(found):
    columns = columns_of([piece(text, left, top) for text, left, top in found], (300, 200))
    assert all(each.isprintable() or each in "\n\t" for each in columns["ocr_text"])
    pieces = columns["ocr_text"].replace("\n", "\t").split("\t") if columns["ocr_text"] else []
    assert len(columns["ocr_boxes"]) == 5 * len(pieces) and all(pieces)
    assert all(0 <= number <= 10_000 for number in columns["ocr_boxes"]) and 0 <= columns["ocr_area"] <= 1


def test_a_hostile_picture_gives_bounded_text():
    huge = [piece("\x1b[2J<script>\u202e" + "x" * 10_000, 0, 25 * number) for number in range(3000)]
    columns = columns_of(huge, (100, 80_000))
    assert (
        len(columns["ocr_text"]) <= 20_000 and "\x1b" not in columns["ocr_text"] and "\u202e" not in columns["ocr_text"]
    )
    assert math.isfinite(columns["ocr_area"])


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    import curate.signals.ocr

    curate.signals.ocr._engine.cache_clear()
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(ModelUnavailable, match=r"pip install 'winnow-vlm\[ocr\]'"):
        read_text(page())


def test_a_recipe_reads_text_once_and_rules_use_it(tmp_path, monkeypatch):
    pytest.importorskip("rapidocr", reason="the extra `ocr` is not installed")
    sets.save(tmp_path / "images" / "page.png", page(LINES[:1]))
    sets.save(tmp_path / "images" / "grey.png", Image.fromarray(np.full((64, 64, 3), 99, np.uint8)))
    sets.write_lines(tmp_path / "rows.jsonl", [sets.row(0, "page.png"), sets.row(1, "grey.png")])
    recipe = sets.recipe(
        tmp_path,
        signals={"workers": 1, "ocr": "rapidocr"},
        rules={"total": {"when": "ocr_text ILIKE '%total%' AND ocr_words > 0", "action": "drop"}},
    )
    done = run(recipe, "recipe.yaml")
    assert [json.loads(line)["image"] for line in done.workspace.samples.read_text().splitlines()] == ["grey.png"]
    assert run(recipe, "recipe.yaml").seconds == {}
    (done.workspace.model_failures("ocr")).write_text("{}")
    again = run(recipe, "recipe.yaml")  # what could not be read is tried again
    assert "ocr" in again.seconds and not done.workspace.model_failures("ocr").exists()
    off = recipe.model_copy(update={"rules": {}, "signals": recipe.signals.model_copy(update={"ocr": None})})
    run(off, "recipe.yaml")
    assert not done.workspace.model_folder("ocr").exists()
