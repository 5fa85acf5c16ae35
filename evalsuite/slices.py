"""Kinds of rows on which a run makes more errors than elsewhere: one property, or two together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.errors import UserError
from evalsuite.finished import load_evaluation, load_manifest
from evalsuite.properties import properties
from evalsuite.report.gallery import perfect_row
from evalsuite.results import TaskResult, score_rows
from evalsuite.statistics import Excess, Floats, benjamini_hochberg, excess_errors

MIN_IMAGES = 10
MIN_ROWS = 30
NOTED_Q = 0.05

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class _Slice:
    """Rows with the values ``where`` of their properties."""

    where: tuple[tuple[str, str], ...]
    mask: Mask

    @property
    def name(self) -> str:
        return " and ".join(f"{name} = {value}" for name, value in self.where)


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
    errors, clusters = errors_of(result)[asked], result.clusters[asked]
    known = properties([row for row, kept in zip(result.rows, asked, strict=True) if kept], curated)
    singles = list(_single(known, clusters, min_rows))
    tested = [(one, excess_errors(errors, one.mask, clusters)) for one in singles]
    tried = len(tested)
    for left, right in itertools.combinations(singles, 2):
        if left.where[0][0] == right.where[0][0]:
            continue
        both = left.mask & right.mask
        if int(both.sum()) < min_rows or len(np.unique(clusters[both])) < MIN_IMAGES:
            continue
        tried += 1
        if _adds(errors, both, (left.mask, right.mask), clusters):
            tested.append((_Slice(left.where + right.where, both), excess_errors(errors, both, clusters)))
    q = benjamini_hochberg([*(1.0 if one.p is None else one.p for _, one in tested), *[1.0] * (tried - len(tested))])
    answered = np.array([row["status"] == "ok" for row in result.rows])[asked]
    entries = [
        _entry(one, excess, float(q[place]), float(answered[one.mask].mean()))
        for place, (one, excess) in enumerate(tested)
    ]
    entries.sort(key=lambda entry: (-entry["excess"], entry["name"]))
    overall = float(errors.mean()) if len(errors) else 0.0
    return {
        "headline": result.headline.name, "n": len(errors), "error": overall, "tried": tried,
        "min_rows": min_rows, "min_images": MIN_IMAGES, "columns": list(known), "slices": entries,
    }  # fmt: skip


def errors_of(result: TaskResult) -> Floats:
    """(rows,) 1 − score on the headline metric, from 0 to 1."""
    return 1.0 - np.clip(result.headline.per_row / perfect_row(result.headline), 0.0, 1.0)


def _single(known: dict[str, list[str]], clusters: NDArray[np.int64], min_rows: int) -> Iterator[_Slice]:
    """One property at a time; a slice with the same rows as an earlier one is left out."""
    seen: set[bytes] = set()
    for name, values in known.items():
        listed = np.array(values)
        for value in sorted(set(values) - {""}):
            mask = listed == value
            count = int(mask.sum())
            if count < min_rows or count == len(mask) or len(np.unique(clusters[mask])) < MIN_IMAGES:
                continue
            key = np.packbits(mask).tobytes()
            if key not in seen:
                seen.add(key)
                yield _Slice(((name, value),), mask)


def _adds(errors: Floats, both: Mask, halves: Sequence[Mask], clusters: NDArray[np.int64]) -> bool:
    """Whether rows in ``both`` have more errors than each half, beyond what chance explains."""
    rate = errors[both].mean()
    if any(rate <= errors[half].mean() for half in halves):
        return False
    for half in halves:
        within = excess_errors(errors[half], both[half], clusters[half])
        if within.low is None or within.low <= 0:
            return False
    return True


def _entry(one: _Slice, excess: Excess, q: float, coverage: float) -> dict[str, Any]:
    return {
        "name": one.name, "where": dict(one.where), "n": excess.n, "images": excess.clusters,
        "coverage": coverage, "rate": excess.rate,
        "excess": excess.excess, "low": excess.low, "high": excess.high, "p": excess.p, "q": q,
    }  # fmt: skip
