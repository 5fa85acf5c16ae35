"""Differences between evaluations over several seeds of training, and tables in a page of the documentation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evalsuite.analysis.results import TaskResult, load_evaluation, score_rows
from evalsuite.statistics import paired_difference
from winnow.text import table


@dataclass(frozen=True)
class PooledDifference:
    """B minus A on one task, over pairs of evaluations of the same rows.

    The interval is a bootstrap over images: all seeds' answers about an image are drawn together. It holds for other
    images, with these seeds.

    Attributes:
        a, b: mean scores.
        low, high: 95% interval of the difference.
        rows, images: of each evaluation.
    """

    a: float
    b: float
    difference: float
    low: float | None
    high: float | None
    rows: int
    images: int


def scored(evaluation: Path, task: str) -> TaskResult:
    """A task of a finished evaluation."""
    specs, rows = load_evaluation(evaluation)
    return score_rows(specs[task], rows[task])


def mean_score(evaluation: Path, task: str) -> float:
    """A task's first metric."""
    column = scored(evaluation, task).headline
    return float(column.estimate(column.sums.sum(0, keepdims=True))[0])


def pooled_difference(pairs: Sequence[tuple[Path, Path]], task: str) -> PooledDifference:
    """The difference on a task's first metric over pairs (A, B) of evaluation folders.

    Raises:
        ValueError: two evaluations hold other rows.
    """
    sides: tuple[list[TaskResult], list[TaskResult]] = ([], [])
    for pair in pairs:
        for side, folder in zip(sides, pair, strict=True):
            side.append(scored(folder, task))
    ids = [[row["sample_id"] for row in result.rows.dicts(["sample_id"])] for side in sides for result in side]
    if any(other != ids[0] for other in ids):
        raise ValueError(f"{task}: the evaluations hold other rows")
    a, b = (np.concatenate([result.headline.sums for result in side]) for side in sides)
    first = sides[0][0]
    found = paired_difference(a, b, np.tile(first.clusters, len(pairs)), first.headline.estimate)
    mean_a, mean_b = (float(first.headline.estimate(sums.sum(0, keepdims=True))[0]) for sums in (a, b))
    return PooledDifference(mean_a, mean_b, found.value, found.low, found.high, len(ids[0]), found.clusters)


def write_tables(page: Path, tables: dict[str, tuple[list[str], list[list[str]]]], *, docs: bool) -> None:
    """Print tables (header, rows); with ``docs`` put each into the page, between its two marks."""
    text = page.read_text(encoding="utf-8") if docs else ""
    for name, (header, rows) in tables.items():
        shown = table(header, rows)
        print(f"{name}\n{shown}\n")
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        text = re.sub(f"{begin}.*{end}", lambda _: f"{begin}\n{shown}\n{end}", text, flags=re.DOTALL)  # noqa: B023
    if docs:
        page.write_text(text, encoding="utf-8")


def shown(found: PooledDifference, scale: float = 100.0) -> list[str]:
    """A, B, their difference and its interval as cells; ``scale`` 100 shows shares in percent."""
    digits = 1 if scale == 100.0 else 2
    cells = [f"{scale * found.a:.{digits}f}", f"{scale * found.b:.{digits}f}"]
    bounds = [f"{scale * value:+.{digits}f}" for value in (found.low, found.high) if value is not None]
    return [*cells, f"{scale * found.difference:+.{digits}f}", " to ".join(bounds)]
