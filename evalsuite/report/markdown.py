"""The report as Markdown: tables that read well in a terminal and on a code host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evalsuite.report.numbers import between, number, probability, share, title
from evalsuite.report.words import SLICE_NOTE, how_to_read, intersection_sentence, skipped_sentence, verdict


def markdown_report(scores: Mapping[str, Any], skipped: Mapping[str, Any]) -> str:
    """The whole report."""
    lines = [f"# {_cell(scores['name'])}", "", f"Model: {_cell(scores['model'])}", ""]
    for name, task in scores["tasks"].items():
        lines += [f"## {_cell(name)}", ""]
        lines += [f"{task['n']:,} rows, {share(task['coverage'])} answered ({_statuses(task['statuses'])})."]
        if sentence := skipped_sentence(skipped.get(name)):
            lines.append(sentence)
        lines += ["", *_metrics(task), ""]
        slices = {column: values for column, values in task["slices"].items() if len(values) > 1}
        for column, values in slices.items():
            lines += [
                f"### By {_cell(column.removeprefix('slice_').replace('_', ' '))}",
                "",
                *_slices(task, values),
                "",
            ]
        if slices:
            lines += [SLICE_NOTE, ""]
    if scores["comparison"]:
        lines += _comparison(scores)
    lines += ["## How to read this", "", *(f"- {fact}" for fact in how_to_read(scores)), ""]
    return "\n".join(lines)


def _metrics(task: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            title(name),
            number(name, entry["value"]),
            between(name, entry),
            number(name, entry["answered"]),
            entry["variant"],
        ]
        for name, entry in task["metrics"].items()
    ]
    return _table(["metric", "score", "95 % interval", "of answered", "variant"], rows, right={1, 2, 3})


def _slices(task: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    metrics = list(task["metrics"])
    rows = [
        [value, f"{entry['n']:,}", share(entry["coverage"])]
        + [f"{number(name, entry[name]['value'])} ({between(name, entry[name])})" for name in metrics]
        for value, entry in values.items()
    ]
    header = ["", "rows", "coverage", *(title(name) for name in metrics)]
    return _table(header, rows, right=set(range(1, len(header))))


def _comparison(scores: Mapping[str, Any]) -> list[str]:
    comparison = scores["comparison"]
    lines = ["## Against the baseline", "", f"Baseline: `{_cell(comparison['baseline'])}`", ""]
    for name, task in comparison["tasks"].items():
        headline = scores["tasks"][name]["headline"]
        lines += [f"### {_cell(name)}", "", verdict(task, headline), intersection_sentence(task)]
        lines += [f"On {title(headline)}, {task['better']:,} rows are better and {task['worse']:,} worse.", ""]
        rows = [
            [
                title(metric), number(metric, entry["a"]), number(metric, entry["b"]),
                number(metric, entry["difference"], sign=True), between(metric, entry, sign=True),
                probability(entry["p"]), _mcnemar(entry["mcnemar"]),
            ]
            for metric, entry in task["metrics"].items()
        ]  # fmt: skip
        header = ["metric", "baseline", "this run", "difference", "95 % interval", "p", "McNemar exact (mid-p)"]
        lines += [*_table(header, rows, right=set(range(1, 7))), ""]
    return lines


def _mcnemar(test: Mapping[str, Any] | None) -> str:
    return f"{probability(test['p_exact'])} ({probability(test['p_mid'])})" if test else "–"


def _statuses(statuses: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {status}" for status, count in statuses.items() if count)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], right: set[int]) -> list[str]:
    marks = ["---:" if place in right else "---" for place in range(len(header))]
    lines = [header, marks, *rows]
    return ["| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines]


def _cell(text: str) -> str:
    """Text that cannot end a cell, a line or become markup."""
    escaped = str(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "\\`")
    return " ".join(escaped.split())
