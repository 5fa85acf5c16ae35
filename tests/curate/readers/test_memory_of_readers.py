"""Reading a large file takes no more memory than reading a small one."""

import tracemalloc

import pytest

from curate.readers import open_source
from curate.settings.sources import SourceSettings
from tests.curate.readers import published
from winnow.rows.records import Sample

FEW, MANY = 200, 1600
PER_ROW = 60  # bytes a row for the table of offsets, which doubles as it grows


def vqa(folder, rows, reverse=False):
    questions = [{**published.VQA_QUESTIONS[0], "question_id": number} for number in range(rows)]
    annotations = [{**published.VQA_ANNOTATIONS[0], "question_id": number} for number in range(rows)]
    return published.vqa_v2(folder, "val2014", questions, annotations[::-1] if reverse else annotations)


def out_of_step(folder, rows):
    return vqa(folder, rows, reverse=True)


def textvqa(folder, rows):
    asked = [{**published.TEXTVQA_ROW, "question_id": n, "image_id": str(n)} for n in range(rows)]
    return published.textvqa(folder, "val", asked, [{**published.TEXTVQA_OCR, "image_id": str(n)} for n in range(rows)])


def vizwiz(folder, rows):
    return published.vizwiz(
        folder, "val", [{**published.VIZWIZ_ROW, "image": f"VizWiz_val_{n:08}.jpg"} for n in range(rows)]
    )


def gqa(folder, rows):
    return published.gqa(folder, "val_all_questions", {f"{n:08}": published.GQA_ROW for n in range(rows)})


def docvqa(folder, rows):
    return published.docvqa(folder, [{**published.DOCVQA_ROW, "questionId": n} for n in range(rows)])


def chartqa(folder, rows):
    return published.save(
        folder / "val_human.json", [{**published.CHARTQA_HUMAN, "query": f"{n}?"} for n in range(rows)]
    )


def scienceqa(folder, rows):
    published.save(folder / "pid_splits.json", {"val": [str(n) for n in range(rows)]})
    return published.save(folder / "problems.json", {str(n): {**published.SCIENCEQA["2"]} for n in range(rows)})


def pope(folder, rows):
    row = {"image": "COCO_val2014_000000310196.jpg", "text": "Is there a car in the image?", "label": "no"}
    return published.save_lines(folder / "coco_pope_random.json", [{"question_id": n, **row} for n in range(rows)])


def llava(folder, rows):
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "That. " * 50}]
    return published.save(
        folder / "mix.json", [{"id": str(n), "image": "a.jpg", "conversations": turns} for n in range(rows)]
    )


def peak_of(path):
    tracemalloc.start()
    try:
        rows = 0
        for row in open_source(SourceSettings(location=str(path))).rows():
            assert isinstance(row, Sample)
            rows += 1
        return rows, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


MAKERS = [vqa, out_of_step, textvqa, vizwiz, gqa, docvqa, chartqa, scienceqa, pope, llava]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_memory_is_flat_in_rows(tmp_path, make, monkeypatch):
    monkeypatch.setattr("curate.readers.files.json_text.CHUNK", 1 << 14)
    few, many = make(tmp_path / "few", FEW), make(tmp_path / "many", MANY)
    for path in (few, many):
        peak_of(path)  # imports, and what is made once for a longer document
        open_source(SourceSettings(location=str(path)))  # keeps the beginning of each document
    (rows_few, small), (rows_many, large) = peak_of(few), peak_of(many)
    assert (rows_few, rows_many) == (FEW, MANY)
    assert large - small < PER_ROW * MANY + 100_000
