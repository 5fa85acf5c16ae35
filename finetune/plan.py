"""What a run will train on: the checked rows, and each stage's conversations in order."""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.atomic import atomic_path
from curate.errors import UserError
from finetune.balance import balanced
from finetune.join import Schedule, Table
from finetune.preflight import Preflight, check_rows
from finetune.recipe import ResolvedStage, TrainRecipe
from finetune.rows import Rows, matches


def preflight(recipe: TrainRecipe, rows: Rows, processor: Any, *, resume: bool) -> Preflight:
    """Check the rows, or take the result that an earlier start of the same run stored."""
    stored, rejects = recipe.folder / "rows.parquet", recipe.folder / "rejects.jsonl"
    if resume and stored.is_file():
        columns = [column.to_numpy() for column in pq.read_table(stored).columns]
        reasons = [json.loads(line)["reason"] for line in rejects.read_text(encoding="utf-8").splitlines()]
        return Preflight(Table(*columns), dict(Counter(reasons).most_common()))
    checked = check_rows(
        rows, processor, max_length=recipe.max_length, max_reject=recipe.max_reject,
        sample_answers=recipe.answers == "sampled", workers=recipe.num_workers, rejects=rejects,
    )  # fmt: skip
    table = checked.table
    with atomic_path(stored) as temporary:
        names = ("row", "group", "tokens", "image_tokens")
        pq.write_table(pa.table({name: getattr(table, name) for name in names}), temporary)
    return checked


def schedule_of(recipe: TrainRecipe, rows: Rows, table: Table, number: int, stage: ResolvedStage) -> Schedule:
    """The conversations of a stage, in training order.

    Raises:
        UserError: the stage's ``where`` leaves no rows.
    """
    if stage.where:
        table = table.select(np.array([matches(rows[int(row)], stage.where) for row in table.row], dtype=bool))
    if not len(table.row):
        raise UserError(f"stage {stage.name!r}: no row matches where: {stage.where}")
    if stage.balance_answers:
        table = table.select(balanced(rows, table.row, recipe.seed))
    schedule = Schedule(
        rows, table, seed=recipe.seed, stage=number, join_turns=stage.join_turns, batch_size=stage.batch_size,
        max_length=recipe.max_length, sample_answers=recipe.answers == "sampled",
    )  # fmt: skip
    by_epochs = max(1, round(stage.epochs * schedule.per_epoch))
    schedule.length = stage.max_steps * per_step(stage) if stage.max_steps else by_epochs
    return schedule


def per_step(stage: ResolvedStage) -> int:
    """Conversations of one optimiser step, over all processes."""
    return stage.batch_size * stage.gradient_accumulation * int(os.environ.get("WORLD_SIZE", "1"))
