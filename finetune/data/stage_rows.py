from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from finetune.data.rows import Rows
from finetune.data.schedule import AcceptedRows, RowPool, Schedule
from finetune.processes import world_size
from finetune.recipe import ResolvedStage, TrainRecipe
from winnow.errors import UserError
from winnow.records import Sample

if TYPE_CHECKING:
    pass


def schedule_of(recipe: TrainRecipe, rows: Rows, table: AcceptedRows, number: int, stage: ResolvedStage) -> Schedule:
    """The conversations of a stage, in training order.

    Raises:
        UserError: the stage's ``filter``, ``weights`` or ``replay`` leaves no rows.
    """
    pools = _stage_pools(recipe, rows, table, stage)
    if stage.replay:
        earlier = [
            pool.table.row
            for former in recipe.resolved_stages()[:number]
            for pool in _stage_pools(recipe, rows, table, former)
        ]
        own = np.concatenate([pool.table.row for pool in pools])
        replayed = np.setdiff1d(np.concatenate(earlier), own)
        if not len(replayed):
            raise UserError(f"stage {stage.name!r}: replay: every row of the earlier stages is in this stage already")
        pools.append(RowPool(table.select(np.isin(table.row, replayed)), replay=stage.replay))
    schedule = Schedule(
        rows, pools, seed=recipe.seed, stage=number, questions_per_image=stage.questions_per_image,
        batch_size=stage.batch_size, max_length=recipe.max_length, sample_answers=recipe.answers == "sampled",
    )  # fmt: skip
    by_epochs = max(1, round(stage.epochs * schedule.per_epoch))
    schedule.length = stage.max_steps * conversations_per_step(stage) if stage.max_steps else by_epochs
    return schedule


def _stage_pools(recipe: TrainRecipe, rows: Rows, table: AcceptedRows, stage: ResolvedStage) -> list[RowPool]:
    """A stage's own rows: those that pass ``filter``, balanced; one pool for each name of ``weights``."""
    if stage.filter:
        chosen = [passes_filter(rows[row], rows.set_of(row), stage.filter) for row in table.row.tolist()]
        table = table.select(np.array(chosen, dtype=bool))
    if not len(table.row):
        raise UserError(f"stage {stage.name!r}: no row matches filter: {stage.filter}")
    if stage.balance_answers:
        table = table.select(answer_balance(rows, table.row, recipe.seed))
    if not stage.weights:
        return [RowPool(table)]
    sets = [part.name for part in rows.sets]
    names = np.array(
        [name if (name := rows.set_of(row)) in stage.weights else rows[row].source for row in table.row.tolist()]
    )
    for name in stage.weights:
        if not (names == name).any():
            known = sorted({*filter(None, sets), *names.tolist()})
            raise UserError(f"stage {stage.name!r}: weights: no row of {name!r}; known data sets and sources: {known}")
    return [RowPool(table.select(names == name), weight) for name, weight in stage.weights.items()]


def conversations_per_step(stage: ResolvedStage) -> int:
    """Conversations of one optimiser step, over all processes."""
    return stage.batch_size * stage.gradient_accumulation * world_size()


def answer_balance(rows: Rows, chosen: np.ndarray, seed: int) -> np.ndarray:
    """Bool mask over ``chosen``: per question text, no answer is more frequent than the runner-up.

    Where most answers to 'is there a …?' are 'no', a model first learns to say no without
    looking; with yes and no equally often, only the image tells (the idea of VQA v2: Goyal
    et al. 2017, arXiv:1612.00837). Which rows of the too frequent answer stay is drawn by
    ``seed``. Questions with one answer only, and rows of several turns, stay as they are.

    Args:
        chosen: row numbers, int64 (n,).
    """
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    answers: list[str] = []
    for place, row in enumerate(chosen):
        sample = rows[int(row)]
        single = sum(turn.role == "assistant" for turn in sample.conversations) == 1
        answers.append(sample.answer.strip().casefold())
        if single:
            numbers[" ".join(sample.question.casefold().split())].append(place)
    keep = np.ones(len(chosen), dtype=bool)
    rng = np.random.default_rng(seed)
    for question in sorted(numbers):
        places = numbers[question]
        ranked = Counter(answers[place] for place in places).most_common(2)
        if len(ranked) == 2 and ranked[0][1] > ranked[1][1]:
            frequent = np.array([place for place in places if answers[place] == ranked[0][0]])
            keep[rng.choice(frequent, ranked[0][1] - ranked[1][1], replace=False)] = False
    return keep


def passes_filter(sample: Sample, data: str, conditions: Mapping[str, str | list[str]]) -> bool:
    """Whether the sample passes a stage's ``filter``: every field has an allowed value.

    Args:
        data: name of the data set that the sample belongs to.

    Raises:
        UserError: a field that is not ``id``, ``source``, ``split``, ``data`` or ``meta.<key>``.
    """
    for field, allowed in conditions.items():
        if field in ("id", "source", "split"):
            value = getattr(sample, field)
        elif field == "data":
            value = data
        elif field.startswith("meta."):
            value = sample.meta.get(field.removeprefix("meta."))
        else:
            raise UserError(f"filter: unknown field {field!r}; known: id, source, split, data, meta.<key>")
        if str(value) not in ([allowed] if isinstance(allowed, str) else allowed):
            return False
    return True
