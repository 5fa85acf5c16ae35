"""Where a run fails more than elsewhere: every slice column, and pairs of them, ranked by excess errors."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dashboards.query.engine import Connection, fetch_columns, quoted
from dashboards.query.tables import Predictions
from evalsuite.statistics import benjamini_hochberg, excess_errors

MIN_ROWS = 30
MIN_IMAGES = 10
_MOST_VALUES = 40  # of a column, the most frequent
_MOST_PAIRS = 200

Codes = NDArray[np.int64]
Found = tuple[tuple[tuple[str, str], ...], NDArray[np.bool_]]


@dataclass(frozen=True)
class Slice:
    """Rows that share one or two properties.

    Attributes:
        where: ``name=value`` terms, as ``FilterSpec.where``.
        n, images: its rows and the different pictures among them.
        rate: share of errors; excess: errors beyond those expected at the rate of all rows, with
            its 95% interval (clustered by image).
        q: Benjamini-Hochberg over all slices looked at.
    """

    where: tuple[str, ...]
    n: int
    images: int
    rate: float
    excess: float
    low: float
    high: float
    q: float


@dataclass(frozen=True)
class Ranking:
    """The slices of one task, most excess errors first; how many were looked at, and the rate of all rows."""

    slices: tuple[Slice, ...]
    tried: int
    rows: int
    rate: float


def rank_slices(connection: Connection, table: Predictions, task: str) -> Ranking:
    """Slices of at least 30 rows and 10 images of one task; rows whose request failed are left out.

    Pairs are looked at among slices that each have more errors than expected.

    Raises:
        UserError: the table is broken.
    """
    errors, images, columns = _read(connection, table, task)
    if not len(errors):
        return Ranking((), 0, 0, 0.0)
    singles: list[Found] = [
        (((name, value),), codes == code)
        for name, (values, codes) in columns.items()
        for code, value in enumerate(values)
        if value
    ]
    singles = _different([(where, mask) for where, mask in singles if _large(mask, images) and not mask.all()])
    worse = [(where, mask) for where, mask in singles if errors[mask].mean() > errors.mean()]
    pairs = [
        (left[0] + right[0], left[1] & right[1])
        for left, right in itertools.islice(itertools.combinations(worse, 2), _MOST_PAIRS)
        if left[0][0][0] != right[0][0][0]
    ]
    halves = dict(worse)
    pairs = [
        (where, mask) for where, mask in pairs
        if _large(mask, images) and all(mask.sum() < halves[(term,)].sum() for term in where)
    ]  # fmt: skip
    return _ranked(errors, images, _different([*singles, *pairs]))


def _ranked(errors: NDArray[np.float64], images: Codes, found: list[Found]) -> Ranking:
    excesses = [excess_errors(errors, mask, images) for _, mask in found]
    q = benjamini_hochberg([1.0 if one.p is None else one.p for one in excesses])
    slices = [
        Slice(tuple(f"{name}={value}" for name, value in where), one.n, one.clusters, one.rate, one.excess,
              one.low, one.high, float(adjusted))
        for (where, _), one, adjusted in zip(found, excesses, q, strict=True)
        if one.low is not None and one.high is not None
    ]  # fmt: skip
    slices.sort(key=lambda one: (-one.excess, one.where))
    return Ranking(tuple(slices), len(found), len(errors), float(errors.mean()))


def _read(
    connection: Connection, table: Predictions, task: str
) -> tuple[NDArray[np.float64], Codes, dict[str, tuple[list[str], Codes]]]:
    """Errors (rows,), image codes (rows,), and per slice column its values and each row's code."""
    known = table.slice_sql()
    listed = "".join(f", coalesce({sql}, '') AS {quoted(name)}" for name, sql in known.items())
    sql = f"""
        SELECT CASE WHEN {table.correct_sql()} THEN 0.0 ELSE 1.0 END AS error,
               hash(CASE WHEN len(image_keys) > 0 THEN array_to_string(image_keys, ' ') ELSE sample_id END) AS image
               {listed}
        FROM read_parquet(?) WHERE task = ? AND status <> 'failed' AND ({table.correct_sql()}) IS NOT NULL"""
    found = fetch_columns(connection, sql, [table.path, task])
    images = pd.factorize(found["image"])[0]
    columns = {name: _commonest(found[name]) for name in known}
    return np.asarray(found["error"], dtype=np.float64), images, columns


def _commonest(column: NDArray[np.object_]) -> tuple[list[str], Codes]:
    """Values and codes of a column of texts; all but the 40 most frequent values become ''."""
    codes, values = pd.factorize(column)
    kept = set(np.argsort(-np.bincount(codes, minlength=1), kind="stable")[:_MOST_VALUES].tolist())
    return [str(value) if code in kept else "" for code, value in enumerate(values)], codes


def _different(found: list[Found]) -> list[Found]:
    """Of slices with the same rows only the first: two names for one thing teach nothing."""
    return list({np.packbits(mask).tobytes(): (where, mask) for where, mask in reversed(found)}.values())[::-1]


def _large(mask: NDArray[np.bool_], images: Codes) -> bool:
    return int(mask.sum()) >= MIN_ROWS and int(np.count_nonzero(np.bincount(images[mask]))) >= MIN_IMAGES
