"""The end of a run: its adapter, losses, curves, report and, last, the manifest."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from finetune.card import write_card
from finetune.metrics import read_metrics
from finetune.modules import Group
from finetune.recipe import TrainRecipe
from finetune.report.report import write_report
from finetune.training.evaluation import EVALUATIONS, read_evaluations
from finetune.training.losses import by_source, collect, read_parts
from finetune.training.plan import Plan
from finetune.training.processes import world_size
from finetune.training.prompts import PROMPTS
from finetune.training.stage import done_folder
from winnow.run import write_manifest


def finish(
    recipe: TrainRecipe, plan: Plan, processor: Any, inputs: dict[str, str], groups: list[Group],
    clock: dict[str, float],
) -> None:  # fmt: skip
    """Write adapter, losses, curves, report and, last, the manifest; then drop the checkpoints."""
    from finetune.curve import draw_loss_curve, draw_source_curves

    folder, rows = recipe.folder, plan.rows
    adapter = _save_adapter(recipe, processor, plan, groups)
    parts = read_parts(folder / "checkpoints" / "losses")
    scored = collect(parts, rows, folder / "losses.parquet")
    sources = by_source(parts, rows, folder / "source_losses.parquet")
    metrics = read_metrics(folder / "metrics.jsonl")
    stages = [stage.name for stage in recipe.resolved_stages()]
    draw_loss_curve(metrics, stages, f"{recipe.name}: training loss", folder / "loss_curve.png")
    draw_source_curves(sources, f"{recipe.name}: training loss by source", folder / "source_curves.png")
    evaluations = read_evaluations(folder / EVALUATIONS)
    write_report(recipe, plan, groups, metrics, evaluations)
    names = ["losses.parquet", "source_losses.parquet", "metrics.jsonl", "loss_curve.png", "source_curves.png",
             "rejects.jsonl", PROMPTS, "report.md", "report.html", *([EVALUATIONS] if evaluations else [])]  # fmt: skip
    outputs = [path for path in adapter.rglob("*") if path.is_file()] + [folder / name for name in names]
    clock["save"] = time.monotonic()
    write_manifest(
        folder,
        stage="finetune",
        recipe=recipe.model_dump(mode="json"),
        inputs=inputs,
        outputs=outputs,
        counts={
            "rows": len(rows),
            "accepted": len(plan.checked.table.row),
            "rejected": plan.checked.rejected,
            "losses": scored,
            "steps": metrics[-1]["step"] if metrics else 0,
        },
        seconds={name: moment - before for (_, before), (name, moment) in itertools.pairwise(clock.items())},
        seeds={"seed": recipe.seed},
        extra={
            "model": recipe.model,
            "quantization": recipe.quantization,
            "compute_dtype": recipe.compute_dtype,
            "image_root": str(rows.image_root),
            "processes": world_size(),
            "masks": asdict(plan.masks),
            "modules": [asdict(group) for group in groups],
            "evaluations": [asdict(entry) for entry in evaluations],
            "forecast": json.loads((folder / "forecast.json").read_text(encoding="utf-8")),
        },
    )
    shutil.rmtree(folder / "checkpoints")


def _save_adapter(recipe: TrainRecipe, processor: Any, plan: Plan, groups: list[Group]) -> Path:
    """The last stage's weights as the run's ``adapter/``; of ``decoder: full`` the whole model."""
    import torch
    from transformers import AutoModelForImageTextToText

    partial, adapter = recipe.folder / "adapter.partial", recipe.folder / "adapter"
    done = done_folder(recipe, len(plan.schedules) - 1)
    shutil.rmtree(partial, ignore_errors=True)
    if recipe.decoder == "full":
        dtype = getattr(torch, recipe.compute_dtype)
        AutoModelForImageTextToText.from_pretrained(done, dtype=dtype).save_pretrained(partial)
    else:
        partial.mkdir()
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copyfile(done / name, partial / name)
    processor.save_pretrained(partial)
    write_card(recipe, plan, groups, partial / "README.md")
    shutil.rmtree(adapter, ignore_errors=True)
    partial.rename(adapter)
    return adapter
