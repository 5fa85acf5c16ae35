"""What a run will train on: the checked rows, each stage's conversations in order, the masks."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from rich.console import Console

from finetune.data.collate import Collator, MaskCheck, check_masks, first_of_each_source
from finetune.data.image_cost import image_costs, image_token_counter
from finetune.data.preflight import Preflight, check_rows
from finetune.data.rows import Rows
from finetune.data.schedule import AcceptedRows, Schedule
from finetune.data.stage_rows import schedule_of
from finetune.recipe import TrainRecipe
from winnow.files import atomic_path, digest_of, sha256_file, write_json
from winnow.run import MANIFEST, package_versions

CHECKED_PER_SOURCE = 8


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that is known before a weight is loaded."""

    rows: Rows
    checked: Preflight
    schedules: list[Schedule]
    masks: MaskCheck


def make_plan(recipe: TrainRecipe, rows: Rows, processor: Any, *, resume: bool) -> TrainingPlan:
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
    return TrainingPlan(rows, checked, schedules, masks)


def print_plan(console: Console, recipe: TrainRecipe, plan: TrainingPlan, inputs: dict[str, str]) -> None:
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
        return Preflight(AcceptedRows(*columns), dict(Counter(reasons).most_common()))
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
    return image_costs(checked.sizes, image_token_counter(processor), longest, recipe.max_pixels)


def input_digests(recipe: TrainRecipe, rows: Rows) -> dict[str, str]:
    """Hex digests of the model, the rows and the template file, by recipe key.

    A local model is hashed file by file; a hub id stands for itself. Data sets with names have
    keys of their own (``data.<name>``, ``evaluate.<name>``).
    """
    folder = Path(recipe.model)
    if folder.is_dir():
        files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != MANIFEST)
        model = digest_of({path.name: sha256_file(path) for path in files})
    else:
        model = digest_of(recipe.model)
    digests = {"model": model}
    for part in rows.sets:
        file = part.given if part.given.is_file() else part.path
        digests[f"data.{part.name}" if part.name else "data"] = sha256_file(file)
    for name, path in recipe.evaluate.items():
        file = path if path.is_file() else path / "samples.jsonl"
        if file.is_file():
            digests[f"evaluate.{name}"] = sha256_file(file)
    if recipe.chat_template is not None and recipe.chat_template.is_file():
        digests["chat_template"] = sha256_file(recipe.chat_template)
    return digests
