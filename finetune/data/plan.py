"""What a run trains on, known before a weight is loaded: accepted rows, the conversations of each stage, masks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from rich.console import Console
from rich.markup import escape

from finetune.data.collate import Collator, MaskCheck, check_masks, first_of_each_source
from finetune.data.image_costs import IMAGE_COSTS, Size, image_costs, image_token_counter
from finetune.data.pairs import shown_sides
from finetune.data.preflight import Preflight, check_rows
from finetune.data.rows import Rows, locate_data
from finetune.data.schedule import AcceptedRows, Schedule, schedule_of
from finetune.recipe import TrainRecipe
from winnow.files import atomic_path, digest_of, sha256_file, write_json
from winnow.remote.downloads import fetch, is_remote, local_model, parse
from winnow.run import MANIFEST, Stages, package_versions
from winnow.vlm.inputs import InputSettings, apply_to_processor

CHECKED_PER_SOURCE = 8
ROWS = "rows.parquet"  # of the accepted rows, in a run folder


@dataclass(frozen=True)
class TrainingPlan:
    """The checked data of a run.

    Attributes:
        schedules: the conversations of each stage.
        masks: result of the mask self-check on a few conversations of every source.
    """

    rows: Rows
    checked: Preflight
    schedules: list[Schedule]
    masks: MaskCheck


def input_digests(recipe: TrainRecipe, rows: Rows) -> dict[str, str]:
    """Recipe key → hex digest of the model, the rows and the template file.

    A local model is hashed file by file; of the Hugging Face hub's, it is the commit. An adapter that is
    trained further is hashed too. Named data sets have keys of their own (``data.<name>``, ``evaluate.<name>``).
    """
    remote = None if Path(recipe.model).is_dir() else parse(recipe.model, "model")
    commit = fetch(remote, weights=False).commit if remote else None
    digests = {"model": commit or _folder_digest(local_model(recipe.model))}
    if recipe.adapter is not None:
        digests["adapter"] = _folder_digest(local_model(recipe.adapter))
    for data_set in rows.sets:
        file = data_set.given if data_set.given.is_file() else data_set.path
        digests[f"data.{data_set.name}" if data_set.name else "data"] = sha256_file(file)
    for name, path in recipe.evaluate.items():
        file = path if path.is_file() else path / "samples.jsonl"
        if is_remote(str(path)):
            file, _ = locate_data(path, None)
        if file.is_file():
            digests[f"evaluate.{name}"] = sha256_file(file)
    if recipe.chat_template is not None and recipe.chat_template.is_file():
        digests["chat_template"] = sha256_file(recipe.chat_template)
    return digests


def _folder_digest(folder: Path) -> str:
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != MANIFEST)
    return digest_of({path.name: sha256_file(path) for path in files})


def make_plan(
    recipe: TrainRecipe, rows: Rows, processor: Any, *, stages: Stages, inputs: dict[str, str]
) -> TrainingPlan:
    """Check rows and masks and draw the stages.

    Args:
        stages: of the run folder: rows that an earlier start has checked are not checked again.
        inputs: see ``input_digests``.

    Raises:
        UserError: the data cannot be trained, or the processor's masks are wrong.
    """
    checked = checked_rows(recipe, rows, processor, stages=stages, inputs=inputs)
    resolved = enumerate(recipe.resolved_stages())
    schedules = [schedule_of(recipe, rows, checked.accepted, number, stage) for number, stage in resolved]
    collator = Collator(processor, rows.image_root, recipe.input_settings)
    shown = first_of_each_source(rows, schedules, CHECKED_PER_SOURCE)
    masks = check_masks(collator, shown_sides(recipe, rows, shown))
    return TrainingPlan(rows, checked, schedules, masks)


def checked_rows(
    recipe: TrainRecipe, rows: Rows, processor: Any, *, stages: Stages, inputs: dict[str, str]
) -> Preflight:
    """Check the rows unless it is done; the result lies in ``rows.parquet`` and ``rejects.jsonl`` of the run folder."""
    stored, rejects, costs = (recipe.folder / name for name in (ROWS, "rejects.jsonl", IMAGE_COSTS))

    def check() -> None:
        checked = check_rows(
            rows, processor, settings=recipe.input_settings, max_length=recipe.max_length, max_reject=recipe.max_reject,
            sample_answers=recipe.answers == "sampled", workers=recipe.num_workers, rejects=rejects,
            joined=recipe.joins_questions(), pairs=recipe.method == "dpo",
        )  # fmt: skip
        accepted = checked.accepted
        with atomic_path(stored) as temporary:
            names = ("row", "group", "tokens", "image_tokens")
            pq.write_table(pa.table({name: getattr(accepted, name) for name in names}), temporary)
        longest = int((accepted.tokens - accepted.image_tokens).max())
        under = partial(_counter_under, processor, recipe.input_settings)
        write_json(costs, image_costs(checked.sizes, under, longest, recipe.max_pixels))

    key = {"recipe": recipe.model_dump(mode="json"), "inputs": inputs}
    stages.run_if_stale("check rows", key, [stored, rejects, costs], check)
    columns = [column.to_numpy() for column in pq.read_table(stored).columns]
    reasons = [json.loads(line)["reason"] for line in rejects.read_text(encoding="utf-8").splitlines()]
    return Preflight(AcceptedRows(*columns), dict(Counter(reasons).most_common()))


def _counter_under(processor: Any, settings: InputSettings, max_pixels: int | None) -> Callable[[Size], float]:
    capped, other = replace(settings, max_pixels=max_pixels), copy(processor)
    apply_to_processor(other, capped)
    return image_token_counter(other, capped)


def print_plan(console: Console, recipe: TrainRecipe, plan: TrainingPlan, inputs: dict[str, str]) -> None:
    """Print the resolved recipe, versions, digests, data, masks and stages."""
    values = recipe.model_dump(mode="json", exclude_defaults=True) | {"seed": recipe.seed}
    console.print(yaml.safe_dump(values, sort_keys=False, allow_unicode=True).rstrip(), markup=False)
    left_out = {*values, "dpo"} if recipe.method == "sft" else set(values)
    rest = {k: v for k, v in recipe.model_dump(mode="json", exclude=left_out).items() if v not in (None, [], {})}
    defaults = yaml.safe_dump(rest, sort_keys=False, default_flow_style=True, width=10_000).strip("{}\n")
    console.print(f"defaults: {defaults}", markup=False)
    console.print("versions: " + ", ".join(f"{name} {version}" for name, version in package_versions().items()))
    console.print("digests: " + ", ".join(f"{name} {digest[:12]}" for name, digest in inputs.items()))
    rejected = sum(plan.checked.rejected.values())
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in plan.checked.rejected.items())
    accepted = len(plan.checked.accepted.row)
    console.print(f"data: {accepted:,} rows accepted, {rejected:,} rejected" + (f" ({reasons})" if reasons else ""))
    share = plan.masks.trained / max(plan.masks.tokens, 1)
    console.print(
        f"masks: right in all {plan.masks.conversations} sampled conversations, {share:.1%} of their tokens are trained"
    )
    for fed, trained in plan.masks.gaps:
        hint = "; for rows without reasoning set chat_template_kwargs: {enable_thinking: false}"
        console.print(
            f"[yellow]warning:[/] at generation the chat template ends a prompt with {escape(repr(fed))}, but in"
            f" training an answer follows {escape(repr(trained))}{hint if '<think>' in fed + trained else ''}"
        )
    if not plan.masks.stops:
        console.print(
            "[yellow]warning:[/] the chat template ends no answer with a stop token: the model will not learn to stop"
        )
    for stage, schedule in zip(recipe.resolved_stages(), plan.schedules, strict=True):
        console.print(
            f"{stage.name}: {len(schedule.members):,} rows in {schedule.per_epoch:,} conversations, "
            f"{len(schedule) / schedule.per_epoch:.2f} epochs, trains {' + '.join(stage.train)}"
        )
