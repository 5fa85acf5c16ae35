"""Scores that are given beside the main one: clean and touched rows, reviewers' corrections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalsuite.report.numbers import between, number, title


def finding_rows(task: Mapping[str, Any]) -> list[list[str]]:
    """Header and one row a metric: the score, and those of the parts and of the corrected rows that exist."""
    overlap, corrected = task.get("contamination"), task.get("corrected")
    columns: list[tuple[str, Mapping[str, Any]]] = [(f"all {task['n']:,} rows", task["metrics"])]
    if overlap and overlap["touched"]["n"]:
        columns += [(f"{name} ({overlap[name]['n']:,})", overlap[name]) for name in ("clean", "touched")]
        columns.append(("touched − clean", overlap["difference"]))
    if corrected and corrected["metrics"]:
        columns.append((f"corrected ({corrected['n']:,})", corrected["metrics"]))
    rows = [["metric", *(name for name, _ in columns)]]
    for metric in task["metrics"]:
        cells = []
        for name, entries in columns:
            sign = "−" in name
            shown = number(metric, entries[metric]["value"], sign=sign)
            cells.append(f"{shown} ({between(metric, entries[metric], sign=sign)})")
        rows.append([title(metric), *cells])
    return rows
