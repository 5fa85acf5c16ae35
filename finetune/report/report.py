"""What a run leaves for people to read: its report, its loss curves and the adapter's model card."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from finetune.data.image_costs import IMAGE_COSTS, read_image_costs
from finetune.data.plan import TrainingPlan
from finetune.model.adapter import ModuleGroup
from finetune.recipe import ResolvedStage, TrainRecipe
from finetune.report.serving import serving_sentence
from winnow.files import atomic_path, sha256_file, write_text
from winnow.remote.downloads import plain_name
from winnow.run import MANIFEST, git_commit, package_versions
from winnow.text import cell, escaped, table

if TYPE_CHECKING:
    import pyarrow as pa


_Section = tuple[str, list[str], list[list[str]]]  # title, header, rows


def write_report(
    recipe: TrainRecipe, plan: TrainingPlan, groups: Sequence[ModuleGroup], metrics: Sequence[dict[str, Any]],
    evaluations: Sequence[list[str]], margins: pa.Table | None = None,
) -> None:  # fmt: skip
    """Write ``report.md`` and a self-contained ``report.html`` into the run folder.

    Args:
        metrics: lines of ``metrics.jsonl``.
        evaluations: set or task, when, result, forgetting and number of rows of each line to show.
        margins: ``margins.parquet`` of a run with preference pairs.
    """
    folder = recipe.folder
    sections = [_stages(recipe, plan, metrics), _modules(groups), _data(plan)]
    if margins is not None:
        sections.append(_margins(recipe, margins))
    if evaluations:
        sections.append(_evaluations(recipe, evaluations))
    if costs := read_image_costs(folder / IMAGE_COSTS):
        sections.append(_image_costs(costs))
    if recipe.decoder != "full":
        config = folder / "adapter" / "adapter_config.json"
        how = serving_sentence(config, folder, tower="lora" in recipe.vision_modes())
        sections.append(("Serving", ["how the adapter is served"], [[how]]))
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
    before: float = max((line["seconds"] for line in metrics if line["stage"] < stage), default=0.0)
    end: float = max(line["seconds"] for line in metrics if line["stage"] == stage)
    return (end - before) / 60


def _modules(groups: Sequence[ModuleGroup]) -> _Section:
    rows = [[group.part, group.state, f"{group.tensors:,}", f"{group.parameters:,}"] for group in groups]
    return "Modules", ["part", "state", "tensors", "parameters"], rows


def _data(plan: TrainingPlan) -> _Section:
    rows = [["accepted", f"{len(plan.checked.accepted.row):,}"]]
    rows += [[f"rejected: {reason}", f"{count:,}"] for reason, count in plan.checked.rejected.items()]
    rows.append(["trained tokens in checked conversations", f"{plan.masks.trained / max(plan.masks.tokens, 1):.1%}"])
    rows.append(["answers end in a stop token", "yes" if plan.masks.stops else "no"])
    return "Data", ["rows", "count"], rows


def _margins(recipe: TrainRecipe, margins: pa.Table) -> _Section:
    names = [stage.name for stage in recipe.resolved_stages()]
    rows = []
    for (stage, epoch), part in margins.to_pandas().groupby(["stage", "epoch"]):
        means = [f"{part[name].mean():+.3f}" for name in ("chosen", "rejected", "margin")]
        right = f"{(part['margin'] > 0).mean():.1%}"
        rows.append([names[stage], str(epoch), f"{len(part):,}", *means, right, f"{part['loss'].mean():.4f}"])
    title = "Preference pairs (rewards when they were trained)"
    header = ["stage", "epoch", "pairs", "chosen", "rejected", "margin", "chosen above rejected", "loss"]
    return title, header, rows


def _evaluations(recipe: TrainRecipe, rows: Sequence[list[str]]) -> _Section:
    kept = f"; each stage keeps the step at which {recipe.best} was best" if recipe.best else ""
    title = f"Evaluation (forgetting: loss above the best so far{kept})"
    return title, ["set or task", "when", "result", "forgetting", "rows"], list(rows)


def _image_costs(lines: Sequence[dict[str, Any]]) -> _Section:
    rows = [
        ["none" if line["max_pixels"] is None else f"{line['max_pixels']:,}", f"{line['image_mean']:,.0f}",
         f"{line['image_max']:,}", f"{line['longest']:,}",
         f"{line['memory'] / 2**30:.1f} GiB" if "memory" in line else ""]
        for line in lines
    ]  # fmt: skip
    header = ["max_pixels", "tokens per image", "at most", "longest row", "memory of the longest batch"]
    return "Tokens of images", header, rows


def _markdown(recipe: TrainRecipe, sections: Sequence[_Section], curves: Sequence[tuple[str, str]]) -> str:
    parts = [f"# {cell(recipe.name)}", f"Base model: `{recipe.model}`."]
    for title, header, rows in sections:
        parts += [f"## {title}", table(header, [[escaped(value) for value in row] for row in rows])]
    parts += [f"![{title}]({file})" for title, file in curves]
    return "\n\n".join(parts) + "\n"


def _html(recipe: TrainRecipe, sections: Sequence[_Section], curves: Sequence[tuple[str, str]], folder: Path) -> str:
    parts = []
    for title, file in curves:
        data = base64.b64encode((folder / file).read_bytes()).decode()
        parts.append(f'<h2>{title}</h2><img alt="{title}" src="data:image/png;base64,{data}">')
    for title, header, rows in sections:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
        body = "".join(f"<tr>{''.join(f'<td>{html.escape(value)}</td>' for value in row)}</tr>" for row in rows)
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
    """Exponential moving average, with Adam's correction for the bias of its start at zero."""
    average, total, result = 0.0, 0.0, []
    for value in values:
        average = weight * average + (1 - weight) * value
        total = weight * total + (1 - weight)
        result.append(average / total)
    return result


def draw_loss_curve(metrics: Sequence[dict[str, Any]], stages: Sequence[str], title: str, target: Path) -> None:
    """Draw the logged losses over all steps, raw and smoothed, a colour for each stage.

    Args:
        metrics: lines of ``metrics.jsonl``.
        stages: names of the stages, in order.
        target: the PNG to write.
    """
    figure, axes = _loss_axes(title)
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
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    _save(figure, target)


def draw_source_curves(losses: pa.Table, title: str, target: Path) -> None:
    """Draw the smoothed loss of every source over all steps.

    Args:
        losses: ``source_losses.parquet``: stage, step, source, loss per trained token.
        target: the PNG to write.
    """
    figure, axes = _loss_axes(title)
    frame = losses.to_pandas()
    last = frame.groupby("stage")["step"].max().sort_index()
    frame["place"] = frame["step"] + frame["stage"].map(last.cumsum() - last)
    for name, part in frame.groupby("source"):
        values = smoothed(part["loss"].tolist())
        axes.plot(part["place"], values, linewidth=1.8, label=f"{name or '(no source)'}: {values[-1]:.3f}")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize="small")
    _save(figure, target)


def _loss_axes(title: str) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=140, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel="optimiser step", ylabel="loss, nats per trained token", title=title)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Any, target: Path) -> None:
    with atomic_path(target) as temporary:
        figure.savefig(temporary, format="png")


def write_card(
    recipe: TrainRecipe, plan: TrainingPlan, groups: list[ModuleGroup], serving: Sequence[str], target: Path
) -> None:
    """Write the model card: front matter for the hub, the data's provenance, training and use.

    Args:
        serving: what servers must be given, see ``finetune.report.serving``.
    """
    front: dict[str, Any] = {"base_model": plain_name(recipe.model), "pipeline_tag": "image-text-to-text"}
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
    further = f", trained further from `{recipe.adapter}`" if recipe.adapter is not None else ""
    served = "\nServers must prepare inputs as training did:\n\n" if serving else ""
    served += "".join(f"- {note}\n" for note in serving)
    loads = "AutoModelForImageTextToText.from_pretrained"
    text = f"""---
{yaml.safe_dump(front, sort_keys=False).rstrip()}
---
# {recipe.name}

{_kind(recipe)} of `{recipe.model}`{further}, made with Winnow. {trained:,} parameters were trained; the loss was
computed on answers and their stop tokens only.

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

An adapter trained on a 4-bit base is closest to its training when it runs on that base or is merged into the
dequantised base: `finetune merge RUN --out DIR`.
{_serving(recipe, target.parent)}{served}"""
    write_text(target, text)


def _serving(recipe: TrainRecipe, folder: Path) -> str:
    if recipe.decoder == "full":
        return ""
    tower = "lora" in recipe.vision_modes()
    how = serving_sentence(folder / "adapter_config.json", Path("RUN"), tower=tower)
    return how.replace(str(folder), "THIS-FOLDER") + ".\n"


def _rates(stage: ResolvedStage) -> str:
    return ", ".join(f"{part} {stage.rates[part]:g}" for part in stage.train)


def _kind(recipe: TrainRecipe) -> str:
    if recipe.decoder == "full":
        return "A full fine-tuning"
    return "A QLoRA adapter" if recipe.quantization == "nf4" else "A LoRA adapter"


def _provenance(plan: TrainingPlan) -> str:
    lines = []
    for data_set in plan.rows.sets:
        folder = data_set.given if data_set.given.is_dir() else data_set.given.parent
        manifest = folder / MANIFEST
        lines.append(f"- `{data_set.given}`: {len(data_set.offsets):,} rows, sha256 `{sha256_file(data_set.path)}`")
        if manifest.is_file():
            lines += _curation(json.loads(manifest.read_text(encoding="utf-8")))
    rejected = ", ".join(f"{reason} {count:,}" for reason, count in plan.checked.rejected.items()) or "none"
    accepted = len(plan.checked.accepted.row)
    return "\n".join([*lines, f"- rows that could be trained: {accepted:,}; rejected: {rejected}"])


def _curation(manifest: dict[str, Any]) -> list[str]:
    """The origin of a curated set, from its manifest."""
    counts = manifest.get("counts", {})
    kept = ", ".join(f"{name} {counts[name]:,}" for name in ("rows", "keep", "flag", "drop") if name in counts)
    lines = [
        f"  - curated by recipe `{manifest.get('recipe_digest', '')[:16]}`, "
        f"commit `{(manifest.get('git_commit') or 'unknown')[:12]}`" + (f": {kept}" if kept else "")
    ]
    inputs = sorted(manifest.get("inputs", {}).items())
    return lines + [f"  - input `{name}`: sha256 `{digest}`" for name, digest in inputs]
