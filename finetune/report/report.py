"""The run's report: what was trained, how the loss went, what was forgotten.

The loss curve as an image beside the adapter.

The model card beside the adapter: what it is, what it learnt from, how to load it.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from finetune.data.image_cost import read_image_costs
from finetune.data.plan import TrainingPlan
from finetune.model.adapter import ModuleGroup
from finetune.recipe import ResolvedStage, TrainRecipe
from finetune.training.evaluation import EvaluationLoss
from winnow.files import atomic_path, sha256_file, write_text
from winnow.run import MANIFEST, git_commit, package_versions

if TYPE_CHECKING:
    import pyarrow as pa


_Section = tuple[str, list[str], list[list[str]]]  # title, header, rows


def write_report(
    recipe: TrainRecipe, plan: TrainingPlan, groups: Sequence[ModuleGroup], metrics: Sequence[dict[str, Any]],
    evaluations: Sequence[EvaluationLoss],
) -> None:  # fmt: skip
    """Write ``report.md`` and a self-contained ``report.html`` into the run folder."""
    folder = recipe.folder
    sections = [_stages(recipe, plan, metrics), _modules(groups), _data(plan)]
    if evaluations:
        sections.append(_evaluations(recipe, evaluations))
    if forecast := read_image_costs(folder / "forecast.json"):
        sections.append(_forecast(forecast))
    curves = [("training loss", "loss_curve.png"), ("training loss by source", "source_curves.png")]
    write_text(folder / "report.md", _markdown(recipe, sections, curves))
    write_text(folder / "report.html", _html(recipe, sections, curves, folder))


def _stages(recipe: TrainRecipe, plan: TrainingPlan, metrics: Sequence[dict[str, Any]]) -> _Section:
    rows = []
    for number, (stage, schedule) in enumerate(zip(recipe.resolved_stages(), plan.schedules, strict=True)):
        lines = [line for line in metrics if line["stage"] == number]
        loss = f"{lines[0]['loss']:.4f} → {lines[-1]['loss']:.4f}" if lines else ""
        steps, minutes = (lines[-1]["step"], _minutes(metrics, number)) if lines else (0, 0.0)
        rows.append([stage.name, " + ".join(stage.train), f"{steps:,}", f"{len(schedule):,}", loss, f"{minutes:.1f}"])
    return "Stages", ["stage", "trains", "steps", "conversations", "loss", "minutes"], rows


def _minutes(metrics: Sequence[dict[str, Any]], stage: int) -> float:
    before = max((line["seconds"] for line in metrics if line["stage"] < stage), default=0.0)
    return (max(line["seconds"] for line in metrics if line["stage"] == stage) - before) / 60


def _modules(groups: Sequence[ModuleGroup]) -> _Section:
    rows = [[group.part, group.state, f"{group.tensors:,}", f"{group.parameters:,}"] for group in groups]
    return "Modules", ["part", "state", "tensors", "parameters"], rows


def _data(plan: TrainingPlan) -> _Section:
    rows = [["accepted", f"{len(plan.checked.table.row):,}"]]
    rows += [[f"rejected: {reason}", f"{count:,}"] for reason, count in plan.checked.rejected.items()]
    rows.append(["trained tokens in checked conversations", f"{plan.masks.trained / max(plan.masks.tokens, 1):.1%}"])
    rows.append(["answers end in a stop token", "yes" if plan.masks.stops else "no"])
    return "Data", ["rows", "count"], rows


def _evaluations(recipe: TrainRecipe, evaluations: Sequence[EvaluationLoss]) -> _Section:
    names = ["before training", *(f"after {stage.name}" for stage in recipe.resolved_stages())]
    rows = [
        [entry.name, names[entry.stage + 1], f"{entry.loss:.4f}",
         "" if entry.forgetting is None else f"{entry.forgetting:+.4f}", f"{entry.rows:,}"]
        for entry in sorted(evaluations, key=lambda entry: (entry.name, entry.stage))
    ]  # fmt: skip
    return (
        "Evaluation sets (forgetting: loss above the best so far)",
        ["set", "when", "loss", "forgetting", "rows"],
        rows,
    )


def _forecast(lines: Sequence[dict[str, Any]]) -> _Section:
    rows = [
        ["none" if line["max_pixels"] is None else f"{line['max_pixels']:,}", f"{line['image_mean']:,.0f}",
         f"{line['image_max']:,}", f"{line['longest']:,}",
         f"{line['memory'] / 2**30:.1f} GiB" if "memory" in line else ""]
        for line in lines
    ]  # fmt: skip
    header = ["max_pixels", "tokens an image", "at most", "longest row", "memory of the longest batch, about"]
    return "What images cost", header, rows


def _markdown(recipe: TrainRecipe, sections: Sequence[_Section], curves: Sequence[tuple[str, str]]) -> str:
    parts = [f"# {_cell(recipe.name)}", f"Base model: `{recipe.model}`."]
    for title, header, rows in sections:
        lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
        lines += [f"| {' | '.join(map(_cell, row))} |" for row in rows]
        parts += [f"## {title}", "\n".join(lines)]
    parts += [f"![{title}]({file})" for title, file in curves]
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _html(recipe: TrainRecipe, sections: Sequence[_Section], curves: Sequence[tuple[str, str]], folder: Path) -> str:
    parts = []
    for title, file in curves:
        data = base64.b64encode((folder / file).read_bytes()).decode()
        parts.append(f'<h2>{title}</h2><img alt="{title}" src="data:image/png;base64,{data}">')
    for title, header, rows in sections:
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
        body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
        parts.append(f"<h2>{html.escape(title)}</h2><table><tr>{head}</tr>{body}</table>")
    page = _PAGE.replace("TITLE", html.escape(recipe.name)).replace("MODEL", html.escape(recipe.model))
    return page.replace("BODY", "\n".join(parts))


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>TITLE: training run</title>
<style>body{font:15px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#111}
img{max-width:100%}table{border-collapse:collapse}th,td{padding:.25rem .8rem;border-bottom:1px solid #e5e7eb;
text-align:left}h2{font-size:1.1rem;margin-top:2rem}</style>
<h1>TITLE</h1><p>Base model: <code>MODEL</code></p>
BODY
</html>
"""


def smoothed(values: Sequence[float], weight: float = 0.9) -> list[float]:
    """Exponential moving average without the bias of a zero start (Adam's correction)."""
    average, seen, result = 0.0, 0.0, []
    for value in values:
        average = weight * average + (1 - weight) * value
        seen = weight * seen + (1 - weight)
        result.append(average / seen)
    return result


def draw_loss_curve(metrics: Sequence[dict[str, Any]], stages: Sequence[str], title: str, target: Path) -> None:
    """Draw the logged losses, raw and smoothed, one colour a stage, over all steps.

    Args:
        metrics: lines of ``metrics.jsonl``.
        stages: names of the stages, in order.
        target: the PNG to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=140, layout="constrained")
    axes = figure.add_subplot()
    colours = ["#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626"]
    first = 0
    for number, name in enumerate(stages):
        lines = [line for line in metrics if line["stage"] == number]
        if not lines:
            continue
        steps, losses = [first + line["step"] for line in lines], [line["loss"] for line in lines]
        colour = colours[number % len(colours)]
        axes.plot(steps, losses, color=colour, alpha=0.28, linewidth=1.1, marker="o" if len(lines) < 3 else None)
        axes.plot(steps, smoothed(losses, 0.8), color=colour, linewidth=2.2, label=f"{name}: {losses[-1]:.3f}")
        if first:
            axes.axvline(first, color="#9ca3af", linewidth=0.9, linestyle=":")
        first = steps[-1]
    axes.set(xlabel="optimiser step", ylabel="loss, nats per trained token", title=title)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with atomic_path(target) as temporary:
        figure.savefig(temporary, format="png")


def draw_source_curves(losses: pa.Table, title: str, target: Path) -> None:
    """Draw the smoothed loss of every source over all steps.

    Args:
        losses: ``source_losses.parquet``: stage, step, source, loss per trained token.
        target: the PNG to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=140, layout="constrained")
    axes = figure.add_subplot()
    frame = losses.to_pandas()
    last = frame.groupby("stage")["step"].max().sort_index()
    frame["place"] = frame["step"] + frame["stage"].map(last.cumsum() - last)
    for name, part in frame.groupby("source"):
        values = smoothed(part["loss"].tolist())
        axes.plot(part["place"], values, linewidth=1.8, label=f"{name or '(no source)'}: {values[-1]:.3f}")
    axes.set(xlabel="optimiser step", ylabel="loss, nats per trained token", title=title)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small")
    with atomic_path(target) as temporary:
        figure.savefig(temporary, format="png")


def write_card(recipe: TrainRecipe, plan: TrainingPlan, groups: list[ModuleGroup], target: Path) -> None:
    """Write ``README.md`` with the front matter of the hub and the data's provenance from its manifest."""
    front: dict[str, Any] = {"base_model": recipe.model, "pipeline_tag": "image-text-to-text"}
    if recipe.decoder == "full":
        front |= {"library_name": "transformers", "tags": ["winnow", "full-fine-tuning"]}
    else:
        front |= {"library_name": "peft", "tags": ["winnow", "lora", recipe.lora_variant]}
    trained = sum(group.parameters for group in groups if group.state in ("LoRA", "trained"))
    stages = "\n".join(
        f"| {stage.name} | {' + '.join(stage.train)} | {len(schedule):,} | {_rates(stage)} |"
        for stage, schedule in zip(recipe.resolved_stages(), plan.schedules, strict=True)
    )
    versions = ", ".join(f"{name} {version}" for name, version in package_versions().items())
    loads = "AutoModelForImageTextToText.from_pretrained"
    text = f"""---
{yaml.safe_dump(front, sort_keys=False).rstrip()}
---
# {recipe.name}

{_kind(recipe)} of `{recipe.model}`, made with Winnow. {trained:,} parameters were trained; the loss was taken on
answers and their stop tokens only.

## Data

{_provenance(plan)}

## Training

| stage | trains | conversations | learning rate |
|---|---|---|---|
{stages}

Quantization of the decoder: {recipe.quantization}. Compute dtype: {recipe.compute_dtype}. Vision tower:
{recipe.model_dump()["vision"]}. Seed: {recipe.seed}. Code: {git_commit() or "unknown commit"}.
Packages: {versions}.

## Use

```python
from transformers import AutoModelForImageTextToText, AutoProcessor

model = {loads}("PATH/TO/THIS/FOLDER")
processor = AutoProcessor.from_pretrained("PATH/TO/THIS/FOLDER")
```

An adapter of a 4-bit base answers most like it did in training on that base, or merged into the dequantised base:
`finetune merge RUN --out DIR`.
"""
    write_text(target, text)


def _rates(stage: ResolvedStage) -> str:
    return ", ".join(f"{part} {stage.rates[part]:g}" for part in stage.train)


def _kind(recipe: TrainRecipe) -> str:
    if recipe.decoder == "full":
        return "A full fine-tuning"
    return "A QLoRA adapter" if recipe.quantization == "nf4" else "A LoRA adapter"


def _provenance(plan: TrainingPlan) -> str:
    lines = []
    for part in plan.rows.sets:
        folder = part.given if part.given.is_dir() else part.given.parent
        manifest = folder / MANIFEST
        lines.append(f"- `{part.given}`: {len(part.offsets):,} rows, sha256 `{sha256_file(part.path)}`")
        if manifest.is_file():
            lines += _curation(json.loads(manifest.read_text(encoding="utf-8")))
    rejected = ", ".join(f"{reason} {count:,}" for reason, count in plan.checked.rejected.items()) or "none"
    accepted = len(plan.checked.table.row)
    return "\n".join([*lines, f"- rows that could be trained: {accepted:,}; rejected: {rejected}"])


def _curation(manifest: dict[str, Any]) -> list[str]:
    """What a curated set's manifest says about its origin."""
    counts = manifest.get("counts", {})
    kept = ", ".join(f"{name} {counts[name]:,}" for name in ("rows", "keep", "flag", "drop") if name in counts)
    lines = [
        f"  - curated by recipe `{manifest.get('recipe_digest', '')[:16]}`, "
        f"commit `{(manifest.get('git_commit') or 'unknown')[:12]}`" + (f": {kept}" if kept else "")
    ]
    inputs = sorted(manifest.get("inputs", {}).items())
    return lines + [f"  - input `{name}`: sha256 `{digest}`" for name, digest in inputs]
