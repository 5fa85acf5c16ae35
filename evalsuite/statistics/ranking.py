"""Slices of rows, by one property or two together, ranked by errors in excess of the overall rate."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evalsuite.statistics.resampling import LEVEL, Floats, Ints
from evalsuite.statistics.significance import benjamini_hochberg


@dataclass(frozen=True)
class Excess:
    """Errors of a group against the error rate of all rows.

    Attributes:
        n, clusters: rows of the group and images among them.
        rate: mean error in the group, 0 to 1.
        excess: errors beyond ``n`` × the overall rate; negative where the group does better.
        low, high: interval of ``excess``; None below two clusters.
        p: two-sided p-value of the group's rate being the overall rate; None below two clusters.
    """

    n: int
    clusters: int
    rate: float
    excess: float
    low: float | None
    high: float | None
    p: float | None


def excess_errors(errors: ArrayLike, mask: NDArray[np.bool_], clusters: ArrayLike, *, level: float = LEVEL) -> Excess:
    """Excess errors of the rows in ``mask``.

    Group rate minus overall rate is a difference of two ratios on the same rows. Its variance is
    taken by linearisation, summed over clusters (Taylor series variance of survey statistics, e.g.
    Wolter 2007, ch. 6), with m / (m − 1) for m clusters.

    Args:
        errors: (rows,) from 0 (right) to 1.
        mask: (rows,) the group.
        clusters: (rows,) code of each row's image, 0 … m − 1.
    """
    from scipy.special import ndtr, ndtri

    wrong, codes = np.asarray(errors, dtype=np.float64), np.asarray(clusters)
    n, total = int(mask.sum()), len(wrong)
    images = int(np.count_nonzero(np.bincount(codes[mask])))
    overall = float(wrong.mean())
    rate = float(wrong[mask].mean()) if n else 0.0
    excess = n * (rate - overall)
    if images < 2:
        return Excess(n, images, rate, excess, None, None, None)
    influence = mask * (wrong - rate) / n - (wrong - overall) / total
    se = n * float(np.sqrt(_variance(influence, codes)))
    if se == 0:
        return Excess(n, images, rate, excess, excess, excess, 1.0 if excess == 0 else 0.0)
    reach = float(ndtri((1 + level) / 2)) * se
    return Excess(n, images, rate, excess, excess - reach, excess + reach, float(2 * ndtr(-abs(excess) / se)))


def _variance(influence: Floats, codes: NDArray[np.int64]) -> float:
    sums = np.bincount(codes, influence)
    present = sums[np.bincount(codes) > 0]
    return float((present**2).sum() * len(present) / max(1, len(present) - 1))


Mask = NDArray[np.bool_]
Where = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Property:
    """A named value for every row.

    Attributes:
        values: the different values; '' is no value.
        codes: (rows,) which of them each row has.
    """

    values: tuple[str, ...]
    codes: Ints


@dataclass(frozen=True)
class RankedSlice:
    """Rows that share the values ``where``; ``q`` is Benjamini-Hochberg's over all slices tried."""

    where: Where
    excess: Excess
    q: float


@dataclass(frozen=True)
class Ranking:
    """Slices, most excess errors first; how many were tried; rows and error rate of all."""

    slices: tuple[RankedSlice, ...]
    tried: int
    rows: int
    rate: float


def property_of(column: Iterable[str]) -> Property:
    """A property from each row's value; its values are in alphabetical order."""
    numbers: dict[str, int] = {}
    codes = np.fromiter((numbers.setdefault(value, len(numbers)) for value in column), np.int64)
    values = sorted(numbers)
    places = np.empty(len(values), dtype=np.int64)
    places[[numbers[value] for value in values]] = np.arange(len(values))
    return Property(tuple(values), places[codes])


def rank_slices(
    errors: Floats, clusters: Ints, properties: Mapping[str, Property], *, min_rows: int, min_clusters: int
) -> Ranking:
    """All large enough slices of one property, and those of two where both halves gain.

    A pair is kept where it has more errors than each property alone would give, with intervals of
    that above zero.

    Args:
        errors: (rows,) from 0 (right) to 1.
        clusters: (rows,) code of each row's image, 0 … m − 1.
        properties: by name; rows without a value belong to no slice of that property.
        min_rows, min_clusters: smaller slices are left out.
    """
    if not len(errors):
        return Ranking((), 0, 0, 0.0)
    singles = dict(_singles(properties, clusters, min_rows, min_clusters))
    tested: list[tuple[Where, Excess]] = [
        (where, excess_errors(errors, mask, clusters)) for where, mask in singles.items()
    ]
    tried = len(tested)
    for where, mask in _pairs(properties, singles, clusters, min_rows, min_clusters):
        tried += 1
        if _adds(errors, mask, [singles[(half,)] for half in where], clusters):
            tested.append((where, excess_errors(errors, mask, clusters)))
    p = [1.0 if excess.p is None else excess.p for _, excess in tested]
    q = benjamini_hochberg([*p, *[1.0] * (tried - len(p))])
    slices = [RankedSlice(where, excess, float(entry)) for (where, excess), entry in zip(tested, q, strict=False)]
    slices.sort(key=lambda entry: (-entry.excess.excess, entry.where))
    return Ranking(tuple(slices), tried, len(errors), float(errors.mean()))


def _singles(
    properties: Mapping[str, Property], clusters: Ints, min_rows: int, min_clusters: int
) -> Iterator[tuple[Where, Mask]]:
    """Slices of one property; one with the same rows as an earlier one is left out."""
    seen: set[bytes] = set()
    for name, known in properties.items():
        counts = np.bincount(known.codes, minlength=len(known.values))
        for code, value in enumerate(known.values):
            if not value or not min_rows <= counts[code] < len(clusters):
                continue
            mask = known.codes == code
            key = np.packbits(mask).tobytes()
            if key not in seen and _different(clusters[mask]) >= min_clusters:
                seen.add(key)
                yield ((name, value),), mask


def _pairs(
    properties: Mapping[str, Property], singles: Mapping[Where, Mask], clusters: Ints, min_rows: int, min_clusters: int
) -> Iterator[tuple[Where, Mask]]:
    """Large enough slices of two properties, of those that are slices alone."""
    for (left, of_left), (right, of_right) in itertools.combinations(properties.items(), 2):
        cells = of_left.codes * len(of_right.values) + of_right.codes
        counts = np.bincount(cells, minlength=len(of_left.values) * len(of_right.values))
        for cell in np.flatnonzero(counts >= min_rows):
            place_left, place_right = divmod(int(cell), len(of_right.values))
            where = ((left, of_left.values[place_left]), (right, of_right.values[place_right]))
            if all((half,) in singles for half in where):
                mask = cells == cell
                if _different(clusters[mask]) >= min_clusters:
                    yield where, mask


def _different(codes: Ints) -> int:
    return int(np.count_nonzero(np.bincount(codes)))


def _adds(errors: Floats, both: Mask, halves: Sequence[Mask], clusters: Ints) -> bool:
    """Whether rows in ``both`` have more errors than each half, beyond what chance explains."""
    rate = errors[both].mean()
    if any(rate <= errors[half].mean() for half in halves):
        return False
    for half in halves:
        within = excess_errors(errors[half], both[half], clusters[half])
        if within.low is None or within.low <= 0:
            return False
    return True
