import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dashboards.data import engine
from dashboards.data.answers import answers_at
from dashboards.data.catalog import scan
from dashboards.review import rows, trained
from dashboards.review.entries import Entries, entries_in
from dashboards.review.evaluated import evaluated_rows, other_answers
from dashboards.review.row import Reader, shortened
from dashboards.review.rows import row_of_id, rows_at
from dashboards.review.trained import training_rows
from dashboards.review.why import why_of
from evalsuite.tasks.spec import dumped, load_spec
from tests.dashboards.folders import with_task

NOBODY = Reader("Anna", [])


@pytest.fixture
def conversation(own):
    """Rows 0 to 2 are one conversation of three turns; row 3 is a multiple choice, row 4 asks for a box."""
    folder = own / "evals" / "demo-tuned"
    frame = pd.read_parquet(folder / "predictions.parquet")
    for turn in range(3):
        frame.loc[turn, ["sample_id", "repeat", "question", "raw"]] = [
            f"talk{f'#{turn}' * bool(turn)}", turn, f"q{turn}?", f"a{turn}",
        ]  # fmt: skip
    extra = {
        "reasoning": "let me look", "finish_reason": "length", "confidence": 0.5, "prompt": "<|user|>q?", "facts": None,
    }  # fmt: skip
    frame = frame.assign(**extra, choices=None)
    frame["repeat"] = frame["repeat"].fillna(0).astype("int64")
    frame.loc[3, "extracted"], frame.at[3, "references"], frame.at[3, "choices"] = "b", ["C"], ["red", "blue", "green"]
    frame.loc[4, "task"], frame.loc[4, "status"], frame.loc[4, "facts"] = "boxes", "ok", '{"width": 200, "height": 100}'
    frame.loc[4, "extracted"], frame.at[4, "references"] = "[0.1, 0.1, 0.6, 0.6]", ["[20, 10, 100, 50]"]
    frame.to_parquet(folder / "predictions.parquet")
    manifest = json.loads((folder / "manifest.json").read_text())
    spec = load_spec("easy_vqa").model_copy(update={"name": "vqa", "system": "Answer in a word."})
    specs = {"vqa": spec, "boxes": load_spec("refcoco").model_copy(update={"name": "boxes"})}
    (folder / "manifest.json").write_text(json.dumps(manifest | {"task_specs": dumped(specs)}))
    return scan(own)


def _evaluated(catalog, wanted, reader=NOBODY):
    return evaluated_rows(catalog, catalog.find("evals", "demo-tuned"), wanted, reader)


def test_all_that_is_known_of_an_answer(conversation):
    row = _evaluated(conversation, [5])[5]
    assert (row.system, row.prompt) == ("Answer in a word.", "<|user|>q?")
    assert row.answer["finish_reason"] == "length" and row.answer["reasoning"] == "let me look"
    assert row.answer["confidence"] == 0.5
    assert row.turns is None and len(row.pictures) == 1
    assert dict(row.facts).keys() == {"question_type", "answer_type"}
    assert json.loads(json.dumps(row.to_json()))["sample_id"] == row.sample_id


def test_a_turn_shows_the_conversation_before_it(conversation):
    shown = _evaluated(conversation, [0, 2])
    assert shown[0].turns is None
    said = [("user", "q0?"), ("assistant", "a0"), ("user", "q1?"), ("assistant", "a1"), ("user", "q2?")]
    assert [(turn["role"], turn["text"]) for turn in shown[2].turns] == said


def test_options_are_marked_by_letter_or_by_text(conversation):
    options = _evaluated(conversation, [3])[3].options
    assert [(one["text"], one["reference"], one["chosen"]) for one in options] == [
        ("red", False, False), ("blue", False, True), ("green", True, False),
    ]  # fmt: skip


def test_boxes_of_a_task_lie_on_the_picture(conversation):
    boxes = _evaluated(conversation, [4])[4].boxes
    sides = [(box["of"], *(round(box[side], 3) for side in ("x", "y", "width", "height"))) for box in boxes]
    assert sides == [("reference", 0.1, 0.1, 0.5, 0.5), ("answer", 0.1, 0.1, 0.5, 0.5)]


def test_the_diff_is_against_the_nearest_reference(own):
    row = evaluated_rows(scan(own), with_task(own), [0], NOBODY)[0]
    assert row.nearest == "two"  # of two, 2, three
    assert "".join(text for mark, text in row.diff if mark in "=+") == "The Two!"
    assert "".join(text for mark, text in row.diff if mark in "=-") == "two"


def test_why_it_scored_so_in_a_sentence(own):
    folder = with_task(own)
    answers = answers_at(folder, None, tuple(range(48)))
    compared, unknown = why_of(folder, answers[0])
    assert compared["text"] == "Compared as “2”: equals 2 of 3 references."
    assert compared["scores"].startswith("Accuracy ") and "VQA" not in compared["scores"]
    assert unknown["text"] == "" and unknown["scores"].startswith("VQA accuracy ")  # its rule is not in the manifest
    unparsed = replace(answers[0], status="unparsed", extracted=None)
    assert {item["text"] for item in why_of(folder, unparsed)} == {"No answer could be read from the reply."}
    wrong = replace(answers[0], extracted="zebra", references=("cat",))
    assert why_of(folder, wrong)[0]["text"] == "Compared as “zebra”: does not match “cat”."
    caption = next(answer for answer in answers if answer.task == "caption" and answer.status == "ok")
    (both,) = why_of(folder, caption)
    assert re.fullmatch(r"BLEU-4 [\d.]+% · CIDEr-D [\d.]+", both["scores"])


def test_other_runs_stand_beside_it_the_chosen_one_first(own):
    for number in range(9):
        copied = own / "evals" / f"more-{number}"
        copied.mkdir()
        for file in (own / "evals" / "demo-base").iterdir():
            (copied / file.name).write_bytes(file.read_bytes())
    frame = pd.read_parquet(own / "evals" / "more-3" / "predictions.parquet")
    frame.at[7, "references"] = ["something else"]
    frame.to_parquet(own / "evals" / "more-3" / "predictions.parquet")
    catalog = scan(own)
    assert _evaluated(catalog, [7])[7].others == 8
    others = other_answers(catalog, catalog.find("evals", "demo-tuned"), 7, "more-3")
    assert len(others) == 8
    assert others[0]["run"] == "more-3" and others[0]["base"] and others[0]["changed"]
    assert not any(other["changed"] or other["base"] for other in others[1:])
    assert "demo-tuned" not in {other["run"] for other in others}


def test_a_run_that_cannot_be_read_costs_only_its_own_answers(own):
    (own / "evals" / "demo-base" / "predictions.parquet").write_bytes(b"no table")
    catalog = scan(own)
    assert other_answers(catalog, catalog.find("evals", "demo-tuned"), 7, "") == []


_RECORD = {
    "conversations": [
        {"from": "system", "value": "Be kind."},
        {"from": "user", "value": "<image>\nWhich?"},
        {"from": "assistant", "value": "<|box_start|>(100,200),(500,800)<|box_end|>"},
        {"from": "user", "value": "And now?"},
        {"from": "assistant", "value": "no"},
    ],
    "meta": {
        "rejected": "maybe", "tools": "[{}]", "options": ["yes", "no"], "license": "CC0", "deep": {"x": 1},
        "before_correction": {"answer": "blue"},
        "bbox": [6, 6, 32, 32], "bbox_format": "xyxy", "width": 64, "height": 64,
    },
}  # fmt: skip


@pytest.fixture
def talked(own):
    """Row 3 of the curated set holds ``_RECORD``; a training run knows its loss."""
    path = own / "curated" / "demo" / "samples.parquet"
    table = pq.read_table(path)
    records = table["record"].to_pylist()
    records[3] = json.dumps(_RECORD)
    pq.write_table(table.set_column(table.column_names.index("record"), "record", [records]), path)
    ids = table["sample_id"].to_pylist()
    losses = [
        {"sample_id": key, "source": "t", "stage": 0, "epoch": epoch, "loss": float(number + epoch), "tokens": 3}
        for number, key in enumerate(ids[:10])
        for epoch in (1, 2)
    ]
    schema = {"stage": pa.int32(), "epoch": pa.int32(), "tokens": pa.int32()}
    made = pa.Table.from_pylist(losses)
    for name, kind in schema.items():
        made = made.set_column(made.column_names.index(name), name, made[name].cast(kind))
    pq.write_table(made, own / "runs" / "demo" / "losses.parquet")
    return scan(own)


def test_all_that_is_known_of_a_training_row(talked):
    row = training_rows(talked, talked.find("curated", "demo"), [3], NOBODY)[3]
    assert row.system == "Be kind."
    assert [turn["role"] for turn in row.turns] == ["user", "assistant", "user", "assistant"]
    assert (row.rejected, row.tools) == ("maybe", "[{}]")
    assert [option["text"] for option in row.options] == ["yes", "no"]
    assert row.references == [(row.references[0][0], 3)]
    facts = dict(row.facts)
    assert facts["source"] == "easy_vqa/train" and facts["license"] == "CC0"
    assert facts["answer before its correction"] == "blue"
    assert facts["loss"] == "5.000 after 4.000 in demo, number 7 of 10 from the top"
    assert "deep" not in facts and "rejected" not in facts
    assert [(box["of"], round(box["x"], 3), round(box["width"], 3)) for box in row.boxes] == [
        ("row", 0.094, 0.406), ("reference", 0.1, 0.4),
    ]  # fmt: skip


def test_curations_decision_names_rule_value_and_threshold(talked):
    rows = training_rows(talked, talked.find("curated", "demo"), [5, 12, 20], NOBODY)
    blurry = dict(rows[5].facts)
    assert blurry["curation"] == "drop, because of blurry"
    assert (
        blurry["rule blurry"] == "drop: sharpness < 35 AND entropy > 3 · sharpness 12.25, entropy 4.5 · threshold 35, 3"
    )
    assert blurry["rule misaligned"].startswith("flag: ")
    assert "other row easy_vqa/test/0" in dict(rows[12].facts)["rule contaminated"]
    assert dict(rows[20].facts)["curation"] == "keep"


@pytest.mark.parametrize("record", ["", "x" * 200, "[]", '{"meta": 3, "conversations": {}}', '{"conversations": [1]}'])
def test_a_record_of_any_kind_is_no_error(talked, record):
    folder = talked.find("curated", "demo")
    row = trained.decisions_at(folder, (3,))[0]
    shown = trained._row(replace(row, record=record), {}, {}, {row.sample_id: []})
    assert shown.turns is None and shown.question == row.question


def test_many_rows_are_read_with_as_many_queries_as_one(talked, monkeypatch):
    queries = []
    real = engine.connect.__wrapped__

    class Counting:
        def __init__(self, connection):
            self.connection = connection

        def cursor(self):
            queries.append(1)
            return self.connection.cursor()

    connection = Counting(real(talked.root))
    monkeypatch.setattr("dashboards.data.catalog.connect", lambda root: connection)

    def count(kind, name, wanted):
        found = entries_in("x", talked.find(kind, name), np.array(wanted))
        rows_at(talked, found, range(len(wanted)), NOBODY)  # what is asked once
        queries.clear()
        found = entries_in("x", talked.find(kind, name), np.array(wanted) + 1)
        assert len(rows_at(talked, found, range(len(wanted)), NOBODY)) == len(wanted)
        return len(queries)

    assert count("evals", "demo-tuned", range(24)) == count("evals", "demo-tuned", [30]) <= 3
    assert count("curated", "demo", range(24)) == count("curated", "demo", [30]) <= 3


def test_rows_of_several_folders_come_in_the_order_of_the_queue(talked):
    folders = (talked.find("evals", "demo-tuned"), talked.find("curated", "demo"))
    found = Entries("x", folders, np.array([1, 0, 1, 0], np.int16), np.array([3, 3, 0, 9999], np.int32))
    shown = rows_at(talked, found, [3, 2, 1, 0, 7, -1], NOBODY)
    assert [(row.place, row.kind) for row in shown] == [(2, "curated"), (1, "evals"), (0, "curated")]
    alone = [rows_at(talked, found, [place], NOBODY)[0] for place in (2, 1, 0)]
    assert shown == alone


@pytest.mark.parametrize("together", [1, 3, 1000])
def test_rows_read_with_others_are_those_read_alone(talked, monkeypatch, together):
    monkeypatch.setattr(rows, "_TOGETHER", together)
    folders = (talked.find("evals", "demo-tuned"), talked.find("curated", "demo"))
    chance = np.random.default_rng(together)
    found = Entries("x", folders, chance.integers(0, 2, 17, np.int16), chance.permutation(17).astype(np.int32))
    alone = []
    for place, (number, row) in enumerate(zip(found.folder_of, found.row_of, strict=True)):
        read = (evaluated_rows, training_rows)[number](talked, folders[number], [int(row)], NOBODY)
        alone.append(replace(read[int(row)], place=place))
    assert rows_at(talked, found, range(17), NOBODY) == alone
    assert rows_at(talked, found, range(2, 7), NOBODY) == alone[2:7]


def test_a_row_by_its_id(talked):
    assert row_of_id(talked, "easy_vqa/train/0", "", NOBODY).kind == "curated"
    assert row_of_id(talked, "easy_vqa/test/0", "demo-base", NOBODY).folder == "demo-base"
    assert row_of_id(talked, "nothing", "", NOBODY) is None


def test_a_very_long_text_says_what_is_left_out():
    assert shortened("x" * 50_000) == "x" * 50_000
    assert shortened("x" * 50_001).endswith("… (1 more characters)")
