"""Intervals of differences between arms of the same seeds and test questions.

Another run of a study would draw other test images and other seeds. Both are drawn again here; the arms of a seed stay
together, as they saw the rows that they share in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalsuite.statistics.resampling import LEVEL, REPLICATES, cluster_codes, percentiles, resample, sums_by

Floats = NDArray[np.float64]


def paired(
    right: Mapping[str, Floats], images: Sequence[str], estimate: Callable[[dict[str, Floats]], Floats]
) -> dict[str, Any]:
    """An estimate from mean accuracies, with its 95% interval.

    The mean of k seeds drawn from k varies too little, by a factor of sqrt((k-1)/k); this is corrected.

    Args:
        right: arm → (seeds, questions) 1.0 or 0.0; the same seeds and questions in all.
        images: (questions,) that they are about: questions about one image are drawn together.
        estimate: arm → (m,) accuracies, to (m,).

    Returns:
        ``value``, ``low``, ``high``; None where it is not finite.

    Raises:
        ValueError: the arms have different shapes.
    """
    if len({one.shape for one in right.values()}) != 1:
        raise ValueError("paired arms have the same seeds and questions")
    seeds, questions = next(iter(right.values())).shape
    clusters = cluster_codes(list(images))
    columns = np.concatenate([*right.values(), np.ones((1, questions))]).T
    sums = sums_by(clusters, int(clusters.max()) + 1, np.asarray(columns, np.float64))
    generator = np.random.default_rng(1)

    def of_resample(totals: Floats) -> Floats:
        each = (totals[:, :-1] / totals[:, -1:]).reshape(len(totals), len(right), seeds)
        mean = each.mean(2)
        if seeds > 1:
            drawn = generator.integers(0, seeds, (len(totals), 1, seeds))
            of_drawn = np.take_along_axis(each, np.broadcast_to(drawn, each.shape), axis=2).mean(2)
            mean = mean + np.sqrt(seeds / (seeds - 1)) * (of_drawn - mean)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(estimate(dict(zip(right, mean.T, strict=True))), np.float64)

    low, high = percentiles(resample(sums, of_resample, 0, REPLICATES), LEVEL)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(estimate({name: np.array([one.mean()]) for name, one in right.items()})[0])
    return {"value": value if np.isfinite(value) else None, "low": low, "high": high}


def accuracy(runs: Floats, images: Sequence[str]) -> dict[str, Any]:
    """The mean accuracy of one arm's (seeds, questions)."""
    return paired({"arm": runs}, images, lambda means: means["arm"])


def difference(right: Mapping[str, Floats], images: Sequence[str], one: str, other: str) -> dict[str, Any]:
    """``other`` minus ``one``."""
    return paired({name: right[name] for name in (one, other)}, images, lambda means: means[other] - means[one])


def won_back(right: Mapping[str, Floats], images: Sequence[str], worst: str, arm: str, best: str) -> dict[str, Any]:
    """(arm - worst) / (best - worst)."""
    names = dict.fromkeys((worst, arm, best))
    return paired(
        {name: right[name] for name in names},
        images,
        lambda means: (means[arm] - means[worst]) / (means[best] - means[worst]),
    )


def points(found: Mapping[str, Any]) -> str:
    """``+2.7 (+0.4 to +5.4)`` of shares."""
    bounds = "" if found["low"] is None else f" ({100 * found['low']:+.1f} to {100 * found['high']:+.1f})"
    return f"{100 * found['value']:+.1f}{bounds}"


def percent(found: Mapping[str, Any], digits: int = 1) -> str:
    """``68% (19 to 118)`` of shares."""
    if found["value"] is None:
        return "–"
    low, high = found["low"], found["high"]
    bounds = "" if low is None else f" ({100 * low:.{digits}f} to {100 * high:.{digits}f})"
    return f"{100 * found['value']:.{digits}f}%{bounds}"
