"""Kinds of rows on which a run makes more errors than elsewhere: by one property, or by two together.

Properties are named values of a row: from its slice columns, question, answer and image.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalsuite import statistics
from evalsuite.analysis.overlap import stored_signals
from evalsuite.analysis.results import SLICE, TaskResult, load_evaluation, load_manifest, score_rows
from evalsuite.metrics.base import Row
from evalsuite.statistics import Floats, RankedSlice, property_of
from winnow.errors import UserError
from winnow.records import majority

# Signals of a curated set that say something about the image's quality or shape.
SIGNALS = {
    "sharpness": "sharpness", "luminance_p50": "brightness", "contrast": "contrast", "entropy": "entropy",
    "aspect_ratio": "aspect ratio", "flat": "flat area", "pixels": "pixels",
}  # fmt: skip
_MOST_VALUES = 40  # a column with more is an id, not a property
_NUMBER = re.compile(r"[-+]?[\d.,]+\s*%?")
_QUARTERS = ("lowest quarter", "second quarter", "third quarter", "highest quarter")


def properties(rows: Sequence[Row], curated: Path | None) -> dict[str, list[str]]:
    """Property → its value for every row, '' where it has none; only properties with 2 to 40 values.

    Args:
        curated: folder of a curated set whose signals describe the images, if there is one.
    """
    found: dict[str, list[str]] = {}
    for column in sorted({key for row in rows for key in row if key.startswith(SLICE)}):
        found[column.removeprefix(SLICE).replace("_", " ")] = [row.get(column) or "" for row in rows]
    answers = [majority(row["references"]) for row in rows]
    found["answer"] = [answer.strip().lower() for answer in answers]
    found["kind of answer"] = [_kind(answer) for answer in answers]
    found["words in answer"] = [_some(len(answer.split()), 4) for answer in answers]
    found["question starts with"] = [" ".join(row["question"].lower().split()[:1]) for row in rows]
    found["question opens with"] = [" ".join(row["question"].lower().split()[:2]) for row in rows]
    found["words in question"] = quarters([float(len(row["question"].split())) for row in rows])
    found["agreement of references"] = [_agreement(row["references"]) for row in rows]
    found["images"] = [str(len(row["image_keys"])) for row in rows]
    if curated is not None:
        found.update(_of_images(rows, curated))
    return {name: values for name, values in found.items() if 2 <= len(set(values) - {""}) <= _MOST_VALUES}


def _of_images(rows: Sequence[Row], curated: Path) -> dict[str, list[str]]:
    """The signals of each row's first image, in quarters of the rows."""
    keys = {row["image_keys"][0]: None for row in rows if row["image_keys"]}
    stored = stored_signals(curated, keys, [*(name for name in SIGNALS if name != "pixels"), "width", "height"])

    def of(row: Row, name: str) -> float | None:
        signals = stored.get(row["image_keys"][0]) if row["image_keys"] else None
        if signals is None:
            return None
        if name == "pixels":
            return float(signals["width"] * signals["height"]) if signals["width"] and signals["height"] else None
        value: float | None = signals[name]
        return value

    return {label: quarters([of(row, name) for row in rows]) for name, label in SIGNALS.items()}


def quarters(values: Sequence[float | None]) -> list[str]:
    """Each value's quarter by rank, named with its bounds; the values themselves where there are at most four."""
    present = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    known = present[np.isfinite(present)]
    distinct = np.unique(known)
    if len(distinct) <= len(_QUARTERS):
        return ["" if not np.isfinite(value) else f"{value:g}" for value in present]
    edges = np.quantile(known, [0.25, 0.5, 0.75])
    bounds = [f"≤ {edges[0]:.4g}", f"≤ {edges[1]:.4g}", f"≤ {edges[2]:.4g}", f"> {edges[2]:.4g}"]
    places = np.searchsorted(edges, present, side="left")
    return [
        f"{_QUARTERS[place]} ({bounds[place]})" if np.isfinite(value) else ""
        for place, value in zip(places, present, strict=True)
    ]


def _kind(answer: str) -> str:
    text = answer.strip().lower().rstrip(".")
    if text in ("yes", "no"):
        return "yes or no"
    return "number" if _NUMBER.fullmatch(text) else "other"


def _some(count: int, most: int) -> str:
    return str(count) if count < most else f"{most} or more"


def _agreement(references: Sequence[str]) -> str:
    if len(references) < 2:
        return ""
    share = max(Counter(references).values()) / len(references)
    return "all agree" if share == 1 else "most agree" if share > 0.5 else "half or fewer agree"


MIN_IMAGES = 10
MIN_ROWS = 30
NOTED_Q = 0.05


def find_slices(folder: Path, *, only: str | None, curated: Path | None, min_rows: int) -> dict[str, Any]:
    """Slices of a finished run, those with most excess errors first.

    An error is 1 − the row's score on the headline metric; rows that a request failed for are left
    out. Slices of two properties are kept where both halves gain: the pair must have more errors
    than each property alone would give, with an interval above zero. q is Benjamini-Hochberg's over all
    slices that were tried.

    Args:
        only: one task; None takes all.
        curated: curated folder with signals of the images; None takes the recipe's training set.
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
        "headline": result.headline.name, "title": result.headline.title,
        "n": ranking.rows, "error": ranking.rate, "tried": ranking.tried,
        "min_rows": min_rows, "min_images": MIN_IMAGES, "columns": list(known),
        "slices": [_entry(ranked, known, answered) for ranked in ranking.slices],
    }  # fmt: skip


def errors_of(result: TaskResult) -> Floats:
    """(rows,) 1 − score on the headline metric, from 0 to 1."""
    return 1.0 - np.clip(result.headline.per_row / result.headline.best_row, 0.0, 1.0)


def _entry(ranked: RankedSlice, known: dict[str, list[str]], answered: NDArray[np.bool_]) -> dict[str, Any]:
    found = ranked.excess
    mask = np.logical_and.reduce([np.array(known[name]) == value for name, value in ranked.where])
    return {
        "name": " and ".join(f"{name} = {value}" for name, value in ranked.where), "where": dict(ranked.where),
        "n": found.n, "images": found.clusters, "coverage": float(answered[mask].mean()), "rate": found.rate,
        "excess": found.excess, "low": found.low, "high": found.high, "p": found.p, "q": ranked.q,
    }  # fmt: skip
