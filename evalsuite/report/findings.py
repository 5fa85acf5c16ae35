"""Scores that are given beside the main one: clean and touched rows, reviewers' corrections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalsuite.report.numbers import between, number, share, title


def finding_rows(task: Mapping[str, Any]) -> list[list[str]]:
    """Header and one row a metric: the score, and those of the parts and of the corrected rows that exist.

    Empty if there is nothing beside the score.
    """
    overlap, corrected = task.get("contamination"), task.get("corrected")
    columns: list[tuple[str, Mapping[str, Any]]] = [(_heading("all", task), task["metrics"])]
    if overlap and overlap["touched"]["n"]:
        columns += [(_heading(name, overlap[name]), overlap[name]) for name in ("clean", "touched")]
        columns.append(("touched − clean", overlap["difference"]))
    if corrected and corrected["metrics"]:
        columns.append((_heading("corrected", corrected), corrected["metrics"]))
    if len(columns) == 1:
        return []
    rows = [["metric", *(name for name, _ in columns)]]
    for metric in task["metrics"]:
        cells = []
        for name, entries in columns:
            sign = "−" in name
            shown = number(metric, entries[metric]["value"], sign=sign)
            cells.append(f"{shown} ({between(metric, entries[metric], sign=sign)})")
        rows.append([title(metric), *cells])
    return rows


def _heading(name: str, part: Mapping[str, Any]) -> str:
    """``clean (9,304 rows, 98.2 % answered)``."""
    answered = "" if part["coverage"] is None else f", {share(part['coverage'])} answered"
    return f"{name} ({part['n']:,} rows{answered})"
