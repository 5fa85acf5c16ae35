"""Which rows a stage uses: its filter, and the balance of answers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from finetune.data.rows import Rows, open_rows
from finetune.data.schedule import answer_balance, passes_filter
from finetune.recipe import TrainRecipe
from tests.finetune.toys import record
from winnow.errors import UserError
from winnow.rows.records import from_record


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    asked = [("is it red?", "no")] * 9 + [("Is it  red?", "yes")] * 4 + [("what is it?", "car")] * 5
    lines = [
        {"id": str(n), "conversations": [{"from": "user", "value": q}, {"from": "assistant", "value": a}]}
        for n, (q, a) in enumerate(asked)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return open_rows(TrainRecipe(name="t", model="m", data=tmp_path / "rows.jsonl", image_root=tmp_path))


def test_no_answer_is_more_frequent_than_the_runner_up(rows: Rows) -> None:
    keep = answer_balance(rows, np.arange(18), seed=0)
    kept = Counter((rows[int(row)].question.lower().split()[0], rows[int(row)].answer) for row in np.flatnonzero(keep))
    assert kept == {("is", "no"): 4, ("is", "yes"): 4, ("what", "car"): 5}


def test_the_draw_depends_on_the_seed_alone(rows: Rows) -> None:
    first = answer_balance(rows, np.arange(18), seed=0)
    assert (first == answer_balance(rows, np.arange(18), seed=0)).all()
    assert any((first != answer_balance(rows, np.arange(18), seed=seed)).any() for seed in range(1, 6))


def test_only_chosen_rows_count(rows: Rows) -> None:
    chosen = np.array([0, 1, 9, 13])  # two 'no', one 'yes', one 'car'
    keep = answer_balance(rows, chosen, seed=0)
    assert keep.tolist()[2:] == [True, True] and keep[:2].sum() == 1


def test_filter():
    sample = from_record(record(0, "a.png", "q", "yes", meta={"kind": "shape"}))
    assert passes_filter(sample, "mine", {"source": "toy", "meta.kind": ["shape", "colour"], "data": "mine"})
    assert not passes_filter(sample, "", {"source": "toy", "meta.kind": "colour"})
    assert not passes_filter(sample, "other", {"data": "mine"})
    with pytest.raises(UserError, match="unknown field 'kind'"):
        passes_filter(sample, "", {"kind": "shape"})
