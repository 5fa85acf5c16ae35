"""Picture gain: equal to the loss of each row alone, resumed after a kill, on every kind of family."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from finetune import score as scoring
from finetune.recipe import load
from finetune.score import score, without_picture
from tests.finetune import models
from tests.forks import python
from winnow.errors import UserError
from winnow.rows.records import from_record


@pytest.fixture
def rows(toy_data: Path) -> list[dict]:
    return [json.loads(line) for line in toy_data.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def recipe_file(recipe_of, tmp_path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe_of(quantization="none", compute_dtype="float32").model_dump(mode="json")))
    return path


def own_losses(recipe, rows, *, blind: bool) -> list[float]:
    """The reference: one row at a time, transformers' own loss."""
    import torch

    from finetune.data.chat import join_rows
    from finetune.data.collate import EXTRA_KEYS, Collator
    from finetune.data.rows import open_rows
    from finetune.model.load import load_base, load_processor

    model = load_base(recipe.model, quantization="none", compute_dtype="float32").eval()
    stored = open_rows(recipe)
    collator = Collator(load_processor(recipe.model), stored.image_root)
    found = []
    for number in range(len(rows)):
        sample = stored[number]
        batch = collator([join_rows([without_picture(sample) if blind else sample], [number])])
        labels = batch["labels"]
        with torch.no_grad():
            plain = {key: value for key, value in batch.items() if key not in EXTRA_KEYS}
            found.append(float(model(**plain, labels=labels).loss))
    return found


def test_losses_are_those_of_each_row_alone(recipe_file, rows, tmp_path):
    out = tmp_path / "gains.parquet"
    assert score(recipe_file, None, out) == len(rows)
    table = pq.read_table(out).to_pydict()
    recipe = load(recipe_file)
    assert table["sample_id"] == [from_record(row).id for row in rows]
    assert table["loss"] == pytest.approx(own_losses(recipe, rows, blind=False), abs=1e-4)
    assert table["loss_without"] == pytest.approx(own_losses(recipe, rows, blind=True), abs=1e-4)
    expected = [without - own for own, without in zip(table["loss"], table["loss_without"], strict=True)]
    assert table["picture_gain"] == pytest.approx(expected) and any(abs(gain) > 1e-4 for gain in expected)
    assert not out.with_name("gains.parquet.partial").exists()


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(recipe_file, tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "_ROWS_A_PART", 16)
    whole, killed = tmp_path / "whole.parquet", tmp_path / "killed.parquet"
    score(recipe_file, None, whole)
    asked: list[int] = []
    table = scoring._Scorer.table

    def dies(self, numbers, lengths):
        if len(asked) == 1:
            raise KeyboardInterrupt
        asked.extend(numbers[:1].tolist())
        return table(self, numbers, lengths)

    with monkeypatch.context() as patch:
        patch.setattr(scoring._Scorer, "table", dies)
        with pytest.raises(KeyboardInterrupt):
            score(recipe_file, None, killed)
    made = []
    monkeypatch.setattr(scoring._Scorer, "table", lambda *a: made.append(1) or table(*a))
    score(recipe_file, None, killed)
    assert len(made) == 2 and killed.read_bytes() == whole.read_bytes()  # 42 rows are three parts
    before = killed.stat().st_mtime_ns
    score(recipe_file, None, killed)  # up to date
    assert killed.stat().st_mtime_ns == before


def test_another_file_is_not_overwritten(recipe_file, tmp_path):
    out = tmp_path / "mine.parquet"
    out.write_bytes(b"mine")
    with pytest.raises(UserError, match="was not written by `finetune score`"):
        score(recipe_file, None, out)
    assert out.read_bytes() == b"mine"


@pytest.mark.slow
@pytest.mark.parametrize(("family", "without"), [("paligemma", "grey"), ("mllama", "none"), ("qwen2_5_vl", "none")])
def test_other_families(family, without, recipe_of, toy_data, tmp_path):
    """PaliGemma takes no text alone, Mllama no batch of both kinds, Qwen has positions of its own."""
    folder = models.checkpoint(family, tmp_path, weights=True)
    lines = toy_data.read_text(encoding="utf-8").splitlines()
    data = toy_data.parent / f"{family}.jsonl"
    data.write_text("\n".join([*lines[:4], *lines[-2:]]) + "\n", encoding="utf-8")
    path = tmp_path / "recipe.yaml"
    changes = {"model": str(folder), "quantization": "none", "compute_dtype": "float32", "data": str(data)}
    path.write_text(yaml.safe_dump(recipe_of(**changes).model_dump(mode="json")))
    try:
        score(path, None, tmp_path / "gains.parquet")
    finally:
        data.unlink()
    table = pq.read_table(tmp_path / "gains.parquet")
    assert json.loads(table.schema.metadata[b"winnow"])["without"] == without
    assert len(table) == 6 and table["picture_gain"].null_count == 0 and any(table["picture_gain"].to_pylist())


@pytest.mark.slow
def test_a_run_is_scored_from_the_command_line(recipe_of, tmp_path):
    """In 4-bit, with its adapter: what training fits has a lower loss than in the base model."""
    from finetune.training.run import train

    recipe = recipe_of()
    run = train(recipe)
    path, base, tuned = (tmp_path / name for name in ("recipe.yaml", "base.parquet", "tuned.parquet"))
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    score(path, None, base)
    command = python("-m", "finetune", "score", str(run), "--out", str(tuned))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    before, after = (pq.read_table(file)["loss"].to_pylist() for file in (base, tuned))
    assert sum(after) < sum(before)
