"""Preference pairs for TRL: from a row's own rejected answer, from corrections, from an evaluated model's mistakes."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate import pipeline
from tests.curate import sets
from tests.curate.exports.made import exported, turns
from tests.curate.exports.test_original import corrections
from winnow.errors import UserError
from winnow.run import write_manifest

ROWS = [
    sets.row(1, "a.png", "What is it?", "a dog"),
    sets.row(2, "a.png", "Who?", "Ann"),
    sets.row(3, "a.png", "Where?", "here", rejected="nowhere"),
    sets.row(4, "a.png", "When?", "now"),
    sets.row(5, "a.png", conversations=turns("First?", "wrong", "And then?", "yes")),
    sets.row(6, "a.png", "How?", "so"),
    sets.row(7, None, "2 + 2?", "4", rejected="5"),
    sets.row(8, "a.png", "Why?", "because"),
]


def curated(folder, **changes):
    pipeline.run(sets.recipe(folder, **changes), "recipe.yaml")
    return folder / "out"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A curated set after corrections, and an evaluation that has asked about some of its rows."""
    folder = tmp_path_factory.mktemp("pairs")
    sets.save(folder / "images" / "a.png", sets.scene(1))
    sets.write_lines(folder / "rows.jsonl", ROWS)
    lines = corrections(
        folder, curated(folder), **{"/1": ("relabel", "a cat"), "/2": ("edit_question", "Which?"),
                                    "/5": ("relabel", "right")}
    )  # fmt: skip
    out = curated(folder, **lines)
    asked = [
        ("set/train/4", "When?", " soon\n", "ok", False),
        ("set/train/6", "How?", "so", "ok", True),
        ("set/train/8", "Another question?", "no", "ok", False),
        ("set/train/3", "Where?", "there", "ok", False),
    ]
    columns = zip(*asked, strict=True)
    names = ("sample_id", "question", "raw", "status", "accuracy_right")
    evaluation = folder / "evaluation"
    evaluation.mkdir()
    pq.write_table(pa.table(dict(zip(names, map(list, columns), strict=True))), evaluation / "predictions.parquet")
    write_manifest(
        evaluation, stage="evalsuite", recipe={}, inputs={}, outputs=[evaluation / "predictions.parquet"], counts={},
        seconds={}, seeds={},
    )  # fmt: skip
    return out, evaluation


def pairs_of(folder):
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    found = {}
    for row in rows:
        last = (row[key][-1]["content"][-1]["text"] for key in ("prompt", "chosen", "rejected"))
        found[row["id"].rpartition("/")[2]] = tuple(last)
    return found


def rejects_of(folder):
    rows = [json.loads(line) for line in (folder / "rejects.jsonl").read_text().splitlines()]
    return {row["sample_id"].rpartition("/")[2]: row["reason"] for row in rows}


def test_corrections_and_own_rejected_answers_become_pairs(made, tmp_path):
    folder, done = exported(made[0], "trl-dpo", out=tmp_path / "out")
    assert pairs_of(folder) == {
        "1": ("What is it?", "a cat", "a dog"),
        "3": ("Where?", "here", "nowhere"),
        "5": ("First?", "right", "wrong"),
        "7": ("2 + 2?", "4", "5"),
    }
    assert done.counts["rows"] == 4 and done.counts["rejected"] == 4
    assert all(reason.startswith("it has no rejected answer") for reason in rejects_of(folder).values())


def test_wrong_replies_of_a_model_become_pairs(made, tmp_path):
    folder, _ = exported(made[0], "trl-dpo", out=tmp_path / "out", mistakes=made[1])
    assert pairs_of(folder)["4"] == ("When?", "now", "soon")
    assert pairs_of(folder)["3"] == ("Where?", "here", "nowhere")  # its own goes first
    assert rejects_of(folder).keys() == {"2", "6", "8"}  # right, and asked another question


def test_a_former_answer_to_a_former_question_is_no_pair(made, tmp_path):
    folder = tmp_path / "set"
    sets.save(folder / "images" / "a.png", sets.scene(1))
    sets.write_lines(folder / "rows.jsonl", ROWS[:1])
    changed = corrections(folder, curated(folder), **{"/1": ("relabel", "a cat")})
    lines = json.loads((folder / "corrections/r.jsonl").read_text())
    more = {**lines, "correction_id": "q", "action": "edit_question", "new": "What else?"}
    sets.write_lines(folder / "corrections/q.jsonl", [more])
    exports, _ = exported(curated(folder, **changed), "trl-dpo")
    assert "its question was corrected too" in rejects_of(exports)["1"]


def test_what_cannot_be_exported_is_an_error(made, tmp_path):
    with pytest.raises(UserError, match="is not an evaluation"):
        exported(made[0], "trl-dpo", out=tmp_path / "out", mistakes=made[0])
    with pytest.raises(ValueError, match="only trl-dpo"):
        exported(made[0], "trl", mistakes=made[1])


@pytest.mark.slow
def test_trl_collates_the_pairs(made, tmp_path):
    trainer = pytest.importorskip("trl.trainer.dpo_trainer", reason="TRL is not installed")
    import datasets

    from tests.finetune.toys import build_processor

    folder, _ = exported(made[0], "trl-dpo", out=tmp_path / "out")
    rows = datasets.load_dataset(
        "json", data_files=str(folder / "train.jsonl"), split="train", cache_dir=str(tmp_path / "cache")
    ).cast_column("images", datasets.List(datasets.Image()))
    processor = build_processor()
    batch = trainer.DataCollatorForVisionPreference(processor)(list(rows))
    answers = [
        processor.tokenizer.decode(ids[mask == 1])
        for ids, mask in zip(batch["input_ids"], batch["completion_mask"], strict=True)
    ]
    assert answers == [
        f"{text}<|im_end|>\n" for text in ("a cat", "here", "right", "4", "a dog", "nowhere", "wrong", "5")
    ]
    assert len(batch["pixel_values"]) == 6  # three images, for both sides
