"""Kinds of rows on which a run makes more errors than elsewhere: one property, or two together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalsuite import statistics
from evalsuite.analysis.results import TaskResult, score_rows
from evalsuite.finished import load_evaluation, load_manifest
from evalsuite.properties import properties
from evalsuite.statistics import Floats, Slice, property_of
from winnow.errors import UserError

MIN_IMAGES = 10
MIN_ROWS = 30
NOTED_Q = 0.05


def find_slices(folder: Path, *, only: str | None, curated: Path | None, min_rows: int) -> dict[str, Any]:
    """Slices of a finished run, those with most excess errors first.

    An error is 1 − the row's score on the headline metric; rows that a request failed for are left
    out. Slices of two properties are kept where both halves gain: the pair must have more errors
    than each property alone would give, with an interval above zero. q is Benjamini-Hochberg's over all
    slices that were looked at.

    Args:
        only: one task; None takes all.
        curated: curated folder with signals of the pictures; None takes the recipe's training set.
        min_rows: smaller slices are left out, as are those with fewer than 10 images.

    Raises:
        UserError: no finished evaluation, no such task, or no such curated folder.
    """
    specs, rows = load_evaluation(folder)
    if only is not None and only not in specs:
        raise UserError(f"{folder}: holds no task {only!r}; it has {', '.join(specs)}")
    trained = load_manifest(folder)["recipe"].get("training_set")
    signals = curated or (Path(trained) if trained else None)
    if signals is not None and not (signals / "signals").is_dir():
        raise UserError(f"{signals}: holds no signals; give the folder that `curate run` wrote")
    found = {}
    for name, spec in specs.items():
        if rows[name] and only in (None, name):
            found[name] = rank_slices(score_rows(spec, rows[name]), signals, min_rows)
    return {"run": str(folder), "tasks": found}


def rank_slices(result: TaskResult, curated: Path | None, min_rows: int) -> dict[str, Any]:
    """The slices of one task, ranked."""
    asked = np.array([row["status"] != "failed" for row in result.rows]) & np.isfinite(result.headline.per_row)
    answered = np.array([row["status"] == "ok" for row in result.rows])[asked]
    known = properties([row for row, kept in zip(result.rows, asked, strict=True) if kept], curated)
    ranking = statistics.rank_slices(
        errors_of(result)[asked], result.clusters[asked],
        {name: property_of(values) for name, values in known.items()}, min_rows=min_rows, min_clusters=MIN_IMAGES,
    )  # fmt: skip
    return {
        "headline": result.headline.name, "n": ranking.rows, "error": ranking.rate, "tried": ranking.tried,
        "min_rows": min_rows, "min_images": MIN_IMAGES, "columns": list(known),
        "slices": [_entry(one, known, answered) for one in ranking.slices],
    }  # fmt: skip


def errors_of(result: TaskResult) -> Floats:
    """(rows,) 1 − score on the headline metric, from 0 to 1."""
    return 1.0 - np.clip(result.headline.per_row / result.headline.perfect, 0.0, 1.0)


def _entry(one: Slice, known: dict[str, list[str]], answered: NDArray[np.bool_]) -> dict[str, Any]:
    found = one.excess
    mask = np.logical_and.reduce([np.array(known[name]) == value for name, value in one.where])
    return {
        "name": " and ".join(f"{name} = {value}" for name, value in one.where), "where": dict(one.where),
        "n": found.n, "images": found.clusters, "coverage": float(answered[mask].mean()), "rate": found.rate,
        "excess": found.excess, "low": found.low, "high": found.high, "p": found.p, "q": one.q,
    }  # fmt: skip
