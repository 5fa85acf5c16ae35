"""The run's report: what was trained, how the loss went, what was forgotten."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetune.forecast import read_forecast
from finetune.modules import Group
from finetune.recipe import TrainRecipe
from finetune.training.evaluation import Evaluation
from finetune.training.plan import Plan
from winnow.files import write_text

_Section = tuple[str, list[str], list[list[str]]]  # title, header, rows


def write_report(
    recipe: TrainRecipe, plan: Plan, groups: Sequence[Group], metrics: Sequence[dict[str, Any]],
    evaluations: Sequence[Evaluation],
) -> None:  # fmt: skip
    """Write ``report.md`` and a self-contained ``report.html`` into the run folder."""
    folder = recipe.folder
    sections = [_stages(recipe, plan, metrics), _modules(groups), _data(plan)]
    if evaluations:
        sections.append(_evaluations(recipe, evaluations))
    if forecast := read_forecast(folder / "forecast.json"):
        sections.append(_forecast(forecast))
    curves = [("training loss", "loss_curve.png"), ("training loss by source", "source_curves.png")]
    write_text(folder / "report.md", _markdown(recipe, sections, curves))
    write_text(folder / "report.html", _html(recipe, sections, curves, folder))


def _stages(recipe: TrainRecipe, plan: Plan, metrics: Sequence[dict[str, Any]]) -> _Section:
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


def _modules(groups: Sequence[Group]) -> _Section:
    rows = [[group.part, group.state, f"{group.tensors:,}", f"{group.parameters:,}"] for group in groups]
    return "Modules", ["part", "state", "tensors", "parameters"], rows


def _data(plan: Plan) -> _Section:
    rows = [["accepted", f"{len(plan.checked.table.row):,}"]]
    rows += [[f"rejected: {reason}", f"{count:,}"] for reason, count in plan.checked.rejected.items()]
    rows.append(["trained tokens in checked conversations", f"{plan.masks.trained / max(plan.masks.tokens, 1):.1%}"])
    rows.append(["answers end in a stop token", "yes" if plan.masks.stops else "no"])
    return "Data", ["rows", "count"], rows


def _evaluations(recipe: TrainRecipe, evaluations: Sequence[Evaluation]) -> _Section:
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
