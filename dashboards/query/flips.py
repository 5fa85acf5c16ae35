"""Two runs row by row: who was right, overall and per slice, on the rows that both were asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dashboards.query.compare import in_groups
from dashboards.query.engine import Connection, fetch_columns, quoted
from dashboards.query.tables import Predictions
from evalsuite.statistics import (
    Difference,
    McNemar,
    benjamini_hochberg,
    mcnemar,
    mean_sums,
    paired_difference,
    smallest_detectable,
)

MIN_ROWS = 30
_MOST_VALUES = 12
_NO_VERDICT, _NOT_ASKED = -1, -2


@dataclass(frozen=True)
class SliceChange:
    """Change of the share of right answers in one slice, with its 95% interval, clustered by image."""

    where: str
    n: int
    base: float
    run: float
    difference: float
    low: float | None
    high: float | None
    q: float


@dataclass(frozen=True)
class Flips:
    """The comparison of two runs on one task.

    Attributes:
        n, images: rows compared, and pictures among them; only_run, only_base: rows that one run has alone.
        test: the flip matrix and McNemar's exact test (A is the baseline).
        difference, low, high: change of the share of right answers; detectable: the smallest that would be seen.
        slices: change per slice, by q.
    """

    n: int
    images: int
    only_run: int
    only_base: int
    test: McNemar
    difference: float
    low: float | None
    high: float | None
    detectable: float | None
    slices: tuple[SliceChange, ...]


def flips(connection: Connection, run: Predictions, base: Predictions, task: str) -> Flips | None:
    """Compare ``run`` with ``base``; None where no row of the task is right or wrong in both."""
    found = fetch_columns(connection, _sql(run, base), [run.path, task, base.path, task])
    both = (found["run"] >= 0) & (found["base"] >= 0)
    now, before = found["run"][both].astype(np.float64), found["base"][both].astype(np.float64)
    if not len(now):
        return None
    images = pd.factorize(found["image"][both])[0]  # by first occurrence, so that intervals equal the evaluation's
    overall = _difference(before, now, images)
    return Flips(
        n=len(now),
        images=len(np.unique(images)),
        only_run=int((found["base"] == _NOT_ASKED).sum()),
        only_base=int((found["run"] == _NOT_ASKED).sum()),
        test=mcnemar(before > 0, now > 0),
        difference=overall.value,
        low=overall.low,
        high=overall.high,
        detectable=None if overall.se is None else smallest_detectable(overall.se),
        slices=_slices({name: found[name][both] for name in run.slice_sql()}, before, now, images),
    )


def _difference(before: NDArray[np.float64], now: NDArray[np.float64], images: NDArray[np.int64]) -> Difference:
    return paired_difference(mean_sums(before), mean_sums(now), in_groups(images))


def _slices(
    columns: dict[str, np.ndarray], before: NDArray[np.float64], now: NDArray[np.float64], images: NDArray[np.int64]
) -> tuple[SliceChange, ...]:
    found: list[tuple[str, NDArray[np.bool_], Difference]] = []
    for name, column in columns.items():
        codes, values = pd.factorize(column)
        for code in np.argsort(-np.bincount(codes), kind="stable")[:_MOST_VALUES]:
            mask = codes == code
            if values[code] and MIN_ROWS <= mask.sum() < len(mask):
                within = pd.factorize(images[mask])[0]
                found.append((f"{name}={values[code]}", mask, _difference(before[mask], now[mask], within)))
    q = benjamini_hochberg([1.0 if one.p is None else one.p for _, _, one in found])
    changes = [
        SliceChange(
            where, int(mask.sum()), float(before[mask].mean()), float(now[mask].mean()), one.value, one.low, one.high,
            float(adjusted),
        )
        for (where, mask, one), adjusted in zip(found, q, strict=True)
    ]  # fmt: skip
    return tuple(sorted(changes, key=lambda change: (change.difference, change.where)))


def _sql(run: Predictions, base: Predictions) -> str:
    """Rows of both runs joined where both were asked the same: id, pictures, question and references."""
    listed = "".join(f", coalesce({sql}, '') AS {quoted(name)}" for name, sql in run.slice_sql().items())
    kept = "".join(f", coalesce(a.{quoted(name)}, '') AS {quoted(name)}" for name in run.slice_sql())
    asked = 'hash(sample_id, image_keys, question, "references") AS asked'
    image = "hash(CASE WHEN len(image_keys) > 0 THEN array_to_string(image_keys, ' ') ELSE sample_id END) AS image"

    def correct(table: Predictions) -> str:
        return f"coalesce(({table.correct_sql()})::INT, {_NO_VERDICT}) AS correct"

    return f"""
        SELECT coalesce(a.correct, {_NOT_ASKED}) AS run, coalesce(b.correct, {_NOT_ASKED}) AS base,
               coalesce(a.image, 0) AS image{kept}
        FROM (
            SELECT {asked}, {correct(run)}, {image}, file_row_number AS row{listed}
            FROM read_parquet(?, file_row_number = true) WHERE task = ?
        ) a
        FULL JOIN (SELECT {asked}, {correct(base)} FROM read_parquet(?) WHERE task = ?) b USING (asked)
        ORDER BY a.row"""
