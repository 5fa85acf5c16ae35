"""Swaps of receipts change values, and the ways beside OCR are counted rightly."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from studies.receipts import names_of, rows_of, same_value
from studies.receipts_beside import conflicting, most, of_draw, swapped_rows, table_of
from winnow.errors import UserError


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "sroie" / "data"
    for name in ("key", "img"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(20):
        answers = {"total": f"{number + 5}.35", "date": f"{number + 1:02}/03/2018"}
        (folder / "key" / f"{number:03}.json").write_text(json.dumps(answers))
        pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).resize((64, 64)).save(folder / "img" / f"{number:03}.jpg")
    return folder


def test_a_tenth_of_each_field_gets_another_value(data):
    names = names_of(data)
    assert sorted(names) == [f"{number:03}" for number in range(20)]
    rows = rows_of(data, names)
    made, wrong = swapped_rows(rows, 0)
    assert wrong.sum() == 4
    for before, after, changed in zip(rows, made, wrong, strict=True):
        assert before[:2] == after[:2]
        assert same_value(before[2], after[2]) != changed
    assert swapped_rows(rows, 1)[0] != made


def test_conflicts_are_those_that_curation_finds(data, tmp_path):
    shutil.copy(data / "img" / "000.jpg", data / "img" / "900.jpg")
    rows = [("000", "total", "5.35"), ("900", "total", "6.35"), ("001", "total", "7.35"), ("001", "date", "02/03/2018")]
    assert conflicting(data, rows, tmp_path).tolist() == [True, True, False, False]
    rows[1] = ("900", "total", "5.35")
    assert not conflicting(data, rows, tmp_path).any()


def test_what_is_flagged_is_counted():
    score, wrong = np.arange(20.0), np.zeros(20, bool)
    wrong[[19, 3]] = True
    flagged = most(score)
    assert np.flatnonzero(flagged).tolist() == [18, 19]
    found = of_draw(score, flagged, wrong)
    assert (found["recall"], found["precision"], found["flagged"]) == (0.5, 0.5, 2.0)
    none = of_draw(np.zeros(20), np.zeros(20, bool), wrong)
    assert (none["recall"], none["roc_auc"]) == (0.0, 0.5)
    _, rows = table_of({"one": {key: [value] for key, value in none.items()}})
    assert rows == [["one", "0", "0.00", "–", "0.50"]]


def test_an_empty_folder_says_where_receipts_are(tmp_path):
    with pytest.raises(UserError, match="holds no receipts"):
        names_of(tmp_path)
