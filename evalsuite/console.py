"""The tables that a person reads when a run is done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalsuite.report.numbers import between, number, probability, share, title
from evalsuite.report.words import intersection_sentence, verdict


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
        console.print(Text(f"  {_statuses(task)}", style="dim"))
        if against:
            console.print(Text(f"  {verdict(against, task['headline'])}", style="bold"))
            console.print(Text(f"  {intersection_sentence(against)}", style="dim"))
    console.print()
    console.print(Text(f"Report: {folder / 'report.html'}"))


def print_comparison(comparison: Mapping[str, Any], console: Console | None = None) -> None:
    """Differences between two evaluations, task by task."""
    console = console or Console()
    for name, task in comparison["tasks"].items():
        table = Table(title=Text(name, style="bold"), title_justify="left", box=None, pad_edge=False, padding=(0, 2))
        for header in ("", "A", "B", "B − A", "95 % interval", "p", "McNemar exact (mid-p)"):
            table.add_column(header, justify="left" if not header else "right")
        for metric, one in task["metrics"].items():
            test = one["mcnemar"]
            table.add_row(
                title(metric), number(metric, one["a"]), number(metric, one["b"]),
                Text(number(metric, one["difference"], sign=True), style="bold"), between(metric, one, sign=True),
                probability(one["p"]),
                f"{probability(test['p_exact'])} ({probability(test['p_mid'])})" if test else "–",
            )  # fmt: skip
        console.print()
        console.print(table)
        console.print(Text(f"  {intersection_sentence(task)}", style="dim"))
        console.print(Text(f"  {task['better']:,} rows are better in B, {task['worse']:,} worse.", style="dim"))


def print_tasks(tasks: Mapping[str, Any], console: Console | None = None) -> None:
    """Shipped tasks with their metrics."""
    console = console or Console()
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for header in ("task", "metrics", "about"):
        table.add_column(header)
    for name, spec in tasks.items():
        table.add_row(Text(name, style="bold"), ", ".join(spec.metrics), Text(spec.description, style="dim"))
    console.print(table)


def _score_table(name: str, task: Mapping[str, Any], against: Mapping[str, Any] | None) -> Table:
    table = Table(title=Text(name, style="bold"), title_justify="left", box=None, pad_edge=False, padding=(0, 2))
    headers = ["", "score", "95 % interval", *(["baseline", "difference"] if against else []), "of answered"]
    for header in headers:
        table.add_column(header, justify="left" if not header else "right")
    for metric, entry in task["metrics"].items():
        cells: list[str | Text] = [
            title(metric),
            Text(number(metric, entry["value"]), style="bold"),
            between(metric, entry),
        ]
        if against:
            one = against["metrics"][metric]
            cells += [number(metric, one["a"]), Text(number(metric, one["difference"], sign=True), style=_colour(one))]
        table.add_row(*cells, number(metric, entry["answered"]))
    for column, values in task["slices"].items():
        if len(values) < 2:
            continue
        label = column.removeprefix("slice_").replace("_", " ")
        metric = task["headline"]
        for value, entry in values.items():
            table.add_row(
                Text(f"  {label} {value}", style="dim"), number(metric, entry[metric]["value"]),
                Text(between(metric, entry[metric]), style="dim"), *(["", ""] if against else []),
                Text(f"n {entry['n']:,}", style="dim"),
            )  # fmt: skip
    return table


def _colour(entry: Mapping[str, Any]) -> str:
    if entry["ci_low"] is None or entry["ci_low"] <= 0 <= entry["ci_high"]:
        return ""
    return "bold cyan" if entry["difference"] > 0 else "bold yellow"


def _statuses(task: Mapping[str, Any]) -> str:
    counted = ", ".join(f"{count:,} {status}" for status, count in task["statuses"].items() if count)
    return f"{task['n']:,} rows, {share(task['coverage'])} answered: {counted}"
