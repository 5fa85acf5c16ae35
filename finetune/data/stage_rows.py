"""The rows of a stage: its filter, its answer balance, the weights of its sources and the replay of earlier stages."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np

from finetune.data.rows import Rows
from finetune.data.schedule import AcceptedRows, RowPool, Schedule
from finetune.processes import world_size
from finetune.recipe import ResolvedStage, TrainRecipe
from winnow.errors import UserError
from winnow.records import Sample


def schedule_of(recipe: TrainRecipe, rows: Rows, accepted: AcceptedRows, number: int, stage: ResolvedStage) -> Schedule:
    """The conversations of a stage in training order.

    Args:
        number: position of the stage in the recipe, from 0.

    Raises:
        UserError: the stage's ``filter``, ``weights`` or ``replay`` leaves no rows.
    """
    pools = _stage_pools(recipe, rows, accepted, stage)
    if stage.replay:
        earlier = [
            pool.rows.row
            for former in recipe.resolved_stages()[:number]
            for pool in _stage_pools(recipe, rows, accepted, former)
        ]
        own = np.concatenate([pool.rows.row for pool in pools])
        replayed = np.setdiff1d(np.concatenate(earlier), own)
        if not len(replayed):
            raise UserError(f"stage {stage.name!r}: replay: every row of the earlier stages is in this stage already")
        pools.append(RowPool(accepted.select(np.isin(accepted.row, replayed)), replay=stage.replay))
    schedule = Schedule(
        rows, pools, seed=recipe.seed, stage=number, questions_per_image=stage.questions_per_image,
        batch_size=stage.batch_size, max_length=recipe.max_length, sample_answers=recipe.answers == "sampled",
    )  # fmt: skip
    by_epochs = max(1, round(stage.epochs * schedule.per_epoch))
    schedule.length = stage.max_steps * conversations_per_step(stage) if stage.max_steps else by_epochs
    return schedule


def _stage_pools(recipe: TrainRecipe, rows: Rows, accepted: AcceptedRows, stage: ResolvedStage) -> list[RowPool]:
    """A stage's own rows, filtered and balanced: one pool for each name of ``weights``, else a single pool."""
    if stage.filter:
        chosen = [passes_filter(rows[row], rows.set_of(row), stage.filter) for row in accepted.row.tolist()]
        accepted = accepted.select(np.array(chosen, dtype=bool))
    if not len(accepted.row):
        raise UserError(f"stage {stage.name!r}: no row matches filter: {stage.filter}")
    if stage.balance_answers:
        accepted = accepted.select(answer_balance(rows, accepted.row, recipe.seed))
    if not stage.weights:
        return [RowPool(accepted)]
    sets = [data_set.name for data_set in rows.sets]
    names = np.array(
        [name if (name := rows.set_of(row)) in stage.weights else rows[row].source for row in accepted.row.tolist()]
    )
    for name in stage.weights:
        if not (names == name).any():
            known = sorted({*filter(None, sets), *names.tolist()})
            raise UserError(f"stage {stage.name!r}: weights: no row of {name!r}; known data sets and sources: {known}")
    return [RowPool(accepted.select(names == name), weight) for name, weight in stage.weights.items()]


def passes_filter(sample: Sample, data: str, conditions: Mapping[str, str | list[str]]) -> bool:
    """Whether every field that ``conditions`` names has an allowed value.

    Args:
        data: name of the sample's data set.
        conditions: field → allowed value or values, a stage's ``filter``.

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


def answer_balance(rows: Rows, chosen: np.ndarray, seed: int) -> np.ndarray:
    """Mask of the rows to keep so that no answer to a question is more frequent than the second most frequent.

    Where most answers to "is there a …?" are "no", a model first learns to say no without looking
    at the image. With as many "yes" as "no", the question alone does not give the answer away
    (balancing as in VQA v2: Goyal et al. 2017, arXiv:1612.00837). ``seed`` decides which rows of
    the most frequent answer stay. Questions with a single answer and rows of several turns all stay.

    Args:
        chosen: row numbers, int64 (n,).

    Returns:
        bool (n,), true for rows to keep.
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


def conversations_per_step(stage: ResolvedStage) -> int:
    """Conversations of an optimiser step, over all processes."""
    return stage.batch_size * stage.gradient_accumulation * world_size()
