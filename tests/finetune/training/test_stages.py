"""Curricula: mixtures, replay, what evaluation sets say after each stage."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from finetune.data.rows import open_rows
from finetune.data.schedule import AcceptedRows, RowPool, Schedule, schedule_of
from finetune.recipe import TrainRecipe
from finetune.training.run import train
from tests.finetune.toys import record, write_rows
from winnow.errors import UserError


def table_of(count: int, first: int = 0) -> AcceptedRows:
    return AcceptedRows(np.arange(first, first + count), np.full(count, -1), np.full(count, 20), np.full(count, 5))


@pytest.fixture
def rows(tmp_path):
    """60 rows of `big`, 12 of `small`, 6 of `old`, in two files."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    kinds = ["big"] * 60 + ["old"] * 6
    write_rows(
        tmp_path / "a" / "r.jsonl", [record(n, None, "q", "yes", source=k, id=f"{k}/{n}") for n, k in enumerate(kinds)]
    )
    write_rows(
        tmp_path / "b" / "r.jsonl", [record(n, "x.png", "q", "yes", source="small", id=f"small/{n}") for n in range(12)]
    )
    return {"first": tmp_path / "a" / "r.jsonl", "second": tmp_path / "b" / "r.jsonl"}


def schedule(rows, **stage):
    recipe = TrainRecipe.model_validate({"name": "t", "model": "m", "data": rows, "batch_size": 2, "stages": [
        {"filter": {"source": "old"}}, stage]})  # fmt: skip
    opened = open_rows(recipe)
    return opened, schedule_of(recipe, opened, table_of(len(opened)), 1, recipe.resolved_stages()[1])


def sources(opened, made, epochs=1):
    made.length = made.per_epoch * epochs
    return Counter(opened[row].source for position in range(len(made)) for row in made[position].rows)


def test_weights_are_shares_of_the_conversations(rows):
    opened, made = schedule(rows, weights={"big": 1, "second": 3})
    assert made.per_epoch == 72
    assert sources(opened, made) == {"big": 18, "small": 54}
    opened, made = schedule(rows, weights={"first": 1, "second": 1})
    assert sources(opened, made, epochs=2)["small"] == 78


def test_a_pool_goes_round_evenly(rows):
    """Over as many epochs as it takes, every row of a pool comes equally often."""
    _, made = schedule(rows, weights={"big": 1, "second": 1})
    made.length = 5 * made.per_epoch
    counts = Counter(row for position in range(len(made)) for row in made[position].rows)
    assert sum(counts.values()) == 5 * 72
    assert {counts[row] for row in range(60)} == {3}  # 36 of 60 an epoch
    assert {counts[row] for row in range(66, 78)} == {15}
    assert [made[p] for p in (300, 7, 143)] == [made[p] for p in (300, 7, 143)]


def test_replay_share(rows):
    opened, made = schedule(rows, filter={"source": ["big", "small"]}, replay=0.2)
    counts = sources(opened, made)
    assert counts["big"] == 60 and counts["small"] == 12
    assert abs(counts["old"] / sum(counts.values()) - 0.2) < 0.02
    with pytest.raises(UserError, match="every row of the earlier stages is in this stage already"):
        schedule(rows, replay=0.2)
    with pytest.raises(ValueError, match="no earlier stage"):
        TrainRecipe.model_validate({"name": "t", "model": "m", "data": rows, "stages": [{"replay": 0.1}]})


def test_one_pool_is_the_plain_schedule(rows):
    opened = open_rows(TrainRecipe(name="t", model="m", data=rows))
    options = {
        "seed": 3,
        "stage": 0,
        "questions_per_image": 1,
        "batch_size": 2,
        "max_length": 99,
        "sample_answers": False,
    }
    made = Schedule(opened, [RowPool(table_of(50))], **options)
    order = [made[position].rows[0] for position in range(50)]
    rng = np.random.default_rng([3, 0, 0, 0])
    shuffled = rng.permutation(50)
    wanted = []
    for start in range(0, 50, 32):
        part = shuffled[start : start + 32]
        batches = part[: len(part) // 2 * 2].reshape(-1, 2)
        wanted += batches[rng.permutation(len(batches))].ravel().tolist() + part[len(batches) * 2 :].tolist()
    assert order == [49 - place for place in wanted]  # rows that stay alone are counted from the last


def test_unknown_name_in_a_mixture(rows):
    with pytest.raises(UserError, match=r"weights: no row of 'nobody'; known data sets and sources: \['big', 'first'"):
        schedule(rows, weights={"nobody": 1})


def test_images_of_several_sets_have_one_root(rows):
    opened = open_rows(TrainRecipe(name="t", model="m", data=rows))
    assert opened[70].image == ("b/x.png",) and opened.set_of(70) == "second" and opened.set_of(0) == "first"
    assert opened.image_root == rows["first"].parent.parent.resolve()


def test_curated_parquet(rows, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    lines = rows["second"].read_text().splitlines()
    decisions = ["keep", "drop", "flag"] * 4
    path = tmp_path / "b" / "samples.parquet"
    pq.write_table(pa.table({"record": lines, "decision": decisions}), path)
    opened = open_rows(TrainRecipe(name="t", model="m", data=path))
    assert [opened[n].id for n in range(len(opened))] == [
        f"small/train/{json.loads(line)['id']}"
        for line, decision in zip(lines, decisions, strict=True)
        if decision != "drop"
    ]
    pq.write_table(pa.table({"record": lines}), path)
    with pytest.raises(UserError, match="has no column 'decision'"):
        open_rows(TrainRecipe(name="t", model="m", data=path))
    path.write_bytes(b"no parquet")
    with pytest.raises(UserError, match="is not a Parquet file"):
        open_rows(TrainRecipe(name="t", model="m", data=path))


@pytest.mark.slow
def test_stages_with_evaluations(recipe_of, toy_data):
    """Loss of each set before training and after every stage; forgetting against the best so far; replay; report."""
    stages = [
        {"name": "captions", "filter": {"source": "captions"}, "max_steps": 3, "train": ["projector"]},
        {"name": "questions", "filter": {"source": "toy"}, "max_steps": 3, "replay": 0.25, "vision": "lora"},
    ]
    folder = train(recipe_of(stages=stages, evaluate={"held": str(toy_data)}, max_steps=None))
    lines = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["name"], line["rows"]) for line in lines] == [
        (-1, "held", 42),
        (0, "held", 42),
        (1, "held", 42),
    ]
    losses = [line["loss"] for line in lines]
    assert lines[0]["forgetting"] is None
    assert lines[2]["forgetting"] == pytest.approx(losses[2] - min(losses[:2]))
    assert json.loads((folder / "manifest.json").read_text())["evaluations"] == lines
    report = (folder / "report.md").read_text()
    assert f"| held | after questions | loss {losses[2]:.4f} | {lines[2]['forgetting']:+.4f} | 42 |" in report
    assert "--lora-only" in report  # the end of a long sentence is not cut off
    assert "data:image/png;base64," in (folder / "report.html").read_text()


@pytest.mark.slow
def test_an_evaluation_changes_no_weight(recipe_of, toy_data, tmp_path):
    from safetensors.torch import load_file

    runs = [train(recipe_of(out=tmp_path / name, evaluate=sets, lora_dropout=0.0))
            for name, sets in (("without", {}), ("with", {"held": str(toy_data)}))]  # fmt: skip
    left, right = (load_file(run / "adapter" / "adapter_model.safetensors") for run in runs)
    assert all((left[name] == right[name]).all() for name in left)
