"""Tables for the terminal: scores, comparisons, slices, tasks and explanations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from evalsuite.analysis.explain import RowExplanation
from evalsuite.judge.judgements import Judgement
from evalsuite.metrics.base import Metric
from evalsuite.report.compared import (
    COMPARISON_HEADER,
    FOUND_HEADER,
    SLICE_HEADER,
    changed_slices,
    comparison_cells,
    slice_cells,
)
from evalsuite.report.judged import judge_sentences
from evalsuite.report.numbers import between, ends, number, share
from evalsuite.report.sentences import (
    again_sentence,
    batch_sentence,
    difference_sentence,
    failures_sentence,
    finding_sentences,
    intersection_sentence,
    notes_sentence,
    reading_sentence,
    slices_sentence,
    status_sentence,
    truncated_sentence,
    wins_sentence,
)
from evalsuite.store import SLICE
from evalsuite.tasks.benchmark import by_kind
from evalsuite.tasks.spec import option_values

# Columns of a comparison that a terminal has room for; a sentence below gives rows and coverage.
_COMPARED = [
    place for place, (name, _) in enumerate(COMPARISON_HEADER) if name not in ("rows", "coverage", "detectable")
]


def print_scores(folder: Path, scores: Mapping[str, Any], console: Console | None = None) -> None:
    """Scores of every task, the comparison if there is one, and where the report lies."""
    console = console or Console()
    comparison = scores["comparison"]
    console.print()
    console.print(Text(scores["name"], style="bold"), Text(scores["model"], style="dim"))
    for name, task in scores["tasks"].items():
        against = comparison["tasks"].get(name) if comparison else None
        console.print()
        console.print(_score_table(name, task, against))
        _say(console, status_sentence(task), "dim")
        for sentence in (
            failures_sentence(task),
            truncated_sentence(task),
            reading_sentence(task),
            *judge_sentences(task),
            notes_sentence(task),
        ):
            _say(console, sentence)
        if against:
            _say(console, difference_sentence(against, comparison["tests"]), "bold")
            _say(console, intersection_sentence(against), "dim")
        for sentence in finding_sentences(task, scores):
            _say(console, sentence)
    if sentence := again_sentence(scores):
        console.print(Text(sentence))
    if scores["batch_check"]:
        console.print(Text(batch_sentence(scores["batch_check"]), style="dim"))
    console.print()
    console.print(Text(f"Report: {folder / 'report.html'}"))


def _say(console: Console, sentence: str, style: str = "") -> None:
    """A sentence below a table, indented on every line; nothing for ''."""
    if sentence:
        console.print(Padding(Text(sentence, style=style), (0, 0, 0, 2), expand=False))


def print_comparison(found: Mapping[str, Any], console: Console | None = None) -> None:
    """Differences between each run (B) and the baseline (A), task by task."""
    console = console or Console()
    for run in found["runs"]:
        console.print()
        console.print(Text(f"A {found['baseline']}"), Text("B " + run["run"], style="bold"), sep="\n")
        for name, task in run["tasks"].items():
            table = _table(name, [COMPARISON_HEADER[place][0] for place in _COMPARED], left=1)
            for entry in task["metrics"].values():
                cells = comparison_cells(entry)
                table.add_row(*(Text(cells[place]) for place in _COMPARED))
            console.print()
            console.print(table)
            _say(console, difference_sentence(task, found["tests"]), "bold")
            _say(console, intersection_sentence(task), "dim")
            _say(console, wins_sentence(task), "dim")
            if rows := changed_slices(task):
                slices = _table("", SLICE_HEADER, left=1)
                for cells in rows:
                    slices.add_row(*(Text(cell) for cell in cells))
                console.print(slices)


def print_slices(found: Mapping[str, Any], top: int, console: Console | None = None) -> None:
    """The slices with most excess errors of every task."""
    console = console or Console()
    for name, task in found["tasks"].items():
        console.print()
        console.print(Text(slices_sentence(name, task)))
        wide = console.width >= 100
        places = [place for place, name in enumerate(FOUND_HEADER) if wide or name not in ("images", "answered")]
        table = _table("", [FOUND_HEADER[place] for place in places], left=1)
        for entry in task["slices"][:top]:
            cells = slice_cells(entry)
            table.add_row(*(Text(cells[place]) for place in places))
        console.print(table)


def print_tasks(tasks: Mapping[str, Any], console: Console | None = None) -> None:
    """Shipped tasks by kind, with their metrics and where they expect their data."""
    console = console or Console()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for header in ("task", "about, metrics, and where its data is expected"):
        table.add_column(header, overflow="fold")
    for kind, names in by_kind(tasks).items():
        table.add_row(Text(f"\n{kind}", style="underline"))
        for name in names:
            spec = tasks[name]
            below = f"{', '.join(spec.metrics)}\n{spec.source.location}"
            table.add_row(Text(name, style="bold"), Text.assemble(spec.description, "\n", (below, "dim")))
    console.print(table)


def print_metrics(metrics: Mapping[str, Metric], console: Console | None = None) -> None:
    """Metrics with the variants that a task file or ``evalsuite score --variant`` can name."""
    console = console or Console()
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for header in ("metric", "about", "variants"):
        table.add_column(header)
    for name, metric in metrics.items():
        listed = [value for option in metric.options for value in option_values(metric, option)]
        table.add_row(Text(name, style="bold"), Text(metric.about), Text(", ".join(listed), style="dim"))
    console.print()
    console.print(table)


def _table(title: str, headers: Sequence[str], *, left: int) -> Table:
    """A plain table; the first ``left`` columns are text and may wrap, the others are numbers and may not."""
    shown = Text(title, style="bold") if title else None
    table = Table(title=shown, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, header in enumerate(headers):
        table.add_column(header, justify="left" if place < left else "right", no_wrap=place >= left)
    return table


def _score_table(name: str, task: Mapping[str, Any], against: Mapping[str, Any] | None) -> Table:
    """Scores with as many columns as 80 characters hold; the report has all of them."""
    partial = any(entry["coverage"] < 1 for entry in task["metrics"].values())
    shown = ["score", "95 % interval"]
    same_rows = against is not None and against["n"] == task["n"]
    shown += ["baseline" if same_rows else "on shared rows", "difference"] if against else []
    shown += [] if against and partial else ["rows"]
    shown += ["coverage"] if partial else []
    shown += ["of answered"] if partial and not against else []
    table = _table(name, ["", *shown], left=1)
    for metric, entry in task["metrics"].items():
        unit = entry["unit"]
        cells: dict[str, str | Text] = {
            "score": Text(number(unit, entry["value"]), style="bold"),
            "95 % interval": between(unit, entry),
            "rows": f"{entry['n']:,}",
            "coverage": share(entry["coverage"]),
            "of answered": number(unit, entry["answered"]),
        }
        if against:
            compared = against["metrics"][metric]
            cells["baseline"] = number(unit, compared["a"])
            cells["on shared rows"] = f"{number(unit, compared['a'])} → {number(unit, compared['b'])}"
            cells["difference"] = Text(number(unit, compared["difference"], sign=True), style=_colour(compared))
        table.add_row(entry["title"], *(cells[header] for header in shown))
    metric = task["headline"]
    unit = task["metrics"][metric]["unit"]
    for column, values in task["slices"].items():
        if len(values) < 2:
            continue
        label = column.removeprefix("slice_").replace("_", " ")
        for value, entry in values.items():
            cells = {
                "score": number(unit, entry[metric]["value"]),
                "95 % interval": Text(between(unit, entry[metric]), style="dim"),
                "rows": Text(f"{entry['n']:,}", style="dim"),
                "coverage": Text(share(entry["coverage"]), style="dim"),
            }
            table.add_row(Text(f"  {label} {value}", style="dim"), *(cells.get(header, "") for header in shown))
    return table


def _colour(entry: Mapping[str, Any]) -> str:
    if entry["ci_low"] is None or entry["ci_low"] <= 0 <= entry["ci_high"]:
        return ""
    return "bold cyan" if entry["difference"] > 0 else "bold yellow"


_LONGEST = 400


def print_explanations(found: Sequence[RowExplanation], console: Console | None = None) -> None:
    """Every explanation, one below the other."""
    console = console or Console()
    for explanation in found:
        console.print()
        console.print(_facts(explanation))
        for metric in explanation.metrics:
            console.print()
            score = "–" if metric.score is None else f"{metric.score:.4g}"
            console.print(Text(f"{metric.name} = {score}", style="bold"), Text(f" {metric.variant}", style="dim"))
            if not metric.readings:
                continue
            table = Table(box=None, pad_edge=False, padding=(0, 2))
            for header in ("  rule", "reads as", "matches", "score"):
                table.add_column(header, overflow="fold")
            for reading in metric.readings:
                table.add_row(
                    f"  {reading.rule}",
                    Text("not read" if reading.text is None else repr(_cut(reading.text))),
                    Text(_cut(reading.matched) or "–"),
                    "–" if reading.score is None else f"{reading.score:.4g}",
                )
            console.print(table)
        for judgement in explanation.judgements:
            console.print()
            console.print(_judged(judgement))


def _judged(judgement: Judgement) -> Table:
    """What the judge was asked and replied; of a long prompt the end, where the row is."""
    table = _fact_table()
    beside = f", this reply {judgement.place}" if judgement.place else ""
    reply = repr(_cut(judgement.raw)) if judgement.error is None else judgement.error
    table.add_row(f"judge asked{beside}", Text(_cut_front(judgement.asked)))
    table.add_row("judge replied", Text(f"{reply}  ({judgement.finish_reason})"))
    return table


def _fact_table() -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2), show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    return table


def _facts(explanation: RowExplanation) -> Table:
    """The row, its reply step by step, the answer, and what other readers make of the reply."""
    table, row = _fact_table(), explanation.row
    counted: Counter[str] = Counter(row["references"])
    references = ", ".join(f"{text!r}" + (f" × {count}" if count > 1 else "") for text, count in counted.most_common())
    facts = {
        "sample": row["sample_id"],
        "task": explanation.task,
        "images": ", ".join(row["images"]),
        "question": row["question"],
        "options": " | ".join(row.get("choices") or ()),
        "references": references,
        "raw": repr(ends(row["raw"] or "", _LONGEST))
        + f"  ({row['finish_reason']}{', ' + row['error'] if row.get('error') else ''})",
        # The first step is the raw reply, the last the answer.
        **{f"  {step.name}": repr(ends(step.text, _LONGEST)) for step in explanation.steps[1:-1]},
        "extracted": "nothing" if row["extracted"] is None else repr(_cut(row["extracted"])),
        "status": row["status"] + (", truncated" if row.get("truncated") else ""),
        **{
            f"  by {name}": other.status if other.answer is None else repr(ends(other.answer, _LONGEST))
            for name, other in explanation.others.items()
        },
    }
    slices = [(key.removeprefix(SLICE).replace("_", " "), row[key]) for key in sorted(row) if key.startswith(SLICE)]
    for name, value in [*facts.items(), *slices]:  # a slice may be called as a fact is: MathVista's `task`
        if value:
            table.add_row(name, Text(value))
    return table


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " …"


def _cut_front(text: str) -> str:
    return text if len(text) <= 3 * _LONGEST else "… " + text[-3 * _LONGEST :]
