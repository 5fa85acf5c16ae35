"""The report as Markdown: tables that read well in a terminal and on a code host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalsuite.report.compared import FOUND_HEADER, comparison_table, slice_cells
from evalsuite.report.judged import JUDGE_HEADER, judge_rows, judge_sentences
from evalsuite.report.numbers import between, cell, number, prose, share, table
from evalsuite.report.sentences import (
    READING_HEADER,
    again_sentence,
    batch_sentence,
    check_sentences,
    difference_sentence,
    failures_sentence,
    finding_rows,
    finding_sentences,
    how_to_read,
    intersection_sentence,
    notes_sentence,
    partial_sentence,
    reading_rows,
    reading_sentence,
    skipped_sentence,
    slices_sentence,
    status_sentence,
    truncated_sentence,
    wins_sentence,
)


def markdown_report(scores: Mapping[str, Any], skipped: Mapping[str, Any]) -> str:
    """The whole report."""
    lines = [f"# {cell(scores['name'])}", "", f"Model: {cell(scores['model'])}", ""]
    if sentence := partial_sentence(scores):
        lines += [f"**{sentence}**", ""]
    if doubts := [sentence for sentence in (again_sentence(scores), *check_sentences(scores, "")) if sentence]:
        lines += [*(f"- {prose(sentence)}" for sentence in doubts), ""]
    for name, task in scores["tasks"].items():
        lines += [f"## {cell(name)}", ""]
        facts = (status_sentence(task), failures_sentence(task), *_doubts(task), skipped_sentence(skipped.get(name)))
        lines += [f"- {prose(sentence)}" for sentence in (*facts, notes_sentence(task)) if sentence]
        lines += ["", *_metrics(task), "", *_read(task), *_judged(task), *_checked(scores, name)]
        lines += _findings(task, scores)
        slices = {column: values for column, values in task["slices"].items() if len(values) > 1}
        for column, values in slices.items():
            lines += [
                f"### By {cell(column.removeprefix('slice_').replace('_', ' '))}",
                "",
                *_slices(task, values),
                "",
            ]
        if worst := task["worst_slices"]["slices"]:
            lines += ["### Slices with excess errors", "", cell(slices_sentence(name, task["worst_slices"])) + ".", ""]
            lines += [
                *table(FOUND_HEADER, [slice_cells(entry) for entry in worst], right=set(range(1, len(FOUND_HEADER)))),
                "",
            ]
    if scores["batch_check"]:
        lines += [batch_sentence(scores["batch_check"]), ""]
    if scores["comparison"]:
        lines += _comparison(scores)
    lines += ["## How to read this", "", *(f"- {fact}" for fact in how_to_read(scores)), ""]
    return "\n".join(lines)


def _metrics(task: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            entry["title"],
            number(entry["unit"], entry["value"]),
            between(entry["unit"], entry),
            f"{entry['n']:,}",
            share(entry["coverage"]),
            number(entry["unit"], entry["answered"]),
            entry["variant"],
        ]
        for entry in task["metrics"].values()
    ]
    header = ["metric", "score", "95 % interval", "rows", "coverage", "of answered", "variant"]
    return table(header, rows, right={1, 2, 3, 4, 5})


def _doubts(task: Mapping[str, Any]) -> list[str]:
    """What the headline rests on: replies that were cut off, the reading, the judge."""
    return [truncated_sentence(task), reading_sentence(task), *judge_sentences(task)]


def _read(task: Mapping[str, Any]) -> list[str]:
    """What other readers would make of the score."""
    rows = reading_rows(task)
    return ["### Other readers", "", *table(READING_HEADER, rows, right={1, 2, 3, 4, 5}), ""] if rows else []


def _judged(task: Mapping[str, Any]) -> list[str]:
    """How far the judge agrees with rules and reviewers."""
    rows = judge_rows(task)
    header = ["### Agreement with the judge", ""]
    return [*header, *table(JUDGE_HEADER, rows, right=set(range(1, len(JUDGE_HEADER)))), ""] if rows else []


def _checked(scores: Mapping[str, Any], name: str) -> list[str]:
    found = [f"- {prose(sentence)}" for sentence in check_sentences(scores, name)]
    return ["### Found before the run", "", *found, ""] if found else []


def _slices(task: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    units = {name: entry["unit"] for name, entry in task["metrics"].items()}
    rows = [
        [value, f"{entry['n']:,}", share(entry["coverage"])]
        + [f"{number(unit, entry[name]['value'])} ({between(unit, entry[name])})" for name, unit in units.items()]
        for value, entry in values.items()
    ]
    header = ["", "rows", "coverage", *(entry["title"] for entry in task["metrics"].values())]
    return table(header, rows, right=set(range(1, len(header))))


def _findings(task: Mapping[str, Any], scores: Mapping[str, Any]) -> list[str]:
    """Every metric on clean and touched rows, and with reviewers' corrections, where there are any."""
    sentences = finding_sentences(task, scores)
    if not sentences:
        return []
    rows = finding_rows(task)
    return [*sentences, "", *(table(rows[0], rows[1:], right=set(range(1, len(rows[0])))) if rows else []), ""]


def _comparison(scores: Mapping[str, Any]) -> list[str]:
    comparison = scores["comparison"]
    lines = ["## Against the baseline", "", f"A, the baseline: `{cell(comparison['baseline'])}`. B: this run.", ""]
    for name, task in comparison["tasks"].items():
        lines += [f"### {cell(name)}", "", difference_sentence(task, comparison["tests"])]
        lines += [intersection_sentence(task), wins_sentence(task), "", *comparison_table(task), ""]
    return lines
