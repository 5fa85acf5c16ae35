"""What a run will train on: the checked rows, each stage's conversations in order, the masks."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from rich.console import Console

from finetune.data.collate import Collator, MaskCheck, check_masks, first_of_each_source
from finetune.data.preflight import Preflight, check_rows, forecast, image_token_counter
from finetune.data.rows import Rows, matches
from finetune.data.schedule import Pool, Schedule, Table, balanced
from finetune.recipe import ResolvedStage, TrainRecipe
from finetune.processes import world_size
from winnow.errors import UserError
from winnow.files import atomic_path, write_json
from winnow.run import package_versions

CHECKED_PER_SOURCE = 8


@dataclass(frozen=True)
class Plan:
    """Everything that is known before a weight is loaded."""

    rows: Rows
    checked: Preflight
    schedules: list[Schedule]
    masks: MaskCheck


def checked_plan(recipe: TrainRecipe, rows: Rows, processor: Any, *, resume: bool) -> Plan:
    """Check rows and masks and draw the stages.

    Args:
        resume: take the row check that an earlier start of the same run stored.

    Raises:
        UserError: data that cannot be trained, or a processor whose masks cannot be trusted.
    """
    checked = preflight(recipe, rows, processor, resume=resume)
    stages = enumerate(recipe.resolved_stages())
    schedules = [schedule_of(recipe, rows, checked.table, number, stage) for number, stage in stages]
    collator = Collator(processor, rows.image_root, recipe.max_pixels)
    masks = check_masks(collator, first_of_each_source(rows, schedules, CHECKED_PER_SOURCE))
    return Plan(rows, checked, schedules, masks)


def print_plan(console: Console, recipe: TrainRecipe, plan: Plan, inputs: dict[str, str]) -> None:
    """The start of a run: resolved recipe, versions, digests, data, masks and stages."""
    values = recipe.model_dump(mode="json", exclude_defaults=True) | {"seed": recipe.seed}
    console.print(yaml.safe_dump(values, sort_keys=False, allow_unicode=True).rstrip(), markup=False)
    defaults = {k: v for k, v in recipe.model_dump(mode="json").items() if k not in values and v not in (None, [], {})}
    console.print(f"defaults: {', '.join(f'{key} {value}' for key, value in defaults.items())}", markup=False)
    console.print("versions: " + ", ".join(f"{name} {version}" for name, version in package_versions().items()))
    console.print("digests: " + ", ".join(f"{name} {digest[:12]}" for name, digest in inputs.items()))
    rejected = sum(plan.checked.rejected.values())
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in plan.checked.rejected.items())
    accepted = len(plan.checked.table.row)
    console.print(f"data: {accepted:,} rows accepted, {rejected:,} rejected" + (f" ({reasons})" if reasons else ""))
    share = plan.masks.trained / max(plan.masks.tokens, 1)
    console.print(f"masks: {plan.masks.conversations} conversations checked, {share:.1%} of their tokens are trained")
    if not plan.masks.stops:
        console.print(
            "[yellow]warning:[/] the chat template ends no answer with a stop token: the model will not learn to stop"
        )
    for stage, schedule in zip(recipe.resolved_stages(), plan.schedules, strict=True):
        console.print(
            f"{stage.name}: {len(schedule.members):,} rows in {schedule.per_epoch:,} conversations, "
            f"{len(schedule) / schedule.per_epoch:.2f} epochs, trains {' + '.join(stage.train)}"
        )


def preflight(recipe: TrainRecipe, rows: Rows, processor: Any, *, resume: bool) -> Preflight:
    """Check the rows, or take the result that an earlier start of the same run stored."""
    stored, rejects = recipe.folder / "rows.parquet", recipe.folder / "rejects.jsonl"
    if resume and stored.is_file():
        columns = [column.to_numpy() for column in pq.read_table(stored).columns]
        reasons = [json.loads(line)["reason"] for line in rejects.read_text(encoding="utf-8").splitlines()]
        return Preflight(Table(*columns), dict(Counter(reasons).most_common()))
    checked = check_rows(
        rows, processor, max_length=recipe.max_length, max_pixels=recipe.max_pixels, max_reject=recipe.max_reject,
        sample_answers=recipe.answers == "sampled", workers=recipe.num_workers, rejects=rejects,
    )  # fmt: skip
    table = checked.table
    with atomic_path(stored) as temporary:
        names = ("row", "group", "tokens", "image_tokens")
        pq.write_table(pa.table({name: getattr(table, name) for name in names}), temporary)
    write_json(recipe.folder / "forecast.json", forecast_of(recipe, checked, processor))
    return checked


def forecast_of(recipe: TrainRecipe, checked: Preflight, processor: Any) -> list[dict[str, Any]]:
    """Tokens by pixel cap, see ``finetune.data.preflight``."""
    longest = int((checked.table.tokens - checked.table.image_tokens).max())
    return forecast(checked.sizes, image_token_counter(processor), longest, recipe.max_pixels)


def schedule_of(recipe: TrainRecipe, rows: Rows, table: Table, number: int, stage: ResolvedStage) -> Schedule:
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
        pools.append(Pool(table.select(np.isin(table.row, replayed)), replay=stage.replay))
    schedule = Schedule(
        rows, pools, seed=recipe.seed, stage=number, questions_per_image=stage.questions_per_image,
        batch_size=stage.batch_size, max_length=recipe.max_length, sample_answers=recipe.answers == "sampled",
    )  # fmt: skip
    by_epochs = max(1, round(stage.epochs * schedule.per_epoch))
    schedule.length = stage.max_steps * per_step(stage) if stage.max_steps else by_epochs
    return schedule


def _stage_pools(recipe: TrainRecipe, rows: Rows, table: Table, stage: ResolvedStage) -> list[Pool]:
    """A stage's own rows: those that pass ``filter``, balanced; one pool for each name of ``weights``."""
    if stage.filter:
        chosen = [matches(rows[row], rows.set_of(row), stage.filter) for row in table.row.tolist()]
        table = table.select(np.array(chosen, dtype=bool))
    if not len(table.row):
        raise UserError(f"stage {stage.name!r}: no row matches filter: {stage.filter}")
    if stage.balance_answers:
        table = table.select(balanced(rows, table.row, recipe.seed))
    if not stage.weights:
        return [Pool(table)]
    sets = [part.name for part in rows.sets]
    names = np.array(
        [name if (name := rows.set_of(row)) in stage.weights else rows[row].source for row in table.row.tolist()]
    )
    for name in stage.weights:
        if not (names == name).any():
            known = sorted({*filter(None, sets), *names.tolist()})
            raise UserError(f"stage {stage.name!r}: weights: no row of {name!r}; known data sets and sources: {known}")
    return [Pool(table.select(names == name), weight) for name, weight in stage.weights.items()]


def per_step(stage: ResolvedStage) -> int:
    """Conversations of one optimiser step, over all processes."""
    return stage.batch_size * stage.gradient_accumulation * world_size()
