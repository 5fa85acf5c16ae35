"""A comparison of runs, and ranked slices, as table cells, Markdown, LaTeX and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalsuite.report.numbers import between, cell, latex_rows, number, probability, share, table
from evalsuite.report.sentences import difference_sentence, intersection_sentence, wins_sentence
from winnow.errors import UserError
from winnow.files import strict_json, write_text

# (header, meaning)
COMPARISON_HEADER = [
    ("metric", ""),
    ("rows", "that all runs hold and no server failed to answer"),
    ("coverage", "share with an answer, A → B"),
    ("A", ""),
    ("B", ""),
    ("B − A", ""),
    ("95 % interval", "bootstrap over images"),
    ("p", "bootstrap over images; McNemar's where rows share no image"),
    ("McNemar (mid-p)", "exact; takes rows as independent"),
    ("detectable", "smallest difference found 4 times in 5"),
]
_IN_LATEX = 8  # columns; the rest does not fit a page
_NOTED_Q = 0.05
SLICE_HEADER = ["slice", "rows", "coverage", "A", "B", "B − A", "95 % interval", "q"]
FOUND_HEADER = ["slice", "rows", "images", "answered", "errors", "excess", "95 % interval", "q"]


def comparison_cells(entry: Mapping[str, Any]) -> list[str]:
    """One metric's row under ``COMPARISON_HEADER``."""
    test, unit = entry["mcnemar"], entry["unit"]
    return [
        entry["title"],
        f"{entry['n']:,}",
        _coverage(entry),
        number(unit, entry["a"]),
        number(unit, entry["b"]),
        number(unit, entry["difference"], sign=True),
        between(unit, entry, sign=True),
        probability(entry["p"]),
        f"{probability(test['p_exact'])} ({probability(test['p_mid'])})" if test else "–",
        number(unit, entry["smallest_detectable"]),
    ]


def _coverage(entry: Mapping[str, Any]) -> str:
    return f"{100 * entry['coverage']['a']:.1f} → {share(entry['coverage']['b'])}"


def changed_slices(task: Mapping[str, Any]) -> list[list[str]]:
    """Slices whose headline changed beyond chance (q < 0.05), largest change first, under ``SLICE_HEADER``."""
    metric = task["headline"]
    unit = task["metrics"][metric]["unit"]
    found = [
        (entry[metric], f"{column.removeprefix('slice_').replace('_', ' ')} = {value}", entry["n"])
        for column, values in task["slices"].items()
        if len(values) > 1
        for value, entry in values.items()
        if entry[metric]["q"] is not None and entry[metric]["q"] < _NOTED_Q
    ]
    found.sort(key=lambda entry: -abs(entry[0]["difference"] or 0.0))
    return [
        [
            name, f"{n:,}", _coverage(entry), number(unit, entry["a"]), number(unit, entry["b"]),
            number(unit, entry["difference"], sign=True), between(unit, entry, sign=True), probability(entry["q"]),
        ]
        for entry, name, n in found
    ]  # fmt: skip


def slice_cells(entry: Mapping[str, Any]) -> list[str]:
    """One slice under ``FOUND_HEADER``."""
    low, high, excess = (number("points", entry[name], sign=True) for name in ("low", "high", "excess"))
    interval = "–" if entry["low"] is None else f"{low} to {high}"
    return [
        entry["name"], f"{entry['n']:,}", f"{entry['images']:,}", share(entry["coverage"]),
        f"{100 * entry['rate']:.1f} %", excess, interval, probability(entry["q"]),
    ]  # fmt: skip


def write_comparison(found: Mapping[str, Any], out: Path) -> None:
    """Write ``evalsuite compare`` to a file by its ending.

    Raises:
        UserError: another ending than .md, .json, .tex.
    """
    writers = {
        ".md": comparison_markdown,
        ".json": lambda found: strict_json(found, indent=2) + "\n",
        ".tex": comparison_latex,
    }
    if out.suffix not in writers:
        raise UserError(f"{out}: can be written as .md, .json or .tex")
    write_text(out, writers[out.suffix](found))


def comparison_markdown(found: Mapping[str, Any]) -> str:
    """Every run against the baseline, task by task."""
    lines = ["# Comparison", "", f"A: `{cell(found['baseline'])}`", ""]
    for run in found["runs"]:
        lines += [f"## B: {cell(run['run'])}", ""]
        for name, task in run["tasks"].items():
            lines += [f"### {cell(name)}", "", difference_sentence(task, found["tests"])]
            lines += [intersection_sentence(task), wins_sentence(task), "", *comparison_table(task), ""]
            if rows := changed_slices(task):
                lines += ["Slices that changed (Benjamini–Hochberg q < 0.05):", ""]
                lines += [*table(SLICE_HEADER, rows, right=set(range(1, len(SLICE_HEADER)))), ""]
    return "\n".join(lines)


def comparison_table(task: Mapping[str, Any]) -> list[str]:
    """The metrics of a task, both sides, as a Markdown table."""
    rows = [comparison_cells(entry) for entry in task["metrics"].values()]
    return table([header for header, _ in COMPARISON_HEADER], rows, right=set(range(1, len(COMPARISON_HEADER))))


def comparison_latex(found: Mapping[str, Any]) -> str:
    """One ``booktabs`` table: run, task, metric, both sides, difference with interval, p."""
    rows = []
    for run in found["runs"]:
        for name, task in run["tasks"].items():
            for entry in task["metrics"].values():
                rows.append([Path(run["run"]).name, name, *comparison_cells(entry)[:_IN_LATEX]])
    headers = ["run", "task", *(header for header, _ in COMPARISON_HEADER[:_IN_LATEX])]
    return latex_rows(headers, rows, left=3)
